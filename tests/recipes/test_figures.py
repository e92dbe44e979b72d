"""benchmark/glue/figures.py on a tiny model: it chooses a setting, repeats it, goes on where it was, and its file renders."""

import json
import shutil
from pathlib import Path

import pytest

FIGURES = "benchmark/glue/figures.py"


def test_chooses_repeats_and_writes(run_recipe, tiny_bert: Path, glue_dir: Path, tmp_path: Path) -> None:
    results, runs = tmp_path / "glue.json", tmp_path / "runs"
    command = [
        FIGURES, "--tasks", "WNLI", "MRPC", "--data_dir", glue_dir, "--model_name_or_path", tiny_bert, "--max_steps", 1, "--seeds", 2,
        "--output_dir", runs, "--results", results,
    ]  # fmt: skip
    first = run_recipe(*command, check=True)
    assert first.stderr.count("== WNLI") == 3  # two settings, then the second seed of the better one
    content = json.loads(results.read_text())
    assert [(row["task"], row["role"]) for row in content["rows"]] == [
        ("wnli", "teacher"), ("mrpc", "teacher"), ("mrpc", "published"),
    ]  # fmt: skip
    row, tried = content["rows"][0], content["settings"]["wnli"]["tried"]
    assert len(row["values"]) == 2
    assert row["setting"] == content["settings"]["wnli"]["chosen"] == max(tried, key=tried.get)
    best = json.loads((runs / "WNLI" / "5e-5-x3" / "seed-1" / "run.json").read_text())
    assert tried["5e-5, 3 epochs"] == pytest.approx(100 * best["metrics"]["accuracy"], abs=1e-3)

    shutil.rmtree(runs / "MRPC" / "5e-5-x4" / "seed-1")
    again = run_recipe(*command, check=True)
    assert "== WNLI" not in again.stderr
    assert again.stderr.count("== MRPC") == 1
    assert json.loads(results.read_text())["rows"][0]["values"] == row["values"]


def test_a_folder_without_the_task_is_refused(run_recipe, tmp_path: Path) -> None:
    done = run_recipe(FIGURES, "--tasks", "RTE", "--data_dir", tmp_path)
    assert done.returncode == 2
    assert "no folder RTE" in done.stderr.splitlines()[-1]
