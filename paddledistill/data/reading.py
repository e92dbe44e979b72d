"""Finding and reading the TSV files of a task.

Quotes are data (no CSV quoting), lines end in LF (CRLF is accepted), text is UTF-8 with or without a byte order mark.
Every fault is a :class:`~paddledistill.errors.UserError` that names file and line.
"""

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from paddledistill.data import movie_reviews
from paddledistill.errors import UserError
from paddledistill.files import atomic_file
from paddledistill.tasks import TASKS, Example, LeakGuard, Task, folders_named, same_name

logger = logging.getLogger(__name__)

Row = TypeVar("Row")

AUGMENTED = "train_aug"
# CoLA's train and dev files have no header, its test file has this one.
_GLUE_TEST_HEADER = ["index", "sentence"]


class Table(NamedTuple):
    """A TSV file as it is: its cells, untouched. ``header`` is None for a file without; ``bom``: it began with one."""

    header: list[str] | None
    rows: list[list[str]]
    bom: bool = False


class Columns(NamedTuple):
    """Where a file keeps the texts and the label, from 0; ``label`` is None when it has none. ``width`` in columns."""

    texts: tuple[int, ...]
    label: int | None
    width: int


# ------------------------------------------------------------------------------------------------------- finding files


def task_file(task: Task, split: str, data_dir: Path | None = None) -> Path:
    """The file of one split: "train", "dev", "test", a further one of ``task.files``, or "train_aug".

    Looked for in ``data_dir/FOLDER`` (whatever its case), then in ``data_dir`` itself. Without ``data_dir``: in
    PaddleNLP's cache, into which PaddleNLP downloads the known tasks. The embedded movie reviews are written where they
    are asked for.

    :raises UserError: not there; the message says what was tried.
    """
    name = _file_name(task, split)
    if data_dir is not None and not Path(data_dir).is_dir() and not _is_embedded(task):
        raise UserError(f"data directory {data_dir} does not exist: give the directory that holds {task.folder}/{name}")
    found, tried = _find(task, name, data_dir)
    if found is not None:
        return found
    if split == AUGMENTED:
        raise UserError(f"no {name} for {task.name} (tried {tried}): write it with data_augmentation.py")
    if _is_embedded(task):
        return movie_reviews.export(_embedded_dir(data_dir)) / name
    if data_dir is not None:
        raise UserError(f"no {split} file for {task.name}: tried {tried}")
    return _download(task, split, name, tried)


def augmented_file(task: Task, data_dir: Path | None = None) -> Path:
    """Where the augmented training rows belong: beside the train file, whether they exist or not.

    :raises UserError: there is no train file.
    """
    return task_file(task, "train", data_dir).with_name(_file_name(task, AUGMENTED))


def has_split(task: Task, split: str, data_dir: Path | None = None) -> bool:
    """Whether the split can be read without a download."""
    if split != AUGMENTED and split not in task.files:
        return False
    return _find(task, _file_name(task, split), data_dir)[0] is not None or (_is_embedded(task) and split != AUGMENTED)


def _file_name(task: Task, split: str) -> str:
    if split == AUGMENTED:
        train = Path(task.files["train"])
        return f"{train.stem}_aug{train.suffix}"
    if split not in task.files:
        raise UserError(f"{task.name} has no split {split!r}: it has {', '.join(task.files)}")
    return task.files[split]


def _is_embedded(task: Task) -> bool:
    return task is TASKS["movie-reviews"]


def _embedded_dir(data_dir: Path | None) -> Path:
    """The directory that holds (or will hold) the folder of the embedded set."""
    from paddledistill import assets

    if data_dir is None:
        return assets.cache_dir() / "data"
    # A user may name the folder itself, as for any other task.
    return Path(data_dir).parent if same_name(Path(data_dir).name) == same_name("movie-reviews") else Path(data_dir)


def _find(task: Task, name: str, data_dir: Path | None) -> tuple[Path | None, str]:
    """The file if it is on this machine, and the places that were looked at, in words."""
    if _is_embedded(task):
        # Never `data_dir` itself: the files of that name there are another task's.
        places = [*folders_named(_embedded_dir(data_dir), task.folder)]
        places = places or [_embedded_dir(data_dir) / task.folder]
    elif data_dir is not None:
        folders = [*folders_named(Path(data_dir), task.folder)] or [Path(data_dir) / task.folder]
        places = [*folders, Path(data_dir)]
    else:
        places = [_paddlenlp_folder(task)] if task.name in TASKS else []
    candidates = [place / name for place in places]
    return next((path for path in candidates if path.is_file()), None), ", ".join(map(str, candidates)) or "nothing"


