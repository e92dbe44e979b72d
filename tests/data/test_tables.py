"""Files as they are: read and written again byte for byte, with their columns found."""

from pathlib import Path

import pytest

from paddledistill.data import reading, tables
from paddledistill.errors import UserError
from paddledistill.tasks import EMBEDDED, TASKS

SST2 = TASKS["sst-2"]


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task not in EMBEDDED])
def test_files_are_rewritten_byte_for_byte(glue_dir: Path, tmp_path: Path, name: str) -> None:
    for split in TASKS[name].files:
        path = reading.task_file(TASKS[name], split, glue_dir)
        tables.write_table(tmp_path / "copy.tsv", tables.read_table(path, TASKS[name]))
        assert (tmp_path / "copy.tsv").read_bytes().rstrip(b"\n") == path.read_bytes().rstrip(b"\n")


def test_columns(glue_dir: Path) -> None:
    positions = {}
    for name in ("mrpc", "mnli", "cola", "sst-2", "sts-b", "qqp", "qnli", "rte"):
        task = TASKS[name]
        path = reading.task_file(task, "train", glue_dir)
        table = tables.read_table(path, task)
        columns = tables.find_columns(table.header, len(table.rows[0]), task, path)
        positions[name] = columns.texts
        assert [table.rows[0][at] for at in columns.texts] == list(reading.load_split(task, "train", glue_dir)[0].texts)
    # The columns that the originals had by number (ANCHORS).
    assert positions == {
        "mrpc": (3, 4), "mnli": (8, 9), "cola": (3,), "sst-2": (0,), "sts-b": (7, 8), "qqp": (3, 4), "qnli": (1, 2),
        "rte": (1, 2),
    }  # fmt: skip


def test_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\na\t1\nb\n")
    with pytest.raises(UserError, match=r"train\.tsv:3: 1 columns instead of 2: a column is missing; correct the row"):
        tables.read_table(path, SST2)


@pytest.mark.parametrize(
    "content", [b"sentence\tlabel\r\r\na\t1\r\r\n", b"sentence\tlabel\na\t1\r\r\n", b"sentence\tlabel\r\na\t1\r"]
)
def test_what_is_read_can_be_written_whatever_ends_its_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes(content)
    tables.write_table(path, tables.read_table(path, SST2))
    assert path.read_bytes() == b"sentence\tlabel\na\t1\n"


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", "a\r"])
def test_nothing_is_left_of_a_table_that_cannot_be_written(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "train_aug.tsv"
    path.write_text("before\n")
    with pytest.raises(ValueError, match="tab or a line break"):
        tables.write_table(path, tables.Table(None, [["fine", "1"], ["x", cell]]))
    assert path.read_text() == "before\n"
    assert [child.name for child in tmp_path.iterdir()] == ["train_aug.tsv"]
