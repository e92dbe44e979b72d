"""Word pieces: the ids of PaddleNLP's BertTokenizer, pruned vocabularies, files."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from paddledistill.data.tokenization import SPECIAL_TOKENS, Tokenizer
from paddledistill.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
Ids = Callable[[str], list[int]]

HOSTILE = [
    "",
    " \t\n\r\u00a0\u3000",
    "\u200b\u200d\ufeff",  # nothing is left after cleaning
    "\x00\x01\x1f\x7f\ufffd",
    "a\x00b\x1cc\x85d",
    "tabs\tand\nlines\r\nand\u2028more\u2029",
    "naïve café résumé Ünïcödé ÅÄÖ",
    "cafe\u0301 e\u0301\u0302\u0303 \u0301alone",
    "İstanbul ΣΊΣΥΦΟΣ Straße ŒUVRE",
    "中文和English混排，很好。",
    "ひらがな カタカナ 한국어 ﬁ ① Ⅳ ²",
    "\uf900\ufa30 \U0002f800 \U00020000",  # Chinese, compatibility and beyond the basic plane
    "emoji 🙂👨‍👩‍👧🇫🇷 ❤️ ok",
    "price: €100, £5; ¥3 © ® ™ ° § µ ± × ÷",
    "$5+3=8 <b>~`^|\\",
    "a" * 100,
    "a" * 101,
    "é" * 101 + " short",
    "don't it's 'tis o'clock ``quoted''",
    "[MASK]",
    "a[MASK]b [SEP] [CLS][PAD] [UNK] c",
    "[mask] [ MASK ] [MASK [[MASK]] [SEP",
    "##ing ## # un##able",
    "the the\u00adatre word\u00adword",
    "\u0600\u0601 \u064b \u0e33 \u0f0b \u2167",
    "\ud800 lone surrogate \udfff",
    "mixed １２３ ＡＢＣ ａｂｃ",
    "\U000e0001\U0010ffff private \ue000 unassigned \u0378",
    "greek question mark \u037e and \u1fef, not equal ≠ ∉",
]


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def both(
    request: pytest.FixtureRequest, tiny_vocab: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Ids]:
    """A tokenizer and PaddleNLP's, loaded from what the first saved."""
    return beside_paddlenlp(tiny_vocab, request.param, tmp_path_factory.mktemp("tokenizer"))


def beside_paddlenlp(vocab: Path, lowercase: bool, directory: Path) -> tuple[Tokenizer, Ids]:
    from paddlenlp.transformers import BertTokenizer

    tokenizer = Tokenizer.from_vocab(vocab, lowercase)
    tokenizer.save(directory)
    theirs = BertTokenizer.from_pretrained(str(directory))
    assert theirs.do_lower_case == lowercase
    return tokenizer, lambda text: theirs.convert_tokens_to_ids(theirs.tokenize(text))


def every_character() -> list[str]:
    """Texts that show each character inside a word, at its end and alone (of the huge uniform blocks, a sample)."""
    codes = [
        code
        for code in range(0x20000)
        if code % 53 == 0 or (not 0x3400 <= code < 0xD7A0 and not 0x12000 <= code < 0x1B000)
    ]
    return [f"a{chr(code)}b x{chr(code)} {chr(code)}" for code in codes]


def hostile_mixtures(count: int) -> list[str]:
    generator = random.Random(0)
    parts = [*HOSTILE, "a", "ing", " ", "\t", "\u0301", "[MASK]", "[cls]", "##", "中", "İ", "the", "x" * 40]
    return ["".join(generator.choices(parts, k=generator.randint(1, 12))) for _ in range(count)]


