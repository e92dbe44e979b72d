"""Files of rows as they are, in the formats of :mod:`paddledistill.data.formats`, and where they keep a task's texts and label.

Lines end in LF (CRLF is accepted), text is UTF-8 with or without a byte order mark.
Every fault is a :class:`~paddledistill.errors.UserError` that names file and line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paddledistill.data import formats
from paddledistill.errors import UserError
from paddledistill.files import atomic_file
from paddledistill.tasks import Task

# CoLA's train and dev files have no header, its test file has this one.
_GLUE_TEST_HEADER = ["index", "sentence"]


class Table(NamedTuple):
    """A file as it is: its cells, untouched. ``header`` is None for a file without; ``bom``: it began with one."""

    header: list[str] | None
    rows: list[list[str]]
    bom: bool = False


class Columns(NamedTuple):
    """Where a file keeps the texts and the label, from 0; ``label`` is None when it has none. ``width`` in columns."""

    texts: tuple[int, ...]
    label: int | None
    width: int


def numbered_rows(path: Path, task: Task) -> tuple[list[str] | None, int, Iterator[tuple[int, list[str]]], bool]:
    """As :class:`paddledistill.data.formats.Rows`, and whether the file began with a byte order mark."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{number}: byte {data[error.start]:#04x} is not UTF-8: save the file as UTF-8"
        ) from None
    bom = text.startswith("\ufeff")
    text = text.removeprefix("\ufeff")
    if not text.strip("\r\n"):
        raise UserError(f"{path}: is empty")
    has_header = task.header or text.split("\n", 1)[0].rstrip("\r").split("\t") == _GLUE_TEST_HEADER
    return *formats.of(Path(path)).read(text, path, has_header, (*task.text_columns, task.label_column)), bom


def find_columns(header: list[str] | None, width: int, task: Task, path: Path, labelled: bool = True) -> Columns:
    """Where the file at ``path``, with this header (None without) and so many columns, keeps those of ``task``.

    :raises UserError: a column is not there.
    """
    if header is None:
        wanted = [column for column in (*task.text_columns, task.label_column) if isinstance(column, int)]
        needed = max(wanted if labelled else wanted[:-1]) + 1
        if width < needed:
            raise UserError(f"{path}:1: {width} columns instead of at least {needed}: a column is missing")
        return Columns(tuple(wanted[:-1]), wanted[-1] if wanted[-1] < width else None, width)
    text_columns = task.text_columns
    if not task.header:
        text_columns = (_GLUE_TEST_HEADER[1],)
    missing = [column for column in text_columns if column not in header]
    if labelled and task.label_column not in header:
        missing.append(task.label_column)
    if missing:
        names = ", ".join(map(repr, missing))
        labels = "; train and dev sets need labels" if missing == [task.label_column] else ""
        raise UserError(
            f"{path}:1: the header has no column {names}: {task.name} needs it; there are {', '.join(header)}{labels}"
        )
    texts = tuple(header.index(str(column)) for column in text_columns)
    label = header.index(str(task.label_column)) if task.label_column in header else None
    return Columns(texts, label, width)


def width_fault(cells: list[str], width: int, path: Path) -> str | None:
    """What is wrong with a row of the file at ``path`` that has not ``width`` cells."""
    if len(cells) == width:
        return None
    likely = "a column is missing" if len(cells) < width else formats.of(path).too_many
    return f"{len(cells)} columns instead of {width}: {likely}; correct the row"


def read_table(path: Path, task: Task) -> Table:
    """The file's cells as they are, for rewriting; :func:`find_columns` tells where texts and label are.

    As in :func:`read_rows`, the few faulty rows that a task is known for are left out.

    :raises UserError: missing file, undecodable bytes, a row of another width than the header (or the first row).
    """
    header, total, numbered, bom = numbered_rows(path, task)
    rows, faults, width = [], [], len(header or ())
    for number, row in numbered:
        width = width or len(row)
        if fault := width_fault(row, width, Path(path)):
            faults.append(f"{path}:{number}: {fault}")
        else:
            rows.append(row)
    if len(faults) > task.faulty_rows * total:
        raise UserError(faults[0])
    return Table(header, rows, bom)


def write_table(path: Path, table: Table) -> None:
    """Writes a table, in the format that the file's name tells, with LF; whole or not at all. ``read_table`` gives the same table back.

    :raises ValueError: a cell that the format cannot hold.
    """
    form = formats.of(Path(path))
    with atomic_file(Path(path)) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\ufeff" * table.bom + form.head(table.header))
        file.writelines(form.row(row, table.header) for row in table.rows)
