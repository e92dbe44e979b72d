"""What runs that differ in their seed alone have in common."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddledistill.files import read_json, write_json


def summarise(runs: Sequence[Path], target: Path) -> str:
    """Mean and standard deviation (of a sample, n - 1) of each dev metric over finished runs, written to ``target`` as JSON.

    :returns: a line a metric, in points of 100 but for the loss.
    """
    contents = [read_json(run / "run.json") for run in runs]
    found: dict[str, dict[str, Any]] = {}
    for name in contents[0]["metrics"]:
        values = [content["metrics"][name] * (1 if name.endswith("loss") else 100) for content in contents]
        spread = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"values": values, "mean": statistics.fmean(values), "std": spread}
    seeds, minutes = [content["seed"] for content in contents], [content["seconds"] / 60 for content in contents]
    write_json(target, {"seeds": seeds, "minutes": minutes, "runs": [str(run) for run in runs], "metrics": found})
    width = max(map(len, found))
    lines = [
        f"{name.ljust(width)}  {one['mean']:.2f}"
        + ("" if one["std"] is None else f" ± {one['std']:.2f}")
        + f"  ({', '.join(f'{value:.2f}' for value in one['values'])})"
        for name, one in found.items()
    ]
    return "\n".join([f"best models on dev, seeds {', '.join(map(str, seeds))}", *lines])
