"""What a teacher answers: logits, computed once for a data set and read back by every later epoch, stage and student; hidden
states and attention scores, which would fill gigabytes, from an inference engine."""

import hashlib
import logging
import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import paddle
from paddle import nn

from paddledistill import assets, launch, models, parallel
from paddledistill.data.batching import sequential_batches
from paddledistill.data.datasets import Dataset, Encoded
from paddledistill.distill.layer_maps import Asked
from paddledistill.distill.objectives import TEACHER_LOGITS, Targets
from paddledistill.errors import UserError
from paddledistill.files import write_array
from paddledistill.journal import Journal
from paddledistill.models.base import UNKNOWN_TASK, Batch, Classifier
from paddledistill.models.encoder import EncoderClassifier, EncoderModel
from paddledistill.models.engine import Engine, is_worth_an_export, padded_example, quick_forward
from paddledistill.models.transformer import Captured
from paddledistill.progress import Watched
from paddledistill.tasks import Example, Task
from paddledistill.training.evaluation import EVALUATION_BATCH, evaluating
from paddledistill.training.feeding import to_batch

_PART = 128  # batches between two saves, at most
_NUMBER = re.compile(r"(LABEL_)?\d+")  # what stands for a label that nobody has named

logger = logging.getLogger(__name__)

_Data = TypeVar("_Data", bound=Dataset)


def load_teacher(path: str, task: Task, max_seq_length: int | None, called: str = "teacher") -> Classifier:
    """A fine-tuned model for ``task``, in evaluation mode; its outputs are in the order of the task's labels.

    :param max_seq_length: of the rows that it is to read; None for its own. :param called: what messages call it.
    :raises UserError: if there is none at ``path``, or it was fine-tuned for another task or other labels, or for shorter rows.
    """
    model = models.load(path)
    if isinstance(model, EncoderModel):
        models.check_length(model, path, max_seq_length or model.max_seq_length, task.is_pair)
    is_known = model.info.name != UNKNOWN_TASK
    if is_known and model.info.name != task.name:
        raise UserError(
            f"the {called} {path} was fine-tuned for {model.info.name}, not for {task.name}: give one that run_glue.py fine-tuned for it"
        )
    if model.info.num_outputs != task.num_labels or (
        model.labels != task.labels and (is_known or not _takes_order(model, task, path))
    ):
        raise UserError(
            f"the {called} {path} answers {model.labels or 'a score'}, but {task.name} has {task.labels or 'a score'}: "
            "give one that was fine-tuned for this task"
        )
    return model


def _takes_order(model: Classifier, task: Task, path: str) -> bool:
    """Let the outputs of another tool's classifier come in the order of the task's labels: by their names, whatever their case, or,
    where one of the two has numbers in place of names, as they come. Returns whether either can be."""
    assert isinstance(model, EncoderClassifier) and model.labels and task.labels
    numbers = {label.lower(): number for number, label in enumerate(task.labels)}
    numbers |= {alias.lower(): numbers[label.lower()] for alias, label in task.label_aliases.items()}
    output_of = {numbers.get(label.lower()): output for output, label in enumerate(model.labels)}
    order = [output_of.get(number, -1) for number in range(task.num_labels)]
    if -1 in order:
        if not any(all(map(_NUMBER.fullmatch, labels)) for labels in (model.labels, task.labels)):
            return False
        order = list(range(task.num_labels))
        logger.warning(
            "%s calls its answers %s, %s %s: these are taken for the same, in this order",
            path, ", ".join(model.labels), task.name, ", ".join(task.labels),
        )  # fmt: skip
    model.reorder(order, task.labels)
    return True


def with_logits(
    dataset: _Data,
    teacher: Classifier,
    teacher_digest: str,
    examples: Sequence[Example],
    max_seq_length: int | None,
    rows: np.ndarray,
) -> _Data:
    """A student's dataset whose batches also hold what the teacher answers to each row, see :func:`teacher_logits`.

    :param examples: the rows of the dataset as text. :param rows: those that will be read; the others are given no answer, but nan.
    """
    found = teacher_logits(teacher, teacher_digest, teacher.encode(examples, max_seq_length), rows)
    if len(rows) < len(examples):
        logits = np.full((len(examples), teacher.info.num_outputs), np.nan, np.float32)
        logits[rows] = found
        found = logits
    return dataset.with_column(TEACHER_LOGITS, found)


