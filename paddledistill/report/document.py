"""All that a report says, as data: gathered here, written as ``report.json`` and, drawn by ``html``, as ``report.html``."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddledistill.files import atomic_file, read_json, write_json
from paddledistill.report import html
from paddledistill.report.compare import Comparison, System, disagreements
from paddledistill.report.rows import Row, aggregate
from paddledistill.tasks import Task
from paddledistill.training.run_directory import read_metrics

MOST_POINTS = 150  # a curve of more is averaged: a page is looked at, not searched


def gather(
    comparisons: Sequence[Comparison],
    task: Task,
    *,
    title: str,
    question: str,
    sizes: Mapping[str, int],
    about: Mapping[str, Any],
    try_it: str,
    seconds: float | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything about one experiment, for ``write``; a superset of ``docs/results/NAME.json`` (see ``published``).

    :param comparisons: one a seed, all of the same systems.
    :param question: what the task asks, for someone who has never seen it, such as "Is this review positive?".
    :param sizes: number of examples of each split. :param about: :func:`paddledistill.runtime.provenance` of all of it.
    :param try_it: a command to copy. :param seconds: wall time of the whole. :param notes: further sentences for the reader.
    """
    if not comparisons:
        raise ValueError("a report needs the comparison of at least one seed")
    first = comparisons[0]
    return {
        **about,
        "title": title,
        "question": question,
        "task": {"name": task.name, "labels": task.labels and list(task.labels), "metric": task.best_metric},
        "sizes": dict(sizes),
        "seconds": seconds,
        "notes": list(notes),
        "try_it": try_it,
        "shapes": first.shapes,
        "latency": first.latency.conditions,
        "runs": [
            run_summary(system, directory, task.best_metric)
            for system in dict.fromkeys(system for comparison in comparisons for system in comparison.systems)
            for directory in (*system.stages, system.run_dir)
        ],
        "disagreements": disagreements(first.examples, first.logits, first.systems),
        "rows": rows_of(comparisons),
    }


def rows_of(comparisons: Sequence[Comparison]) -> list[Row]:
    """Over all seeds; of a run that took part in all of them, beside several of others, the one score."""
    rows = aggregate([comparison.rows for comparison in comparisons])
    runs: dict[tuple[str, str], set[Path]] = {}
    for system in (system for comparison in comparisons for system in comparison.systems):
        runs.setdefault((system.name, system.role), set()).add(system.run_dir)
    for row in rows:
        if len(runs[row["system"], row["role"]]) == 1:
            row["values"], row["std"] = row["values"][:1], None
    return rows


def published(report: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a report that belongs in ``docs/results/NAME.json``."""
    parts = ("command", "machine", "versions", "date", "sizes", "latency", "rows")
    return {name: report[name] for name in parts} | ({"note": " ".join(report["notes"])} if report["notes"] else {})


def write(report: Mapping[str, Any], directory: Path, results: Path | None = None) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into ``directory`` and return their paths. The page needs no other file and no network.

    :param results: also write what is ``published`` there.
    """
    data, page = directory / "report.json", directory / "report.html"
    drawn = html.render(report)
    write_json(data, report)
    if results:
        write_json(results, published(report))
    with atomic_file(page) as partial:
        partial.write_text(drawn, encoding="utf-8")
    return data, page


def run_summary(system: System, directory: Path, metric: str) -> dict[str, Any]:
    """What a run did and how it went: from its ``run.json`` and ``metrics.jsonl``.

    ``loss`` and ``score`` are lists of [step, value]; the score is the dev set's, in points of 100.
    """
    run = read_json(directory / "run.json")
    losses, scores = read_curves(directory, metric)
    return {
        "system": system.name,
        "role": system.role,
        "label": system.label,
        "stage": directory.name if directory in system.stages else None,
        "seed": run["seed"],
        "directory": str(directory),
        "command": run["command"],
        "minutes": round(run["seconds"] / 60, 2),
        "steps": run["steps"],
        "rows": run.get("rows"),
        "loss": thin(losses),
        "score": [[step, round(100 * value, 3)] for step, value in scores],
    }


def read_curves(directory: Path, metric: str) -> tuple[list[list[float]], list[list[float]]]:
    """[step, loss] of the training lines and [step, dev metric] of the evaluations of a run."""
    records = read_metrics(directory)
    losses = [[record["step"], record["loss"]] for record in records if record["kind"] == "train" and "loss" in record]
    scores = [[record["step"], record[metric]] for record in records if record["kind"] == "eval" and metric in record]
    return losses, scores


def thin(points: Sequence[Sequence[float]], most: int = MOST_POINTS) -> list[list[float]]:
    """At most ``most`` points: neighbours are averaged, so that the noise of single steps does not hide the curve."""
    group = -(-len(points) // most) if points else 1
    groups = [points[start : start + group] for start in range(0, len(points), group)]
    return [[round(statistics.fmean(values), 5) for values in zip(*members, strict=True)] for members in groups]
