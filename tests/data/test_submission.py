"""Answers for the GLUE server: official names of files and labels, the ids of the rows, one zip."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paddledistill.data import submission
from paddledistill.errors import UserError
from paddledistill.tasks import get_task


def test_labels_and_ids_are_the_official_ones(glue_dir: Path, tmp_path: Path) -> None:
    rte = get_task("RTE")
    file = glue_dir / "RTE" / "test.tsv"
    lines = file.read_text().splitlines()
    file.write_text(
        "\n".join([lines[0], *(line.replace(line.split("\t")[0], str(7 + at), 1) for at, line in enumerate(lines[1:]))])
        + "\n"
    )
    rows = len(submission.test_sets(rte, glue_dir)["test"])
    logits = np.zeros((rows, 2))
    logits[1, 1] = 1
    submission.write(rte, "test", logits, tmp_path, glue_dir)
    found = (tmp_path / "RTE.tsv").read_text().splitlines()
    assert found[:3] == ["index\tprediction", "7\tentailment", "8\tnot_entailment"]
    assert len(found) == rows + 1


def test_one_zip_holds_all_tasks(glue_dir: Path, tmp_path: Path) -> None:
    mnli, sts = get_task("MNLI"), get_task("STS-B")
    for split, examples in submission.test_sets(mnli, glue_dir).items():
        submission.write(mnli, split, np.eye(3)[[2] * len(examples)], tmp_path, glue_dir)
    rows = len(submission.test_sets(sts, glue_dir)["test"])
    (tmp_path / "notes.tsv").write_text("not for the server")
    path = submission.write(sts, "test", np.linspace(-1, 6, rows)[:, None], tmp_path, glue_dir)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["MNLI-m.tsv", "MNLI-mm.tsv", "STS-B.tsv"]
        assert archive.read("MNLI-mm.tsv").decode().splitlines()[1] == "0\tneutral"
        scores = [line.split("\t")[1] for line in archive.read("STS-B.tsv").decode().splitlines()[1:]]
    assert (scores[0], scores[-1]) == ("0.000", "5.000")
    assert all(len(score.split(".")[1]) == 3 for score in scores)


def test_a_test_set_that_is_not_whole_is_refused(glue_dir: Path) -> None:
    file = glue_dir / "QQP" / "test.tsv"
    lines = file.read_text().splitlines()
    empty = "\t".join(["5", "", "What is it?"])
    file.write_text("\n".join([*lines, *(lines[1:] * 200), empty]) + "\n")
    with pytest.raises(UserError, match=r"QQP/test\.tsv: 1 of \d+ rows are faulty"):
        submission.test_sets(get_task("QQP"), glue_dir)
    file.unlink()
    with pytest.raises(UserError, match="no test file for qqp"):
        submission.test_sets(get_task("QQP"), glue_dir)


def test_scores_of_other_tasks_stay_as_they_are(glue_dir: Path, tmp_path: Path) -> None:
    task = replace(get_task("STS-B"), name="ratings")
    rows = len(submission.test_sets(task, glue_dir)["test"])
    submission.write(task, "test", np.linspace(-4, 40, rows)[:, None], tmp_path, glue_dir)
    scores = [line.split("\t")[1] for line in (tmp_path / "STS-B.tsv").read_text().splitlines()[1:]]
    assert (scores[0], scores[-1]) == ("-4.000", "40.000")


def test_where_answers_cannot_go(tmp_path: Path) -> None:
    submission.check_directory(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"answers cannot go to .*file/folder: .*file is a file"):
        submission.check_directory(tmp_path / "file" / "folder")
