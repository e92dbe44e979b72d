"""Rows of several seeds, joined."""

import statistics

import pytest

from paddledistill.report import rows as result_rows


def test_aggregate_joins_the_seeds(seeds):
    teacher, student = result_rows.aggregate(seeds)
    assert student["values"] == [84.0, 85.0, 86.5]
    assert student["mean"] == pytest.approx(statistics.fmean([84.0, 85.0, 86.5]), abs=1e-4)
    assert student["std"] == pytest.approx(statistics.stdev([84.0, 85.0, 86.5]), abs=1e-4)  # of a sample: n - 1
    assert student["retention"] == pytest.approx(100 * student["mean"] / 87.0, abs=0.01)
    assert teacher["retention"] == 100.0
    assert teacher["latency_ms"] == pytest.approx(9.0)
    assert student["minutes"] == pytest.approx(3.0)


def test_aggregate_of_one_seed_has_no_spread(seeds):
    teacher, _ = result_rows.aggregate(seeds[:1])
    assert teacher["std"] is None
    assert teacher["values"] == [86.0]


def test_aggregate_leaves_its_input_alone(seeds):
    result_rows.aggregate(seeds)
    assert seeds[0][0]["values"] == [86.0]


def test_aggregate_refuses_seeds_of_different_systems(seeds):
    with pytest.raises(ValueError, match="seed number 2 .*BiLSTM"):
        result_rows.aggregate([seeds[0], seeds[1][:1]])


def test_the_teachers_own_row_stands_for_those_that_taught(seeds):
    rows = result_rows.aggregate(seeds)
    teacher = rows[0] | {
        "values": [80.0, 90.0],
        "mean": 85.0,
        "std": 7.07,
        "setting": "5e-5, 3 epochs",
        "latency_ms": 1.0,
    }
    own, student = result_rows.beside(teacher, rows)
    assert (own["mean"], own["values"], own["setting"], own["retention"]) == (
        85.0,
        [80.0, 90.0],
        "5e-5, 3 epochs",
        100.0,
    )
    assert own["latency_ms"] == rows[0]["latency_ms"]  # measured beside the students'
    assert student["retention"] == pytest.approx(100 * student["mean"] / 85.0, abs=0.01)
    assert student["values"] == rows[1]["values"]
