"""Pre-trained embeddings: of a file of word vectors, of an encoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paddledistill import models
from paddledistill.augment import word_vectors
from paddledistill.errors import UserError
from paddledistill.files import digest
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.models.word_embeddings import identify, pretrained, principal_components

WORDPIECE_FAMILIES = ("bert", "distilbert", "electra", "ernie")


def test_word_vectors_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("film 1 2 3\nother 4 5 6\ngood 7 8 9\n")
    known, vectors = pretrained(str(tmp_path / "glove.txt"), ["[PAD]", "good", "bad", "film"], 3)
    assert known == [1, 3]
    np.testing.assert_array_equal(vectors, [[7, 8, 9], [1, 2, 3]])
    known, vectors = pretrained(str(tmp_path / "glove.txt"), ["none", "of", "these"], 3)
    assert known == [] and vectors.shape == (0, 3)
    with pytest.raises(UserError, match="has vectors of 3 numbers: set --emb_dim to that, not 5"):
        pretrained(str(tmp_path / "glove.txt"), ["film"], 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glove.6B.300d.txt", "no file of word vectors glove.6B.300d.txt: give GloVe text"),
        (
            "w2v.google_news.target.word-word.dim300.en",
            r"cannot download http\S+dim300.en.tar.gz \(.*\): get it elsewhere",
        ),
        ("w2v.none", "PaddleNLP has no word vectors w2v.none: w2v.baidu_encyclopedia"),
    ],
)
def test_what_is_not_there(name: str, message: str, paddlenlp_vectors: Path) -> None:
    with pytest.raises(UserError, match=message):
        pretrained(name, ["film"], 300)


@pytest.fixture
def paddlenlp_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PaddleNLP keeps word vectors, empty."""
    paddlenlp_transformers()
    from paddlenlp.embeddings import token_embedding

    monkeypatch.setattr(token_embedding, "EMBEDDING_HOME", str(tmp_path))
    return tmp_path


def test_word_vectors_by_their_name_in_paddlenlp(paddlenlp_vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the example's Google News only the rows that are wanted are kept, whatever block they are in."""
    name, words = "w2v.google_news.target.word-word.dim300.en", [f"word{number}" for number in range(10)]
    vectors = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)
    np.savez_compressed(paddlenlp_vectors / f"{name}.npz", vocab=np.array(words), embedding=vectors)
    monkeypatch.setattr(word_vectors, "_LINES_AT_ONCE", 3)
    known, found = pretrained(name, ["[PAD]", "word7", "word0", "none", "word9"], 4)
    assert known == [1, 2, 4]
    np.testing.assert_array_equal(found, vectors[[7, 0, 9]])
    assert identify(name) == digest(paddlenlp_vectors / f"{name}.npz")
    (paddlenlp_vectors / f"{name}.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"dim300.en.npz cannot be read \(BadZipFile"):
        pretrained(name, ["film"], 4)


@pytest.mark.parametrize("family", WORDPIECE_FAMILIES)
def test_embeddings_of_an_encoder(fixture_dir: Path, family: str) -> None:
    source = str(fixture_dir / "huggingface" / family)
    encoder = models.plain_encoder(source)
    tokenizer = encoder.tokenizer
    whole = encoder.backbone.embeddings.word_embeddings.weight.numpy()
    words = ["unheard-of", *tokenizer.vocab]
    known, vectors = pretrained(source, words, whole.shape[1])
    assert known == list(range(1, len(words)))
    distances = np.linalg.norm(whole[:, None] - whole[None], axis=-1)[: len(known), : len(known)]
    np.testing.assert_allclose(np.linalg.norm(vectors[:, None] - vectors[None], axis=-1), distances, atol=1e-4)
    with pytest.raises(UserError, match=rf"{whole.shape[1]} numbers, and {len(known)} of .*--emb_dim 999 is more"):
        pretrained(source, words, 999)


def test_few_words_that_are_known_are_a_warning(fixture_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = str(fixture_dir / "huggingface" / "bert")
    vocab = models.plain_encoder(source).tokenizer.vocab
    unknown = [f"unheard-of-{number}" for number in range(len(vocab))]
    for words, level in ((vocab, "INFO"), ([*vocab, *unknown], "WARNING")):
        caplog.clear()
        with caplog.at_level("INFO"):
            pretrained(source, words, 4)
        told = [
            record.levelname for record in caplog.records if f"of {len(words)} words of the student" in record.message
        ]
        assert told == [level]


def test_a_source_is_told_from_another(tmp_path: Path, tiny_bert: Path, tiny_student: Path) -> None:
    vectors = tmp_path / "glove.txt"
    vectors.write_text("film 1 2 3\n")
    found = [identify(str(source)) for source in (vectors, tiny_bert, tiny_student)]
    vectors.write_text("film 1 2 4\n")
    assert len({*found, identify(str(vectors))}) == 4


@pytest.mark.parametrize("use", [identify, lambda source: pretrained(source, ["film"], 4)])
def test_neither_a_file_nor_an_encoder(use: Callable[[str], object], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--embedding_name .* is no file of word vectors, and no encoder: .*config.json"
    ):
        use(str(tmp_path))
    with pytest.raises(UserError, match=r"--embedding_name ./vectors is no file of word vectors, and no encoder: "):
        use("./vectors")


def test_an_encoder_without_wordpieces(fixture_dir: Path) -> None:
    with pytest.raises(UserError, match="has no WordPiece vocabulary"):
        pretrained(str(fixture_dir / "huggingface" / "albert"), ["film"], 4)


def test_principal_components_keep_what_they_can() -> None:
    """Eckart and Young: no other linear map to so few numbers leaves less out than the smaller singular values."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(50, 8)) @ generator.normal(size=(8, 8)) + 3
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    found = principal_components(rows.astype(np.float32), 3)
    assert found.shape == (50, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), singular[:3], rtol=1e-4)
    np.testing.assert_allclose(found.T @ found, np.diag(singular[:3] ** 2), atol=1e-2)
