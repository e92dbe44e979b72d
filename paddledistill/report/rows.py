"""Result rows, and what is reckoned from them.

A row is one figure of one system: the schema of ``docs/results/*.json``. Scores, their spread, ``retention`` and ``baseline`` are in
points of 100; latency in milliseconds; sizes in millions of bytes. Nothing here is measured.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, cast


class Row(TypedDict):
    """One metric of one system on one split; ``None`` where it does not apply or was not published.

    ``setting``: what of its training is worth a column, such as learning rate and epochs. ``latency_tokens``: in each row of a batch.
    """

    task: str
    system: str
    role: str
    split: str
    metric: str
    values: list[float]
    mean: float
    std: float | None
    retention: float | None
    baseline: float | None
    parameters: int | None
    megabytes: float | None
    latency_ms: float | None
    latency_ms_batch_32: float | None
    latency_tokens: int | None
    speed_up: float | None
    speed_up_batch_32: float | None
    minutes: float | None
    train_rows: int | None
    train_steps: int | None
    setting: str | None
    command: str


def row_of(**known: Any) -> Row:
    """A row of what is known; all else is ``None``."""
    return cast(Row, dict.fromkeys(Row.__annotations__) | known)


class SpeedRow(TypedDict):
    """A figure of speed beside a peer's, medians of ``repeats`` turns; see benchmark/speed/speed.py.

    ``ratio``: times faster than the peer. ``floor``: the same work at the best rate of matrix products, in the row's unit.
    """

    claim: str
    ours: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    unit: str
    repeats: int
    floor: float | None
    of_floor: float | None
    command: str


def aggregate(seeds: Sequence[Sequence[Row]]) -> list[Row]:
    """Join the rows of several seeds, one row for each task, system, role, split and metric, in the order of the first seed.

    ``values`` holds one figure a seed, ``std`` is the sample standard deviation (``None`` for one seed), ``retention`` is the mean over
    the teacher's mean; latency, speed-up and minutes are means; the command is the first seed's.

    :param seeds: the rows of each seed, as ``compare`` gives them.
    :raises ValueError: a seed lacks a row that another has.
    """
    keyed = [{_key(row): row for row in rows} for rows in seeds]
    if not keyed:
        return []
    for number, rows in enumerate(keyed[1:], start=2):
        if rows.keys() != keyed[0].keys():
            differing = sorted(set(rows) ^ set(keyed[0]))
            raise ValueError(
                f"seed number {number} does not have the rows of the first: {differing[0]} is in one of them only"
            )
    joined = [_join([rows[key] for rows in keyed]) for key in keyed[0]]
    teachers = {(row["task"], row["split"], row["metric"]): row["mean"] for row in joined if row["role"] == "teacher"}
    for row in joined:
        row["retention"] = retention(row["mean"], teachers.get((row["task"], row["split"], row["metric"])))
    return joined


def beside(teacher: Row, rows: Sequence[Row]) -> list[Row]:
    """Rows whose teacher has the score, the cost of training and the command of ``teacher``; shares are kept of that score."""
    trained = ("values", "mean", "std", "minutes", "train_rows", "train_steps", "setting", "command")
    own = {name: teacher[name] for name in trained}  # type: ignore[literal-required]
    found = [cast(Row, {**row, **own}) if row["role"] == "teacher" else row.copy() for row in rows]
    for row in found:
        row["retention"] = retention(row["mean"], teacher["mean"])
    return found


def retention(score: float, teacher: float | None) -> float | None:
    """Share of the teacher's score that is kept, in points of 100; ``None`` without a teacher to compare with."""
    return round(100 * score / teacher, 2) if teacher else None


def score(row: Row) -> str:
    """``86.8``, or ``86.8 ± 0.3`` where there are several seeds."""
    return f"{row['mean']:.1f}" if row["std"] is None else f"{row['mean']:.1f} ± {row['std']:.1f}"


def _key(row: Row) -> tuple[str, str, str, str, str]:
    return row["task"], row["system"], row["role"], row["split"], row["metric"]


def _join(rows: Sequence[Row]) -> Row:
    joined = rows[0].copy()
    values = [value for row in rows for value in row["values"]]
    joined["values"] = values
    joined["mean"] = round(statistics.fmean(values), 4)
    joined["std"] = round(statistics.stdev(values), 4) if len(values) > 1 else None
    joined["latency_ms"] = _mean(row["latency_ms"] for row in rows)
    joined["latency_ms_batch_32"] = _mean(row["latency_ms_batch_32"] for row in rows)
    joined["speed_up"] = _mean(row["speed_up"] for row in rows)
    joined["speed_up_batch_32"] = _mean(row["speed_up_batch_32"] for row in rows)
    joined["minutes"] = _mean(row["minutes"] for row in rows)
    return joined


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 4) if known else None
