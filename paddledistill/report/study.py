"""What the commands that make result tables have in common: finding teachers, rows over seeds, a file that grows task by task."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from paddledistill import recipe, runtime
from paddledistill.data.reading import load_dev_sets
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json
from paddledistill.report import compare, published
from paddledistill.report.latency import LENGTH, REPEATS, WARM_UP
from paddledistill.report.rows import Row, aggregate, beside
from paddledistill.report.table import text_table
from paddledistill.tasks import Task, folders_named, get_task

Result = TypeVar("Result")


def check_folders(tasks: Sequence[str], data_dir: Path) -> None:
    """:raises UserError: if ``data_dir`` lacks the folder of a task."""
    for name in tasks:
        if not any(folders_named(data_dir, name)):
            raise UserError(f"no folder {name} in {data_dir}: --data_dir is a folder of GLUE tasks")


class Teachers:
    """What benchmark/glue/figures.py left: the runs of every task at the setting that was chosen, and the rows of its table."""

    def __init__(self, settings: Path, runs: Path) -> None:
        """:param settings: its results. :param runs: the folder of its runs.

        :raises UserError: if there are no results.
        """
        if not settings.is_file():
            raise UserError(f"no {settings}: benchmark/glue/figures.py makes the teachers and writes it")
        self._results, self._source, self._runs = read_json(settings), settings, runs
        if not {"settings", "rows"} <= set(self._results):
            raise UserError(f"{settings} tells no settings of teachers: give the results of benchmark/glue/figures.py")

    def run(self, name: str, seed: int) -> Path:
        """The run of a seed; where there are fewer seeds, they are taken in turn.

        :raises UserError: if it is not there, or there are no results for the task.
        """
        self.row(name)  # asked for after all training
        chosen = self._results["settings"].get(get_task(name).name, {})
        runs = self._runs / name / chosen.get("folder", "")
        there = sorted(path.parent for path in runs.glob("seed-*/best_model"))
        if not there:
            raise UserError(f"no teacher {runs}/seed-{seed}: run benchmark/glue/figures.py --tasks {name} first")
        own = runs / f"seed-{seed}"
        return own if own in there else there[(seed - 1) % len(there)]

    def row(self, name: str) -> Row:
        """The teacher's row of a task, over all its seeds.

        :raises UserError: if there is none.
        """
        task = get_task(name).name
        for row in self._results["rows"]:
            if row["task"] == task and row["role"] == "teacher":
                return row
        raise UserError(f"{self._source} has no teacher of {name}: run benchmark/glue/figures.py --tasks {name} first")


def over_seeds(
    train: Callable[[str, int], Result], tasks: Mapping[str, int], most: int | None, jobs: int
) -> Iterator[tuple[str, list[Result]]]:
    """Task by task, what ``train(name, seed)`` made for each seed, ``jobs`` of them at a time.

    :param tasks: how many seeds each has, at most ``most``.
    """
    wanted = [(name, seed) for name, seeds in tasks.items() for seed in range(1, 1 + min(seeds, most or seeds))]
    made: Iterable[Result] = recipe.side_by_side(lambda one: train(*one), wanted, jobs)
    if jobs > 1:
        made = list(made)  # so that nothing runs beside what measures the latency of the first ones
    for name, own in itertools.groupby(zip(wanted, made, strict=True), lambda pair: pair[0][0]):
        yield name, [result for _, result in own]


def measure(
    task: Task,
    metric: str,
    seeds: Sequence[Sequence[compare.System]],
    data_dir: Path,
    others: Sequence[str] = (),
    teacher: Row | None = None,
) -> list[Row]:
    """The rows of one metric on dev over all seeds, and the published ones.

    :param seeds: the same systems for each seed. :param others: systems with published figures.
    :param teacher: the teacher's own row, over all its seeds, in place of those that taught here.
    """
    splits = {"dev": load_dev_sets(task, data_dir)["dev"]}
    rows = aggregate([compare.compare(systems, splits, task).rows for systems in seeds])
    rows = [row for row in rows if row["metric"] == metric]
    known = (published.row(system, task.name, metric) for system in others)
    return [*(beside(teacher, rows) if teacher else rows), *filter(None, known)]


class Results:
    """A file of results: rows of a system replace those that it had, all others stay. Every change is written and printed.

    Its head names the commands that made the rows: the one that runs, after the former ones as long as a row of theirs is left.
    """

    def __init__(self, path: Path | None, **more: Any) -> None:
        """:param path: None writes nothing. :param more: further facts of a new file's head."""
        self._path = path
        old: Mapping[str, Any] = read_json(path) if path and path.is_file() else {"rows": []}
        about = {**runtime.provenance(), "latency": {"length": LENGTH, "warm_up": WARM_UP, "repeats": REPEATS}}
        self.content: dict[str, Any] = {**about, **more, **old, **about}
        self._former = old.get("command", "").split(" && ")
        self._made: set[tuple[str, str, str]] = set()

    def put(self, rows: Sequence[Row]) -> None:
        """The rows of a task, after those of other tasks; published figures last."""
        new = set(map(_key, rows))
        self._made |= new
        kept = [row for row in self.content["rows"] if _key(row) not in new]
        if any(_key(row) not in self._made for row in kept):
            self.content["command"] = " && ".join(dict.fromkeys([*self._former, runtime.typed_command()]))
        else:
            self.content["command"] = runtime.typed_command()
        of_task = [*rows, *(row for row in kept if row["task"] == rows[0]["task"])]
        of_task.sort(key=lambda row: row["role"] == "published")
        self.content["rows"] = [row for row in kept if row["task"] != rows[0]["task"]] + of_task
        if self._path:
            write_json(self._path, self.content)
        print(text_table(rows), flush=True)


def _key(row: Row) -> tuple[str, str, str]:
    return row["task"], row["system"], row["role"]
