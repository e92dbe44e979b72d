"""Finding the files of a task, and their rows as examples.

Every fault is a :class:`~paddledistill.errors.UserError` that names file and line.
"""

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from paddledistill import files
from paddledistill.data import download, movie_reviews
from paddledistill.data.tables import Columns, find_columns, numbered_rows, width_fault
from paddledistill.errors import UserError
from paddledistill.tasks import EMBEDDED, TASKS, Example, LeakGuard, Task, folders_named, same_name

logger = logging.getLogger(__name__)

Row = TypeVar("Row")

AUGMENTED = "train_aug"


def task_file(task: Task, split: str, data_dir: Path | None = None) -> Path:
    """The file of one split: "train", "dev", "test", a further one of ``task.files``, or "train_aug".

    Looked for in ``data_dir/FOLDER`` (whatever its case), then in ``data_dir`` itself. Without ``data_dir``: in
    PaddleNLP's cache, into which PaddleNLP downloads the known tasks. The embedded movie reviews are written where they
    are asked for.

    :raises UserError: not there; the message says what was tried.
    """
    name = _file_name(task, split)
    if data_dir is not None and not Path(data_dir).is_dir() and task not in EMBEDDED:
        fault = "is a file" if Path(data_dir).exists() else "does not exist"
        raise UserError(f"data directory {data_dir} {fault}: give the directory that holds {task.folder}/{name}")
    found, tried = _find(task, name, data_dir)
    if found is not None:
        return found
    if split == AUGMENTED:
        raise UserError(f"no {name} for {task.name} (tried {tried}): write it with data_augmentation.py")
    if task in EMBEDDED:
        return movie_reviews.export(task, _embedded_dir(task, data_dir)) / name
    if data_dir is not None:
        raise UserError(f"no {split} file for {task.name}: tried {tried}")
    return _download(task, split, name, tried)


def augmented_file(task: Task, data_dir: Path | None = None) -> Path:
    """Where the augmented training rows belong: beside the train file, whether they exist or not.

    :raises UserError: there is no train file.
    """
    return task_file(task, "train", data_dir).with_name(_file_name(task, AUGMENTED))


def has_split(task: Task, split: str, data_dir: Path | None = None) -> bool:
    """Whether the split is here, or comes with an embedded set."""
    if split != AUGMENTED and split not in task.files:
        return False
    return _find(task, _file_name(task, split), data_dir)[0] is not None or (task in EMBEDDED and split != AUGMENTED)


def _file_name(task: Task, split: str) -> str:
    if split == AUGMENTED:
        train = Path(task.files["train"])
        return f"{train.stem}_aug{train.suffix}"
    if split not in task.files:
        raise UserError(f"{task.name} has no split {split!r}: it has {', '.join(task.files)}")
    return task.files[split]


def _embedded_dir(task: Task, data_dir: Path | None) -> Path:
    """The directory that holds (or will hold) the folder of the embedded set."""
    from paddledistill import assets

    if data_dir is None:
        return assets.cache_dir() / "data"
    # A user may name the folder itself, as for any other task.
    return Path(data_dir).parent if same_name(Path(data_dir).name) == same_name(task.folder) else Path(data_dir)


def _find(task: Task, name: str, data_dir: Path | None) -> tuple[Path | None, str]:
    """The file if it is on this machine, and the places that were looked at, in words."""
    if task in EMBEDDED:
        # Never `data_dir` itself: the files of that name there are another task's.
        places = [*folders_named(_embedded_dir(task, data_dir), task.folder)]
        places = places or [_embedded_dir(task, data_dir) / task.folder]
    elif data_dir is not None:
        folders = [*folders_named(Path(data_dir), task.folder)] or [Path(data_dir) / task.folder]
        places = [*folders, Path(data_dir)]
    else:
        places = [_paddlenlp_folder(task)] if task.name in TASKS else []
    candidates = [place / name for place in places]
    return next((path for path in candidates if path.is_file()), None), ", ".join(map(str, candidates)) or "nothing"


def _paddlenlp_folder(task: Task) -> Path:
    """Where PaddleNLP's dataset readers keep the files of a task."""
    home = _paddlenlp_home()
    if task.name == "chnsenticorp":
        return home / "ChnSentiCorp" / "ChnSentiCorp" / "ChnSentiCorp"
    return home / "Glue" / task.folder


def _paddlenlp_home() -> Path:
    return Path(os.environ.get("PPNLP_HOME") or Path.home() / ".paddlenlp") / "datasets"


