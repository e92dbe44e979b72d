"""The augmentation of the distilled BiLSTM: masked and shortened copies of every training row.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136), section 3.2,
without its POS-guided replacement. The copies are for a teacher to score; beside it they carry the label of their own sentence.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paddledistill.augment import masking, ngram
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
) -> list[Example]:
    """Every example as it is, followed by its copies as text, so that teacher and student may read them with different vocabularies.

    :param tokenizer: parts the words, which are masked whole; n-grams are of words too. A masked word is written as ``[MASK]``, which
        tokenizers take for the mask token.
    :returns: examples with the labels of those that they come from; otherwise as ``augment_rows`` and ``augment_pairs``.
    """
    mask = tokenizer.vocab[tokenizer.mask_id]
    columns = list(zip(*(example.texts for example in examples), strict=True))
    words = [[tokenizer.words(text) for text in column] for column in columns]
    vocabulary = list(dict.fromkeys([mask, *(word for column in words for sentence in column for word in sentence)]))
    index = {word: number for number, word in enumerate(vocabulary)}
    ids = [[[index[word] for word in sentence] for sentence in column] for column in words]
    copies, source = _augment(ids, n_iter, index[mask], seed, p_mask, p_ng, ngram_range, None)
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
) -> tuple[list[Rows], NDArray[np.int64]]:
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative, got {n_iter}")
    copies = [
        _copies(
            sentences, n_iter, mask_id, np.random.default_rng([seed, side]), p_mask, p_ng, ngram_range, continues_word
        )
        for side, sentences in enumerate(columns)
    ]
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


def _copies(
    sentences: Sequence[Sequence[int]],
    n_iter: int,
    mask_id: int,
    rng: np.random.Generator,
    p_mask: float,
    p_ng: float,
    ngram_range: tuple[int, int],
    continues_word: Sequence[bool] | None,
) -> Rows:
    """``n_iter`` copies of the first sentence, then of the second, and so on: whole arrays at a time, for speed."""
    lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)).repeat(n_iter)
    ids = np.fromiter(
        (i for sentence in sentences for _ in range(n_iter) for i in sentence), np.int32, count=int(lengths.sum())
    )
    begins = np.cumsum(lengths) - lengths
    word_of = None
    if continues_word is not None:
        word_of = masking.number_words(np.asarray(continues_word, dtype=bool)[ids], begins[lengths > 0])
    masked = masking.mask(ids, mask_id, p_mask, rng, word_of)
    start, kept = ngram.sample(lengths, p_ng, ngram_range, rng)
    # One int object an id, not one a token: a third of the memory.
    shared = np.arange(int(masked.max(initial=0)) + 1).astype(object)
    tokens = shared[masked].tolist()
    return [
        tokens[first : first + count] for first, count in zip((begins + start).tolist(), kept.tolist(), strict=True)
    ]


def _hash(row: tuple[list[int], ...]) -> int:
    return hash(tuple(map(tuple, row)))
