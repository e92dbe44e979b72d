"""A run directory: the unit that every recipe writes and every reader starts from.

::

    run.json             arguments, versions, machine, seed, digests of inputs, status, time, steps
    metrics.jsonl        a line for each logged step and each evaluation
    visualdl/            the same for VisualDL
    last/                what a killed run goes on from; replaced in one step
    best_model_<step>/   the best model so far, loadable by PaddleNLP and by paddledistill.models.load
    best_model           stable name of the above
    report.html          curves, and where the best model errs
    intermediate/        the run of the stage before, where there are two
    submission/          answers to test sets, where they were asked for
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from paddledistill import launch, parallel, runtime
from paddledistill.errors import UserError
from paddledistill.files import atomic_directory, atomic_file, lock, point, read_json, write_json
from paddledistill.tasks import same_name

logger = logging.getLogger(__name__)

BEST = "best_model"
OTHER = "model"
LAST = "last"
ANSWERS = "submission"
INTERMEDIATE = "intermediate"  # the stage before a run's own, a run inside it
BINS = 30  # of a histogram
RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
PAGE = "report.html"
_LOCK = ".lock"
_PARTIAL = ".*.part"  # of a process that was killed while it wrote
# What may differ when a run goes on: how it is shown and kept, on what it computes, where it and its results are, and where its inputs
# are, whose digests are compared.
_NOT_COMPARED = {
    *("resume", "overwrite", "logging_steps", "save_total_limit"),
    *("device", "n_cpu", "n_gpu", "keep_teacher_states"),
    *("output_dir", "results", "weights", "do_predict", "predict_dir"),
    *("data_dir", "teacher_path", "teacher_dir"),
    "seeds",  # of the runs beside it; its own is compared
}


@dataclass(frozen=True)
class Result:
    """What a finished run came to: metrics of its best model, on what step, of how many, in what time."""

    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float


def best_model(path: str | Path) -> Path:
    """The model directory that ``path`` means: itself, or the best model of a run directory.

    :raises UserError: if there is none.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise UserError(f"no directory {path}: give a best_model directory or a run directory")
    if (directory / BEST).is_dir():
        return (directory / BEST).resolve()
    if (directory / RUN_FILE).is_file():
        raise UserError(f"{path} is a run without a best model yet: finish it with --resume")
    return directory


