"""The BiLSTM's augmentation: every row from its own sentence, quickly, and the same for the same seed."""

import time
from pathlib import Path

import numpy as np
import pytest

from paddledistill.augment.bilstm import augment_pairs, augment_rows, masked_copies
from paddledistill.data.tokenization import Tokenizer
from paddledistill.tasks import Example

MASK = 3


def sentences(count: int, length: int = 12) -> list[list[int]]:
    """Sentences that share no id, so that any id tells which sentence it is from."""
    return [[10 + row * length + column for column in range(length)] for row in range(count)]


def is_run_of(row: list[int], source: list[int]) -> bool:
    """Whether ``row`` is a contiguous run of ``source``, masked ids fitting any."""
    return any(
        all(a in (b, MASK) for a, b in zip(row, source[start:], strict=False))
        for start in range(len(source) - len(row) + 1)
    )


def test_every_row_is_from_its_own_sentence() -> None:
    """Defect 1 of the originals: every augmented row was a copy of the LAST sentence with another row's label."""
    given = sentences(50)
    rows, source = augment_rows(given, 20, mask_id=MASK, seed=0)
    assert len(rows) == len(source) > 50 * 15
    assert all(is_run_of(row, given[index]) for row, index in zip(rows, source, strict=True))
    assert np.bincount(source).min() > 5, "every sentence has copies"


def test_original_first_then_its_copies_without_repeats() -> None:
    given = sentences(30, length=3)
    rows, source = augment_rows(given, 20, mask_id=MASK, seed=0)
    firsts = [int(np.flatnonzero(source == index)[0]) for index in range(30)]
    assert [rows[first] for first in firsts] == given
    assert source.tolist() == sorted(source.tolist())
    assert len({tuple(row) for row in rows}) == len(rows)


def test_repeated_sentences_are_all_kept() -> None:
    rows, source = augment_rows([[5, 6], [5, 6]], 0, mask_id=MASK, seed=0)
    assert rows == [[5, 6], [5, 6]] and source.tolist() == [0, 1]


def test_shares_of_masks_and_ngrams() -> None:
    rows, source = augment_rows(sentences(500, length=40), 20, mask_id=MASK, seed=0)
    copies = [row for position, row in enumerate(rows) if position and source[position] == source[position - 1]]
    assert 0.09 < sum(row.count(MASK) for row in copies) / sum(map(len, copies)) < 0.115
    assert 0.23 < sum(len(row) <= 6 for row in copies) / len(copies) < 0.27


def test_the_seed_decides() -> None:
    given = sentences(20)
    first, again, other = (augment_rows(given, 5, mask_id=MASK, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_whole_words() -> None:
    continues = [False] * 10 + [bool(column % 3) for column in range(12 * 40)]
    rows, _ = augment_rows(sentences(40), 20, mask_id=MASK, seed=0, p_ng=0.0, p_mask=0.3, continues_word=continues)
    words = np.array(rows).reshape(-1, 3) == MASK
    assert set(words.sum(axis=1).tolist()) == {0, 3}


def test_sides_of_a_pair_are_independent() -> None:
    given = sentences(200)
    rows, rows_b, source = augment_pairs(given, given, 10, mask_id=MASK, seed=0, p_ng=0.0, p_mask=0.5)
    assert all(is_run_of(row, given[index]) for row, index in zip(rows, source, strict=True))
    assert all(is_run_of(row, given[index]) for row, index in zip(rows_b, source, strict=True))
    changed = [i for i in range(1, len(source)) if source[i] == source[i - 1]]
    a, b = (np.array([side[i] for i in changed]) == MASK for side in (rows, rows_b))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.03
    with pytest.raises(ValueError, match="200 first sentences but 199"):
        augment_pairs(given, given[1:], 1, mask_id=MASK, seed=0)


def test_empty_sentences_pass_through() -> None:
    rows, source = augment_rows([[], [7]], 3, mask_id=MASK, seed=0, p_mask=1.0, continues_word=[False] * 8)
    assert rows == [[], [7], [MASK]] and source.tolist() == [0, 1, 1]


def test_the_demo_set_takes_seconds() -> None:
    given = sentences(7_560, length=21)
    start = time.perf_counter()
    rows, _ = augment_rows(given, 20, mask_id=MASK, seed=0)
    assert len(rows) > 7_560 * 15
    assert time.perf_counter() - start < 15


def test_copies_of_examples_keep_their_own_label_and_words(tiny_vocab: Path) -> None:
    """Defect 1 again, at the level of text: each copy is of its own sentence and has that sentence's label."""
    examples = [
        Example("It's a Good film , isn't it ?", None, 1),
        Example("the plot is dull and the cast is bad", None, 0),
    ] * 2
    tokenizer = Tokenizer.from_vocab(tiny_vocab)
    copies = masked_copies(examples, tokenizer, 20, seed=0, p_mask=0.3)
    assert copies[0] == examples[0], "the original comes first, as it was written"
    assert copies.count(examples[0]) == 2, "a repeated row is kept"
    words = {1: set(tokenizer.words(examples[0].text_a)), 0: set(tokenizer.words(examples[1].text_a))}
    for copy in copies:
        assert set(tokenizer.words(copy.text_a)) - {"[MASK]"} <= words[int(copy.label or 0)]
    assert {copy.label for copy in copies[:10]} == {1}
    assert any("[MASK]" in copy.text_a for copy in copies)


def test_copies_of_pairs(tiny_vocab: Path) -> None:
    examples = [Example("one two three", "four five six", 2.5), Example("seven eight", "nine ten", 0.5)]
    copies = masked_copies(examples, Tokenizer.from_vocab(tiny_vocab), 30, seed=0, p_mask=0.4)
    assert copies[0] == examples[0]
    assert {copy.label for copy in copies} == {2.5, 0.5}
    for copy in copies:
        own = examples[0] if copy.label == 2.5 else examples[1]
        for text, original in zip(copy.texts, own.texts, strict=True):
            assert set(text.split()) - {"[MASK]"} <= set(original.split())


def test_copies_are_empty_for_no_examples_and_plain_for_no_iterations(tiny_vocab: Path) -> None:
    tokenizer = Tokenizer.from_vocab(tiny_vocab)
    assert masked_copies([], tokenizer, 5, seed=0) == []
    examples = [Example("a b", None, None)]
    assert masked_copies(examples, tokenizer, 0, seed=0) == examples
