"""The augmentation of the distilled BiLSTM: copies of every training row, with words masked or replaced, and shortened.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136), section 3.2. The copies
are for a teacher to score; beside it they carry the label of their own sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paddledistill.augment import masking, ngram, pos
from paddledistill.augment.tagging import Tagger
from paddledistill.data.tokenization import Tokenizer
from paddledistill.tasks import Example, LeakGuard

Column = list[list[str]]  # words of the same side of all examples


@dataclass(frozen=True)
class Augmentation:
    """What is done to the ``n_iter`` copies that are drawn of each sentence. Those of a pair differ from it in turn in the first sentence,
    in the second, and in both, which then have fates of their own.

    A wordpiece, or with ``whole_words`` a word, becomes ``[MASK]`` with probability ``p_mask``; a word gives way with ``p_pos`` to
    another one of its part of speech, drawn as often as the text holds it with that tag; then with ``p_ng`` only an n-gram of words
    is kept, whose length is uniform over ``ngram_range``, both ends included.
    """

    n_iter: int
    p_mask: float = 0.1
    p_pos: float = 0.0
    p_ng: float = 0.25
    ngram_range: tuple[int, int] = (2, 6)
    whole_words: bool = False


def augmented(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    augmentation: Augmentation,
    seed: int,
    guard: LeakGuard,
    tagger: Tagger | None = None,
) -> list[Example]:
    """Every example as it is, followed by its copies as text, so that teacher and student may read them with different vocabularies.

    :param tokenizer: parts words and wordpieces. A masked one is written as ``[MASK]``, which tokenizers take for the mask token; what
        is left of its word stands apart.
    :param guard: of the task: a few words of a sentence may be all of a dev row, and such a copy is dropped.
    :param tagger: of the examples' language; needed where ``p_pos`` is above 0.
    :returns: examples with the labels of those that they come from. All given ones are kept, repeated ones too; a copy equal to an
        earlier row is dropped, so that short sentences yield fewer.
    """
    columns = [
        [tokenizer.words(text) for text in column] for column in zip(*(one.texts for one in examples), strict=True)
    ]
    words = _Words(tokenizer)
    originals = [[[words.number(word) for word in sentence] for sentence in column] for column in columns]
    substitutes = None
    if augmentation.p_pos and augmentation.n_iter:
        assert tagger, "p_pos needs a tagger"
        substitutes = _Substitutes(columns, originals, tagger)
    copies = []
    for side, sentences in enumerate(originals):
        rng = np.random.default_rng([seed, side])
        copies.append(_copies(side, sentences, words, augmentation, substitutes, rng))
    rows, seen = [], {_hash(original) for original in zip(*originals, strict=True)}
    for index, example in enumerate(examples):
        rows.append(example)
        first, original = index * augmentation.n_iter, [column[index] for column in originals]
        for number, drawn in enumerate(
            zip(*(column[first : first + augmentation.n_iter] for column in copies), strict=True)
        ):
            sides = _in_turn(number, original, drawn)
            key = _hash(sides)
            if key not in seen:
                seen.add(key)
                texts = [words.text(side) for side in sides]
                rows.append(example._replace(text_a=texts[0], text_b=texts[1] if len(texts) == 2 else None))
    return guard.filter(rows, "copies for the BiLSTM")


def _in_turn(number: int, original: Sequence[list[int]], drawn: Sequence[list[int]]) -> tuple[list[int], ...]:
    """Of a pair's copies one varies the first sentence, the next the second, the third both, and so on."""
    if len(drawn) == 1 or number % 3 == 2:
        return tuple(drawn)
    return (drawn[0], original[1]) if number % 3 == 0 else (original[0], drawn[1])


class _Words:
    """Words by number, and of how many wordpieces each consists."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words: list[str] = []
        self._numbers: dict[str, int] = {}
        self.mask = self.number(masking.MASK)

    def number(self, word: str) -> int:
        if word not in self._numbers:
            self._numbers[word] = len(self._words)
            self._words.append(word)
        return self._numbers[word]

    def text(self, numbers: Sequence[int]) -> str:
        return " ".join(self._words[number] for number in numbers)

    def pieces(self) -> list[list[str]]:
        """The wordpieces of each word, without the ## of those that go on; a word that is [UNK] is one piece."""
        vocab, unknown = self._tokenizer.vocab, self._tokenizer.unk_id
        return [
            [word] if len(ids) == 1 or unknown in ids else [vocab[number].removeprefix("##") for number in ids]
            for word, ids in zip(self._words, self._tokenizer.ids(self._words), strict=True)
        ]


class _Substitutes:
    """Words of the same part of speech; one distribution for both sides of a pair."""

    def __init__(self, columns: Sequence[Column], originals: Sequence[Sequence[Sequence[int]]], tagger: Tagger) -> None:
        self._tags = pos.number_tags([tagger(column) for column in columns])
        flat = [np.fromiter(_flat(part), np.int32) for part in (originals, self._tags)]
        self._same_tag = pos.SameTag(*flat)

    def draw(self, side: int, n_iter: int, where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int32]:
        """For the words of a side's copies ``where`` there is to be one."""
        return self._same_tag.draw(_repeated(self._tags[side], n_iter)[0][where], rng)


def _copies(
    side: int,
    sentences: Sequence[Sequence[int]],
    words: _Words,
    augmentation: Augmentation,
    substitutes: _Substitutes | None,
    rng: np.random.Generator,
) -> list[list[int]]:
    """``n_iter`` copies of the first sentence, then of the second, and so on, as numbers of words."""
    numbers, lengths = _repeated(sentences, augmentation.n_iter)
    fate = rng.random(len(numbers))
    changed = np.where(fate < augmentation.p_mask, np.int32(words.mask), numbers)
    start, kept = ngram.sample(lengths, augmentation.p_ng, augmentation.ngram_range, rng)
    replaced = np.zeros(len(numbers), bool)
    if substitutes:
        replaced = (fate >= augmentation.p_mask) & (fate < augmentation.p_mask + augmentation.p_pos)
        changed[replaced] = substitutes.draw(side, augmentation.n_iter, replaced, rng)
    if not augmentation.whole_words:
        pieces = words.pieces()
        counts = np.array([len(of_word) for of_word in pieces])[numbers]
        counts[replaced] = 1  # their pieces are gone
        for position, hit in masking.pieces_hit(fate, counts, augmentation.p_mask, rng):
            changed[position] = words.number(masking.without(pieces[numbers[position]], hit))
    return _cut(changed, np.cumsum(lengths) - lengths + start, kept)


def _repeated(sentences: Sequence[Sequence[int]], n_iter: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """``n_iter`` copies of the first sentence, then of the second, and so on, laid end to end; and the length of each copy."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)).repeat(n_iter)
    ids = (i for sentence in sentences for _ in range(n_iter) for i in sentence)
    return np.fromiter(ids, np.int32, count=int(lengths.sum())), lengths


def _cut(ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[list[int]]:
    # One int object an id, not one a token: a third of the memory.
    shared = np.arange(int(ids.max(initial=0)) + 1).astype(object)
    tokens = shared[ids].tolist()
    return [tokens[first : first + count] for first, count in zip(starts.tolist(), lengths.tolist(), strict=True)]


def _flat(columns: Sequence[Sequence[Sequence[int]]]) -> Iterator[int]:
    return (number for column in columns for sentence in column for number in sentence)


def _hash(row: tuple[list[int], ...]) -> int:
    """In place of the row it spares gigabytes on QQP; should two collide, one random copy in 10^13 or so is lost."""
    return hash(tuple(map(tuple, row)))
