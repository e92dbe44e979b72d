"""Tests of paddledistill.data.masked_text."""

import numpy as np
import pytest

from paddledistill.data import packed_text
from paddledistill.data.masked_text import MASKED_SHARE, mask_text
from paddledistill.data.packed_text import to_stream
from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError

TOKENIZER = Tokenizer.from_vocab(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[", *(f"word{number}" for number in range(993))]
)
CLS, SEP, MASK = 2, 3, 4


@pytest.fixture
def stream() -> np.ndarray:
    """Ten thousand ordinary wordpieces."""
    return np.random.default_rng(1).integers(7, 1000, 10_000).astype(np.int32)


def test_the_stream_joins_all_paragraphs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_text, "_CHUNK", 3)
    stream = to_stream(
        ["1 2", "", "3", "4 5 6"], lambda texts: [[int(word) for word in text.split()] for text in texts]
    )
    assert stream.tolist() == [1, 2, 3, 4, 5, 6]
    assert stream.dtype == np.int32


def test_unmasked_rows_give_the_text_back(stream: np.ndarray) -> None:
    """Every piece appears exactly once, in order, in one or two segments."""
    rows = mask_text(stream, TOKENIZER, length=64, seed=3)
    batch = rows.batch(np.arange(len(rows)))
    ids = batch["input_ids"].copy()
    ids.reshape(-1)[batch["positions"]] = batch["labels"]
    assert (ids[:, 0] == CLS).all()
    assert (ids[:, -1] == SEP).all()
    assert (ids == SEP).sum(1).tolist() == [1, 2] * (len(rows) // 2)
    text = ids[(ids != CLS) & (ids != SEP)]
    np.testing.assert_array_equal(text, stream[: len(text)])
    assert len(stream) - len(text) < 2 * 64
    for row, segments in zip(ids, batch["token_type_ids"], strict=True):
        first = int(np.argmax(row == SEP))
        assert segments.tolist() == [0] * (first + 1) + [1] * (63 - first)
    assert batch["attention_mask"].all()


def test_masking_follows_the_paper(stream: np.ndarray) -> None:
    rows = mask_text(stream, TOKENIZER, length=64, seed=3)
    batch = rows.batch(np.arange(len(rows)))
    shown = batch["input_ids"].reshape(-1)[batch["positions"]]
    assert len(shown) == len(rows) * round(MASKED_SHARE * 62)
    assert len(set(batch["positions"])) == len(shown)
    masked, kept = (shown == MASK).mean(), (shown == batch["labels"]).mean()
    other = 1 - masked - kept
    assert masked == pytest.approx(0.8, abs=0.04)
    assert kept == pytest.approx(0.1, abs=0.03)
    assert other == pytest.approx(0.1, abs=0.03)
    assert not {0, 1, 2, 3, 5} & set(shown.tolist())  # neither special nor unused pieces stand in for a word


def test_a_row_depends_on_seed_and_number_alone(stream: np.ndarray) -> None:
    rows, again = mask_text(stream, TOKENIZER, 32, seed=3), mask_text(stream, TOKENIZER, 32, seed=3)
    together, alone = rows.batch(np.array([5, 9])), again.batch(np.array([9]))
    np.testing.assert_array_equal(together["input_ids"][1:], alone["input_ids"])
    np.testing.assert_array_equal(together["positions"][together["positions"] >= 32] - 32, alone["positions"])
    other = mask_text(stream, TOKENIZER, 32, seed=4)
    assert not np.array_equal(other.batch(np.array([9]))["input_ids"], alone["input_ids"])


def test_limit_and_too_little_text(stream: np.ndarray) -> None:
    limited = mask_text(stream, TOKENIZER, 32, seed=0, limit=5)
    assert len(limited) == 5
    assert limited.lengths.tolist() == [32] * 5
    with pytest.raises(UserError, match="20 tokens of text are too few for rows of 64"):
        mask_text(stream[:20], TOKENIZER, 64, seed=0)
