"""What a task is (files, columns, labels, metrics, presets), and the guard that keeps held-out text out of training.

The nine GLUE tasks, ChnSentiCorp and the embedded movie reviews (as classes, and as ratings from -4 to 4) are known by name.
A task of one's own is a directory with its files and a ``task.yaml``::

    text_columns: [question, answer]      # one or two columns; numbers from 0 when `header: false`
    label_column: label
    labels: ["no", "yes"]                 # or, for scores: `regression: true`
    metrics: [accuracy, f1]               # the first one chooses the best model, unless `best_metric` names another
    files: {train: train.tsv, dev: dev.tsv, test: test.tsv}      # or .csv, or .jsonl

Presets (sequence length, epochs of TinyBERT's intermediate stage, augmentation draws) are those published with TinyBERT
(Jiao et al., 2020, https://arxiv.org/abs/1909.10351).
"""

import itertools
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from paddledistill.errors import UserError

logger = logging.getLogger(__name__)

METRICS = ("accuracy", "f1", "matthews", "pearson", "spearman")
REGRESSION_METRICS = ("pearson", "spearman")
GLUE_FILES = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
MNLI_FILES = {
    "train": "train.tsv",
    "dev": "dev_matched.tsv",
    "dev_mismatched": "dev_mismatched.tsv",
    "test": "test_matched.tsv",
    "test_mismatched": "test_mismatched.tsv",
}
TASK_FILE = "task.yaml"
FILE_KINDS = (".tsv", ".txt", ".csv", ".jsonl", "")


class Example(NamedTuple):
    """One row: a text or a pair of texts, and its label: a class index, a score, or None when the file has none."""

    text_a: str
    text_b: str | None = None
    label: int | float | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text_a,) if self.text_b is None else (self.text_a, self.text_b)


@dataclass(frozen=True)
class Task:
    """A task, as every recipe sees it.

    ``text_columns`` and ``label_column`` are column names, or numbers from 0 when the files have no header.
    ``labels`` are the label texts in the order of the class indices, None for regression; ``label_aliases`` maps other
    spellings to them. ``best_metric``, measured on "dev", chooses the best model. ``faulty_rows`` is the share of
    incomplete rows that is skipped and counted instead of refused.
    """

    name: str
    folder: str
    text_columns: tuple[str | int, ...]
    label_column: str | int
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    best_metric: str
    files: Mapping[str, str] = field(default_factory=lambda: dict(GLUE_FILES))
    header: bool = True
    language: str = "en"
    max_seq_length: int = 128
    intermediate_epochs: int = 20
    augmentation_draws: int = 30
    label_aliases: Mapping[str, str] = field(default_factory=dict)
    faulty_rows: float = 0.0

    @property
    def is_regression(self) -> bool:
        return self.labels is None

    @property
    def is_pair(self) -> bool:
        return len(self.text_columns) == 2

    @property
    def num_labels(self) -> int:
        """Width of the logits: the number of classes, 1 for regression."""
        return 1 if self.labels is None else len(self.labels)

    @property
    def held_out_splits(self) -> tuple[str, ...]:
        """Every split that must not reach training: all but "train"."""
        return tuple(split for split in self.files if split != "train")


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
# fmt: off
_TASKS = (
    Task("sst-2", "SST-2", ("sentence",), "label", _BINARY, ("accuracy",), "accuracy",
         max_seq_length=64, augmentation_draws=20),
    Task("cola", "CoLA", (3,), 1, _BINARY, ("matthews",), "matthews",
         header=False, max_seq_length=64, intermediate_epochs=50),
    Task("mrpc", "MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("f1", "accuracy"), "f1"),
    Task("sts-b", "STS-B", ("sentence1", "sentence2"), "score", None, ("pearson", "spearman"), "pearson"),
    # Quora's export holds a few rows with an empty question among its 404,000.
    Task("qqp", "QQP", ("question1", "question2"), "is_duplicate", _BINARY, ("accuracy", "f1"), "accuracy",
         intermediate_epochs=10, augmentation_draws=10, faulty_rows=1e-3),
    Task("mnli", "MNLI", ("sentence1", "sentence2"), "gold_label", ("contradiction", "entailment", "neutral"),
         ("accuracy",), "accuracy", files=MNLI_FILES, intermediate_epochs=10, augmentation_draws=10),
    Task("qnli", "QNLI", ("question", "sentence"), "label", _ENTAILMENT, ("accuracy",), "accuracy",
         intermediate_epochs=10, augmentation_draws=20),
    Task("rte", "RTE", ("sentence1", "sentence2"), "label", _ENTAILMENT, ("accuracy",), "accuracy"),
    Task("wnli", "WNLI", ("sentence1", "sentence2"), "label", _BINARY, ("accuracy",), "accuracy"),
    # One edition has its labels in words, PaddleNLP's in digits.
    Task("chnsenticorp", "ChnSentiCorp", ("text_a",), "label", ("negative", "positive"), ("accuracy",), "accuracy",
         language="zh", augmentation_draws=20, label_aliases={"0": "negative", "1": "positive"}),
    Task("movie-reviews", "movie-reviews", ("sentence",), "label", ("negative", "positive"), ("accuracy",), "accuracy",
         max_seq_length=64, intermediate_epochs=10, augmentation_draws=20, label_aliases={"0": "negative", "1": "positive"}),
    Task("movie-ratings", "movie-ratings", ("sentence",), "score", None, ("pearson", "spearman"), "pearson",
         max_seq_length=64, intermediate_epochs=10, augmentation_draws=20),
)
# fmt: on
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}
EMBEDDED = (TASKS["movie-reviews"], TASKS["movie-ratings"])


