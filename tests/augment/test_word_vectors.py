"""Reading, training and searching word vectors."""

import gzip
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from paddledistill.augment import word_vectors
from paddledistill.errors import UserError

SENTENCES = [
    f"the {noun} is {word} and {word}".split() for noun in ("film", "plot", "cast") for word in ("good", "bad", "dull")
]


def glove(path: Path, words: int = 5, dimensions: int = 4) -> Path:
    """A file of made-up vectors for w0, w1, ..."""
    rng = np.random.default_rng(0)
    lines = (
        " ".join([f"w{index}", *(f"{value:.5f}" for value in rng.standard_normal(dimensions))])
        for index in range(words)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("words", [1, 5, 4096, 5000])
def test_reads_files_of_any_length(tmp_path: Path, words: int) -> None:
    """Defect 7 of the originals: a GloVe file under 100,000 lines gave NaN."""
    path = glove(tmp_path / "glove.txt", words)
    vectors = word_vectors.read(path)
    assert vectors.index_to_key == [f"w{index}" for index in range(words)]
    assert np.isfinite(vectors.vectors).all()
    for line in path.read_text().splitlines()[:: max(1, words // 7)]:
        word, *numbers = line.split()
        assert np.allclose(vectors[word], np.array(numbers, dtype=np.float32))
    near = word_vectors.neighbours(vectors, ["w0", "w3", "missing"], 3)
    assert all(len(near[word]) == min(3, words - 1) for word in near)
    assert set(near) == ({"w0", "w3"} if words > 3 else set())


def test_gz_and_word2vec_header_give_the_same(tmp_path: Path) -> None:
    plain = glove(tmp_path / "glove.txt")
    packed = tmp_path / "glove.txt.gz"
    packed.write_bytes(gzip.compress(b"5 4\n" + plain.read_bytes()))
    assert (word_vectors.read(packed).vectors == word_vectors.read(plain).vectors).all()


def test_a_file_is_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the vectors there are the words, and the lines that are parsed at once: few here."""
    path = glove(tmp_path / "glove.txt", 5_000, 50)
    monkeypatch.setattr(word_vectors, "_LINES_AT_ONCE", 64)
    tracemalloc.start()
    vectors = word_vectors.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * vectors.vectors.nbytes


def test_odd_words_of_real_files(tmp_path: Path) -> None:
    """A word with spaces, one that Python would take for a line end, a repeated one, carriage returns."""
    path = tmp_path / "glove.txt"
    path.write_bytes("a 1 0\n. . . 0 1\n\u0085 1 1\na 5 5\r\nb 2 0 \r\n".encode())
    vectors = word_vectors.read(path)
    assert vectors.index_to_key == ["a", ". . .", "\u0085", "b"]
    assert vectors["a"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no vector"),
        (b"a 1 2\nb 1\n", r"glove\.txt:2: expected a word and 2 numbers, found 1"),
        (b"a 1 2\nb 1 2 3\n", r"glove\.txt:2: expected a word and 2 numbers, found more"),
        (b"a 1 2\n\nb 1 2\n", r"glove\.txt:2: expected a word and 2 numbers"),
        (b"a 1 2\nb 1 x\nc 1 2\n", r"glove\.txt:2: .* finite"),
        (b"a 1 2\nb 1 2\nc 1 nan\n", r"glove\.txt:3: .* finite"),
        (b"a 1 2\nb 1e99 1\n", r"glove\.txt:2: .* finite"),
        (b"2 2\na 1 2\nb 1 2_0\n", r"glove\.txt:3: .* finite"),
        (b"a 1 2\n\xff\xfe 1 2\n", r"glove\.txt:2: the word is not UTF-8"),
        (b"<html>\n", r"glove\.txt:1: no vector"),
    ],
)
def test_malformed_files_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        word_vectors.read(path)


def test_malformed_line_far_down(tmp_path: Path) -> None:
    path = glove(tmp_path / "glove.txt", 5000)
    path.write_bytes(path.read_bytes() + b"bad 1 2 3 four\n")
    with pytest.raises(UserError, match=r"glove\.txt:5001:"):
        word_vectors.read(path)


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        word_vectors.read(tmp_path / "none.txt")
    packed = tmp_path / "glove.txt.gz"
    packed.write_bytes(gzip.compress(glove(tmp_path / "glove.txt", 200).read_bytes())[:-100])
    with pytest.raises(UserError, match="cannot be unpacked"):
        word_vectors.read(packed)
    packed.write_bytes(b"w0 1 2\n")
    with pytest.raises(UserError, match="cannot be unpacked"):
        word_vectors.read(packed)


def test_files_of_gensim_and_of_word2vec(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("a 1 0\nb 10 1\nc 1 1\n")
    vectors = word_vectors.read(path)
    vectors.save(str(tmp_path / "own.kv"))
    vectors.save_word2vec_format(str(tmp_path / "own.bin"), binary=True)
    for name in ("own.kv", "own.bin"):
        found = word_vectors.read(tmp_path / name)
        assert found.index_to_key == ["a", "b", "c"]
        np.testing.assert_array_equal(found.vectors, vectors.vectors)
        (tmp_path / name).write_bytes(b"no vectors")
        with pytest.raises(UserError, match="cannot be read by gensim"):
            word_vectors.read(tmp_path / name)


def test_a_gensim_file_of_another_name_is_told_the_ending(tmp_path: Path) -> None:
    word_vectors.read(glove(tmp_path / "glove.txt")).save(str(tmp_path / "own.wordvectors"))
    with pytest.raises(UserError, match=r"own\.wordvectors:1: the word is not UTF-8.* gensim ends in \.kv"):
        word_vectors.read(tmp_path / "own.wordvectors")


def test_only_wanted_words_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("a 1 0\nb 10 1\nc 1 1\n")
    word_vectors.read(path).save(str(tmp_path / "own.kv"))
    for name in ("glove.txt", "own.kv"):
        found = word_vectors.read(tmp_path / name, {"c", "a", "unknown"})
        assert found.index_to_key == ["a", "c"]
        np.testing.assert_array_equal(found["c"], [1, 1])
        assert len(word_vectors.read(tmp_path / name, {"unknown"})) == 0


def test_of_a_binary_file_only_wanted_rows_are_loaded(tmp_path: Path) -> None:
    """GoogleNews has 3.6 GB, of which a student needs a few MB."""
    everything = KeyedVectors(vector_size=100, count=0)
    rows = np.random.default_rng(0).normal(size=(20_000, 100)).astype(np.float32)
    everything.add_vectors([f"w{number}" for number in range(20_000)], rows)
    everything.save_word2vec_format(str(tmp_path / "own.bin"), binary=True)
    tracemalloc.start()
    found = word_vectors.read(tmp_path / "own.bin", {"w19999", "w7", "unknown"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < rows.nbytes / 8
    assert found.index_to_key == ["w7", "w19999"]
    np.testing.assert_array_equal(found.vectors, rows[[7, 19_999]])
    assert len(word_vectors.read(tmp_path / "own.bin", {"unknown"})) == 0
    (tmp_path / "cut.bin").write_bytes((tmp_path / "own.bin").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cannot be read by gensim \(EOFError: it is cut short\): copy the file again"):
        word_vectors.read(tmp_path / "cut.bin", {"w7"})
    (tmp_path / "cut.bin").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read by gensim"):
        word_vectors.read(tmp_path / "cut.bin", {"w7"})


def test_neighbours_by_cosine_without_the_word_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("a 1 0\nb 10 1\nc 1 1\nd -1 0\n-- 1 0\nzero 0 0\ne 2 0\n")
    vectors = word_vectors.read(path)
    found = word_vectors.neighbours(vectors, ["a", "d", "zero", "A"], 3, str.isalpha)
    assert found["a"] == ["e", "b", "c"] == found["A"], "cosine, not distance; no punctuation; lower case as a fallback"
    assert found["d"] == ["c", "b", "a"]
    assert "zero" not in found
    monkeypatch.setattr(word_vectors, "_SIMILARITIES_AT_ONCE", 1)
    assert word_vectors.neighbours(vectors, ["a", "d", "zero", "A"], 3, str.isalpha) == found, "blocks change nothing"
    assert word_vectors.neighbours(vectors, [], 3) == {}


def test_spellings_that_differ_in_case_are_one_word(tmp_path: Path) -> None:
    """Neither are they neighbours of each other, nor two neighbours of another word."""
    path = tmp_path / "glove.txt"
    path.write_text("good 10 0\nGood 10 1\nGOOD 10 2\nFine 10 3\nfine 10 4\nodd 0 1\n")
    found = word_vectors.neighbours(word_vectors.read(path), ["good", "GOOD", "fine"], 3)
    assert found == {"good": ["Fine", "odd"], "GOOD": ["Fine", "odd"], "fine": ["good", "odd"]}


def test_training_is_the_same_in_every_process() -> None:
    script = (
        "import sys, hashlib; from paddledistill.augment import word_vectors\n"
        f"vectors = word_vectors.train({SENTENCES * 20!r}, seed=int(sys.argv[1]))\n"
        "print(sorted(vectors.index_to_key)); print(hashlib.sha256(vectors.vectors.tobytes()).hexdigest())"
    )
    first, again, other = (
        subprocess.run(
            [sys.executable, "-c", script, seed], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for seed in ("1", "1", "2")
    )
    assert first == again
    assert first[1] != other[1]
    assert "dull" in first[0]


def test_training_on_next_to_nothing() -> None:
    vectors = word_vectors.train([["one", "two"]], seed=1)
    assert len(vectors) == 0
    assert word_vectors.neighbours(vectors, ["one"], 5) == {}
