"""A corpus as streams that are mapped from disk, and rows cut from them."""

import gzip
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from paddledistill.data.packed_text import pack_rows, packed
from paddledistill.data.plain_text import read_articles
from paddledistill.data.tokenization import Layout, Tokenizer
from paddledistill.errors import UserError
from paddledistill.tasks import Example


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "home"))


@pytest.fixture
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return Tokenizer.from_vocab(tiny_vocab)


def corpus(directory: Path, articles: int = 250) -> Path:
    """Three files, one of them packed, one in a folder below; each article has a paragraph with its number in words."""
    directory.mkdir(parents=True)
    words = ["a", "story", "of", "the", "film", "and", "the", "music", "was", "good", "but", "long"]
    texts = [f"{words[n % 11]} {words[n // 11 % 11]} {words[n // 121]}\nthe end of it\n\n" for n in range(articles)]
    (directory / "a.txt").write_text("".join(texts[:100]), encoding="utf-8")
    with gzip.open(directory / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("".join(texts[100:200]))
    (directory / "c").mkdir()
    (directory / "c" / "d.txt").write_text("".join(texts[200:]), encoding="utf-8")
    (directory / "notes.md").write_text("no text")
    return directory


def test_too_little_text_says_which(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Text without a blank line would be held out whole; what is held out of a little text may not fill a row."""
    (tmp_path / "one.txt").write_text("the story of the film\n" * 500)
    with pytest.raises(UserError, match="one.txt is one article, .*: put a blank line between articles"):
        packed(tmp_path / "one.txt", tokenizer, [])
    assert not list((tmp_path / "home" / "text").glob("*/*.npy"))
    (tmp_path / "few.txt").write_text("the story of the film\n\n" * 90)
    streams = packed(tmp_path / "few.txt", tokenizer, [])
    pack_rows(streams.train, tokenizer, 24, seed=1)
    with pytest.raises(UserError, match="5 tokens of held-out text are too few for rows of 24"):
        pack_rows(streams.held_out, tokenizer, 24, 1, 4, "held-out text")


def test_streams_hold_all_text_once_and_are_made_once(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    source = corpus(tmp_path / "text")
    articles = list(read_articles(source))
    streams = packed(source, tokenizer, [])
    expected = [row for number, article in enumerate(articles) if number % 100 for row in tokenizer.ids(article)]
    assert streams.train.tolist() == [number for row in expected for number in row]
    held_out = [row for article in articles[::100] for row in tokenizer.ids(article)]
    assert streams.held_out.tolist() == [number for row in held_out for number in row]
    assert isinstance(streams.train, np.memmap)
    (made,) = (tmp_path / "home" / "text").iterdir()
    before = made.stat().st_mtime_ns
    packed(source, tokenizer, [])
    assert made.stat().st_mtime_ns == before
    (source / "a.txt").write_text("another text\n")
    assert len(packed(source, tokenizer, []).train) < len(streams.train)


def test_what_a_killed_command_left_is_removed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = corpus(tmp_path / "text")
    packed(source, tokenizer, [])
    (made,) = (tmp_path / "home" / "text").iterdir()
    made.rename(made.with_name(f".{made.name}.4711.part"))
    packed(source, tokenizer, [])
    assert list(made.parent.iterdir()) == [made]


def test_a_second_command_waits_for_the_first(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    source = corpus(tmp_path / "text")
    begun, may_go_on, ids = threading.Event(), threading.Event(), tokenizer.ids

    def slowly(texts: Sequence[str]) -> list[list[int]]:
        begun.set()
        may_go_on.wait(30)
        return ids(texts)

    tokenizer.ids = slowly
    with caplog.at_level("INFO"), ThreadPoolExecutor(2) as commands:
        first = commands.submit(packed, source, tokenizer, [])
        assert begun.wait(30)
        second = commands.submit(packed, source, tokenizer, [])
        deadline = time.monotonic() + 30
        while "waiting for another command" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
        may_go_on.set()
        np.testing.assert_array_equal(first.result().train, second.result().train)
    assert "waiting for another command" in caplog.text
    assert caplog.text.count("paragraphs, 0 dropped") == 1
    assert len(list((tmp_path / "home" / "text").iterdir())) == 1


def test_held_out_articles_are_never_trained_on(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Every hundredth of 250 articles, of words that no other article has, is held out whole, and nothing is lost."""
    tokenizer = Tokenizer.of_words([f"title{number} text{number}" for number in range(250)])
    (tmp_path / "t.txt").write_text("".join(f"title{number}\ntext{number}\n\n" for number in range(250)))
    streams = packed(tmp_path / "t.txt", tokenizer, [])
    train, held_out = ([tokenizer.vocab[number] for number in stream] for stream in (streams.train, streams.held_out))
    assert held_out == ["title0", "text0", "title100", "text100", "title200", "text200"]
    assert sorted(train + held_out) == sorted(f"{kind}{number}" for kind in ("title", "text") for number in range(250))


def test_paragraphs_that_hold_a_dev_row_are_left_out(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t.txt").write_text("held out\n\nsee , the plot is dull today\nthe music is good\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        streams = packed(tmp_path / "t.txt", tokenizer, [Example("The plot is dull.")])
    assert streams.train.tolist() == tokenizer.ids(["the music is good"])[0]
    assert "1 paragraphs, 1 dropped because they hold one of 1 dev and test rows" in caplog.text


def test_rows_of_another_layout(tokenizer: Tokenizer) -> None:
    """Two special tokens between the texts, none before, two after, the last of segment 2: every token once, in order."""
    tokenizer.layout = Layout((), (3, 3), (3, 4), own_segments=1)
    stream = np.random.default_rng(1).integers(5, 700, 3000).astype(np.int32)
    rows = pack_rows(stream, tokenizer, 32, seed=2)
    batch = rows.batch(np.arange(len(rows)))
    ids, segments = batch["input_ids"], batch["token_type_ids"]
    assert ids.shape == (len(rows), 32)
    text = [number for row in ids for number in row if number > 4]
    assert text == stream[: len(text)].tolist()
    assert len(stream) - len(text) < 64
    assert (ids[:, -2:] == [3, 4]).all()
    assert (segments[:, -1] == 2).all()
    assert [(row == 1).any() for row in segments] == [False, True] * (len(rows) // 2)
    again = pack_rows(stream, tokenizer, 32, seed=2)
    np.testing.assert_array_equal(again.batch(np.array([5]))["input_ids"], ids[5:6])
    other = pack_rows(stream, tokenizer, 32, seed=3)
    assert not np.array_equal(other.batch(np.array([5]))["input_ids"], ids[5:6])
