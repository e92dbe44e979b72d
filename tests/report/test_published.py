"""Published figures beside one's own."""

import pytest

from paddledistill.report.published import FIGURES, beside, row
from paddledistill.tasks import TASKS


def test_both_figures_and_the_difference() -> None:
    assert beside("bert-base-uncased", "mrpc", {"f1": 0.9, "accuracy": 0.8824, "loss": 1.0}) == [
        "f1 90.00; PaddleNLP's figure on dev for bert-base-uncased: 91.67 (-1.67)",
        "accuracy 88.24; PaddleNLP's figure on dev for bert-base-uncased: 88.24 (+0.00)",
    ]


def test_a_path_that_ends_in_the_name() -> None:
    assert beside("models/tinybert-4l-312d-v2/", "sst-2", {"accuracy": 0.92}) == [
        "accuracy 92.00; PaddleNLP's figure on dev for tinybert-4l-312d-v2: 92.34 (-0.34)"
    ]


@pytest.mark.parametrize(("system", "task"), [("minilm-l6", "sst-2"), ("bert-base-uncased", "movie-reviews")])
def test_what_is_not_published_is_not_told(system: str, task: str) -> None:
    assert beside(system, task, {"accuracy": 0.9}) == []


def test_figures_are_of_metrics_that_their_tasks_have() -> None:
    for figures in FIGURES.values():
        for task, metrics in figures.items():
            assert {name.rpartition("/")[2] for name in metrics} <= set(TASKS[task].metrics)


def test_a_published_figure_as_a_row() -> None:
    found = row("MiniLM-L6-H384", "cola", "matthews")
    assert found is not None
    assert (found["mean"], found["values"], found["role"], found["std"]) == (47.5, [47.5], "published", None)
    assert row("MiniLM-L6-H384", "rte", "accuracy") is None
