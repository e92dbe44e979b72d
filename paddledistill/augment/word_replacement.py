"""Word replacement as TinyBERT augments its training text (Jiao et al. 2020, arXiv 1909.10351, section 3.2, Algorithm 1).

Of each alphabetic word that is no stop word, candidates are gathered: for a word that is one wordpiece, the masked language
model's ``M`` most probable words, given ``[CLS] sentence with the word masked [SEP] sentence [SEP]``; for a word of several
pieces, the ``M`` nearest words by cosine of word vectors. Then ``N`` variants of the sentence are drawn, each word of each being
replaced, with probability ``p``, by one of its candidates, all equally likely.

Where the paper leaves room, this follows TinyBERT's own code: words are BERT's basic tokens and a variant is its words joined by
spaces; the masked word itself stays among its candidates when the model ranks it there, while a word is never its own neighbour.
Unlike there, a word is replaced only by words that could be replaced themselves: wordpieces ``##x``, special tokens, punctuation and
stop words are passed over before the best ``M`` are taken. Stop words are gensim's, a variant equal to an earlier one or to the
original is dropped, and the two sentences of a pair vary independently.

Everything is a function of the seed. A draw depends on (seed, row, column) alone, and on no other row. Candidates are a set, so
only which words are among the best ``M`` matters, not their order. The rule for ties: where the ``M``-th and the next logit differ by
less than ``TOO_CLOSE``, so that rounding could decide, the word is given a forward pass of its own, and of equal logits the lower
id wins. So the candidates are the same for any batch size and any number of processes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from gensim.parsing.preprocessing import STOPWORDS
from numpy.typing import NDArray

from paddledistill.augment.top import top
from paddledistill.data.tokenization import Tokenizer

# What basic tokenisation leaves of "it's", "don't", "we'll": gensim's list has them unsplit.
_CLITICS = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))
# Logits closer than this may change places with the batch they are computed in: float32 sums differ by some 1e-5.
TOO_CLOSE = 3e-4


class MaskedLM(Protocol):
    """What is asked of a masked language model; ``paddledistill.models.masked_lm`` has one."""

    tokenizer: Tokenizer

    @property
    def max_seq_length(self) -> int:
        """The longest input, in ids."""
        ...

    def predict_logits(
        self,
        input_ids: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Logits [positions, vocabulary] of inputs [batch, length] at ``positions`` [positions]: row * length + column."""
        ...


@dataclass(frozen=True)
class Sentence:
    """A text as its words, and which of them may be replaced.

    ``pieces`` holds each word's wordpiece ids. ``masked`` and ``distant`` index words: those whose candidates come from the
    masked language model, and those that need word vectors.
    """

    text: str
    words: tuple[str, ...]
    pieces: tuple[tuple[int, ...], ...]
    masked: tuple[int, ...]
    distant: tuple[int, ...]


class Variant(NamedTuple):
    """A row with some words replaced: its texts, and how many words each source gave."""

    texts: tuple[str, ...]
    by_masked_lm: int
    by_vectors: int


def is_replaceable(word: str) -> bool:
    """Whether TinyBERT would replace a word: it is alphabetic and no stop word."""
    return word.isalpha() and word.lower() not in STOPWORDS and word.lower() not in _CLITICS


def split(texts: Iterable[str], tokenizer: Tokenizer) -> list[Sentence]:
    """Split texts into words and say which can be replaced. A word of one piece that is [UNK] counts as one of several."""
    texts = list(texts)
    words = [tokenizer.words(text) for text in texts]
    unique = list(dict.fromkeys(word for sentence in words for word in sentence))
    pieces_of = dict(zip(unique, map(tuple, tokenizer.ids(unique)), strict=True))
    in_vocabulary = {word for word, pieces in pieces_of.items() if len(pieces) == 1 and pieces[0] != tokenizer.unk_id}
    replaceable = {word for word in unique if is_replaceable(word)}
    sentences = []
    for text, sentence in zip(texts, words, strict=True):
        open_words = [index for index, word in enumerate(sentence) if word in replaceable]
        sentences.append(
            Sentence(
                text=text,
                words=tuple(sentence),
                pieces=tuple(pieces_of[word] for word in sentence),
                masked=tuple(index for index in open_words if sentence[index] in in_vocabulary),
                distant=tuple(index for index in open_words if sentence[index] not in in_vocabulary),
            )
        )
    return sentences


class MaskedInput(NamedTuple):
    """One input of the masked language model: ids, where its second segment begins, and the masked position."""

    ids: list[int]
    second: int
    position: int


