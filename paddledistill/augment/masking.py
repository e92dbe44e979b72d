"""Masking: each token is replaced by the mask token with a small probability (Tang et al. 2019, arXiv 1903.12136, section 3.2)."""

import numpy as np
from numpy.typing import NDArray


def mask(
    ids: NDArray[np.int32], mask_id: int, p: float, rng: np.random.Generator, word_of: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    """Replace ids by ``mask_id``, each with probability ``p``.

    :param ids: [tokens], of one sentence or of many laid end to end.
    :param word_of: [tokens], the number of the word that each token belongs to, from 0 and never falling: all wordpieces of a
        word are then masked or kept together. None: every token by itself.
    :returns: a new array of the same shape.
    """
    if word_of is None:
        hit = rng.random(len(ids)) < p
    else:
        words = int(word_of[-1]) + 1 if len(word_of) else 0
        hit = (rng.random(words) < p)[word_of]
    return np.where(hit, np.int32(mask_id), ids)


def number_words(is_continuation: NDArray[np.bool_], sentence_starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the words of sentences laid end to end, for ``mask``.

    :param is_continuation: [tokens], true where a wordpiece goes on with the word before it (``##x``).
    :param sentence_starts: indices of first tokens: a sentence cut from a longer one may open with ``##x``, which then counts
        as a word of its own.
    :returns: [tokens].
    """
    begins = ~is_continuation
    begins[sentence_starts] = True
    return np.cumsum(begins) - 1
