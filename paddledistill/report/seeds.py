"""What runs that differ in their seed alone have in common."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddledistill.files import read_json, write_json
from paddledistill.tasks import METRICS
from paddledistill.training.run_directory import INTERMEDIATE, RUN_FILE


def summarise(runs: Sequence[Path], target: Path) -> str:
    """Mean and standard deviation (of a sample, n - 1) of each dev metric over finished runs, written to ``target`` as JSON.

    :returns: a line a metric, in points of 100, and a line a loss, as it is.
    """
    contents = [read_json(run / RUN_FILE) for run in runs]
    found: dict[str, dict[str, Any]] = {}
    for name in contents[0]["metrics"]:
        scale = 100 if name.rpartition("/")[2] in METRICS else 1
        values = [content["metrics"][name] * scale for content in contents]
        spread = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"values": values, "mean": statistics.fmean(values), "std": spread}
    seeds, minutes = [content["seed"] for content in contents], [_minutes(run) for run in runs]
    write_json(target, {"seeds": seeds, "minutes": minutes, "runs": [str(run) for run in runs], "metrics": found})
    width = max(map(len, found))
    lines = [
        f"{name.ljust(width)}  {one['mean']:.2f}"
        + ("" if one["std"] is None else f" ± {one['std']:.2f}")
        + f"  ({', '.join(f'{value:.2f}' for value in one['values'])})"
        for name, one in found.items()
    ]
    return "\n".join([f"best models on dev, seeds {', '.join(map(str, seeds))}", *lines])


def _minutes(run: Path) -> float:
    """Of a run and of the stage before it, if there is one."""
    stages = filter(Path.is_file, (run / RUN_FILE, run / INTERMEDIATE / RUN_FILE))
    return sum(float(read_json(stage)["seconds"]) for stage in stages) / 60
