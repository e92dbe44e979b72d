"""N-gram sampling: now and then only a short run of the tokens is kept (Tang et al. 2019, arXiv 1903.12136, section 3.2)."""

import numpy as np
from numpy.typing import NDArray


def sample(
    lengths: NDArray[np.int64], p: float, ngram_range: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose what to keep of each sentence: with probability ``p`` a random n-gram, else all of it.

    n is uniform over ``ngram_range``, both ends included, the position uniform over those that fit; a sentence of at most n
    tokens stays whole.

    :param lengths: [sentences] in tokens.
    :returns: (start, length) of the kept run of each sentence, both [sentences].
    :raises ValueError: unless 1 <= low <= high.
    """
    low, high = ngram_range
    if not 1 <= low <= high:
        raise ValueError(f"ngram_range must satisfy 1 <= low <= high, got {ngram_range}")
    cut = rng.random(len(lengths)) < p
    kept = np.where(cut, np.minimum(rng.integers(low, high, len(lengths), endpoint=True), lengths), lengths)
    start = rng.integers(0, lengths - kept, endpoint=True)
    return start, kept
