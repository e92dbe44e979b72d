"""What a table over several tasks comes to: on which of them distillation helped, and how much of the teacher is kept on average."""

import statistics
from collections.abc import Mapping, Sequence

from paddledistill.report.rows import Row, score

# A constant answer has a Matthews correlation of 0, and more than half of the teacher's accuracy or F1: shares of the one and of the
# others do not add up to a mean that says anything.
_APART = "matthews"


def summary(rows: Sequence[Row]) -> str:
    """A sentence or two for each student that was trained from a teacher on several tasks and alone too; empty without one, or with
    several metrics a task. What a name says after a comma, such as "augmented text", is of the training: the student alone is the same.

    Distilled is above alone where the means differ by more than the larger of the two sample standard deviations.

    :param rows: as ``aggregate`` gives them.
    """
    if len({(row["task"], row["split"], row["metric"]) for row in rows}) > len({row["task"] for row in rows}):
        return ""
    of_role = {role: _by_system(rows, role) for role in ("alone", "distilled")}
    alone = {system: of_role["alone"].get(system.split(",")[0]) for system in of_role["distilled"]}
    return " ".join(
        _of_student(system, other, rows_of)
        for system, rows_of in of_role["distilled"].items()
        if (other := alone[system]) and (len(rows_of) > 1 or system in of_role["alone"])
    )


def _by_system(rows: Sequence[Row], role: str) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["role"] == role:
            found.setdefault(row["system"], {})[row["task"]] = row
    return found


def _of_student(system: str, alone: Mapping[str, Row], distilled: Mapping[str, Row]) -> str:
    above, not_above, unknown = [], [], []
    for task, row in distilled.items():
        other = alone.get(task)
        if other is None:
            continue
        scores = f"{task} ({score(row)} against {score(other)})"
        if row["std"] is None or other["std"] is None:
            unknown.append(scores)
        elif row["mean"] - other["mean"] > max(row["std"], other["std"]):
            above.append(task)
        else:
            not_above.append(scores)
    parts = [f"distilled is above alone by more than one standard deviation on {listed(above) or 'no task'}"]
    if not_above:
        parts.append(f"it is not on {listed(not_above)}")
    if unknown:
        parts.append(f"one seed does not tell on {listed(unknown)}")
    return f"{system}: {'; '.join(parts)}. {_kept(distilled)}".rstrip()


def _kept(distilled: Mapping[str, Row]) -> str:
    shares = {task: kept for task, row in distilled.items() if (kept := row["retention"]) is not None}
    own = [task for task in shares if distilled[task]["metric"] != _APART]
    apart = [f"{shares[task]:.1f} % on {task}" for task in shares if task not in own]
    if len(own) < 2:
        return ""
    mean = statistics.fmean(shares[task] for task in own)
    beside = f" (and {listed(apart)})" if apart else ""
    return f"It keeps {mean:.1f} % of the teacher on average over {listed(own)}{beside}."


def listed(items: Sequence[str]) -> str:
    """``a, b and c``."""
    *first, last = items or [""]
    return f"{', '.join(first)} and {last}" if first else last