def same_name(name: str) -> str:
    """The form in which names of tasks and folders are compared: "SST-2", "sst_2" and "sst2" are one."""
    return re.sub(r"[\W_]+", "", name.lower())


def get_task(name: str, data_dir: Path | None = None) -> Task:
    """The task called ``name``, in any case, or one's own, described by task.yaml in ``data_dir`` or ``data_dir/name``.

    :raises UserError: nothing is known by that name, or the task.yaml is faulty (all faults in one message), or describes a task whose
        name is taken.
    """
    directories = [] if data_dir is None else [Path(data_dir), *folders_named(Path(data_dir), name)]
    described = [directory / TASK_FILE for directory in directories if (directory / TASK_FILE).is_file()]
    for task in _TASKS:
        if same_name(task.name) == same_name(name):
            if taken := [file for file in described if _describes(file, name)]:
                raise UserError(f"{taken[0]}: {task.name} is built in: choose another name for your own task")
            return task
    if described:
        return read_task_file(described[0], name)
    where = "" if data_dir is None else f" and {data_dir} holds no {TASK_FILE}"
    raise UserError(
        f"unknown task {name!r}{where}: choose one of {', '.join(TASKS)}, or describe your own in DATA_DIR/{TASK_FILE}"
    )


def _describes(file: Path, name: str) -> bool:
    """Whether a task.yaml is a whole one of the task ``name``."""
    try:
        read_task_file(file, name)
    except UserError:
        return False
    return True


def folders_named(data_dir: Path, name: str) -> Iterator[Path]:
    """The folders of ``data_dir`` called ``name``, whatever the case; the exact spelling first."""
    if data_dir.is_dir():
        folders = [child for child in sorted(data_dir.iterdir()) if same_name(child.name) == same_name(name)]
        yield from sorted((folder for folder in folders if folder.is_dir()), key=lambda folder: folder.name != name)


