"""POS-guided replacement: a word gives way to another of the same part of speech (Tang et al. 2019, arXiv 1903.12136, section 3.2)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class SameTag:
    """Draws words by their tag from the unigram distribution of a text: a word comes as often as it has this tag there."""

    def __init__(self, words: NDArray[np.int32], tags: NDArray[np.int32]) -> None:
        """:param words: ids of all words of the text, [words]. :param tags: the number of each one's tag, [words]."""
        order = np.argsort(tags, kind="stable")
        self._words = words[order]  # drawing a position at random is drawing a word by its frequency
        counts = np.bincount(tags) if len(tags) else np.zeros(1, np.int64)
        self._begins, self._counts = np.cumsum(counts) - counts, counts

    def draw(self, tags: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """A word for each tag, [tags]; each tag occurs in the text."""
        return self._words[self._begins[tags] + (rng.random(len(tags)) * self._counts[tags]).astype(np.int64)]


def number_tags(columns: Sequence[Sequence[Sequence[str]]]) -> list[list[list[int]]]:
    """Numbers in place of the names of tags, the same name the same number in all columns."""
    numbers: dict[str, int] = {}
    return [[[numbers.setdefault(tag, len(numbers)) for tag in sentence] for sentence in column] for column in columns]
