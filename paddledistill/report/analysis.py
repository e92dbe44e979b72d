"""Where a model errs: confusion, scores of each class, calibration, the worst errors with their text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddledistill.tasks import Example

WORST = 20
BINS = 15


def analyse(logits: np.ndarray, examples: Sequence[Example], labels: Sequence[str] | None) -> dict[str, Any]:
    """All of it as data for ``metrics.json``.

    :param logits: [rows, labels], or [rows, 1] for scores.
    :param labels: names of the classes, None for scores.
    :returns: ``worst`` (at most 20 errors, the worst first); for classes also ``labels``, ``confusion`` (a row for each true class, a
        column for each answer), ``classes`` (precision, recall, f1 in points of 100, and number of rows of each), ``ece``, in points
        of 100, and ``reliability`` (see :func:`reliability`); for scores ``mean_absolute_error``.
    """
    truth = np.array([example.label for example in examples])
    if labels is None:
        return _of_scores(logits[:, 0], truth, examples)
    from scipy.special import softmax
    from sklearn import metrics

    probabilities, numbers = softmax(logits, axis=1), list(range(len(labels)))
    answers = probabilities.argmax(1)
    per_class = metrics.precision_recall_fscore_support(truth, answers, labels=numbers, zero_division=0)
    errors, bins = np.flatnonzero(answers != truth), reliability(probabilities, truth)
    worst = errors[np.argsort(probabilities[errors, truth[errors]], kind="stable")][:WORST]
    return {
        "labels": list(labels),
        "confusion": metrics.confusion_matrix(truth, answers, labels=numbers).tolist(),
        "classes": {
            name: {"precision": 100 * p, "recall": 100 * r, "f1": 100 * f1, "rows": int(rows)}
            for name, p, r, f1, rows in zip(labels, *per_class, strict=True)
        },
        "ece": 100 * expected_calibration_error(bins),
        "reliability": bins,
        "worst": [
            _shown(examples[row])
            | {
                "label": labels[truth[row]],
                "answer": labels[answers[row]],
                "probability_of_label": float(probabilities[row, truth[row]]),
            }
            for row in worst
        ],
    }


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Mean ``confidence`` and ``accuracy``, from 0 to 1, and number of ``rows`` of bins of equal width of confidence, those that hold any.

    :param probabilities: [rows, labels]. :param truth: [rows].
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    of_bin = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
            "rows": int(inside.sum()),
        }
        for inside in (of_bin == number for number in np.unique(of_bin))
    ]


def expected_calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Mean distance of confidence and accuracy over bins, weighed by their rows (Guo et al., 1706.04599, equation 3)."""
    rows = sum(one["rows"] for one in bins)
    return sum(abs(one["accuracy"] - one["confidence"]) * one["rows"] for one in bins) / rows


def _of_scores(answers: np.ndarray, truth: np.ndarray, examples: Sequence[Example]) -> dict[str, Any]:
    distance = np.abs(answers - truth)
    worst = np.argsort(-distance, kind="stable")[:WORST]
    shown = [_shown(examples[row]) | {"label": float(truth[row]), "answer": float(answers[row])} for row in worst]
    return {"mean_absolute_error": float(distance.mean()), "worst": shown}


def _shown(example: Example) -> dict[str, Any]:
    return {"text_a": example.text_a} | ({} if example.text_b is None else {"text_b": example.text_b})
