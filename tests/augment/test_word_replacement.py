"""TinyBERT's word replacement, on a tiny masked language model with random weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gensim.parsing.preprocessing import STOPWORDS

from paddledistill.augment import word_replacement as replacement
from paddledistill.augment.word_replacement import Sentence
from paddledistill.data.tokenization import Tokenizer
from paddledistill.models.masked_lm import MaskedLM, masked_lm

TEXTS = [
    "The film is good and the story is bad, isn't it?",
    "A man is playing a guitar; a woman eats the bread in 1999.",
    "Boys and girls play with a dog near the old house.",
    "Good.",
]


@pytest.fixture(scope="module")
def model(tiny_masked_lm: Path) -> MaskedLM:
    return masked_lm(str(tiny_masked_lm))


@pytest.fixture(scope="module")
def sentences(model: MaskedLM) -> list[Sentence]:
    return replacement.split(TEXTS, model.tokenizer)


@pytest.fixture(scope="module")
def jobs(sentences: list[Sentence]) -> list[tuple[Sentence, int]]:
    return [(sentence, word) for sentence in sentences for word in sentence.masked]


class Recorder:
    """Passes on to a model and keeps what it was asked."""

    def __init__(self, model: MaskedLM) -> None:
        self.model, self.tokenizer, self.max_seq_length = model, model.tokenizer, model.max_seq_length
        self.asked: list[np.ndarray] = []

    def predict_logits(
        self, input_ids: np.ndarray, types: np.ndarray, mask: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        self.asked.append(input_ids)
        return self.model.predict_logits(input_ids, types, mask, positions)


def test_which_words_may_be_replaced(tiny_vocab: Path) -> None:
    tokenizer = Tokenizer.from_vocab([*Path(tiny_vocab).read_text("utf-8").split("\n")[:-1], "unseen"])
    text = "It's GOOD, don't you unbelievably think 3rd [MASK] unseen?"
    (sentence,) = replacement.split([text], tokenizer)
    words = sentence.words
    assert sentence.text == text
    chosen = {words[index] for index in (*sentence.masked, *sentence.distant)}
    assert chosen == {"good", "unbelievably", "think", "unseen"}, (
        "no stop words or clitics, digits, punctuation, specials"
    )
    assert "unbelievably" in {words[index] for index in sentence.distant}
    assert {"good", "unseen"} <= {words[index] for index in sentence.masked}
    assert all(len(sentence.pieces[index]) == 1 for index in sentence.masked)


def test_an_unknown_word_is_left_to_the_vectors() -> None:
    tokenizer = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"])
    (sentence,) = replacement.split(["good film"], tokenizer)
    assert sentence.masked == (0,) and sentence.distant == (1,)


def test_input_is_the_masked_sentence_then_the_sentence(model: MaskedLM) -> None:
    tokenizer = model.tokenizer
    (sentence,) = replacement.split(["the unbelievable film"], tokenizer)
    item = replacement.masked_input(sentence, 2, tokenizer, longest=512)
    tokens = [tokenizer.vocab[number] for number in item.ids]
    pieces = [tokenizer.vocab[number] for number in tokenizer.ids(["the unbelievable film"])[0]]
    assert len(pieces) > 3, "the second word has several pieces"
    assert tokens == ["[CLS]", *pieces[:-1], "[MASK]", "[SEP]", *pieces, "[SEP]"]
    assert tokens[item.position] == "[MASK]"
    assert item.second == len(pieces) + 2


@pytest.mark.parametrize("longest", [512, 64, 33, 6, 5])
def test_words_past_the_position_limit(model: MaskedLM, longest: int) -> None:
    """Defect 7 of the originals: words past position 510 crashed."""
    tokenizer = model.tokenizer
    (sentence,) = replacement.split(["the good film and bad story unbelievable " * 120], tokenizer)
    for word in (*sentence.masked[:3], *sentence.masked[-3:], sentence.masked[200]):
        item = replacement.masked_input(sentence, word, tokenizer, longest)
        assert len(item.ids) <= longest
        assert item.ids[item.position] == tokenizer.mask_id
        assert item.ids.count(tokenizer.mask_id) == 1
        assert item.ids[item.second + item.position - 1] == sentence.pieces[word][0], (
            "the second segment shows the word"
        )
        hidden, shown = item.ids[1 : item.second - 1], item.ids[item.second : -1]
        assert [a for a, b in zip(hidden, shown, strict=True) if a != b] == [tokenizer.mask_id]


def test_a_long_text_goes_through_the_model(model: MaskedLM) -> None:
    (sentence,) = replacement.split(["the good film and bad story " * 150], model.tokenizer)
    last = sentence.masked[-1]
    assert sum(map(len, sentence.pieces[:last])) > 600
    ids = replacement.predict(model, [(sentence, last)], count=5, batch_size=4)
    assert ids.shape == (1, 5) and (ids >= 0).all()


def test_candidates_are_the_best_words_of_the_model(model: MaskedLM, jobs: list[tuple[Sentence, int]]) -> None:
    """Against one forward pass a word and a plain sort."""
    tokenizer = model.tokenizer
    ids = replacement.predict(model, jobs, count=6, batch_size=5)
    for (sentence, word), chosen in zip(jobs, ids, strict=True):
        pieces = [number for word_pieces in sentence.pieces for number in word_pieces]
        at = sum(map(len, sentence.pieces[:word]))
        row = [
            tokenizer.cls_id,
            *pieces[:at],
            tokenizer.mask_id,
            *pieces[at + 1 :],
            tokenizer.sep_id,
            *pieces,
            tokenizer.sep_id,
        ]
        types = [0] * (len(pieces) + 2) + [1] * (len(pieces) + 1)
        logits = model.predict_logits(
            np.array([row]), np.array([types]), np.ones((1, len(row)), int), np.array([at + 1])
        )[0]
        ranked = np.argsort(-logits, kind="stable")
        words = [
            number
            for number in ranked
            if tokenizer.vocab[number].isalpha() and tokenizer.vocab[number] not in {*STOPWORDS, *"stdm"}
        ]
        assert sorted(words[:6]) == chosen.tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_nothing(model: MaskedLM, jobs: list[tuple[Sentence, int]], batch_size: int) -> None:
    want = replacement.predict(model, jobs, count=6, batch_size=8)
    assert (replacement.predict(model, jobs, count=6, batch_size=batch_size) == want).all()
    assert (replacement.predict(model, jobs[::-1], count=6, batch_size=batch_size)[::-1] == want).all()


def test_close_calls_are_settled_alone(
    model: MaskedLM, jobs: list[tuple[Sentence, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything too close to call, each word gets a pass of its own and the answer stays."""
    want = replacement.predict(model, jobs, count=6, batch_size=8)
    monkeypatch.setattr(replacement, "TOO_CLOSE", np.inf)
    recorder = Recorder(model)
    assert (replacement.predict(recorder, jobs, count=6, batch_size=8) == want).all()
    assert sum(len(ids) == 1 for ids in recorder.asked) >= len(jobs)