class TestParity:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text(self, both: tuple[Tokenizer, Ids], text: str):
        tokenizer, paddlenlp = both
        assert tokenizer.ids([text]) == [paddlenlp(text)]

    def test_mixtures(self, both: tuple[Tokenizer, Ids]):
        tokenizer, paddlenlp = both
        texts = hostile_mixtures(400)
        assert tokenizer.ids(texts) == [paddlenlp(text) for text in texts]

    @pytest.mark.slow
    def test_every_character(self, both: tuple[Tokenizer, Ids]):
        tokenizer, paddlenlp = both
        texts = every_character()
        assert tokenizer.ids(texts) == [paddlenlp(text) for text in texts]

    @pytest.mark.assets("movie-reviews", "minilm-l6")
    def test_a_thousand_real_sentences(self, tmp_path: Path):
        """With the vocabulary of bert-base-uncased, which is minilm-l6's."""
        from paddledistill import assets
        from paddledistill.data import movie_reviews

        vocab = assets.directory("minilm-l6") / "vocab.txt"
        tokenizer, paddlenlp = beside_paddlenlp(vocab, True, tmp_path)
        texts = [example.text_a for example in movie_reviews.classes()["dev"]] + hostile_mixtures(200)
        assert len(texts) == 1200
        assert tokenizer.ids(texts) == [paddlenlp(text) for text in texts]

    @pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared/data")
    @pytest.mark.parametrize("name", ["uncased", "chinese"])
    def test_real_chinese(self, tmp_path: Path, name: str):
        tokenizer, paddlenlp = beside_paddlenlp(
            SHARED / f"vocab/bert-base-{name}-vocab.txt", name == "uncased", tmp_path
        )
        lines = (SHARED / "chnsenticorp/dev.tsv").read_text(encoding="utf-8").split("\n")[1:300]
        assert tokenizer.ids(lines) == [paddlenlp(line) for line in lines]


def test_known_pieces(tiny_vocab: Path):
    tokenizer = Tokenizer.from_vocab(tiny_vocab)
    ids = tokenizer.ids(["The GOOD film, [MASK]!", "zzqx\u20ac"])
    assert [tokenizer.vocab[number] for number in ids[0]] == ["the", "good", "film", ",", "[MASK]", "!"]
    assert tokenizer.vocab[ids[1][-1]] == "[UNK]"  # the vocabulary has no euro
    assert [tokenizer.vocab[number] for number in (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id)] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
    ]
    assert tokenizer.words("It's [MASK]ed, no?") == ["it", "'", "s", "[MASK]", "ed", ",", "no", "?"]


class TestPruned:
    # abc + ##d is a dead end of the whole vocabulary; without abc, ab + ##cd would become a way through.
    vocab = (*SPECIAL_TOKENS, "a", "##a", "ab", "abc", "##cd", "##zz", "zz", "the", "film", "##s", "b")

    def test_keeps_what_is_needed_in_order(self):
        pruned = Tokenizer(self.vocab).pruned(["the films ab"])
        assert pruned.vocab == [*SPECIAL_TOKENS, "a", "##a", "ab", "the", "film", "##s", "b"]

    def test_unknown_words_stay_unknown(self):
        whole = Tokenizer(self.vocab)
        pruned = whole.pruned(["abcd the", "ab", "aabcd", "acd"])
        assert "##cd" in pruned.vocab
        assert pruned.ids(["abcd"]) == whole.ids(["abcd"]) == [[whole.unk_id]]

    def test_segmentation_does_not_change(self, tiny_vocab: Path):
        whole = Tokenizer.from_vocab(tiny_vocab)
        texts = [*HOSTILE, *hostile_mixtures(100), "the film was good", "filmgood thefilm unwatchable goodest"]
        pruned = whole.pruned(texts)
        assert len(pruned) < len(whole)
        assert pruned.vocab == [token for token in whole.vocab if token in pruned.index]
        before, after = (
            [[tokenizer.vocab[number] for number in ids] for ids in tokenizer.ids(texts)]
            for tokenizer in (whole, pruned)
        )
        assert before == after

    @pytest.mark.assets("movie-reviews", "minilm-l6")
    def test_on_the_reviews(self):
        from paddledistill import assets
        from paddledistill.data import movie_reviews

        whole = Tokenizer.from_directory(assets.directory("minilm-l6"))
        texts = [example.text_a for example in movie_reviews.classes()["train"]]
        pruned = whole.pruned(texts)
        assert 10_000 < len(pruned) < 20_000 < len(whole)
        for start in range(0, len(texts), 1000):
            before, after = whole.ids(texts[start : start + 1000]), pruned.ids(texts[start : start + 1000])
            assert [[whole.vocab[number] for number in ids] for ids in before] == [
                [pruned.vocab[number] for number in ids] for ids in after
            ]