def read_task_file(path: Path, name: str) -> Task:
    """A user's task from its ``task.yaml``.

    :raises UserError: not YAML, or faulty; every fault is in the one message.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}): correct it") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}: must hold `key: value` lines (text_columns, label_column, labels, metrics, files)")
    faults: list[str] = []
    task = _task_of(fields, name, faults)
    if faults:
        raise UserError(f"{path}: " + "; ".join(faults))
    return task


def _task_of(given: dict[Any, Any], name: str, faults: list[str]) -> Task:
    """The task that ``given`` describes; what is wrong with it is appended to ``faults``."""
    fields = dict(given)  # emptied as keys are taken: what is left over is unknown
    keys: list[str] = []

    def take(key: str, kinds: type | tuple[type, ...], default: Any, what: str) -> Any:
        keys.append(key)
        value = fields.pop(key, default)
        # bool is an int in Python: `header: 1` and `max_seq_length: true` are both mistakes.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            faults.append(
                f"{key} must be {what}, not {value!r}" if value is not None else f"{key} is missing: give {what}"
            )
            return default
        return value

    def take_list(key: str, default: Any, kinds: type | tuple[type, ...], what: str) -> tuple[Any, ...]:
        values = take(key, (list, str, int), default, what)
        values = values if isinstance(values, list) else [] if values is None else [values]
        if any(not isinstance(value, kinds) or isinstance(value, bool) for value in values):
            faults.append(f"{key} must be {what}, not {values!r}")
            return ()
        return tuple(values)

    described = take("name", str, name, "the task's name")
    if same_name(described) != same_name(name):
        faults.append(f"describes the task {described!r}, not {name!r}")
    if "/" in described or "\\" in described:
        faults.append(f"name {described!r} must do as the name of a folder: leave the slash out")
    header = take("header", bool, True, "true or false")
    column, columns = (str, "a column name") if header else (int, "a column number, from 0")
    text_columns = take_list("text_columns", None, column, f"a list of one or two times {columns}")
    if "text_columns" in given and len(text_columns) not in (1, 2):
        faults.append(f"text_columns must be one or two, not {len(text_columns)}")
    label_column = take("label_column", column, None, columns)
    if any(isinstance(number, int) and number < 0 for number in (*text_columns, label_column)):
        faults.append("columns are numbered from 0")
    if label_column in text_columns:
        faults.append(f"label_column {label_column!r} is among the text_columns: the text would tell the label")
    regression = take("regression", bool, False, "true or false")
    labels = tuple(
        str(label) for label in take_list("labels", [], (str, int), 'a list of quoted texts, as ["no", "yes"]')
    )
    if regression and labels:
        faults.append("labels and `regression: true` exclude each other: keep one")
    elif not regression and len(set(labels)) < 2:
        faults.append("labels must be at least two different ones, or set `regression: true`")
    elif len(set(labels)) < len(labels):
        faults.append(f"labels must be different, unlike {', '.join(labels)}")
    known = REGRESSION_METRICS if regression else METRICS[:3]
    metrics = take_list("metrics", list(known[:1]), str, f"a list of {', '.join(known)}")
    if unknown := sorted(set(metrics) - set(known)):
        faults.append(f"metrics may be {', '.join(known)}, not {', '.join(unknown)}")
    best_metric = take("best_metric", str, metrics[0] if metrics else known[0], "one of the metrics")
    if not metrics:
        faults.append("metrics must name at least one")
    elif best_metric not in metrics:
        faults.append(f"best_metric {best_metric!r} is not among the metrics")
    files = take("files", dict, {"train": "train.tsv", "dev": "dev.tsv"}, "{train: FILE, dev: FILE}, and perhaps test")
    if not {"train", "dev"} <= files.keys():
        faults.append("files must name a train and a dev file")
    if any(not isinstance(part, str) for item in files.items() for part in item):
        faults.append(f"files must map names of splits to names of files, not {files!r}")
    else:
        unknown_kinds = [file for file in files.values() if Path(file).suffix.lower() not in FILE_KINDS]
        if unknown_kinds:
            faults.append(f"files must end in {', '.join(FILE_KINDS[:-1])}, unlike {unknown_kinds[0]}")
        if not header and any(Path(file).suffix.lower() == ".jsonl" for file in files.values()):
            faults.append("`header: false` does not go with .jsonl, whose keys are column names")
    language = take("language", str, "en", "en or zh")
    if language not in ("en", "zh"):
        faults.append(f"language must be en or zh, not {language!r}")
    numbers = {}
    for key, default in (("max_seq_length", 128), ("intermediate_epochs", 10), ("augmentation_draws", 20)):
        numbers[key] = take(key, int, default, "a positive whole number")
        if numbers[key] <= 0:
            faults.append(f"{key} must be a positive whole number, not {numbers[key]}")
    if fields:
        faults.append(f"unknown key {', '.join(repr(key) for key in fields)}: there are {', '.join(keys)}")
    return Task(
        name=described, folder=described, text_columns=text_columns, label_column=label_column,
        labels=None if regression else labels, metrics=metrics, best_metric=best_metric, files=files, header=header,
        language=language, **numbers,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- leaks

_CONTRACTION = re.compile(r"\s+(?=(?:n['’]t|['’](?:s|re|ll|ve|d|m))\b)", re.IGNORECASE)
_MIN_CONTAINED_WORDS = 3


def is_cjk(code: int) -> bool:
    """Whether BERT's tokenizer takes this code point for a Chinese character, a word of its own."""
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x2A6DF
        or 0x2A700 <= code <= 0x2CEAF
        or 0xF900 <= code <= 0xFAFF
        or 0x2F800 <= code <= 0x2FA1F
    )


class _WordCharacters(dict[int, str]):
    """A table for str.translate, filled as characters turn up: letters and digits in lower case, all else to spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "'’" or unicodedata.category(character) in ("Mn", "Me", "Cf"):
            # Apostrophes, accents (normalise has split them off) and invisible characters do not part words.
            self[code] = ""
        elif is_cjk(code):
            self[code] = f" {character} "
        else:
            self[code] = character.lower() if character.isalnum() else " "
        return self[code]


_WORD_CHARACTERS = _WordCharacters()


def normalise(text: str) -> str:
    """The form in which sentences are compared: lower case, letters and digits only, single spaces.

    Accents are dropped, contractions joined ("do n't", as treebanks write it, and "don't" are both "dont") and Chinese
    characters are words of their own.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    if "'" in text or "’" in text:
        text = _CONTRACTION.sub("", text)
    return " ".join(text.translate(_WORD_CHARACTERS).split())


