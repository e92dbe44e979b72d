"""What the commands that make result tables have in common: finding teachers, rows over seeds, a file that grows task by task."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from paddledistill import recipe, runtime
from paddledistill.data.reading import load_dev_sets
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json
from paddledistill.report import compare, published
from paddledistill.report.rows import Row, aggregate, results
from paddledistill.report.table import text_table
from paddledistill.tasks import Task, folders_named, get_task

Result = TypeVar("Result")


def check_folders(tasks: Sequence[str], data_dir: Path) -> None:
    """:raises UserError: if ``data_dir`` lacks the folder of a task."""
    for name in tasks:
        if not any(folders_named(data_dir, name)):
            raise UserError(f"no folder {name} in {data_dir}: --data_dir is a folder of GLUE tasks")


def folder_of(setting: str) -> str:
    """The name under which runs of a setting such as ``5e-5, batch 16, clip 1, 3 epochs`` are kept: ``5e-5-b16-c1-x3``."""
    rate, *more, epochs = setting.removesuffix(" epochs").split(", ")
    return "-".join([rate, *(part[0] + part.split()[1] for part in more), f"x{epochs}"])


def teacher_of(settings: Path, teachers: Path, name: str, seed: int) -> Path:
    """The teacher's run of a seed at the setting that was chosen; where there are fewer seeds, they are taken in turn.

    :param settings: results of benchmark/glue/figures.py; ``teachers``: the folder of its runs.
    :raises UserError: if it is not there.
    """
    if not settings.is_file():
        raise UserError(f"no {settings}: benchmark/glue/figures.py makes the teachers and writes it")
    chosen = read_json(settings)["settings"].get(get_task(name).name, {}).get("chosen")
    runs = teachers / name / folder_of(chosen) if chosen else teachers / name
    there = sorted(path.parent for path in runs.glob("seed-*/best_model"))
    if not there:
        raise UserError(f"no teacher {runs}/seed-{seed}: run benchmark/glue/figures.py --tasks {name} first")
    own = runs / f"seed-{seed}"
    return own if own in there else there[(seed - 1) % len(there)]


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
    task: Task, metric: str, seeds: Sequence[Sequence[compare.System]], data_dir: Path, others: Sequence[str]
) -> list[Row]:
    """The rows of one metric on dev over all seeds, and the published ones.

    :param seeds: the same systems for each seed. :param others: systems with published figures.
    """
    splits = {"dev": load_dev_sets(task, data_dir)["dev"]}
    rows = aggregate([compare.compare(systems, splits, task).rows for systems in seeds])
    known = (published.row(system, task.name, metric) for system in others)
    return [*(row for row in rows if row["metric"] == metric), *filter(None, known)]


class Results:
    """A file of results: rows of a task replace those that it had, all others stay. Every change is written and printed."""

    def __init__(self, path: Path | None, command: str, **more: Any) -> None:
        """:param path: None writes nothing. :param command: what made the file. :param more: further facts at its head."""
        self._path = path
        head = results(
            [], command=command, machine=runtime.machine(), versions=runtime.versions(), date=time.strftime("%Y-%m-%d"), **more
        )  # fmt: skip
        old: Mapping[str, Any] = read_json(path) if path and path.is_file() else {}
        self.content: dict[str, Any] = {**head, **old}

    def put(self, task: str, rows: Sequence[Row]) -> None:
        """The rows of a task."""
        self.content["rows"] = [row for row in self.content["rows"] if row["task"] != task] + list(rows)
        if self._path:
            write_json(self._path, self.content)
        print(text_table(rows), flush=True)