class TestFiles:
    @pytest.mark.parametrize("lowercase", [True, False])
    def test_round_trip(self, tiny_vocab: Path, tmp_path: Path, lowercase: bool):
        tokenizer = Tokenizer.from_vocab(tiny_vocab, lowercase)
        tokenizer.save(tmp_path / "model")
        loaded = Tokenizer.from_directory(tmp_path / "model")
        assert (loaded.vocab, loaded.lowercase, loaded.key) == (tokenizer.vocab, lowercase, tokenizer.key)
        assert (tmp_path / "model" / "vocab.txt").read_bytes() == tiny_vocab.read_bytes()

    def test_key_tells_tokenizers_apart(self, tiny_vocab: Path):
        tokenizer = Tokenizer.from_vocab(tiny_vocab)
        others = [Tokenizer(tokenizer.vocab, lowercase=False), Tokenizer(tokenizer.vocab[:-1]), tokenizer]
        assert len({other.key for other in others}) == 3

    def test_lower_case_unless_the_configuration_says_otherwise(self, tiny_vocab: Path, tmp_path: Path):
        (tmp_path / "vocab.txt").write_bytes(tiny_vocab.read_bytes())
        assert Tokenizer.from_directory(tmp_path).lowercase
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
        assert not Tokenizer.from_directory(tmp_path).lowercase

    def test_faults(self, tiny_vocab: Path, tmp_path: Path):
        with pytest.raises(UserError, match=r"has no vocab\.txt"):
            Tokenizer.from_directory(tmp_path)
        with pytest.raises(UserError, match="cannot read the vocabulary"):
            Tokenizer.from_vocab(tmp_path / "vocab.txt")
        (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\nthe\n")
        with pytest.raises(UserError, match=r"has no \[SEP\], \[MASK\]"):
            Tokenizer.from_directory(tmp_path)
        (tmp_path / "vocab.txt").write_bytes(tiny_vocab.read_bytes())
        (tmp_path / "tokenizer_config.json").write_text("{")
        with pytest.raises(UserError, match="is not JSON"):
            Tokenizer.from_directory(tmp_path)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"strip_accents": False}))
        with pytest.raises(UserError, match="strip_accents"):
            Tokenizer.from_directory(tmp_path)


class TestWords:
    TEXTS = ("The film, the film!", "a film of the year", "a good year")

    def test_words_of_a_text_the_frequent_ones_first(self):
        tokenizer = Tokenizer.of_words(self.TEXTS, min_count=2)
        assert tokenizer.vocab[5:] == ["the", "film", "a", "year"]
        ids = tokenizer.ids(["The films of a year"])[0]
        assert [tokenizer.vocab[number] for number in ids] == ["the", "[UNK]", "[UNK]", "a", "year"]

    def test_chinese_words_by_jieba(self, tmp_path: Path):
        texts = ["酒店很漂亮", "这家酒店的服务很好"]
        tokenizer = Tokenizer.of_words(texts, segmenter="jieba")
        assert tokenizer.words(texts[0]) == ["酒店", "很漂亮"] or tokenizer.words(texts[0]) == ["酒店", "很", "漂亮"]
        assert all(tokenizer.unk_id not in row for row in tokenizer.ids(texts))
        tokenizer.save(tmp_path)
        loaded = Tokenizer.from_directory(tmp_path)
        assert (loaded.segmenter, loaded.key, loaded.ids(texts)) == ("jieba", tokenizer.key, tokenizer.ids(texts))
        assert Tokenizer(tokenizer.vocab).key != tokenizer.key
        assert tokenizer.words("酒店[MASK]漂亮")[1] == "[MASK]"

    def test_a_segmenter_that_is_none(self):
        with pytest.raises(UserError, match="no segmenter 'spaces': it is one of bert, jieba"):
            Tokenizer.of_words(["a"], segmenter="spaces")
