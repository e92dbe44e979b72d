"""Which pieces of words are masked, and what is left of the words."""

import numpy as np

from paddledistill.augment.masking import pieces_hit, without


def test_every_piece_is_hit_as_often_as_any_other() -> None:
    rng = np.random.default_rng(0)
    counts = np.tile([1, 3, 2], 20_000)
    fate = rng.random(len(counts))
    hits = dict(pieces_hit(fate, counts, 0.2, rng))
    assert all(any(hit) and len(hit) == counts[position] > 1 for position, hit in hits.items())
    shares = np.array([hit for position, hit in hits.items() if counts[position] == 3]).sum(axis=0) / 20_000
    assert np.abs(shares - 0.2).max() < 0.01
    assert {position for position, hit in hits.items() if hit[0]} == set(np.flatnonzero((fate < 0.2) & (counts > 1)))


def test_words_of_one_piece_are_not_its_business() -> None:
    assert not list(pieces_hit(np.zeros(3), np.ones(3, np.int64), 1.0, np.random.default_rng(0)))


def test_what_is_left_of_a_word() -> None:
    pieces = ["un", "believ", "ab", "ly"]
    assert without(pieces, [False, True, False, False]) == "un [MASK] ably"
    assert without(pieces, [True, False, False, True]) == "[MASK] believab [MASK]"
    assert without(pieces, [True] * 4) == "[MASK] [MASK] [MASK] [MASK]"
