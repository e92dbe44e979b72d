"""The whole job in one command, on a few sentences with the embedded encoder: as `make demo SIZE=smoke` runs it."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DEMO = "examples/quickstart/demo.py"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
@pytest.mark.assets("minilm-l6", "movie-reviews")
def test_the_demo_runs_skips_what_is_done_and_says_how_to_try_it(run_recipe: Run, tmp_path: Path) -> None:
    done = run_recipe(
        DEMO, "--size", "smoke", "--results", tmp_path / "demo.json", cwd=tmp_path, check=True, timeout=1200
    )
    report = json.loads((tmp_path / "runs" / "demo-smoke" / "report.json").read_text())
    systems = [(row["system"], row["role"]) for row in report["rows"] if row["split"] == "test"]
    assert systems == [
        ("teacher", "teacher"),
        ("TinyBERT 3x384", "alone"),
        ("TinyBERT 3x384", "distilled"),
        ("BiLSTM", "alone"),
        ("BiLSTM", "distilled"),
    ]
    steps = {(row["system"], row["role"]): row["train_steps"] for row in report["rows"]}
    for system in ("TinyBERT 3x384", "BiLSTM"):
        assert steps[system, "alone"] == steps[system, "distilled"]
    assert json.loads((tmp_path / "demo.json").read_text())["rows"] == report["rows"]
    assert "http" not in (tmp_path / "runs" / "demo-smoke" / "report.html").read_text().replace("http://www.w3.org", "")
    assert "trained on 64 of 7,561 sentences, tested on 100" in done.stdout
    assert (tmp_path / "pretrained_models" / "movie-reviews-smoke" / "best_model" / "model_state.pdparams").is_file()

    again = run_recipe(DEMO, "--size", "smoke", cwd=tmp_path, check=True, timeout=600)
    assert again.stderr.count("already done") == 6
    assert "masked words" not in again.stderr

    python, module, name, directory, sentence = shlex.split(
        done.stdout.strip().splitlines()[-1].removeprefix("try it: ")
    )
    assert (tmp_path / python).samefile(sys.executable) and module == "-m"
    answer = run_recipe("-m", name, directory, sentence, cwd=tmp_path, check=True)
    assert "positive" in answer.stdout


def test_a_failing_step_stops_the_demo(run_recipe: Run, tmp_path: Path) -> None:
    """A run directory that is not the demo's: the step refuses it, and nothing after it runs."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "letter.txt").write_text("dear")
    done = run_recipe(DEMO, "--size", "smoke", "--teacher_dir", tmp_path / "teacher", cwd=tmp_path, timeout=120)
    assert done.returncode == 2
    assert "== augmented text" not in done.stderr
    assert [path.name for path in (tmp_path / "teacher").iterdir()] == ["letter.txt"]
