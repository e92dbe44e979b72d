"""Predictions and metrics over whole data sets."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import nn

from paddledistill.data.batching import sequential_batches
from paddledistill.data.datasets import Dataset
from paddledistill.models.base import Batch, Classifier
from paddledistill.training import metrics

EVALUATION_BATCH = 64


@contextmanager
def evaluating(model: nn.Layer) -> Iterator[None]:
    """Evaluation mode without gradients; the former mode comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        if was_training:
            model.train()


def to_batch(arrays: Mapping[str, np.ndarray]) -> Batch:
    """Numpy arrays as tensors on the device in use."""
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def predict(
    model: Classifier,
    dataset: Dataset,
    batch_size: int = EVALUATION_BATCH,
    progress: Callable[[Sequence[np.ndarray]], Iterable[np.ndarray]] = list,
    forward: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Logits of every row, [rows, labels], in the order of the data set.

    :param progress: wraps the list of batches, for example in a progress bar.
    :param forward: answers in place of the model, for example an inference engine.
    """
    forward = forward or (lambda arrays: model(to_batch(arrays)).numpy())
    logits = np.zeros((len(dataset), model.info.num_outputs), np.float32)
    with evaluating(model):
        for rows in progress(sequential_batches(dataset.lengths, batch_size)):
            logits[rows] = forward(dataset.batch(rows))
    return logits


def evaluate(model: Classifier, sets: Mapping[str, Dataset], names: Sequence[str]) -> dict[str, float]:
    """Metrics and loss of every set; names of sets other than ``dev`` come before theirs, as in ``dev_mismatched/accuracy``."""
    found: dict[str, float] = {}
    for name, dataset in sets.items():
        labels = dataset.columns["labels"]
        logits = predict(model, dataset)
        values = {**metrics.compute(names, logits, labels), "loss": _loss(logits, labels)}
        found |= {key if name == "dev" else f"{name}/{key}": value for key, value in values.items()}
    return found


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    from paddledistill.distill import losses

    return float(losses.supervised(paddle.to_tensor(logits), paddle.to_tensor(labels)))


def mean_losses(
    objective: Callable[[Batch], Mapping[str, paddle.Tensor]], model: nn.Layer, dataset: Dataset
) -> dict[str, float]:
    """Mean of every loss term of an objective over a data set, and of their sum as ``loss``."""
    totals: dict[str, float] = {}
    with evaluating(model):
        for rows in sequential_batches(dataset.lengths, EVALUATION_BATCH):
            for name, value in objective(to_batch(dataset.batch(rows))).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(rows) / len(dataset)
    return {"loss": sum(totals.values()), **totals}
