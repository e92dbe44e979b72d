"""The BiLSTM's augmentation: every row from its own sentence, quickly, and the same for the same seed."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from paddledistill.augment.bilstm import Augmentation, augmented
from paddledistill.data.tokenization import SPECIAL_TOKENS, Tokenizer
from paddledistill.tasks import Example, LeakGuard

MASK = "[MASK]"
NOTHING = LeakGuard([])


def sentences(count: int, length: int = 12) -> list[Example]:
    """Sentences that share no word, so that any word tells which sentence it is from; the label tells it too."""
    texts = [" ".join(f"w{row * length + column}" for column in range(length)) for row in range(count)]
    return [Example(text, None, number) for number, text in enumerate(texts)]


def copies(examples: Sequence[Example], augmentation: Augmentation, seed: int = 0) -> list[Example]:
    tokenizer = Tokenizer.of_words([text for example in examples for text in example.texts])
    return augmented(examples, tokenizer, augmentation, seed, NOTHING)


def is_run_of(text: str, source: str) -> bool:
    """Whether the words of ``text`` are a contiguous run of those of ``source``, masked ones fitting any."""
    words, own = text.split(), source.split()
    return any(
        all(a in (b, MASK) for a, b in zip(words, own[start:], strict=False))
        for start in range(len(own) - len(words) + 1)
    )


def test_every_row_is_from_its_own_sentence_and_has_its_label() -> None:
    """Defect 1 of the originals: every augmented row was a copy of the LAST sentence with another row's label."""
    given = sentences(50)
    rows = copies(given, Augmentation(20))
    assert len(rows) > 50 * 15
    assert all(is_run_of(row.text_a, given[row.label].text_a) for row in rows)
    assert np.bincount([row.label for row in rows]).min() > 5, "every sentence has copies"


def test_original_first_then_its_copies_without_repeats() -> None:
    given = [Example("It's A Good film", None, 0), *sentences(30, length=3)[1:]]
    rows = copies(given, Augmentation(20))
    labels = [row.label for row in rows]
    assert [rows[labels.index(label)] for label in range(30)] == given, "as they were written"
    assert labels == sorted(labels)
    assert len(set(rows)) == len(rows)


def test_repeated_sentences_are_all_kept() -> None:
    given = [Example("five six", None, 1)] * 2
    assert copies(given, Augmentation(0)) == given
    assert copies([], Augmentation(5)) == []


@pytest.mark.parametrize(
    "text", ["It isn't a Café film, they say: U.S. made", "很好的film,不错。", "so-called  a\u00adb a b"]
)
def test_what_is_kept_is_spelled_as_in_the_sentence(text: str, tiny_vocab: Path) -> None:
    """A cased teacher was given "it isn ' t a cafe film"; the student reads the same words either way."""
    tokenizer = Tokenizer.from_vocab(tiny_vocab)
    drawn = augmented([Example(text)], tokenizer, Augmentation(200, 0.2, 0.0, 0.3, (2, 6), True), 0, NOTHING)[1:]
    assert len(drawn) > 30
    own = tokenizer.words(text)
    assert all(is_run_of(" ".join(tokenizer.words(row.text_a)), " ".join(own)) for row in drawn)
    if "Café" in text:
        assert any(row.text_a.startswith("It isn't a Café ") for row in drawn)
        assert any(" [MASK] , they say: U.S." in row.text_a for row in drawn)


def test_jieba_does_not_part_a_copy_again() -> None:
    text = "今天装上新的，上个月不大稳定，人名太多，装好以后wifi很快"
    tokenizer = Tokenizer.of_words([text], segmenter="jieba")
    assert len(tokenizer.words(" ".join(tokenizer.words(text)))) == len(tokenizer.words(text))
    drawn = augmented([Example(text)], tokenizer, Augmentation(50, p_mask=0.2), 0, NOTHING)[1:]
    assert len(drawn) > 40
    assert all(is_run_of(row.text_a, " ".join(tokenizer.words(text))) for row in drawn)
    assert all(tokenizer.words(row.text_a) == row.text_a.split() for row in drawn)


