"""What decides the fate of tokens and of whole words."""

import numpy as np

from paddledistill.augment.masking import draw, number_words


def test_tokens_have_numbers_of_their_own_and_they_are_uniform() -> None:
    fate = draw(20_000, np.random.default_rng(0))
    assert len(set(fate.tolist())) == 20_000
    assert 0.09 < (fate < 0.1).mean() < 0.11
    assert 0.19 < ((fate >= 0.1) & (fate < 0.3)).mean() < 0.21
    assert draw(0, np.random.default_rng(0), np.zeros(0, np.int64)).size == 0


def test_number_words_starts_a_word_at_each_sentence() -> None:
    continuation = np.array([False, True, False, True, True, False])
    assert number_words(continuation, np.array([0, 3])).tolist() == [0, 0, 1, 2, 2, 3]


def test_a_word_has_one_fate() -> None:
    fate = draw(3000, np.random.default_rng(1), np.repeat(np.arange(1000), 3)).reshape(1000, 3)
    assert (fate == fate[:, :1]).all()
    assert len(set(fate[:, 0].tolist())) == 1000
