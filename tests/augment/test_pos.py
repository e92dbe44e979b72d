"""POS-guided replacement: the right tags, the text's own frequencies."""

from collections import Counter

import numpy as np
import pytest

from paddledistill.augment import tagging
from paddledistill.augment.bilstm import Augmentation, augmented
from paddledistill.augment.pos import SameTag, number_tags
from paddledistill.data.tokenization import SPECIAL_TOKENS, Tokenizer
from paddledistill.errors import UserError
from paddledistill.tasks import Example, LeakGuard


def test_words_come_as_often_as_the_text_has_them() -> None:
    words, tags = np.array([5, 6, 5, 7, 5, 8], np.int32), np.array([0, 0, 0, 1, 0, 1], np.int32)
    drawn = SameTag(words, tags).draw(np.array([0] * 8000 + [1] * 8000, np.int32), np.random.default_rng(0))
    first, second = Counter(drawn[:8000].tolist()), Counter(drawn[8000:].tolist())
    assert set(first) == {5, 6} and set(second) == {7, 8}
    assert first[5] / 8000 == pytest.approx(0.75, abs=0.02)
    assert second[7] / 8000 == pytest.approx(0.5, abs=0.02)


def test_a_tag_has_one_number_everywhere() -> None:
    assert number_tags([[["NN", "JJ"]], [["JJ"], []]]) == [[[0, 1]], [[1], []]]


def by_length(sentences: object) -> list[list[str]]:
    """A tagger for which words of one length are of one kind."""
    return [[str(len(word)) for word in sentence] for sentence in sentences]  # type: ignore[attr-defined]


@pytest.mark.parametrize("pair", [False, True])
def test_copies_hold_words_of_the_same_kind_in_their_place(tiny_vocab, pair: bool) -> None:
    texts = ["a warm film", "the dull plot", "it was long"]
    examples = [Example(text, texts[0] if pair else None, number % 2) for number, text in enumerate(texts)]
    tokenizer = Tokenizer.from_vocab(tiny_vocab)
    guard = LeakGuard([])
    copies = augmented(
        examples, tokenizer, Augmentation(40, p_ng=0.0, p_pos=0.5, whole_words=True), 1, guard, by_length
    )
    known, by_label = (
        {word for text in texts for word in text.split()},
        {text: number % 2 for number, text in enumerate(texts)},
    )
    lengths = {tuple(len(word) for word in text.split()) for text in texts}
    replaced = masked = 0
    for copy in copies:
        for text in copy.texts:
            words = text.split()
            assert set(words) <= known | {"[MASK]"}
            assert any(
                all(word == "[MASK]" or len(word) == n for word, n in zip(words, one, strict=True)) for one in lengths
            )
            masked += words.count("[MASK]")
            replaced += text not in by_label and "[MASK]" not in words
    assert replaced and masked
    plain = Augmentation(40, p_ng=0.0)
    assert augmented(examples, tokenizer, plain, 1, guard) == augmented(examples, tokenizer, plain, 1, guard, by_length)


def test_a_replaced_word_has_no_pieces_left_to_mask() -> None:
    """Its original came back, masked, when a later piece of it was hit."""
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "aa", "##bb", "##cc", "zz"])
    examples = [Example(" ".join([word] * 200), None, label) for label, word in enumerate(("aabbcc", "zz"))]
    for whole_words in (True, False):
        augmentation = Augmentation(100, p_mask=0.3, p_pos=0.4, p_ng=0.0, whole_words=whole_words)
        rows = augmented(
            examples, tokenizer, augmentation, 1, LeakGuard([]), lambda column: [["N"] * 200 for _ in column]
        )
        copies = [row.text_a for row in rows if row.label == 0][1:]
        share = sum(text.count("zz") for text in copies) / len(copies) / 200
        assert share == pytest.approx(0.4 / 2, abs=0.01), "the other half of the words drawn is aabbcc"


@pytest.mark.assets("pos-tagger")
def test_english_by_the_embedded_weights() -> None:
    (tags,) = tagging.tagger("en")([["the", "old", "dog", "barked", "loudly"]])
    assert tags == ["DT", "JJ", "NN", "VBD", "RB"]


def test_chinese_by_jieba() -> None:
    (tags,) = tagging.tagger("zh")([["酒店", "很", "漂亮", "没有的词"]])
    assert tags == ["n", "zg", "a", "n"]


def test_chinese_words_and_numbers_are_no_punctuation() -> None:
    (tags,) = tagging.tagger("zh")([["wifi", "2013", "3.5", "，", "……", "~"]])
    assert tags == ["eng", "m", "m", "x", "x", "x"]


def test_a_file_that_asks_for_more_than_sets() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, ("1 + 1",)

    import pickle

    with pytest.raises(UserError, match=r"weights of the tagger are damaged \(it asks for builtins\.eval\)"):
        tagging._read_weights(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="damaged"):
        tagging._read_weights(b"nothing")