def test_each_masked_word_is_computed_once_and_in_batches(
    model: MaskedLM, jobs: list[tuple[Sentence, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect 7 of the originals: one forward pass of one row for every word."""
    monkeypatch.setattr(replacement, "TOO_CLOSE", 0.0)
    recorder = Recorder(model)
    done: list[int] = []
    replacement.predict(recorder, jobs, count=6, batch_size=8, on_batch=done.append)
    assert len(recorder.asked) == -(-len(jobs) // 8)
    rows = [tuple(row[row != model.tokenizer.pad_id].tolist()) for ids in recorder.asked for row in ids]
    assert len(rows) == len(set(rows)) == len(jobs) == sum(done)


def test_fewer_words_than_wanted() -> None:
    """A vocabulary with three words, answers padded with -1."""
    tokenizer = Tokenizer.from_vocab(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", ",", "##s", "[unused1]", "the"]
    )

    class Flat:
        """All tokens equally likely, and an output layer wider than the vocabulary."""

        max_seq_length = 32

        def __init__(self, tokenizer: Tokenizer) -> None:
            self.tokenizer = tokenizer

        def predict_logits(
            self, ids: np.ndarray, types: np.ndarray, mask: np.ndarray, positions: np.ndarray
        ) -> np.ndarray:
            return np.zeros((len(positions), 16), np.float32)

    (sentence,) = replacement.split(["good film"], tokenizer)
    asked = [(sentence, 0), (sentence, 1)]
    assert replacement.predict(Flat(tokenizer), asked, count=5, batch_size=2).tolist() == [[-1, -1, 5, 6, 7]] * 2
    assert replacement.predict(Flat(tokenizer), asked, count=2, batch_size=2).tolist() == [[5, 6]] * 2, (
        "ties: the lower ids"
    )
    assert replacement.predict(Flat(tokenizer), [], count=2, batch_size=2).shape == (0, 2)


def sentence(text: str) -> Sentence:
    """A sentence in which every word may be replaced, the first half by the masked language model."""
    words = tuple(text.lower().split())
    half = len(words) // 2
    return Sentence(text, words, tuple((0,) for _ in words), tuple(range(half)), tuple(range(half, len(words))))


def candidates(words: Sentence, kinds: str = "xyz") -> dict[int, list[str]]:
    return {index: [f"{word}{kind}" for kind in kinds] for index, word in enumerate(words.words)}


def draws(words: Sentence, n: int, p: float, seed: int = 0) -> Iterator[dict[int, str]]:
    return replacement.draw(words, candidates(words), n, p, np.random.default_rng(seed))


def test_draws_replace_with_probability_p_and_evenly() -> None:
    words = sentence("a b c d e f g h i j")
    drawn = list(draws(words, 3000, 0.4))
    assert abs(sum(map(len, drawn)) / 30_000 - 0.4) < 0.01
    used = [word[-1] for replaced in drawn for word in replaced.values()]
    assert all(abs(used.count(kind) / len(used) - 1 / 3) < 0.02 for kind in "xyz")
    assert all(replaced == {} for replaced in draws(words, 5, 0.0))
    assert all(len(replaced) == 10 for replaced in draws(words, 5, 1.0))


def test_first_draws_do_not_depend_on_how_many_follow() -> None:
    words = sentence("a b c d")
    assert list(draws(words, 3, 0.5)) == list(draws(words, 30, 0.5))[:3]


def test_variants_are_new_and_start_from_the_original_text() -> None:
    words = sentence("Good Film")
    variants = replacement.vary([words], [candidates(words, "x")], n=50, p=0.5, seed=0, row=0)
    assert {variant.texts[0] for variant in variants} == {"goodx film", "good filmx", "goodx filmx"}
    assert len(variants) == 3, "no repeats, and not the original again"
    counts = {variant.texts[0]: (variant.by_masked_lm, variant.by_vectors) for variant in variants}
    assert counts == {"goodx film": (1, 0), "good filmx": (0, 1), "goodx filmx": (1, 1)}


def test_n_is_honoured() -> None:
    """Defect 7 of the originals: --N was ignored."""
    words = sentence("a b c d e f g h")
    sizes = [len(replacement.vary([words], [candidates(words)], n, 0.4, seed=0, row=0)) for n in (0, 1, 5, 20)]
    assert sizes[:2] == [0, 1]
    assert 3 <= sizes[2] <= 5 < 15 <= sizes[3] <= 20


def test_sentences_of_a_pair_vary_independently() -> None:
    """Defect 7 of the originals: sentence 2 was augmented with sentence 1's last variant."""
    first, second = sentence("a b c d e f"), sentence("p q r s t u")
    both = [candidates(first), candidates(second)]
    variants = replacement.vary([first, second], both, n=400, p=0.4, seed=3, row=7)
    for variant in variants:
        for side, text in zip((first, second), variant.texts, strict=True):
            assert [word[0] for word in text.lower().split()] == list(side.words), "each from its own sentence"
    assert any(v.texts[0] != first.text and v.texts[1] != second.text for v in variants)
    original = first.words + second.words
    flags = np.array(
        [[word != own for word, own in zip(" ".join(v.texts).split(), original, strict=True)] for v in variants]
    )
    assert abs(np.corrcoef(flags[:, :6].sum(1), flags[:, 6:].sum(1))[0, 1]) < 0.15
    other = sentence("h i j k l m")
    alone = [
        v.texts[1] for v in replacement.vary([other, second], [candidates(other), both[1]], n=400, p=0.4, seed=3, row=7)
    ]
    assert [v.texts[1] for v in variants][:50] == alone[:50], "what the first sentence is does not matter to the second"


def test_an_untouched_side_stays_as_written() -> None:
    first, second = sentence("A b"), sentence('"Quoted"  AND   spaced')
    variants = replacement.vary([first, second], [candidates(first), {}], n=20, p=0.5, seed=0, row=0)
    assert {variant.texts[1] for variant in variants} == {'"Quoted"  AND   spaced'}


def test_seed_row_and_column_decide() -> None:
    words = sentence("a b c d e f")

    def texts(seed: int, row: int) -> list[str]:
        return [v.texts[0] for v in replacement.vary([words], [candidates(words)], 10, 0.4, seed, row)]

    assert texts(1, 1) == texts(1, 1)
    assert texts(1, 1) != texts(2, 1)
    assert texts(1, 1) != texts(1, 2)
    pair = replacement.vary([words, words], [candidates(words)] * 2, 10, 0.4, 1, 1)
    assert [v.texts[0] for v in pair] != [v.texts[1] for v in pair]