def _download(task: Task, split: str, name: str, tried: str) -> Path:
    """Fetch a known task's archive into PaddleNLP's cache, and let PaddleNLP unpack it there."""
    problem = "give --data_dir"
    if task.name in TASKS:
        logger.info("%s is not in %s: downloading it from PaddleNLP's server", task.name, tried)
        arguments = ("chnsenticorp",) if task.name == "chnsenticorp" else ("glue", task.name)
        # PaddleNLP calls MNLI's splits by their files' names: dev_matched, ...
        paddlenlp_split = Path(name).stem
        try:
            with files.lock(_paddlenlp_home() / ".lock", wait=True):  # the processes of a run all come by here
                if _find(task, name, None)[0] is None:
                    for url, md5, folder in _archives(task, split):
                        download.fetch(url, folder / Path(url).name, md5)
                    from paddlenlp.datasets import load_dataset

                    load_dataset(*arguments, splits=paddlenlp_split, lazy=True)
        except UserError as error:
            problem = str(error)
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


def _archives(task: Task, split: str) -> Iterator[tuple[str, str, Path]]:
    """What PaddleNLP makes a split of: address, MD5, and the folder of its cache where it looks for it."""
    from paddlenlp.datasets.chnsenticorp import ChnSentiCorp
    from paddlenlp.datasets.glue import Glue

    home = _paddlenlp_home()
    if task.name == "chnsenticorp":
        yield ChnSentiCorp.URL, ChnSentiCorp.MD5, home / "ChnSentiCorp"
        return
    content = Glue.BUILDER_CONFIGS[task.name]
    if task.name == "mrpc":  # made of several files
        for part in ("test_data",) if split == "test" else ("dev_id", "train_data"):
            yield content["url"][part], content["md5"][part], home / "Glue" / task.folder
        return
    yield content["url"], content["md5"], home / "Glue"


# --------------------------------------------------------------------------------------------------------- reading rows


def load_split(task: Task, split: str, data_dir: Path | None = None) -> list[Example]:
    """The rows of one split. A label may be missing only in test files.

    :raises UserError: see :func:`task_file` and :func:`read_rows`.
    """
    if task in EMBEDDED and split in task.files and _find(task, _file_name(task, split), data_dir)[0] is None:
        return list(movie_reviews.split(task)[split])
    return read_rows(task_file(task, split, data_dir), task, labelled=not split.startswith("test"))


def load_training(
    task: Task, data_dir: Path | None = None, augmented: bool = False, limit: int | None = None
) -> list[Example]:
    """The training rows, or the augmented ones, without those that equal or contain a row of a held-out split.

    With ``limit``, only so many, as :func:`spread` chooses them.

    :raises UserError: see :func:`task_file` and :func:`read_rows`; no row is left; or the augmented rows are of other files than are there.
    """
    split = AUGMENTED if augmented else "train"
    if augmented:
        _check_augmented(task, data_dir)
    examples = load_split(task, split, data_dir)
    kept = held_out_guard(task, data_dir).filter(examples, f"{task.name} {split}")
    if not kept:
        raise UserError(f"{task.name}: every row of {split} equals or contains a dev or test row: nothing to train on")
    used = {example.label for example in examples}
    if absent := [label for number, label in enumerate(task.labels or ()) if number not in used]:
        logger.warning("%s %s: no row has the label %s", task.name, split, " or ".join(absent))
    return kept if limit is None else spread(kept, limit)


def _check_augmented(task: Task, data_dir: Path | None) -> None:
    """The guard knows a held-out row, but not a variant of one."""
    file = _find(task, _file_name(task, AUGMENTED), data_dir)[0]
    report = file and file.with_suffix(".json")
    if not report or not report.is_file():  # written by another tool
        return
    made = files.read_json(report).get("inputs", {})
    if changed := [split for split, digest in split_digests(task, data_dir).items() if made.get(split) != digest]:
        raise UserError(
            f"{file} was made when {task.name} had another {' and '.join(changed)} file: "
            "data_augmentation.py --overwrite makes it anew"
        )


def split_digests(task: Task, data_dir: Path | None) -> dict[str, str]:
    """SHA-256 of the files of train and of the held-out splits, those that are there."""
    splits = [split for split in ("train", *task.held_out_splits) if has_split(task, split, data_dir)]
    return {split: files.digest(task_file(task, split, data_dir)) for split in splits}


