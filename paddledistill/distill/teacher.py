"""A teacher's logits: computed once for a data set, stored, and read back by every later epoch, stage and student."""

import hashlib
import logging
from collections.abc import Callable, Mapping

import numpy as np

from paddledistill import assets, models
from paddledistill.data.datasets import Dataset
from paddledistill.errors import UserError
from paddledistill.files import atomic_file
from paddledistill.models.base import Classifier
from paddledistill.models.engine import Engine
from paddledistill.progress import watched
from paddledistill.tasks import Task
from paddledistill.training.evaluation import predict

_WORTH_AN_EXPORT = 3000  # rows

logger = logging.getLogger(__name__)


def load_teacher(path: str, task: Task) -> Classifier:
    """A fine-tuned teacher for ``task``, in evaluation mode.

    :raises UserError: if there is none at ``path``, or it was fine-tuned for another task or other labels.
    """
    teacher = models.load(path)
    known = teacher.info.name != "unknown"
    if known and teacher.info.name != task.name:
        raise UserError(
            f"the teacher {path} was fine-tuned for {teacher.info.name}, not for {task.name}: fine-tune one with run_glue.py"
        )
    if teacher.info.num_outputs != task.num_labels or (known and teacher.labels != task.labels):
        raise UserError(
            f"the teacher {path} answers {teacher.labels or 'a score'}, but {task.name} has {task.labels or 'a score'}: "
            "fine-tune one for this task"
        )
    return teacher


def teacher_logits(teacher: Classifier, teacher_digest: str, dataset: Dataset) -> np.ndarray:
    """Logits of ``teacher`` for every row of ``dataset``, [rows, labels], memory-mapped from the cache directory.

    :param teacher_digest: sha256 of the teacher's directory; with ``dataset.key`` it names the stored file.
    :param dataset: as the teacher encodes it.
    """
    name = hashlib.sha256(f"{teacher_digest} {dataset.key}".encode()).hexdigest()[:32]
    path = assets.cache_dir() / "logits" / f"{name}.npy"
    if path.is_file():
        logger.info("teacher logits of %d rows read back from %s", len(dataset), path)
    else:
        logits = predict(
            teacher,
            dataset,
            progress=lambda batches: watched(batches, "teacher logits", "batch"),
            forward=_engine(teacher, dataset),
        )
        with atomic_file(path) as partial, partial.open("wb") as stream:
            np.save(stream, logits)
    return np.load(path, mmap_mode="r")


def _engine(teacher: Classifier, dataset: Dataset) -> Callable[[Mapping[str, np.ndarray]], np.ndarray] | None:
    """An inference engine for the teacher, where there are enough rows to make up for the seconds of its export."""
    if len(dataset) < _WORTH_AN_EXPORT or not isinstance(teacher, models.EncoderClassifier):
        return None
    example = dataset.batch(np.argsort(dataset.lengths)[:: max(1, len(dataset) // 8)])
    return Engine(teacher, example, ("input_ids", "token_type_ids", "attention_mask")).run
