"""The augmentation of the distilled BiLSTM: copies of every training row, with words masked or replaced, and shortened.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136), section 3.2. The copies
are for a teacher to score; beside it they carry the label of their own sentence.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paddledistill.augment import masking, ngram, pos
from paddledistill.augment.tagging import Tagger
from paddledistill.data.tokenization import Tokenizer
from paddledistill.tasks import Example

Rows = list[list[int]]


def masked_copies(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    n_iter: int,
    *,
    seed: int,
    p_mask: float = 0.1,
    p_ng: float = 0.25,
    ngram_range: tuple[int, int] = (2, 6),
    p_pos: float = 0.0,
    tagger: Tagger | None = None,
) -> list[Example]:
    """Every example as it is, followed by its copies as text, so that teacher and student may read them with different vocabularies.

    A word becomes ``[MASK]`` with probability ``p_mask`` or, with ``p_pos``, another word of its part of speech, drawn as often as the
    examples hold it with that tag; then with ``p_ng`` only an n-gram of the copy is kept.

    :param tokenizer: parts the words, which are masked whole; n-grams are of words too. A masked word is written as ``[MASK]``, which
        tokenizers take for the mask token.
    :param tagger: of the examples' language; needed where ``p_pos`` is above 0.
    :returns: examples with the labels of those that they come from; otherwise as ``augment_rows`` and ``augment_pairs``.
    """
    mask = tokenizer.vocab[tokenizer.mask_id]
    columns = list(zip(*(example.texts for example in examples), strict=True))
    words = [[tokenizer.words(text) for text in column] for column in columns]
    vocabulary = list(dict.fromkeys([mask, *(word for column in words for sentence in column for word in sentence)]))
    index = {word: number for number, word in enumerate(vocabulary)}
    ids = [[[index[word] for word in sentence] for sentence in column] for column in words]
    tags = None
    if p_pos and n_iter:
        assert tagger, "p_pos needs a tagger"
        tags = pos.number_tags([tagger(column) for column in words])
    copies, source = _augment(ids, n_iter, index[mask], seed, p_mask, p_ng, ngram_range, None, tags, p_pos)
    rows = []
    previous = -1
    for number, sides in zip(source.tolist(), zip(*copies, strict=True), strict=True):
        example = examples[number]
        if number != previous:
            rows.append(example)
        else:
            texts = [" ".join(vocabulary[word] for word in side) for side in sides]
            rows.append(example._replace(text_a=texts[0], text_b=texts[1] if len(texts) == 2 else None))
        previous = number
    return rows


def augment_rows(
    token_ids: Sequence[Sequence[int]],
    n_iter: int,
    *,
    mask_id: int,
    seed: int,
    p_mask: float = 0.1,
    p_ng: float = 0.25,
    ngram_range: tuple[int, int] = (2, 6),
    continues_word: Sequence[bool] | None = None,
) -> tuple[Rows, NDArray[np.int64]]:
    """Every sentence as it is, followed by its copies: tokens masked with ``p_mask``, then with ``p_ng`` only an n-gram kept.

    :param token_ids: a list of ids a sentence, without special tokens.
    :param n_iter: copies drawn of each sentence. A copy equal to an earlier row is dropped, so that short sentences yield fewer.
    :param continues_word: a flag for each id of the vocabulary, true for wordpieces such as ``##ing``: words are then masked
        as a whole. None masks wordpieces one by one.
    :returns: (rows, source_index): ``rows[i]`` comes from ``token_ids[source_index[i]]``; source_index never falls, and all
        given sentences are kept, repeated ones too.
    """
    columns, source = _augment([token_ids], n_iter, mask_id, seed, p_mask, p_ng, ngram_range, continues_word)
    return columns[0], source


def augment_pairs(
    token_ids: Sequence[Sequence[int]],
    token_ids_b: Sequence[Sequence[int]],
    n_iter: int,
    *,
    mask_id: int,
    seed: int,
    p_mask: float = 0.1,
    p_ng: float = 0.25,
    ngram_range: tuple[int, int] = (2, 6),
    continues_word: Sequence[bool] | None = None,
) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """``augment_rows`` for two sentences a row, each masked and cut independently of the other.

    :returns: (rows, rows_b, source_index).
    :raises ValueError: if the two sides differ in number.
    """
    if len(token_ids) != len(token_ids_b):
        raise ValueError(f"{len(token_ids)} first sentences but {len(token_ids_b)} second ones")
    columns, source = _augment(
        [token_ids, token_ids_b], n_iter, mask_id, seed, p_mask, p_ng, ngram_range, continues_word
    )
    return columns[0], columns[1], source


def _augment(
    columns: Sequence[Sequence[Sequence[int]]],
    n_iter: int,
    mask_id: int,
    seed: int,
    p_mask: float,
    p_ng: float,
    ngram_range: tuple[int, int],
    continues_word: Sequence[bool] | None,
    tags: Sequence[Sequence[Sequence[int]]] | None = None,
    p_pos: float = 0.0,
) -> tuple[list[Rows], NDArray[np.int64]]:
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative, got {n_iter}")
    same_tag = None
    if tags is not None:  # one distribution for both sides of a pair
        everything = [
            np.array([one for column in part for row in column for one in row], np.int32) for part in (columns, tags)
        ]
        same_tag = pos.SameTag(*everything)
    copies = []
    for side, sentences in enumerate(columns):
        ids, lengths = _repeated(sentences, n_iter)
        begins, rng = np.cumsum(lengths) - lengths, np.random.default_rng([seed, side])
        word_of = None
        if continues_word is not None:
            word_of = masking.number_words(np.asarray(continues_word, dtype=bool)[ids], begins[lengths > 0])
        fate = masking.draw(len(ids), rng, word_of)
        changed = np.where(fate < p_mask, np.int32(mask_id), ids)
        start, kept = ngram.sample(lengths, p_ng, ngram_range, rng)
        if tags is not None and same_tag is not None:
            replaced = (fate >= p_mask) & (fate < p_mask + p_pos)
            changed[replaced] = same_tag.draw(_repeated(tags[side], n_iter)[0][replaced], rng)
        copies.append(_cut(changed, begins + start, kept))
    originals = [[list(sentence) for sentence in sentences] for sentences in columns]
    # Hashes in place of rows spare gigabytes on QQP; should two collide, one random copy in 10^13 or so is lost.
    seen = {_hash(original) for original in zip(*originals, strict=True)}
    rows: list[Rows] = [[] for _ in columns]
    source: list[int] = []
    for index, original in enumerate(zip(*originals, strict=True)):
        variants = zip(*(column[index * n_iter : (index + 1) * n_iter] for column in copies), strict=True)
        fresh = []
        for variant in variants:
            key = _hash(variant)
            if key not in seen:
                seen.add(key)
                fresh.append(variant)
        for row in (original, *fresh):
            for column, sentence in zip(rows, row, strict=True):
                column.append(sentence)
            source.append(index)
    return rows, np.array(source, dtype=np.int64)


def _repeated(sentences: Sequence[Sequence[int]], n_iter: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """``n_iter`` copies of the first sentence, then of the second, and so on, laid end to end; and the length of each copy."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)).repeat(n_iter)
    ids = (i for sentence in sentences for _ in range(n_iter) for i in sentence)
    return np.fromiter(ids, np.int32, count=int(lengths.sum())), lengths


def _cut(ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Rows:
    # One int object an id, not one a token: a third of the memory.
    shared = np.arange(int(ids.max(initial=0)) + 1).astype(object)
    tokens = shared[ids].tolist()
    return [tokens[first : first + count] for first, count in zip(starts.tolist(), lengths.tolist(), strict=True)]


def _hash(row: tuple[list[int], ...]) -> int:
    return hash(tuple(map(tuple, row)))