class RunDirectory:
    """One run on disk. Made by :meth:`claim`. Of several processes only the main one writes."""

    def __init__(self, path: Path, content: dict[str, Any], overwrite: bool = False) -> None:
        """Use :meth:`claim`."""
        self.path = path
        self.content = content
        self._overwrite = overwrite
        self._visualdl: Any = None
        self._lock: IO[str] | None = None

    @classmethod
    def claim(
        cls,
        path: str | Path,
        arguments: Mapping[str, Any],
        inputs: Mapping[str, str],
        resume: bool = False,
        overwrite: bool = False,
    ) -> "RunDirectory":
        """Say that ``path`` is for this run, or that the run there is to go on. Nothing is written before :meth:`begin`.

        :param arguments: every argument of the recipe; with ``inputs`` they say what the run is.
        :param inputs: digests of data and models that the run starts from.
        :raises UserError: if the directory is in use, holds something else, or holds a run with other arguments.
        """
        content = parallel.agreed(lambda: cls._content(path, arguments, inputs, resume, overwrite))
        return cls(Path(path), content, overwrite)

    @staticmethod
    def _content(
        path: str | Path, arguments: Mapping[str, Any], inputs: Mapping[str, str], resume: bool, overwrite: bool
    ) -> dict[str, Any]:
        """What ``run.json`` says, or is to say."""
        directory = Path(path)
        arguments = json.loads(json.dumps(dict(arguments), default=str))
        inputs = dict(inputs)
        if directory.exists() and not directory.is_dir():
            raise UserError(f"{path} is a file: choose another --output_dir")
        file = directory / RUN_FILE
        if file.is_file() and not overwrite:
            content = _read_run(file)
            if not resume:
                whose = "a complete" if content["status"] == "complete" else "an unfinished"
                raise UserError(
                    f"output directory {path} is in use by {whose} run: --resume goes on with it, --overwrite deletes it"
                )
            _check_same(path, content, arguments, inputs)
            return content
        if directory.is_dir() and not file.is_file() and not all(map(_is_leftover, directory.iterdir())):
            raise UserError(f"output directory {path} is in use and holds no run: choose another --output_dir")
        return {
            "command": runtime.typed_command(),
            "arguments": arguments,
            "inputs": inputs,
            "seed": arguments.get("seed"),
            "processes": launch.world(),
            "versions": runtime.versions(),
            "machine": runtime.machine(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "status": "unfinished",
        }

    def begin(self) -> None:
        """Take the directory, unless this run has it already.

        :raises UserError: if another process has it.
        """
        if self._lock is None and parallel.is_main():
            self._begin()
        parallel.barrier()  # the others read only what is left now

    def _begin(self) -> None:
        try:
            self._lock = lock(self.path / _LOCK)
        except BlockingIOError:
            raise UserError(
                f"output directory {self.path} is in use by another process: wait for it, or choose another"
            ) from None
        # In this order a kill at any point leaves the old run or the new one, and no run goes on from another's state.
        if self._overwrite:
            (self.path / LAST).unlink(missing_ok=True)
            shutil.rmtree(self.path / INTERMEDIATE, ignore_errors=True)
        write_json(self.path / RUN_FILE, self.content)
        if self.last is None:
            self._clear()
        for partial in self.path.glob(_PARTIAL):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.content["status"] == "complete")

    @property
    def processes(self) -> int:
        """How many the run began with: with ``batch_size`` they say how many rows a step has."""
        return int(self.content.get("processes", 1))

    def release(self) -> None:
        """Let others have the directory; a process that ends does so by itself."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __del__(self) -> None:
        self.release()

    def _clear(self) -> None:
        """Delete what an earlier run left, and nothing else, so that one with no state to go on from begins with nothing."""
        for entry in (self.path / name for name in (BEST, METRICS_FILE, PAGE)):
            if entry.is_symlink() or entry.is_file():
                entry.unlink()
        for name in ("visualdl", ANSWERS, BEST, f"{BEST}_*", f"{OTHER}_*", f".{LAST}_*"):
            for directory in filter(Path.is_dir, self.path.glob(name)):
                shutil.rmtree(directory)

    def log(
        self,
        kind: str,
        step: int,
        epoch: int,
        seconds: float,
        values: Mapping[str, float],
        distributions: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Add a line to ``metrics.jsonl`` and points to VisualDL.

        :param kind: ``train`` or ``eval``. :param distributions: numbers to show as histograms.
        """
        if not parallel.is_main():
            return
        record = {"step": step, "epoch": epoch, "kind": kind, "seconds": round(seconds, 3), **values}
        if distributions:
            record["histograms"] = {name: _histogram(numbers) for name, numbers in distributions.items()}
        with (self.path / METRICS_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        self._plot(record)

    def _plot(self, record: Mapping[str, Any]) -> None:
        if self._visualdl is None:
            from visualdl import LogWriter

            self._visualdl = LogWriter(logdir=str(self.path / "visualdl"))
        kind, step = record["kind"], record["step"]
        for name, value in record.items():
            if name not in ("step", "epoch", "kind", "seconds", "histograms"):
                self._visualdl.add_scalar(tag=f"{kind}/{name}", step=step, value=value)
        for name, one in record.get("histograms", {}).items():
            # VisualDL wants the numbers themselves: those in the middle of each bin give back the counts.
            middles = np.linspace(one["from"], one["to"], 2 * BINS + 1)[1::2]
            numbers = np.repeat(middles, one["counts"])
            self._visualdl.add_histogram(tag=f"{kind}/{name}", values=numbers, step=step, buckets=BINS)
        self._visualdl.flush()

    def rewind(self, step: int) -> None:
        """Forget what was logged after ``step``, before a run goes on from there."""
        if not parallel.is_main():
            return
        records = [record for record in read_metrics(self.path) if record["step"] <= step]
        with atomic_file(self.path / METRICS_FILE) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        shutil.rmtree(self.path / "visualdl", ignore_errors=True)
        for record in records:
            self._plot(record)

    def save_model(self, step: int, fill: Callable[[Path], None], is_best: bool, keep: int) -> None:
        """Keep a model that ``fill`` writes: the best so far as ``best_model_<step>``, to which ``best_model`` then points; others, if
        ``keep`` is above 1, as ``model_<step>``. Of these the latest ``keep - 1`` stay."""
        if not parallel.is_main():
            return
        if is_best:
            former = [path for path in self.path.glob(f"{BEST}_*") if path.name != f"{BEST}_{step}"]
            with atomic_directory(self.path / f"{BEST}_{step}") as partial:
                fill(partial)
            point(self.path / BEST, f"{BEST}_{step}")
            for path in former:
                if keep > 1:
                    other = self.path / path.name.replace(BEST, OTHER)
                    shutil.rmtree(other, ignore_errors=True)
                    path.rename(other)
                else:
                    shutil.rmtree(path)
        elif keep > 1:
            with atomic_directory(self.path / f"{OTHER}_{step}") as partial:
                fill(partial)
        others = sorted(self.path.glob(f"{OTHER}_*"), key=lambda path: int(path.name.rpartition("_")[2]))
        for path in others[: max(0, len(others) - keep + 1)]:
            shutil.rmtree(path)

    def save_last(self, step: int, fill: Callable[[Path], None]) -> None:
        """Replace ``last``, the state to go on from, by a directory that ``fill`` writes."""
        if not parallel.is_main():
            return
        name = f".{LAST}_{step}"
        with atomic_directory(self.path / name) as partial:
            fill(partial)
        point(self.path / LAST, name)
        for other in self.path.glob(f".{LAST}_*"):
            if other.name != name:
                shutil.rmtree(other)

    @property
    def last(self) -> Path | None:
        """The state to go on from, if there is one."""
        path = self.path / LAST
        return path.resolve() if path.is_dir() else None

    def finish(self, result: Result, rows: int) -> None:
        """Mark the run as complete, say what came out, and drop the state that only an unfinished run needs.

        :param rows: how many rows it trained on.
        """
        self.content |= {"status": "complete", "rows": rows, **asdict(result)}
        if parallel.is_main():
            self._finish(result)
        parallel.barrier()  # what was written can be read by all from here on

    def _finish(self, result: Result) -> None:
        if self._visualdl is not None:
            self._visualdl.close()
        write_json(self.path / RUN_FILE, self.content)
        (self.path / LAST).unlink(missing_ok=True)
        for state in self.path.glob(f".{LAST}_*"):
            shutil.rmtree(state)
        told = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        logger.info("best model: %s (step %d of %d): %s", self.path / BEST, result.best_step, result.steps, told)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's ``metrics.jsonl``; a line cut short by a kill is left out."""
    file = path / METRICS_FILE
    records = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _is_leftover(entry: Path) -> bool:
    """Whether a process that was killed as it began left ``entry``."""
    return entry.name == _LOCK or entry.match(_PARTIAL)


def _read_run(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(file)
        return content if {"arguments", "inputs", "status"} <= set(content) else _damaged(file)
    except ValueError:
        return _damaged(file)


def _damaged(file: Path) -> Any:
    raise UserError(f"{file} is damaged: --overwrite starts the run again")


def _check_same(
    path: str | Path, content: Mapping[str, Any], arguments: Mapping[str, Any], inputs: Mapping[str, str]
) -> None:
    old, new = {**content["arguments"], **content["inputs"]}, {**arguments, **inputs}
    for given in (old, new):
        if "task_name" in given:  # which may be spelled in several ways
            given["task_name"] = same_name(given["task_name"])
    changed = [name for name in {**old, **new} if name not in _NOT_COMPARED and old.get(name) != new.get(name)]
    if changed:
        told = ", ".join(f"{name} was {str(old.get(name))[:40]}, is {str(new.get(name))[:40]}" for name in changed[:3])
        raise UserError(
            f"{path} holds a run with other arguments ({told}): choose another --output_dir, or --overwrite"
        )


def _histogram(numbers: NDArray[Any]) -> dict[str, Any]:
    """Counts in :data:`BINS` bins of equal width."""
    counts, edges = np.histogram(numbers, bins=BINS)
    return {"from": float(edges[0]), "to": float(edges[-1]), "counts": counts.tolist()}
