"""Files of plain text, and sentences without labels."""

import gzip
from pathlib import Path

import pytest

from paddledistill.data.plain_text import load_unlabelled, read_articles, text_files
from paddledistill.errors import UserError
from paddledistill.tasks import Example, get_task


def test_a_directory_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "a.txt").write_text("first\n\nsecond")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"third\n"))
    (tmp_path / "c" / "d.txt").write_text("fourth")
    (tmp_path / "notes.md").write_text("no text")
    assert [path.name for path in text_files(tmp_path)] == ["a.txt", "b.txt.gz", "d.txt"]
    assert list(read_articles(tmp_path)) == [["first"], ["second"], ["third"], ["fourth"]]


def test_articles_are_split_on_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\nA title\nIts text. \n\n \nB\n\n\nC\nlast line", encoding="utf-8")
    assert list(read_articles(path)) == [["A title", "Its text."], ["B"], ["C", "last line"]]


def test_unusable_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text file"):
        list(read_articles(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        list(read_articles(tmp_path / "latin.txt"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match="holds no text"):
        list(read_articles(tmp_path / "empty.txt"))


def test_what_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.txt or \.txt\.gz file"):
        text_files(tmp_path / "empty")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"some text\n" * 500)[:-20])
    with pytest.raises(UserError, match="is no whole gzip file"):
        list(read_articles(tmp_path / "cut.txt.gz"))
    (tmp_path / "plain.txt.gz").write_text("not packed")
    with pytest.raises(UserError, match="is no whole gzip file"):
        list(read_articles(tmp_path / "plain.txt.gz"))


def test_sentences_without_labels_pass_the_guard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, text = tmp_path / "SST-2", tmp_path / "more.txt"
    folder.mkdir()
    (folder / "dev.tsv").write_text("sentence\tlabel\na warm and funny story\t1\n")
    text.write_text("a dull film\n\nA warm and funny story\nonce more a warm and funny story of love\nlong but good\n")
    rows = load_unlabelled(get_task("sst-2"), text, tmp_path)
    assert rows == [Example("a dull film"), Example("long but good")]
    assert f"{text}: dropped 2 of 4 rows: 1 equal a dev or test row, 1 contain one" in caplog.text
    text.write_text("a warm and funny story")
    with pytest.raises(UserError, match="every line equals or contains"):
        load_unlabelled(get_task("sst-2"), text, tmp_path)


def test_pairs_without_labels(tmp_path: Path) -> None:
    text = tmp_path / "pairs.txt"
    text.write_text("one\ttwo\n")
    assert load_unlabelled(get_task("rte"), text, tmp_path) == [Example("one", "two")]
    text.write_text("one\ttwo\nalone\n")
    with pytest.raises(UserError, match="'alone' is not two sentences apart by a tab"):
        load_unlabelled(get_task("rte"), text, tmp_path)
    with pytest.raises(UserError, match="is not a sentence"):
        load_unlabelled(get_task("sst-2"), text, tmp_path)
