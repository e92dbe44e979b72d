"""Masking: each token is replaced by the mask token with a small probability (Tang et al. 2019, arXiv 1903.12136, section 3.2)."""

import numpy as np
from numpy.typing import NDArray


def draw(count: int, rng: np.random.Generator, word_of: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """A number from 0 to 1 for each token, which decides whether it is masked, replaced, or kept.

    :param count: tokens, of one sentence or of many laid end to end.
    :param word_of: [tokens], the number of the word that each token belongs to, from 0 and never falling: all wordpieces of a
        word then have the same number. None: every token has its own.
    """
    if word_of is None:
        return rng.random(count)
    words = int(word_of[-1]) + 1 if len(word_of) else 0
    return rng.random(words)[word_of]


def number_words(is_continuation: NDArray[np.bool_], sentence_starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the words of sentences laid end to end, for ``draw``.

    :param is_continuation: [tokens], true where a wordpiece goes on with the word before it (``##x``).
    :param sentence_starts: indices of first tokens: a sentence cut from a longer one may open with ``##x``, which then counts
        as a word of its own.
    :returns: [tokens].
    """
    begins = ~is_continuation
    begins[sentence_starts] = True
    return np.cumsum(begins) - 1
