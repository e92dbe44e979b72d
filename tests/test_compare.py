"""python -m paddledistill.compare on the runs that recipes leave: what is taken, and what is told."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ["--max_seq_length", 32, "--batch_size", 4, "--device", "cpu", "--max_steps", 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, fixture_dir: Path) -> Path:
    """SST-2, its test rows with labels."""
    target = tmp_path_factory.mktemp("data") / "glue"
    shutil.copytree(fixture_dir / "glue", target)
    shutil.copy(target / "SST-2" / "dev.tsv", target / "SST-2" / "test.tsv")
    return target


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, run_recipe: Run, tiny_bert: Path, tiny_student: Path, data: Path
) -> Path:
    """A teacher; students alone and distilled, of two seeds."""
    target = tmp_path_factory.mktemp("runs")
    task = ["--task_name", "SST-2", "--data_dir", data, *QUICK]
    glue = ["benchmark/glue/run_glue.py", *task]
    run_recipe(*glue, "--model_name_or_path", tiny_bert, "--output_dir", target / "teacher", check=True)
    seeds = ["--model_name_or_path", tiny_student, "--seeds", "1,2"]
    run_recipe(*glue, *seeds, "--output_dir", target / "alone", check=True)
    distil = ["examples/tinybert/task_distill.py", *task, *seeds, "--prediction_max_steps", 2]
    run_recipe(*distil, "--teacher_path", target / "teacher", "--output_dir", target / "distilled", check=True)
    return target


@pytest.fixture
def compare(run_recipe: Run, runs: Path, data: Path, tmp_path: Path) -> Run:
    def run(*flags: object, **options: object) -> "subprocess.CompletedProcess[str]":
        common = [
            "--task_name",
            "sst-2",
            "--data_dir",
            data,
            "--teacher",
            runs / "teacher",
            "--output_dir",
            tmp_path / "out",
        ]
        return run_recipe("-m", "paddledistill.compare", *common, *flags, **options)

    return run


@pytest.mark.slow
def test_a_teacher_and_students_of_two_seeds(compare: Run, runs: Path, tmp_path: Path) -> None:
    students = ["--distilled", f"TinyBERT={runs / 'distilled'}", "--alone", f"TinyBERT={runs / 'alone'}"]
    done = compare(*students, "--results", tmp_path / "rows.json", check=True)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    found = [(row["system"], row["role"], row["split"], len(row["values"])) for row in rows]
    assert found == [
        (*system, split, seeds)
        for *system, seeds in (("teacher", "teacher", 1), ("TinyBERT", "distilled", 2), ("TinyBERT", "alone", 2))
        for split in ("dev", "test")
    ]
    assert rows[2]["train_steps"] == 4, "of both stages"
    of_runs = [json.loads((runs / "distilled" / f"seed-{seed}" / "run.json").read_text()) for seed in (1, 2)]
    assert rows[2]["values"] == [pytest.approx(100 * run["metrics"]["accuracy"], abs=1e-3) for run in of_runs]
    assert ["TinyBERT", "distilled"] in [line.split()[:2] for line in done.stdout.splitlines()]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_what_cannot_be_compared(compare: Run, runs: Path, tmp_path: Path) -> None:
    unfinished = shutil.copytree(runs / "teacher", tmp_path / "unfinished", symlinks=True)
    record = json.loads((unfinished / "run.json").read_text())
    (unfinished / "run.json").write_text(json.dumps({**record, "status": "unfinished"}))
    three = shutil.copytree(runs / "alone", tmp_path / "three", symlinks=True)
    shutil.copytree(three / "seed-1", three / "seed-3", symlinks=True)
    for flags, message in (
        (["--alone", runs], f"{runs} is no run directory"),
        (["--alone", runs / "none"], "there is no directory"),
        (["--alone", unfinished], "is unfinished: its command with --resume"),
        (["--alone", runs / "alone" / "seed-1", runs / "alone" / "seed-1"], "two models have one name and role"),
        (["--alone", three, "--distilled", runs / "distilled"], "distilled has 2 seeds, others 3"),
        (["--task_name", "MRPC"], "answers sst-2, not mrpc"),
        (["--results", tmp_path], "must be the path of a file"),
        (["--output_dir", runs / "teacher"], "is a run, which has a page of its own"),
    ):
        done = compare(*flags)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
