"""Batches of similar lengths."""

import numpy as np
import pytest

from paddledistill.data.batching import bucketed_batches, sequential_batches

LENGTHS = np.random.default_rng(3).integers(1, 65, 5003)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 5003])
def test_every_row_exactly_once_and_the_last_partial_batch_kept(rows: int):
    batches = bucketed_batches(LENGTHS[:rows], 32, seed=1, epoch=0)
    assert sorted(np.concatenate([*batches, np.zeros(0, int)])) == list(range(rows))
    assert sorted(map(len, batches)) == sorted([32] * (rows // 32) + [rows % 32] * (rows % 32 > 0))


def test_seed_and_epoch_decide_the_order():
    first = bucketed_batches(LENGTHS, 32, seed=1, epoch=0)
    assert same(first, bucketed_batches(LENGTHS, 32, seed=1, epoch=0))
    assert not same(first, bucketed_batches(LENGTHS, 32, seed=2, epoch=0))
    assert not same(first, bucketed_batches(LENGTHS, 32, seed=1, epoch=1))
    partners = {frozenset(batch.tolist()) for batch in first}
    others = {frozenset(batch.tolist()) for batch in bucketed_batches(LENGTHS, 32, seed=1, epoch=1)}
    assert not partners & others  # rows meet others in the next epoch


def test_little_padding_and_no_order_of_lengths():
    batches = bucketed_batches(LENGTHS, 32, seed=1, epoch=0)
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert LENGTHS.sum() / padded > 0.95
    longest = [LENGTHS[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_sequential_batches_are_sorted_by_length():
    batches = sequential_batches(LENGTHS, 100)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(5003))
    assert (np.diff(LENGTHS[order]) >= 0).all()
    assert [len(batch) for batch in batches] == [100] * 50 + [3]


def test_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        bucketed_batches([1, 2], 0, seed=1, epoch=0)
    with pytest.raises(ValueError, match="batch_size"):
        sequential_batches([1, 2], 0)