def _paddlenlp_folder(task: Task) -> Path:
    """Where PaddleNLP's dataset readers keep the files of a task."""
    home = Path(os.environ.get("PPNLP_HOME") or Path.home() / ".paddlenlp") / "datasets"
    if task.name == "chnsenticorp":
        return home / "ChnSentiCorp" / "ChnSentiCorp" / "ChnSentiCorp"
    return home / "Glue" / task.folder


def _download(task: Task, split: str, name: str, tried: str) -> Path:
    """Lets PaddleNLP fetch a known task into its cache."""
    problem = "give --data_dir"
    if task.name in TASKS:
        logger.info("%s is not in %s: downloading it with PaddleNLP", task.name, tried)
        arguments = ("chnsenticorp",) if task.name == "chnsenticorp" else ("glue", task.name)
        # PaddleNLP calls MNLI's splits by their files' names: dev_matched, ...
        paddlenlp_split = Path(name).stem
        try:
            from paddlenlp.datasets import load_dataset

            load_dataset(*arguments, splits=paddlenlp_split, lazy=True)
        except (Exception, SystemExit) as error:  # whatever PaddleNLP raises, the remedy is the same
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            found, tried = _find(task, name, None)
            if found is not None:
                return found
            problem = "PaddleNLP put it elsewhere"
    raise UserError(
        f"no {split} file for {task.name}: tried {tried}, then a download ({problem}); "
        f"give a directory that holds {task.folder}/{name} as --data_dir"
    )


# --------------------------------------------------------------------------------------------------------- reading rows


def load_split(task: Task, split: str, data_dir: Path | None = None) -> list[Example]:
    """The rows of one split. A label may be missing only in test files.

    :raises UserError: see :func:`task_file` and :func:`read_rows`.
    """
    if _is_embedded(task) and split in task.files and _find(task, _file_name(task, split), data_dir)[0] is None:
        return list(movie_reviews.split()[split])
    return read_rows(task_file(task, split, data_dir), task, labelled=not split.startswith("test"))


def load_training(
    task: Task, data_dir: Path | None = None, augmented: bool = False, limit: int | None = None
) -> list[Example]:
    """The training rows, or the augmented ones, without those that equal or contain a row of a held-out split.

    With ``limit``, only so many, as :func:`spread` chooses them.

    :raises UserError: see :func:`task_file` and :func:`read_rows`; or no row is left.
    """
    split = AUGMENTED if augmented else "train"
    examples = load_split(task, split, data_dir)
    kept = held_out_guard(task, data_dir).filter(examples, f"{task.name} {split}")
    if not kept:
        raise UserError(f"{task.name}: every row of {split} equals or contains a dev or test row: nothing to train on")
    return kept if limit is None else spread(kept, limit)


def load_dev_sets(task: Task, data_dir: Path | None = None) -> dict[str, list[Example]]:
    """The labelled sets to evaluate on: "dev", and for MNLI "dev_mismatched" where its file is there.

    :raises UserError: see :func:`task_file` and :func:`read_rows`.
    """
    more = [split for split in task.held_out_splits if split.startswith("dev_") and has_split(task, split, data_dir)]
    return {split: load_split(task, split, data_dir) for split in ("dev", *more)}


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """At most ``count`` rows, evenly spaced: files are often sorted by label or source, so the first would not do."""
    count = min(count, len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]


def texts_of(examples: Iterable[Example]) -> list[str]:
    """All texts of the rows, both of a pair, in their order."""
    return [text for example in examples for text in example.texts]


def digest_examples(*sets: Sequence[Example]) -> str:
    """SHA-256 (hex) of the rows, their order and their labels."""
    digest = hashlib.sha256()
    for examples in sets:
        digest.update(f"{len(examples)} ".encode())
        for example in examples:
            # repr keeps what a plain join would lose: where a text ends, whether a label is 1 or 1.0 or none.
            digest.update(repr(tuple(example)).encode())
    return digest.hexdigest()


def held_out_guard(task: Task, data_dir: Path | None = None) -> LeakGuard:
    """The guard of the task's dev and test rows, those that are on this machine."""
    splits = [split for split in task.held_out_splits if has_split(task, split, data_dir)]
    if not splits:
        logger.warning("%s: no dev or test file is there, so training rows are not checked for leaks", task.name)
    return LeakGuard(example for split in splits for example in load_split(task, split, data_dir))


