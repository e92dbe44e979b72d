"""Answers to test sets in the form that the GLUE server takes: a file a task, all of them in one zip."""

import os
import zipfile
from pathlib import Path

import numpy as np

from paddledistill.data.reading import load_split, task_file
from paddledistill.data.tables import read_table
from paddledistill.errors import UserError
from paddledistill.files import atomic_file
from paddledistill.tasks import Example, Task

ZIP = "submission.zip"
_HIGHEST_SCORE = 5.0  # of STS-B, the server's only task with scores
_NAMES = {("mnli", "test"): "MNLI-m", ("mnli", "test_mismatched"): "MNLI-mm"}
_OFFICIAL = {"AX", "CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI"}
_ID_COLUMNS = ("index", "id")


def test_sets(task: Task, data_dir: Path | None) -> dict[str, list[Example]]:
    """The unlabelled sets to answer, each whole.

    :raises UserError: if one is missing, or holds rows that cannot be read: the server wants an answer to every row.
    """
    found = {}
    for split in task.files:
        if split.startswith("test"):
            found[split] = load_split(task, split, data_dir)
            path = task_file(task, split, data_dir)
            rows = len(read_table(path, task).rows)
            if rows != len(found[split]):
                raise UserError(
                    f"{path}: {rows - len(found[split])} of {rows} rows are faulty, but each needs an answer"
                )
    if not found:
        raise UserError(f"{task.name} has no test file to predict: leave --do_predict out")
    return found


def check_directory(directory: Path) -> None:
    """Whether answers can be written there, before hours of training; nothing is.

    :raises UserError: if not.
    """
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"answers cannot go to {directory}: {nearest} is a file; choose another --predict_dir")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"answers cannot go to {directory}: {nearest} is read-only; choose another --predict_dir")


def write(task: Task, split: str, logits: np.ndarray, directory: Path, data_dir: Path | None) -> Path:
    """Write the answers to one test set, then a zip of them and of all under official names in ``directory``, whose path is returned.

    :param logits: [rows, labels], in the order of the file.
    """
    table = read_table(task_file(task, split, data_dir), task)
    column = next((name for name in _ID_COLUMNS if name in (table.header or ())), None)
    ids = [row[table.header.index(column)] for row in table.rows] if table.header and column else range(len(logits))
    lines = [f"{number}\t{answer}\n" for number, answer in zip(ids, answers(logits, task), strict=True)]
    name = _NAMES.get((task.name, split), task.folder)
    with atomic_file(directory / f"{name}.tsv") as partial:
        partial.write_text("index\tprediction\n" + "".join(lines), encoding="utf-8", newline="\n")
    with atomic_file(directory / ZIP) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(directory.glob("*.tsv")):
            if file.stem in (*_OFFICIAL, name):
                archive.write(file, file.name)
    return directory / ZIP


def answers(logits: np.ndarray, task: Task) -> list[str]:
    """Names of labels, or scores with three digits; STS-B's are from 0 to 5."""
    if task.labels is not None:
        return [task.labels[number] for number in logits.argmax(1)]
    scores = logits[:, 0].clip(0.0, _HIGHEST_SCORE) if task.name == "sts-b" else logits[:, 0]
    return [f"{score:.3f}" for score in scores]
