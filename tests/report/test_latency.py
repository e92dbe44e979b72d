"""What is timed, and under which conditions."""

import os
import time

import numpy as np
import pytest

from paddledistill import models
from paddledistill.report.latency import full_rows, latencies
from paddledistill.tasks import Example


@pytest.fixture(params=[0, 3], ids=["bert", "bilstm"])
def model(request, systems):
    return models.load(systems[request.param].run_dir)


def test_every_row_is_full(model, splits):
    rows = full_rows(splits["test"], 32, 32)
    batch = model.encode(rows, 32).batch(np.arange(32))
    assert batch["input_ids"].shape == (32, 32)
    assert (batch["attention_mask"] == 1).all() if "attention_mask" in batch else (batch["lengths"] == 32).all()


def test_few_and_short_and_odd_texts_are_enough():
    rows = full_rows([Example("a b", "c", None), Example("\u200b \u200b", "d e", None)], 5, 16)
    assert len(rows) == 5
    assert all(len(row.text_a.split()) >= 16 and len(row.text_b.split()) >= 16 for row in rows)


def test_pairs_stay_pairs_and_single_sentences_single():
    assert full_rows([Example("a", None, None)], 1, 4)[0].text_b is None


def test_median_milliseconds_of_each_batch_size(model, splits, monkeypatch):
    # Seconds: two turns, each of two passes to warm up and then two or one that count.
    durations = iter([0.9, 0.9, 0.003, 0.5, 0.9, 0.9, 0.002] * 2)
    clock = [0.0]
    forward = type(model).forward
    sizes = []

    def slow(self, batch):
        assert not self.training
        sizes.append(len(batch["input_ids"]))
        clock[0] += next(durations)
        return forward(self, batch)

    monkeypatch.setattr(type(model), "forward", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    flags = {"batch_sizes": (1, 4), "length": 8, "warm_up": 2, "repeats": 3, "rounds": 2}
    found = latencies({"model": model}, splits["test"], **flags)["model"]
    assert sizes == [1] * 7 + [4] * 7
    assert found.milliseconds == {1: pytest.approx(3.0), 4: pytest.approx(3.0)}
    assert (found.length, found.warm_up, found.repeats, found.threads) == (8, 2, 3, int(os.environ["OMP_NUM_THREADS"]))