def read_rows(path: Path, task: Task, labelled: bool = True) -> list[Example]:
    """The rows of a TSV file as examples; ``labelled``: a label column is required.

    :raises UserError: missing file, column or cell, a label outside the set, an empty text, undecodable bytes.
    """
    header, lines, _ = _read_lines(path, task)
    width = len(header) if header is not None else lines[0].count("\t") + 1
    columns = find_columns(header, width, task, path, labelled)
    first_line = 1 if header is None else 2
    indices = {label: index for index, label in enumerate(task.labels or ())}
    indices.update({alias: indices[label] for alias, label in task.label_aliases.items()})
    examples: list[Example] = []
    faults: list[str] = []
    for number, line in enumerate(lines, first_line):
        try:
            examples.append(_example(line.split("\t"), columns, task, indices))
        except _FaultError as fault:
            faults.append(f"{path}:{number}: {fault}")
            if len(faults) > task.faulty_rows * len(lines):
                raise UserError(faults[0]) from None
    if faults:
        logger.warning("%s: skipped %d faulty of %d rows; the first: %s", path, len(faults), len(lines), faults[0])
    if not examples:
        raise UserError(f"{path}: holds no rows")
    return examples


class _FaultError(Exception):
    """What is wrong with one row; the caller knows file and line."""


def _example(cells: list[str], columns: Columns, task: Task, indices: dict[str, int]) -> Example:
    if len(cells) != columns.width:
        missing = "a column is missing" if len(cells) < columns.width else "a tab too many"
        raise _FaultError(f"{len(cells)} columns instead of {columns.width}: {missing}; correct the row")
    texts = [cells[position] for position in columns.texts]
    for position, text in zip(columns.texts, texts, strict=True):
        if not text or text.isspace():
            raise _FaultError(
                f"the text in column {_column_name(task, columns, position)} is empty: give it a text or drop the row"
            )
    label: int | float | None = None
    if columns.label is not None:
        label = _label(cells[columns.label], task, indices)
    return Example(texts[0], texts[1] if len(texts) == 2 else None, label)


def _column_name(task: Task, columns: Columns, position: int) -> str:
    return repr(task.text_columns[columns.texts.index(position)])


def _label(cell: str, task: Task, indices: dict[str, int]) -> int | float:
    cell = cell.strip()
    if task.labels is not None:
        if cell not in indices:
            raise _FaultError(f"label {cell!r} is not one of {', '.join(task.labels)}")
        return indices[cell]
    try:
        score = float(cell)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise _FaultError(f"score {cell!r} is not a number")
    return score


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
        raise UserError(
            f"{path}:1: the header has no column {names}: {task.name} needs it; there are {', '.join(header)}"
        )
    texts = tuple(header.index(str(column)) for column in text_columns)
    label = header.index(str(task.label_column)) if task.label_column in header else None
    return Columns(texts, label, width)


def _read_lines(path: Path, task: Task) -> tuple[list[str] | None, list[str], bool]:
    """Header cells (None without), lines of the rows, and whether the file began with a byte order mark."""
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
    # Only LF parts lines: str.splitlines would also cut at U+2028 and others, which occur inside sentences.
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path}: is empty")
    first = lines[0].split("\t")
    if task.header or first == _GLUE_TEST_HEADER:
        return first, lines[1:], bom
    return None, lines, bom


# ---------------------------------------------------------------------------------------- tables, for what writes files


def read_table(path: Path, task: Task) -> Table:
    """The file's cells as they are, for rewriting; :func:`find_columns` tells where texts and label are.

    As in :func:`read_rows`, the few faulty rows that a task is known for are left out.

    :raises UserError: missing file, undecodable bytes, a row of another width than the header (or the first row).
    """
    header, lines, bom = _read_lines(path, task)
    rows = [line.split("\t") for line in lines]
    width = len(header if header is not None else rows[0])
    faulty = [(number, row) for number, row in enumerate(rows, 1 if header is None else 2) if len(row) != width]
    if len(faulty) > task.faulty_rows * len(rows):
        number, row = faulty[0]
        raise UserError(f"{path}:{number}: {len(row)} columns instead of {width}: correct the row")
    return Table(header, [row for row in rows if len(row) == width], bom)


def write_table(path: Path, table: Table) -> None:
    """Writes a table with LF and without quoting; whole or not at all. ``read_table`` gives the same table back.

    :raises ValueError: a cell holds a tab or a line break.
    """
    with atomic_file(Path(path)) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        if table.bom:
            file.write("\ufeff")
        if table.header is not None:
            file.write(format_row(table.header))
        file.writelines(map(format_row, table.rows))


def format_row(cells: Sequence[str]) -> str:
    """One line of a TSV file, with its LF.

    :raises ValueError: a cell holds a tab or a line break, or the last one ends in a carriage return.
    """
    line = "\t".join(cells)
    if line.count("\t") != len(cells) - 1 or "\n" in line or line.endswith("\r"):
        raise ValueError(f"a cell holds a tab or a line break: {list(cells)!r}")
    return line + "\n"