def test_wordpieces_are_spelled_as_in_the_sentence() -> None:
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "cafe", "##s"])
    rows = augmented([Example("Cafés")], tokenizer, Augmentation(40, p_mask=0.5, p_ng=0.0), 0, NOTHING)
    assert {row.text_a for row in rows} == {"Cafés", "Café [MASK]", "[MASK] s", "[MASK] [MASK]"}


def test_no_copy_is_a_dev_row(caplog: pytest.LogCaptureFixture) -> None:
    """Two words of a sentence can be all of another one: "- bad" of SST-2 is a dev row."""
    given = [Example("the film is very bad , they say", None, 0)]
    short = Augmentation(400, p_mask=0.0, p_ng=1.0, ngram_range=(2, 3))
    texts = {row.text_a for row in copies(given, short)}
    assert {"very bad", "bad ,", "film is very"} <= texts
    guard = LeakGuard([Example("bad -", None, 0), Example("Very bad.", None, 0)])
    with caplog.at_level("WARNING"):
        kept = augmented(given, Tokenizer.of_words([given[0].text_a]), short, 0, guard)
    assert texts - {row.text_a for row in kept} == {"bad ,", "very bad", "very bad ,"}
    assert f"dropped 3 of {len(kept) + 3} rows" in caplog.text


def test_shares_of_masks_and_ngrams() -> None:
    given = sentences(500, length=40)
    drawn = [row.text_a.split() for row in copies(given, Augmentation(20)) if row not in given]
    assert 0.09 < sum(row.count(MASK) for row in drawn) / sum(map(len, drawn)) < 0.115
    assert 0.23 < sum(len(row) <= 6 for row in drawn) / len(drawn) < 0.27
    lengths = [len(row.text_a.split()) for row in copies(given, Augmentation(20, p_ng=1.0, ngram_range=(1, 3)))]
    assert set(lengths) == {1, 2, 3, 40}


def test_the_seed_decides() -> None:
    given = sentences(20)
    first, again, other = (copies(given, Augmentation(5), seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("whole_words", [True, False])
def test_wordpieces_or_whole_words(whole_words: bool) -> None:
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "play", "##ing", "##s", "film", "p", "##l", "##a", "##y"])
    given = [Example("playing film xyz plays", None, 0)]
    rows = augmented(given, tokenizer, Augmentation(200, p_mask=0.3, p_ng=0.0, whole_words=whole_words), 0, NOTHING)
    words = {word for row in rows for word in row.text_a.split()}
    parts = set() if whole_words else {"play", "ing", "s"}
    assert words == {"playing", "film", "xyz", "plays", MASK} | parts
    if not whole_words:
        assert any(row.text_a == f"play {MASK} film xyz plays" for row in rows)
        assert any(row.text_a.startswith(f"{MASK} ing film") for row in rows)


def test_copies_of_a_pair_vary_one_side_the_other_and_both() -> None:
    """In turn, as section 3.2 of the paper has it."""
    given = [example._replace(text_b=example.text_a) for example in sentences(100)]
    rows = copies(given, Augmentation(9, p_mask=0.5, p_ng=0.0))
    for label, source in enumerate(given):
        drawn = [row for row in rows if row.label == label][1:]
        assert all(is_run_of(text, source.text_a) for row in drawn for text in row.texts)
        varied = [(row.text_a != source.text_a, row.text_b != source.text_b) for row in drawn]
        assert varied == [(True, False), (False, True), (True, True)] * 3


def test_sides_of_a_pair_are_independent() -> None:
    given = [example._replace(text_b=example.text_a) for example in sentences(200)]
    rows = copies(given, Augmentation(12, p_ng=0.0, p_mask=0.5))
    both = [row for row in rows if MASK in row.text_a and MASK in (row.text_b or "")]
    a, b = (np.array([[word == MASK for word in row.texts[side].split()] for row in both]) for side in (0, 1))
    assert len(both) > 700
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.03


def test_the_demo_set_takes_seconds() -> None:
    given = sentences(7_560, length=21)
    start = time.perf_counter()
    assert len(copies(given, Augmentation(20))) > 7_560 * 15
    assert time.perf_counter() - start < 30
