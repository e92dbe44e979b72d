"""Metrics over a whole set, by scikit-learn and scipy."""

from collections.abc import Sequence

import numpy as np


def compute(names: Sequence[str], logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Each metric of ``names``, from 0 (or -1 for correlations) to 1.

    :param names: of ``accuracy``, ``f1`` (of class 1; of more than two classes the mean of each one's),
        ``matthews``, ``pearson``, ``spearman``.
    :param logits: [rows, labels], or [rows, 1] for scores.
    :param labels: [rows].
    """
    from scipy import stats
    from sklearn import metrics

    answers = logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)
    formulas = {
        "accuracy": lambda: metrics.accuracy_score(labels, answers),
        "f1": lambda: metrics.f1_score(
            labels, answers, average="binary" if logits.shape[1] == 2 else "macro", zero_division=0
        ),
        "matthews": lambda: metrics.matthews_corrcoef(labels, answers),
        "pearson": lambda: _correlation(stats.pearsonr, answers, labels),
        "spearman": lambda: _correlation(stats.spearmanr, answers, labels),
    }
    return {name: float(formulas[name]()) for name in names}


def _correlation(of: object, answers: np.ndarray, labels: np.ndarray) -> float:
    """0 where a side is constant and the correlation undefined."""
    if np.ptp(answers) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(of(answers, labels)[0])  # type: ignore[operator]
