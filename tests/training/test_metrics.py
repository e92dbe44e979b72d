"""Metrics against numpy written from the formula."""

import numpy as np
import pytest

from paddledistill.training import metrics

RNG = np.random.default_rng(3)


def test_classification() -> None:
    logits, labels = RNG.normal(size=(200, 2)), RNG.integers(0, 2, 200)
    answers = logits.argmax(-1)
    tp, fp = ((answers == 1) & (labels == 1)).sum(), ((answers == 1) & (labels == 0)).sum()
    fn, tn = ((answers == 0) & (labels == 1)).sum(), ((answers == 0) & (labels == 0)).sum()
    found = metrics.compute(["accuracy", "f1", "matthews"], logits, labels)
    assert found["accuracy"] == pytest.approx((tp + tn) / 200)
    assert found["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    matthews = (tp * tn - fp * fn) / np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    assert found["matthews"] == pytest.approx(matthews)


def test_regression() -> None:
    scores = RNG.normal(size=50)
    labels = scores + RNG.normal(size=50)
    found = metrics.compute(["pearson", "spearman"], scores[:, None], labels)
    assert found["pearson"] == pytest.approx(np.corrcoef(scores, labels)[0, 1])
    ranks = np.corrcoef(scores.argsort().argsort(), labels.argsort().argsort())[0, 1]
    assert found["spearman"] == pytest.approx(ranks)


def test_a_constant_answer_correlates_with_nothing() -> None:
    assert metrics.compute(["pearson", "spearman"], np.ones((4, 1)), np.arange(4.0)) == {
        "pearson": 0.0,
        "spearman": 0.0,
    }


def test_f1_of_three_classes_is_the_mean_of_each_ones() -> None:
    labels, answers = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    of_class = []
    for number in range(3):
        tp = np.sum((labels == number) & (answers == number))
        of_class.append(2 * tp / (np.sum(labels == number) + np.sum(answers == number)))
    assert metrics.compute(["f1"], np.eye(3)[answers], labels)["f1"] == pytest.approx(np.mean(of_class))