def masked_input(sentence: Sentence, word: int, tokenizer: Tokenizer, longest: int) -> MaskedInput:
    """``[CLS] sentence with the word masked [SEP] sentence [SEP]``.

    Of a sentence too long for ``longest`` ids, both segments are the same stretch of pieces around the word.
    """
    before = [piece for pieces in sentence.pieces[:word] for piece in pieces]
    pieces = before + [piece for pieces in sentence.pieces[word:] for piece in pieces]
    position = len(before)
    room = (longest - 3) // 2
    start = max(0, min(position - room // 2, len(pieces) - room))
    pieces, position = pieces[start : start + room], position - start
    hidden = [*pieces[:position], tokenizer.mask_id, *pieces[position + 1 :]]
    ids = [tokenizer.cls_id, *hidden, tokenizer.sep_id, *pieces, tokenizer.sep_id]
    return MaskedInput(ids, second=len(pieces) + 2, position=position + 1)


def predict(
    model: MaskedLM,
    jobs: Sequence[tuple[Sentence, int]],
    count: int,
    batch_size: int,
    on_batch: Callable[[int], object] = lambda done: None,
) -> NDArray[np.int32]:
    """The masked language model's candidates for words of one wordpiece.

    Each (sentence, index of the word) is computed once, those of similar length together.

    :param batch_size: inputs in a forward pass; it decides speed and memory, not the result.
    :param on_batch: told after each pass how many words it finished.
    :returns: [jobs, count] ids of the vocabulary, rising in each row; -1 first where the vocabulary has fewer words.
    """
    tokenizer = model.tokenizer
    allowed = np.array([is_replaceable(token) for token in tokenizer.vocab])
    inputs = [masked_input(sentence, word, tokenizer, model.max_seq_length) for sentence, word in jobs]
    chosen = np.full((len(inputs), count), -1, dtype=np.int32)

    def forward(rows: NDArray[np.int64], close_calls: bool) -> NDArray[np.int64]:
        """Fill ``chosen`` for ``rows``; returns those too close to call, unless ``close_calls`` says to settle them."""
        logits = _logits(model, [inputs[row] for row in rows])
        best, values = top(np.where(allowed, logits, -np.inf), count + 1)
        best[np.isneginf(values)] = -1
        chosen[rows, : best[:, :count].shape[1]] = best[:, :count]
        if close_calls or values.shape[1] <= count:
            return rows[:0]
        with np.errstate(invalid="ignore"):  # minus infinity from itself, where words are few
            return rows[values[:, count - 1] - values[:, count] < TOO_CLOSE]

    # Longest first: a batch too large for the memory fails at once.
    order = np.argsort([-len(item.ids) for item in inputs], kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        for row in forward(rows, close_calls=False):
            forward(np.array([row]), close_calls=True)
        on_batch(len(rows))
    return np.sort(chosen, axis=1)


def _logits(model: MaskedLM, inputs: Sequence[MaskedInput]) -> NDArray[np.float32]:
    """Pad, run, and cut off what an output layer has beyond the vocabulary; [inputs, vocabulary]."""
    length = max(len(item.ids) for item in inputs)
    ids = np.full((len(inputs), length), model.tokenizer.pad_id, dtype=np.int64)
    types = np.zeros_like(ids)
    mask = np.zeros_like(ids)
    for row, item in enumerate(inputs):
        ids[row, : len(item.ids)] = item.ids
        types[row, item.second : len(item.ids)] = 1
        mask[row, : len(item.ids)] = 1
    positions = np.array([row * length + item.position for row, item in enumerate(inputs)], dtype=np.int64)
    return model.predict_logits(ids, types, mask, positions)[:, : len(model.tokenizer.vocab)]


def draw(
    sentence: Sentence, candidates: Mapping[int, Sequence[str]], n: int, p: float, rng: np.random.Generator
) -> Iterator[dict[int, str]]:
    """Yield ``n`` times what to replace: index of the word -> new word, without words that drew themselves.

    The first ``n`` draws of a generator are the same whatever ``n`` is.
    """
    places = [(place, candidates[place]) for place in sorted(candidates) if candidates[place]]
    chances = rng.random((n, len(places), 2))
    for chance in chances:
        replaced = {}
        for (place, words), (whether, which) in zip(places, chance.tolist(), strict=True):
            if whether < p:
                word = words[int(which * len(words))]
                if word != sentence.words[place]:
                    replaced[place] = word
        yield replaced


def vary(
    sentences: Sequence[Sentence],
    candidates: Sequence[Mapping[int, Sequence[str]]],
    n: int,
    p: float,
    seed: int,
    row: int,
) -> list[Variant]:
    """Variants of a row of one or two sentences, each sentence varied independently of the other.

    A sentence in which nothing was replaced stays as it was written. Draws that repeat an earlier one or the original are
    dropped, so that at most ``n`` variants come back.

    :param candidates: for each sentence, word index -> words.
    :param row: number of the row; with the seed and the column it decides what is drawn.
    """
    sides = [
        draw(sentence, words, n, p, np.random.default_rng([seed, row, column]))
        for column, (sentence, words) in enumerate(zip(sentences, candidates, strict=True))
    ]
    seen = {tuple(sentence.words for sentence in sentences)}
    variants = []
    for draws in zip(*sides, strict=True):
        words = tuple(_replace(sentence, replaced) for sentence, replaced in zip(sentences, draws, strict=True))
        if words in seen:
            continue
        seen.add(words)
        texts = tuple(
            " ".join(new) if replaced else sentence.text
            for sentence, new, replaced in zip(sentences, words, draws, strict=True)
        )
        by_vectors = sum(
            place in sentence.distant for sentence, replaced in zip(sentences, draws, strict=True) for place in replaced
        )
        variants.append(Variant(texts, sum(map(len, draws)) - by_vectors, by_vectors))
    return variants


def _replace(sentence: Sentence, replaced: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(replaced.get(place, word) for place, word in enumerate(sentence.words))
