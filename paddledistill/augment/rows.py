"""From candidates to rows: every row of a table, followed by its variants."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from paddledistill.augment.word_replacement import Sentence, vary
from paddledistill.tasks import LeakGuard


class Candidates:
    """What each word of each text can be replaced by.

    The masked language model's answers are kept as ids, a row a word in the order of ``jobs``: as Python lists those of a
    large task would not fit into memory.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        ids: Sequence[NDArray[np.int32]],
        vocab: Sequence[str],
        near: Mapping[str, Sequence[str]],
    ) -> None:
        """:param ids: parts of [jobs, M], -1 where there are fewer; :param near: word -> neighbours, for words of several pieces."""
        starts = np.cumsum([0, *(len(sentence.masked) for sentence in sentences)]).tolist()
        self._start = {sentence.text: start for sentence, start in zip(sentences, starts, strict=False)}
        self._sentence = {sentence.text: sentence for sentence in sentences}
        self._ids = np.concatenate(ids) if ids else np.empty((0, 0), np.int32)
        self._vocab, self._near = vocab, near

    def sentence(self, text: str) -> Sentence:
        """The text as words."""
        return self._sentence[text]

    def of(self, text: str) -> dict[int, Sequence[str]]:
        """Word index -> candidates, for the words that have any."""
        sentence, start = self._sentence[text], self._start[text]
        found: dict[int, Sequence[str]] = {
            word: [self._vocab[number] for number in self._ids[start + offset].tolist() if number >= 0]
            for offset, word in enumerate(sentence.masked)
        }
        found.update(
            (word, self._near[sentence.words[word]]) for word in sentence.distant if sentence.words[word] in self._near
        )
        return {word: words for word, words in found.items() if words}


def jobs(sentences: Iterable[Sentence]) -> list[tuple[Sentence, int]]:
    """The words to ask the masked language model about, sentence by sentence."""
    return [(sentence, word) for sentence in sentences for word in sentence.masked]


@dataclass
class Counts:
    """What became of a table."""

    rows: int = 0
    variants: int = 0
    leaking_variants: int = 0
    replaced_by_masked_lm: int = 0
    replaced_by_vectors: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, int]:
        """The numbers, without the examples."""
        return {name: value for name, value in asdict(self).items() if name != "examples"}


def augmented(
    rows: Sequence[Sequence[str]],
    text_columns: Sequence[int],
    candidates: Candidates,
    n: int,
    p: float,
    seed: int,
    guard: LeakGuard,
    counts: Counts,
    examples: int = 0,
) -> Iterator[list[list[str]]]:
    """Yield, for each row, a list: the row as it is, then its variants, which differ from it in the texts only.

    A variant that equals or contains a dev or test row is left out and counted.

    :param counts: is added to on the way; gets ``examples`` pairs of a text and its first variant, from all over the table.
    """
    for number, row in enumerate(rows):
        texts = [row[column] for column in text_columns]
        counts.rows += 1
        kept = [list(row)]
        sentences = [candidates.sentence(text) for text in texts]
        for variant in vary(sentences, [candidates.of(text) for text in texts], n, p, seed, number):
            if guard.leaks(variant.texts):
                counts.leaking_variants += 1
                continue
            counts.variants += 1
            counts.replaced_by_masked_lm += variant.by_masked_lm
            counts.replaced_by_vectors += variant.by_vectors
            copy = list(row)
            for column, text in zip(text_columns, variant.texts, strict=True):
                copy[column] = text
            kept.append(copy)
        if len(kept) > 1 and len(counts.examples) * len(rows) < examples * (number + 1):
            counts.examples.append(tuple(" | ".join(some[column] for column in text_columns) for some in kept[:2]))  # type: ignore[arg-type]
        yield kept