def _squeezed(text: str) -> str:
    """The key by which rows are equal: ``normalise(text)`` without spaces; text without a letter or digit as it is."""
    return normalise(text).replace(" ", "") or "".join(text.split())


def _trigrams(normalised: str) -> Iterator[tuple[str, str, str]]:
    words = normalised.split()
    return zip(words, words[1:], words[2:], strict=False)


def _is_long_enough(normalised: str) -> bool:
    """Whether holding this sentence is a leak: three words or more, a Chinese character counting as half a word."""
    words = normalised.split()
    return len(words) - sum(is_cjk(ord(word[0])) for word in words) / 2 >= _MIN_CONTAINED_WORDS


class LeakGuard:
    """Tells whether a row would show a model a sentence it is later judged on.

    Sentences are compared by :func:`normalise`, spaces ignored. A row leaks when it equals a held-out row (a pair in
    either order) or contains it: a held-out sentence of three words or more is a run of its words; for a pair, each
    text equals or contains one of the two held-out sentences. One sentence of a held-out pair beside another partner is
    no leak, since the label belongs to the pair, but a single text is checked against each sentence of held-out pairs.
    """

    def __init__(self, held_out: Iterable[Example]) -> None:
        rows = [(example.texts, tuple(map(_squeezed, example.texts))) for example in held_out]
        self._pairs = {tuple(sorted(keys)) for _, keys in rows if len(keys) == 2}
        self._singles = {keys[0] for _, keys in rows if len(keys) == 1}
        self._sentences = {key for _, keys in rows for key in keys}
        # A text holds a sentence only if it holds its rarest three words in a row: those are looked up. A dict,
        # not a set, drops repetitions, so that what follows is the same in every process.
        normalised = dict.fromkeys(normalise(text) for texts, _ in rows for text in texts)
        long_ones = [text for text in normalised if _is_long_enough(text)]
        counts = Counter(trigram for text in long_ones for trigram in set(_trigrams(text)))
        self._by_trigram: dict[tuple[str, str, str], list[str]] = {}
        for text in long_ones:
            self._by_trigram.setdefault(min(_trigrams(text), key=counts.__getitem__), []).append(text)

    def match(self, texts: Sequence[str]) -> Literal["equal", "contains"] | None:
        """How a row of one or two ``texts`` leaks, None when it does not."""
        normalised = [normalise(text) for text in texts]
        keys = [form.replace(" ", "") or _squeezed(text) for form, text in zip(normalised, texts, strict=True)]
        if len(texts) == 1:
            if keys[0] in self._sentences:
                return "equal"
            return "contains" if self._contained(normalised[0]) else None
        if tuple(sorted(keys)) in self._pairs or not self._singles.isdisjoint(keys):
            return "equal"
        held = [self._contained(form) | (self._sentences & {key}) for form, key in zip(normalised, keys, strict=True)]
        if not self._singles.isdisjoint(held[0] | held[1]):
            return "contains"
        return "contains" if any(tuple(sorted(pair)) in self._pairs for pair in itertools.product(*held)) else None

    def _contained(self, normalised: str) -> set[str]:
        """The keys of the held-out sentences that a normalised text holds as a run of whole words."""
        found = self._by_trigram.keys() & _trigrams(normalised)
        return {
            sentence.replace(" ", "")
            for trigram in found
            for sentence in self._by_trigram[trigram]
            if f" {sentence} " in f" {normalised} "
        }

    def leaks(self, texts: Sequence[str]) -> bool:
        """Whether a row of one or two ``texts`` equals or contains a held-out row."""
        return self.match(texts) is not None

    def filter(self, examples: Iterable[Example], source: str) -> list[Example]:
        """``examples`` without those that leak, which are counted and reported as coming from ``source``."""
        kept, matches = [], Counter[str]()
        for example in examples:
            match = self.match(example.texts)
            if match is None:
                kept.append(example)
            else:
                matches[match] += 1
        if dropped := matches.total():
            logger.warning(
                "%s: dropped %d of %d rows: %d equal a dev or test row, %d contain one",
                source, dropped, dropped + len(kept), matches["equal"], matches["contains"],
            )  # fmt: skip
        return kept