def load_dev_sets(task: Task, data_dir: Path | None = None, limit: int | None = None) -> dict[str, list[Example]]:
    """The labelled sets to evaluate on: "dev", and for MNLI "dev_mismatched" where its file is there.

    With ``limit``, only so many rows of each, as :func:`spread` chooses them.

    :raises UserError: see :func:`task_file` and :func:`read_rows`.
    """
    found = {"dev": load_split(task, "dev", data_dir)}  # which may download the others, too
    more = [split for split in task.held_out_splits if split.startswith("dev_") and has_split(task, split, data_dir)]
    found |= {split: load_split(task, split, data_dir) for split in more}
    return found if limit is None else {split: spread(rows, limit) for split, rows in found.items()}


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
    if missing := [task.files[split] for split in task.held_out_splits if split not in splits]:
        logger.warning("%s: no %s here, so training rows are not checked for its rows", task.name, " or ".join(missing))
    return LeakGuard(example for split in splits for example in load_split(task, split, data_dir))


def held_out_rows(data_dir: Path | None = None) -> list[Example]:
    """Dev and test rows of every known task whose files are on this machine: general text must hold none of them.

    :param data_dir: holds a folder for each task. Files in itself are not read: a dev.tsv there would pass for every task's.
    :raises UserError: if it holds no such folder.
    """
    found = [
        (task, split, place)
        for task in TASKS.values()
        for place in ([data_dir] if data_dir is None or task in EMBEDDED else folders_named(data_dir, task.folder))
        for split in task.held_out_splits
        if has_split(task, split, place)
    ]
    if all(task in EMBEDDED for task, _, _ in found):
        if data_dir is not None:
            fault = "holds no folder of a known task with dev or test rows" if data_dir.is_dir() else "does not exist"
            own = data_dir.resolve()
            is_one = any(same_name(task.folder) == same_name(own.name) for task in TASKS.values())
            wanted = f"{own.parent}, which holds it" if is_one else "the directory that holds SST-2/, MRPC/, ..."
            raise UserError(f"data directory {data_dir} {fault}: give {wanted}")
        logger.warning("no GLUE files are here, so the text is checked for the embedded reviews only: give --data_dir")
    return [row for task, split, place in found for row in load_split(task, split, place)]


def read_rows(path: Path, task: Task, labelled: bool = True) -> list[Example]:
    """The rows of a file as examples; ``labelled``: a label column is required.

    Otherwise all rows have labels or none has: test files are written with -1, null or nothing in place of a label.

    :raises UserError: missing file, column or cell, a label outside the set, an empty text, undecodable bytes.
    """
    header, total, rows, _ = numbered_rows(path, task)
    columns, examples, faults = None, [], []
    indices = {label: index for index, label in enumerate(task.labels or ())}
    indices.update({alias: indices[label] for alias, label in task.label_aliases.items()})
    for number, cells in rows:
        columns = columns or find_columns(header, len(header or cells), task, path, labelled)
        try:
            examples.append(_example(cells, columns, path, task, indices, labelled))
        except _FaultError as fault:
            faults.append(f"{path}:{number}: {fault}")
            if len(faults) > task.faulty_rows * total:
                raise UserError(faults[0]) from None
    if faults:
        logger.warning("%s: skipped %d faulty of %d rows; the first: %s", path, len(faults), total, faults[0])
    if not examples:
        raise UserError(f"{path}: holds no rows")
    without = sum(example.label is None for example in examples)
    if 0 < without < len(examples):
        logger.warning("%s: %d of %d rows have no label: taken for a set without labels", path, without, len(examples))
    return [example._replace(label=None) for example in examples] if without else examples


class _FaultError(Exception):
    """What is wrong with one row; the caller knows file and line."""


def _example(
    cells: list[str], columns: Columns, path: Path, task: Task, indices: dict[str, int], labelled: bool
) -> Example:
    if fault := width_fault(cells, columns.width, path):
        raise _FaultError(fault)
    texts = [cells[position] for position in columns.texts]
    for position, text in zip(columns.texts, texts, strict=True):
        if not text or text.isspace():
            raise _FaultError(
                f"the text in column {_column_name(task, columns, position)} is empty: give it a text or drop the row"
            )
    label: int | float | None = None
    if columns.label is not None:
        try:
            label = _label(cells[columns.label], task, indices)
        except _FaultError:
            if labelled:
                raise
    return Example(texts[0], texts[1] if len(texts) == 2 else None, label)


def _column_name(task: Task, columns: Columns, position: int) -> str:
    return repr(task.text_columns[columns.texts.index(position)])


def _label(cell: str, task: Task, indices: dict[str, int]) -> int | float:
    cell = cell.strip()
    if task.labels is not None:
        if not cell:
            raise _FaultError("the label is empty: rows of train and dev sets need one")
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