def teacher_logits(
    teacher: Classifier, teacher_digest: str, dataset: Encoded, rows: np.ndarray | None = None
) -> np.ndarray:
    """Logits of ``teacher``, [rows, labels], memory-mapped from the cache directory.

    They are computed once, in parts that a killed command leaves for the next one, shared out among the processes of the run.

    :param teacher_digest: sha256 of the teacher's directory; with ``dataset.key`` it names the stored file.
    :param dataset: as the teacher encodes it. :param rows: those that are needed, ascending; None for all of them.
    """
    # The outputs of another tool's classifier come in the order of the task's labels, which its files do not tell.
    order = f"{teacher.labels} " if teacher.info.name == UNKNOWN_TASK else ""
    path = _stored(f"{teacher_digest} {order}{dataset.key}")
    rows = np.arange(len(dataset)) if rows is None else rows
    if len(rows) < len(dataset):
        if parallel.agreed(path.is_file):
            logger.info("teacher logits of %d of %d rows read back from %s", len(rows), len(dataset), path)
            return np.asarray(np.load(path, mmap_mode="r")[rows])
        logger.info("the run reads %d of %d rows: the teacher answers these", len(rows), len(dataset))
        path = _stored(f"{teacher_digest} {order}{dataset.key} {hashlib.sha256(rows.tobytes()).hexdigest()}")
    if parallel.agreed(path.is_file):
        logger.info("teacher logits of %d rows read back from %s", len(rows), path)
    else:
        key = [path.stem, "long rows first"]  # all that decides what a part holds
        with Journal(path.with_suffix(".parts"), key, resume=True, wait=True) as journal:
            if not parallel.agreed(path.is_file):  # by the command that was waited for
                _store_logits(teacher, dataset, rows, journal, path)
            parallel.barrier()
    return np.load(path, mmap_mode="r")


def _stored(what: str) -> Path:
    """The file that holds logits."""
    return assets.cache_dir() / "logits" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.npy"


def _store_logits(teacher: Classifier, dataset: Dataset, rows: np.ndarray, journal: Journal, path: Path) -> None:
    """Each part has rows of all lengths, so that the parts take about as long; there is one for each process, or more.

    Long rows come first: what does not fit the memory fails at once, and the time that is left is not told from the quickest.
    """
    batches = sequential_batches(dataset.lengths[rows], EVALUATION_BATCH)[::-1]  # of places in ``rows``
    count = max(math.ceil(len(batches) / _PART), min(launch.world(), len(batches)))
    parts = {f"{number:05d}-of-{count:05d}.npy": batches[number::count] for number in range(count)}
    missing = parallel.agreed(lambda: [name for name in parts if not journal.has(name)])
    tokens = sum(int(dataset.lengths[rows[part]].sum()) for name in parallel.mine(missing) for part in parts[name])
    forward = quick_forward(teacher, dataset, len(rows)) or (lambda arrays: teacher(to_batch(arrays)).numpy())
    with evaluating(teacher), Watched("teacher logits", "token", tokens) as watched:

        def answer(batch: np.ndarray) -> np.ndarray:
            found = forward(dataset.batch(rows[batch]))
            watched.update(int(dataset.lengths[rows[batch]].sum()))
            return found

        found = journal.arrays(
            {
                name: partial(lambda part: np.concatenate([answer(batch) for batch in part]), part)
                for name, part in parts.items()
            }
        )
        if not parallel.is_main():
            return
        stored = np.empty((len(rows), teacher.info.num_outputs), np.float32)
        for part, logits in zip(parts.values(), found, strict=True):
            stored[np.concatenate(part)] = logits
        write_array(path, stored)
        journal.remove()


def targets(teacher: EncoderModel, asked: Asked, dataset: Dataset, epochs: int) -> Targets | None:
    """What is asked of the inside of ``teacher``, by an inference engine.

    :param dataset: what will be read, ``epochs`` times; as the teacher encodes it.
    :returns: None where the teacher itself should answer: on a GPU, for few rows, if nothing is asked, or if it cannot be exported.
    """
    if not any(asked.values()) or not is_worth_an_export(teacher, len(dataset) * epochs):
        return None
    engine = Engine(_Targets(teacher, asked), padded_example(dataset), teacher.reads)
    if engine.kind == "paddle":
        return None

    def answer(batch: Batch) -> Captured:
        arrays = engine.run_all({name: batch[name].numpy() for name in teacher.reads})
        found = iter(paddle.to_tensor(array) for array in arrays)
        kept = [
            {number: next(found) for number in sorted(set(numbers))}
            for numbers in (asked["hidden"], asked["scores"], asked["values"])
        ]
        return Captured(*kept)

    return answer


class _Targets(nn.Layer):
    """A teacher that answers with what an intermediate stage compares."""

    def __init__(self, teacher: EncoderModel, asked: Asked) -> None:
        super().__init__()
        self.network = teacher.network
        self._teacher, self._asked = [teacher], asked  # in a list, so that its weights are not counted twice

    def extra_repr(self) -> str:
        """Tells one export of a teacher from another."""
        return str(self._asked)

    def forward(self, batch: Batch) -> list[paddle.Tensor]:
        found = self._teacher[0].capture(batch, **self._asked)
        return [*found.hidden.values(), *found.scores.values(), *found.values.values()]  # by number, each once
