"""The augmentation of the distilled BiLSTM: copies of every training row, with words masked or replaced, and shortened.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136), section 3.2. The copies
are for a teacher to score; beside it they carry the label of their own sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from paddledistill.augment import masking, ngram, pos
from paddledistill.augment.tagging import Tagger
from paddledistill.data.tokenization import SPECIAL_TOKENS, Tokenizer
from paddledistill.tasks import Example, LeakGuard

Column = list[list[str]]  # words of the same side of all examples, as _as_written gives them


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

    What a copy keeps of its sentence is spelled and spaced as there, for teachers that read capitals and accents; Chinese words that
    jieba parted stay apart.

    :param tokenizer: parts words and wordpieces. A masked one is written as ``[MASK]``, which tokenizers take for the mask token; what
        is left of its word stands apart.
    :param guard: of the task: a few words of a sentence may be all of a dev row, and such a copy is dropped.
    :param tagger: of the examples' language; needed where ``p_pos`` is above 0.
    :returns: examples with the labels of those that they come from. All given ones are kept, repeated ones too; a copy equal to an
        earlier row is dropped, so that short sentences yield fewer.
    """
    cased = tokenizer if tokenizer.segmenter == "jieba" else Tokenizer(SPECIAL_TOKENS, lowercase=False)
    columns = [
        [_as_written(text, cased) for text in column] for column in zip(*(one.texts for one in examples), strict=True)
    ]
    words = _Words(tokenizer)
    originals = [[[words.number(word) for word in sentence] for sentence in column] for column in columns]
    substitutes = None
    if augmentation.p_pos and augmentation.n_iter:
        assert tagger, "p_pos needs a tagger"
        substitutes = _Substitutes(columns, words, tagger)
    copies = []
    for side, sentences in enumerate(originals):
        rng = np.random.default_rng([seed, side])
        copies.append(_copies(side, sentences, words, augmentation, substitutes, rng))
    texts = [[words.text(sentence) for sentence in column] for column in originals]
    rows, seen = [], set(zip(*texts, strict=True))
    for index, example in enumerate(examples):
        rows.append(example)
        first, original = index * augmentation.n_iter, [column[index] for column in texts]
        for number in range(augmentation.n_iter):
            sides = _in_turn(number, original, [words.text(column[first + number]) for column in copies])
            if sides not in seen:
                seen.add(sides)
                rows.append(example._replace(text_a=sides[0], text_b=sides[1] if len(sides) == 2 else None))
    return guard.filter(rows, "copies for the BiLSTM")


def _in_turn(number: int, original: Sequence[str], drawn: Sequence[str]) -> tuple[str, ...]:
    """Of a pair's copies one varies the first sentence, the next the second, the third both, and so on."""
    if len(drawn) == 1 or number % 3 == 2:
        return tuple(drawn)
    return (drawn[0], original[1]) if number % 3 == 0 else (original[0], drawn[1])


def _as_written(text: str, cased: Tokenizer) -> list[str]:
    """The words of a text, with a space before those that have one there. Joined they give the text; what takes a word's place has spaces
    around it, so that it never grows together with the next."""
    words, at, found = cased.words(text), 0, []
    for word in words:
        begin = text.find(word, at)
        if begin < 0:  # it has invisible characters inside
            break
        found.append(word if begin == at > 0 else f" {word}")
        at = begin + len(word)
    return found if len(found) == len(words) and cased.segmenter == "bert" else [f" {word}" for word in words]


class _Words:
    """Words by number, and of how many wordpieces each consists."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words: list[str] = []
        self._numbers: dict[str, int] = {}
        self.mask = self.apart(masking.MASK)

    def number(self, word: str) -> int:
        if word not in self._numbers:
            self._numbers[word] = len(self._words)
            self._words.append(word)
        return self._numbers[word]

    def apart(self, word: str) -> int:
        """The number of what takes a word's place."""
        return self.number(f" {word.strip()} ")

    def text(self, numbers: Sequence[int]) -> str:
        return " ".join("".join([self._words[number] for number in numbers]).split())

    def pieces(self) -> list[list[str]]:
        """The wordpieces of each word, without the ## of those that go on; a word that is [UNK] is one piece."""
        vocab, unknown = self._tokenizer.vocab, self._tokenizer.unk_id
        pieces = []
        for word, ids in zip(self._words, self._tokenizer.ids(self._words), strict=True):
            is_one = len(ids) == 1 or unknown in ids
            pieces.append([word] if is_one else _spelled(word.strip(), [vocab[i].removeprefix("##") for i in ids]))
        return pieces


def _spelled(word: str, pieces: list[str]) -> list[str]:
    """Pieces with the word's capitals and accents, where each of its characters is one of theirs."""
    if sum(map(len, pieces)) != len(word):
        return pieces
    return [word[end - len(piece) : end] for piece, end in zip(pieces, accumulate(map(len, pieces)), strict=True)]


class _Substitutes:
    """Words of the same part of speech; one distribution for both sides of a pair."""

    def __init__(self, columns: Sequence[Column], words: _Words, tagger: Tagger) -> None:
        self._tags = pos.number_tags(
            [tagger([[word.strip() for word in sentence] for sentence in column]) for column in columns]
        )
        numbers = (words.apart(word) for column in columns for sentence in column for word in sentence)
        tags = (tag for column in self._tags for sentence in column for tag in sentence)
        self._same_tag = pos.SameTag(np.fromiter(numbers, np.int32), np.fromiter(tags, np.int32))

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
            changed[position] = words.apart(masking.without(pieces[numbers[position]], hit))
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
