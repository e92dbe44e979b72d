"""Masking of tokens and of whole words."""

import numpy as np

from paddledistill.augment.masking import mask, number_words

MASK = 99


def test_masks_the_wanted_share_and_leaves_the_rest_alone() -> None:
    ids = np.arange(20_000, dtype=np.int32) % 50
    masked = mask(ids, MASK, 0.1, np.random.default_rng(0))
    hit = masked == MASK
    assert 0.09 < hit.mean() < 0.11
    assert (masked[~hit] == ids[~hit]).all()
    assert (ids != MASK).all(), "the input must stay as it was"


def test_probabilities_zero_and_one() -> None:
    ids = np.arange(10, dtype=np.int32)
    assert (mask(ids, MASK, 0.0, np.random.default_rng(0)) == ids).all()
    assert (mask(ids, MASK, 1.0, np.random.default_rng(0)) == MASK).all()
    assert mask(ids[:0], MASK, 1.0, np.random.default_rng(0), ids[:0].astype(np.int64)).size == 0


def test_number_words_starts_a_word_at_each_sentence() -> None:
    continuation = np.array([False, True, False, True, True, False])
    assert number_words(continuation, np.array([0, 3])).tolist() == [0, 0, 1, 2, 2, 3]


def test_whole_words_are_masked_or_kept_together() -> None:
    word_of = np.repeat(np.arange(1000), 3)
    masked = mask(np.zeros(3000, dtype=np.int32), MASK, 0.5, np.random.default_rng(1), word_of).reshape(1000, 3)
    hits = (masked == MASK).sum(axis=1)
    assert set(hits.tolist()) == {0, 3}
