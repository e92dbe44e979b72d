"""What the commands that make result tables share."""

import json
from pathlib import Path

import pytest

from paddledistill.errors import UserError
from paddledistill.report import study
from paddledistill.tasks import get_task


def test_the_teacher_of_the_chosen_setting(tmp_path: Path, make_row) -> None:
    settings = tmp_path / "glue.json"
    content = {
        "settings": {"sst-2": {"chosen": "5e-5, 3 epochs", "folder": "5e-5-x3"}},
        "rows": [make_row(90.0, task="sst-2")],
    }
    settings.write_text(json.dumps(content))
    teachers = study.Teachers(settings, tmp_path)
    with pytest.raises(
        UserError, match=r"no teacher .*SST-2/5e-5-x3/seed-1: run benchmark/glue/figures.py --tasks SST-2"
    ):
        teachers.run("SST-2", 1)
    for seed in (1, 2):
        (tmp_path / "SST-2" / "5e-5-x3" / f"seed-{seed}" / "best_model").mkdir(parents=True)
    with pytest.raises(
        UserError, match="glue.json has no teacher of RTE: run benchmark/glue/figures.py --tasks RTE first"
    ):
        teachers.run("RTE", 1)
    assert [teachers.run("SST-2", seed).name for seed in (1, 2, 3)] == ["seed-1", "seed-2", "seed-1"]
    assert teachers.row("SST-2")["mean"] == 90.0
    with pytest.raises(UserError, match="makes the teachers"):
        study.Teachers(tmp_path / "none.json", tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(UserError, match="other.json tells no settings of teachers: give the results of"):
        study.Teachers(tmp_path / "other.json", tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_task_by_task_with_the_seeds_of_each(jobs: int) -> None:
    made = study.over_seeds(lambda name, seed: f"{name} {seed}", {"rte": 3, "sst-2": 1}, 2, jobs)
    assert list(made) == [("rte", ["rte 1", "rte 2"]), ("sst-2", ["sst-2 1"])]


def test_rows_of_a_system_replace_those_that_it_had(
    tmp_path: Path, make_row, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["figures.py", "--jobs", "1"])
    first = study.Results(path, encoder="x")
    first.put([make_row(), make_row(80.0, system="small"), make_row(70.0, system="theirs", role="published")])
    first.put([make_row(60.0, task="rte")])
    monkeypatch.setattr("sys.argv", ["figures.py", "--jobs", "2"])
    again = study.Results(path, encoder="y")
    again.put([make_row(90.0)])
    content = json.loads(path.read_text())
    assert [(row["task"], row["system"], row["mean"]) for row in content["rows"]] == [
        ("rte", "teacher", 60.0), ("sst-2", "teacher", 90.0), ("sst-2", "small", 80.0), ("sst-2", "theirs", 70.0),
    ]  # fmt: skip
    both = "python figures.py --jobs 1 && python figures.py --jobs 2"
    assert (content["command"], content["encoder"]) == (both, "x")
    assert {"machine", "versions", "date"} <= set(content)
    assert content["latency"] == {"length": 32, "warm_up": 3, "repeats": 30}
    assert "90.0" in capsys.readouterr().out
    for row in content["rows"]:
        again.put([row])
    assert json.loads(path.read_text())["command"] == "python figures.py --jobs 2", "of the first nothing is left"
    study.Results(None).put([make_row(task="rte")])


def test_rows_over_seeds_with_published_ones(systems, splits, task, tmp_path: Path) -> None:
    lines = [f"{row.text_a}\t{row.label}" for row in splits["test"]]
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "dev.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    study.check_folders(["SST-2"], tmp_path)
    rows = study.measure(get_task("sst-2"), "accuracy", [systems[:2], systems[:2]], tmp_path, ("BiLSTM", "nobody"))
    assert [(row["system"], row["role"], len(row["values"])) for row in rows] == [
        ("teacher", "teacher", 2), ("TinyBERT", "alone", 2), ("BiLSTM", "published", 1),
    ]  # fmt: skip
    with pytest.raises(UserError, match="no folder RTE"):
        study.check_folders(["RTE"], tmp_path)
