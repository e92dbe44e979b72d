"""Mean and spread over runs that differ in their seed."""

import json
import statistics
from pathlib import Path

import pytest

from paddledistill.report.seeds import summarise


def run(directory: Path, seed: int, accuracy: float) -> Path:
    directory.mkdir()
    content = {"seed": seed, "seconds": 60.0 * seed, "metrics": {"accuracy": accuracy, "loss": 0.5}}
    (directory / "run.json").write_text(json.dumps(content))
    return directory


def test_metrics_are_in_points_and_the_spread_is_that_of_a_sample(tmp_path: Path) -> None:
    values = [0.80, 0.83, 0.85]
    runs = [run(tmp_path / str(seed), seed, value) for seed, value in enumerate(values, start=1)]
    said = summarise(runs, tmp_path / "seeds.json")
    content = json.loads((tmp_path / "seeds.json").read_text())
    assert content["seeds"] == [1, 2, 3] and content["minutes"] == [1.0, 2.0, 3.0]
    found = content["metrics"]["accuracy"]
    assert found["mean"] == pytest.approx(100 * statistics.fmean(values))
    assert found["std"] == pytest.approx(100 * statistics.stdev(values))
    assert content["metrics"]["loss"]["values"] == [0.5] * 3
    assert "accuracy  82.67 ± 2.52  (80.00, 83.00, 85.00)" in said


def test_terms_of_a_loss_are_no_points_and_both_stages_take_time(tmp_path: Path) -> None:
    directory = run(tmp_path / "1", 1, 0.8)
    (directory / "intermediate").mkdir()
    metrics = {"loss": 2.4, "attention_0": 0.4162, "dev_mismatched/accuracy": 0.5}
    for part, seconds in ((".", 60.0), ("intermediate", 90.0)):
        (directory / part / "run.json").write_text(json.dumps({"seed": 1, "seconds": seconds, "metrics": metrics}))
    said = summarise([directory], tmp_path / "seeds.json")
    assert json.loads((tmp_path / "seeds.json").read_text())["minutes"] == [2.5]
    assert [line.split()[1] for line in said.splitlines()[1:]] == ["2.40", "0.42", "50.00"]


def test_a_single_seed_has_no_spread(tmp_path: Path) -> None:
    assert "accuracy  80.00  (80.00)" in summarise([run(tmp_path / "1", 1, 0.8)], tmp_path / "seeds.json")
