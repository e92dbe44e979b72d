"""Predictions and metrics over whole data sets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from paddledistill import parallel
from paddledistill.data.batching import sequential_batches
from paddledistill.data.datasets import Dataset
from paddledistill.data.masked_text import MaskedText
from paddledistill.distill import losses
from paddledistill.models.base import Batch, Classifier
from paddledistill.models.masked_lm import MaskedLM
from paddledistill.training import metrics
from paddledistill.training.feeding import to_batch

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


def predict(
    model: Classifier,
    dataset: Dataset,
    batch_size: int = EVALUATION_BATCH,
    share: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]] = list,
    forward: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None,
) -> np.ndarray:
    """Logits of every row, [rows, labels], in the order of the data set.

    :param share: which of the batches to answer, such as a process's own; the others keep logits of 0.
    :param forward: answers in place of the model, for example an inference engine.
    """
    forward = forward or (lambda arrays: model(to_batch(arrays)).numpy())
    logits = np.zeros((len(dataset), model.info.num_outputs), np.float32)
    with evaluating(model):
        for rows in share(sequential_batches(dataset.lengths, batch_size)):
            logits[rows] = forward(dataset.batch(rows))
    return logits


class Evaluation(NamedTuple):
    """Metrics by name; numbers by name whose distribution is worth a histogram."""

    metrics: dict[str, float]
    distributions: dict[str, np.ndarray] = {}  # noqa: RUF012 (never changed)


def evaluate(model: Classifier, sets: Mapping[str, Dataset], names: Sequence[str]) -> Evaluation:
    """Metrics and loss of every set; names of sets other than ``dev`` come before theirs, as in ``dev_mismatched/accuracy``.

    Each process of the run answers its share of the batches. The distributions are the logits on ``dev``, by name of the class, or of
    the scores.
    """
    found: dict[str, float] = {}
    logits = {name: parallel.total(predict(model, dataset, share=parallel.mine)) for name, dataset in sets.items()}
    for name, dataset in sets.items():
        labels = dataset.columns["labels"]
        values = {**metrics.compute(names, logits[name], labels), "loss": _loss(logits[name], labels)}
        found |= {key if name == "dev" else f"{name}/{key}": value for key, value in values.items()}
    columns = zip(model.labels or ("score",), logits["dev"].T, strict=True) if "dev" in logits else ()
    return Evaluation(found, {f"logits/{name}": column for name, column in columns})


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(losses.supervised(paddle.to_tensor(logits), paddle.to_tensor(labels)))


def evaluate_guesses(model: MaskedLM, dataset: MaskedText, batch_size: int = 32) -> Evaluation:
    """Mean cross-entropy (``loss``, nats) and ``accuracy`` of the masked pieces of a data set."""
    total, right, guesses = 0.0, 0, 0
    with evaluating(model):
        for rows in sequential_batches(dataset.lengths, batch_size):
            batch = to_batch(dataset.batch(rows))
            logits, count = model(batch), len(batch["labels"])
            total += float(losses.supervised(logits, batch["labels"])) * count
            right += int((logits.argmax(-1) == batch["labels"]).sum())
            guesses += count
    return Evaluation({"loss": total / guesses, "accuracy": right / guesses})


def mean_losses(
    objective: Callable[[Batch], Mapping[str, paddle.Tensor]], model: nn.Layer, dataset: Dataset
) -> Evaluation:
    """Mean of every loss term of an objective over a data set, and of their sum as ``loss``.

    Means of batches are weighed by their rows, also of a term that is a mean over tokens: of that not every token counts alike.
    """
    totals: dict[str, float] = {}
    with evaluating(model):
        for rows in parallel.mine(sequential_batches(dataset.lengths, EVALUATION_BATCH)):
            for name, value in objective(to_batch(dataset.batch(rows))).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(rows) / len(dataset)
    names = parallel.agreed(lambda: list(totals))  # of the main process, which has a batch if any has
    sums = parallel.total(np.array([totals.get(name, 0.0) for name in names]))
    means = dict(zip(names, sums.tolist(), strict=True))
    return Evaluation({"loss": sum(means.values()), **means})
