"""Recipes run one after another or side by side, each as a user would run it, in a run directory of its own."""

import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from paddledistill import launch, runtime
from paddledistill.files import read_json

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
_EXIT_INTERRUPTED = 130


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """What ``function``, which runs recipes, returns for each item, in order; ``jobs`` items at a time share the cores.

    A step of a small model leaves cores idle in turns: runs with a thread each get more done together than one after another with all
    threads. When a recipe fails, those beside it are ended (they go on where they were when asked again), and no other one starts.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    shared = _Jobs(jobs)
    with ThreadPoolExecutor(jobs, initializer=_jobs.set, initargs=(shared,)) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            shared.end()


def run(what: str, command: str, log: Path | None = None, **paths: Path) -> None:
    """Run one recipe, and leave with its exit code if it fails.

    :param what: for the log. :param command: a script of this repository and its flags. :param log: holds what it says, should others
        run beside it. :param paths: further flags, by name.
    """
    script, flags = shlex.split(command)[0], _flags(command, **paths)
    logger.info("\n== %s\n   python %s", what, shlex.join([script, *flags]))
    arguments, jobs = [sys.executable, str(ROOT / script), *flags], _jobs.get()
    code = jobs.call(what, arguments, log) if jobs else _call(arguments)
    if code:
        sys.exit(code)


def once(what: str, command: str, output_dir: Path, **paths: Path) -> Path:
    """Run a recipe that trains, unless its run directory holds that very run, complete; a killed one goes on. Returns the directory.

    A run that other flags made, such as those of a trial, is not taken for it: the recipe refuses the directory and names what differs.
    """
    command, file = f"{command} --resume", output_dir / "run.json"
    made = read_json(file) if file.is_file() else {"status": "missing"}
    if made["status"] != "complete" or shlex.split(made["command"])[2:] != _flags(
        command, output_dir=output_dir, **paths
    ):
        run(what, command, output_dir.with_name(f"{output_dir.name}.log"), output_dir=output_dir, **paths)
    return output_dir


def steps_of(run: Path) -> int:
    """How many updates a complete run made: the student without a teacher gets as many."""
    return int(read_json(run / "run.json")["steps"])


def _flags(command: str, **paths: Path) -> list[str]:
    """Those of a command, then those that name paths."""
    return [*shlex.split(command)[1:], *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]


def _call(arguments: Sequence[str]) -> int:
    return subprocess.run(arguments, check=False, preexec_fn=launch.die_with_parent).returncode


class _Jobs:
    """Processes that run side by side, with an equal share of the threads each."""

    def __init__(self, number: int) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, int(runtime.machine()["threads"]) // number))}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._ended = threading.Lock(), False

    def call(self, what: str, arguments: Sequence[str], log: Path | None) -> int:
        """Run to the end, and say how it went. Returns the exit code."""
        started = time.monotonic()
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log or os.devnull, "ab") as said:
            with self._lock:
                if self._ended:
                    return _EXIT_INTERRUPTED
                process = subprocess.Popen(
                    arguments,
                    env=self._environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    preexec_fn=launch.die_with_parent,
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code == 0:
            logger.info("== %s: done in %.1f minutes", what, (time.monotonic() - started) / 60)
        elif not self._ended:
            logger.error("%s ended with exit code %d: %s", what, code, _last_line(log))
        return code

    def end(self) -> None:
        """End those that still run, and let no other one start."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


_jobs: ContextVar[_Jobs | None] = ContextVar("jobs", default=None)  # a value a thread of `side_by_side`


def _last_line(log: Path | None) -> str:
    lines = log.read_text("utf-8", "replace").splitlines() if log else []
    return f"{lines[-1]} (all of it in {log})" if lines else "it said nothing"
