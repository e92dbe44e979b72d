"""N-gram sampling."""

import numpy as np
import pytest

from paddledistill.augment.ngram import sample


def test_keeps_all_or_an_ngram_that_fits() -> None:
    lengths = np.full(20_000, 12)
    start, kept = sample(lengths, 0.25, (2, 6), np.random.default_rng(0))
    cut = kept < 12
    assert 0.24 < cut.mean() < 0.26
    assert set(kept[cut].tolist()) == {2, 3, 4, 5, 6}, "both ends of the range are drawn"
    assert (start[~cut] == 0).all()
    assert (start >= 0).all() and (start + kept <= 12).all()
    assert set(start[kept == 2].tolist()) == set(range(11)), "every position is drawn, the last too"


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_sentences_stay_whole(length: int) -> None:
    start, kept = sample(np.full(100, length), 1.0, (2, 6), np.random.default_rng(0))
    assert (start == 0).all() and (kept == length).all()


@pytest.mark.parametrize("bad", [(0, 3), (4, 3)])
def test_refuses_a_range_that_is_none(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="low <= high"):
        sample(np.array([5]), 0.5, bad, np.random.default_rng(0))
