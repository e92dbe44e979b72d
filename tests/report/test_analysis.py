"""Where a model errs, against counts made by hand."""

import numpy as np
import pytest

from paddledistill.report.analysis import analyse, expected_calibration_error, reliability
from paddledistill.tasks import Example

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.97, 0.03]])
TRUTH = [0, 1, 1, 0, 1]
EXAMPLES = [Example(f"text {number}", None, label) for number, label in enumerate(TRUTH)]


def test_classes_and_confusion_are_counted() -> None:
    found = analyse(np.log(PROBABILITIES), EXAMPLES, ("no", "yes"))
    assert found["confusion"] == [[1, 1], [2, 1]]
    assert found["classes"]["no"] == pytest.approx({"precision": 100 / 3, "recall": 50.0, "f1": 40.0, "rows": 2})
    assert found["classes"]["yes"] == pytest.approx({"precision": 50.0, "recall": 100 / 3, "f1": 40.0, "rows": 3})


def test_the_worst_errors_come_first_with_their_text() -> None:
    worst = analyse(np.log(PROBABILITIES), EXAMPLES, ("no", "yes"))["worst"]
    assert [error["text_a"] for error in worst] == ["text 4", "text 2", "text 3"]
    assert worst[0] == {"text_a": "text 4", "label": "yes", "answer": "no", "probability_of_label": pytest.approx(0.03)}


def test_calibration_is_the_weighed_gap_of_the_bins() -> None:
    """Confidence .9 (right), .8 (right), .7 (wrong), .6 (wrong), .97 (wrong): of 10 bins the last holds the first and the fifth."""
    expected = (abs(0.5 - 0.935) * 2 + 0.2 + 0.7 + 0.6) / 5
    assert expected_calibration_error(reliability(PROBABILITIES, np.array(TRUTH), bins=10)) == pytest.approx(expected)
    sure = np.array([[1.0, 0.0]] * 4)
    assert expected_calibration_error(reliability(sure, np.zeros(4, int))) == 0.0
    assert expected_calibration_error(reliability(sure, np.ones(4, int))) == 1.0


def test_scores_have_distances() -> None:
    examples = [Example("a", "b", 1.0), Example("c", "d", 4.0)]
    found = analyse(np.array([[1.5], [1.0]]), examples, None)
    assert found["mean_absolute_error"] == pytest.approx(1.75)
    assert found["worst"][0] == {"text_a": "c", "text_b": "d", "label": 4.0, "answer": 1.0}
