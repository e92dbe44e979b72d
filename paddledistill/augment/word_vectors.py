"""Word vectors, read from a GloVe file or trained on the task's own text, and the nearest words of a word."""

import gzip
import logging
import mmap
import warnings
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from gensim.models import KeyedVectors, Word2Vec
from numpy.typing import NDArray

from paddledistill.augment.top import top
from paddledistill.errors import UserError

_LINES_AT_ONCE = 4096
_SIMILARITIES_AT_ONCE = 1 << 24  # a block of 64 MB
_WORDS_AT_ONCE = 32  # at least: every block reads all vectors

logger = logging.getLogger(__name__)


def read(path: Path, wanted: Collection[str] | None = None) -> KeyedVectors:
    """Read vectors: in GloVe's or word2vec's text format, a word and its numbers on each line; in word2vec's binary format (``.bin``);
    as gensim saved its ``KeyedVectors`` (``.kv``); or as PaddleNLP has them (``.npz``).

    A text file may be gzipped (``.gz``) and of any length; a first line with the counts (word2vec) is skipped. A word may hold
    spaces, as some of GloVe's do; of a repeated word the first vector counts.

    :param wanted: keep only vectors of these words; others are not held in memory.
    :raises UserError: for a missing, empty or broken file; a malformed line is named with its number.
    """
    if not path.is_file():
        raise UserError(
            f"word vectors {path} not found: give a GloVe text file such as glove.6B.300d.txt, or leave the flag out"
        )
    if path.name.endswith(".bin.gz"):
        raise UserError(f"{path} is packed: gunzip it first, so that words can be read without all others")
    if path.suffix == ".npz":
        return _read_npz(path, wanted)
    if path.suffix in (".bin", ".kv"):
        return _read_by_gensim(path, wanted)
    dimensions = 0
    rows: dict[str, int] = {}
    numbers = array("f")  # grows in place, so that the vectors are in memory once
    try:
        with cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as stream:
            for words, block in _parse(stream, path):
                kept = []
                for number, word in enumerate(words):
                    if word not in rows and (wanted is None or word in wanted):
                        rows[word] = len(rows)
                        kept.append(number)
                numbers.frombytes(block[kept].tobytes())
                dimensions = block.shape[1]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"word vectors {path} cannot be unpacked ({error}): copy the file again") from None
    if not dimensions:
        raise UserError(f"word vectors {path} holds no vector: give a GloVe text file such as glove.6B.300d.txt")
    vectors = KeyedVectors(vector_size=dimensions, count=0)  # whose add_vectors would copy them twice
    vectors.key_to_index, vectors.index_to_key = rows, list(rows)
    vectors.vectors = np.asarray(numbers).reshape(-1, dimensions)
    logger.info("word vectors: %s words of %d dimensions from %s", f"{len(vectors):,}", vectors.vector_size, path)
    return vectors


def _read_by_gensim(path: Path, wanted: Collection[str] | None) -> KeyedVectors:
    try:
        if path.suffix == ".bin" and wanted is not None:
            vectors = _read_binary(path, wanted)
        elif path.suffix == ".bin":
            vectors = KeyedVectors.load_word2vec_format(str(path), binary=True)
        else:
            vectors = KeyedVectors.load(str(path), mmap="r")
    except Exception as error:  # pickle, struct, numpy and gensim each have their own
        raise UserError(
            f"word vectors {path} cannot be read by gensim ({type(error).__name__}: {error}): copy the file again"
        ) from None
    if not isinstance(vectors, KeyedVectors):
        raise UserError(f"{path} holds a {type(vectors).__name__}, not word vectors: save its .wv")
    if wanted is not None and path.suffix == ".kv":
        kept = [word for word in vectors.index_to_key if word in wanted]
        everything, vectors = vectors, KeyedVectors(vector_size=vectors.vector_size, count=0)
        vectors.add_vectors(kept, np.array([everything[word] for word in kept]).reshape(-1, everything.vector_size))
    logger.info("word vectors: %s words of %d dimensions from %s", f"{len(vectors):,}", vectors.vector_size, path)
    return vectors


def _read_binary(path: Path, wanted: Collection[str]) -> KeyedVectors:
    """Wanted words of word2vec's binary format: a line with the counts, then each word, a space and its numbers as float32."""
    kept: dict[str, bytes] = {}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count, dimensions = map(int, stream.readline().split())
        at = stream.tell()
        for _ in range(count):
            end = data.find(b" ", at)
            word = data[at:end].lstrip(b"\n").decode("utf-8", "replace")
            at = end + 1 + 4 * dimensions
            if end < 0 or at > len(data):
                raise EOFError("it is cut short")
            if word in wanted and word not in kept:
                kept[word] = data[end + 1 : at]
    vectors = KeyedVectors(vector_size=dimensions, count=0)
    vectors.add_vectors(list(kept), np.frombuffer(b"".join(kept.values()), "<f4").reshape(-1, dimensions))
    return vectors


def _read_npz(path: Path, wanted: Collection[str] | None) -> KeyedVectors:
    """PaddleNLP's archives of an array ``vocab`` and an array ``embedding``, [words, dimensions], read some rows at a time."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("vocab.npy") as stream:
            vocab = np.lib.format.read_array(stream).tolist()
        numbers = {word: number for number, word in enumerate(vocab) if wanted is None or word in wanted}
        with zipfile.ZipFile(path) as archive, archive.open("embedding.npy") as stream:
            rows = _rows(stream, np.array(list(numbers.values()), np.int64))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"word vectors {path} cannot be read ({type(error).__name__}: {error}): get it again") from None
    vectors = KeyedVectors(vector_size=rows.shape[1], count=0)
    vectors.add_vectors(list(numbers), rows)
    logger.info("word vectors: %s words of %d dimensions from %s", f"{len(vectors):,}", vectors.vector_size, path)
    return vectors


def _rows(stream: IO[bytes], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows, ascending, of a stored array that is not to be in memory as a whole."""
    np.lib.format.read_magic(stream)
    (count, width), by_columns, kind = np.lib.format.read_array_header_1_0(stream)
    if by_columns:
        raise ValueError("its numbers are stored by columns")
    found = np.empty((len(numbers), width), np.float32)
    for first in range(0, count, _LINES_AT_ONCE):
        size = min(_LINES_AT_ONCE, count - first)
        block = np.frombuffer(stream.read(size * width * kind.itemsize), kind).reshape(size, width)
        start, end = np.searchsorted(numbers, (first, first + size))
        found[start:end] = block[numbers[start:end] - first]
    return found


def train(sentences: Iterable[Sequence[str]], seed: int) -> KeyedVectors:
    """Train word2vec (skip-gram, 100 dimensions, 15 epochs) on ``sentences``, lists of words; the seed decides the result.

    Words seen once or twice get no vector: theirs would say next to nothing.
    """
    # One thread and a hash that does not vary between processes: the same vectors for the same seed, every time.
    model = Word2Vec(
        vector_size=100, window=5, min_count=3, sg=1, epochs=15, seed=seed, workers=1, hashfxn=_stable_hash
    )
    text = list(sentences)
    model.build_vocab(text)
    if len(model.wv):
        model.train(text, total_examples=model.corpus_count, epochs=model.epochs)
    logger.info(
        "word vectors: %s words of %d dimensions trained on the text", f"{len(model.wv):,}", model.wv.vector_size
    )
    return model.wv


def neighbours(
    vectors: KeyedVectors, words: Iterable[str], count: int, may_choose: Callable[[str], bool] = lambda word: True
) -> dict[str, list[str]]:
    """The words nearest to each word by cosine, the nearest first; equal cosines in the order of the vectors.

    Spellings that differ in case only are one word: the first of the vectors, GloVe's most frequent, stands for all.

    :param may_choose: words that it refuses are never a neighbour.
    :returns: for each word that has a vector (by itself or in lower case) at most ``count`` others. A word without a vector is
        left out, and so is one whose vector is zero, which is near to nothing.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors.vectors, vectors.vectors))  # numpy.linalg.norm would copy them twice
    scale = np.where(norms > 0, 1 / np.maximum(norms, np.finfo(np.float32).tiny), 0).astype(np.float32)
    spelling: dict[str, int] = {}
    for row, word in enumerate(vectors.index_to_key):
        if norms[row] > 0 and may_choose(word):
            spelling.setdefault(word.lower(), row)
    barred = np.ones(len(vectors), bool)
    barred[list(spelling.values())] = False
    rows = {word: vectors.key_to_index.get(word, vectors.key_to_index.get(word.lower(), -1)) for word in words}
    known = [(word, row) for word, row in rows.items() if row >= 0 and norms[row] > 0]
    found: dict[str, list[str]] = {}
    block = max(_WORDS_AT_ONCE, _SIMILARITIES_AT_ONCE // max(1, len(vectors)))
    for start in range(0, len(known), block):
        part = known[start : start + block]
        index = np.array([row for _, row in part])
        cosines = (vectors.vectors[index] * scale[index, None]) @ vectors.vectors.T
        cosines *= scale
        cosines[:, barred] = -np.inf
        itself = [spelling.get(word.lower(), row) for word, row in part]
        cosines[np.arange(len(part)), itself] = -np.inf
        columns, values = top(cosines, count)
        for (word, _), near, value in zip(part, columns.tolist(), values, strict=True):
            found[word] = [
                vectors.index_to_key[column] for column, finite in zip(near, np.isfinite(value), strict=True) if finite
            ]
    return {word: near for word, near in found.items() if near}


def _stable_hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _parse(stream: Iterable[bytes], path: Path) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Words and vectors, some thousand lines at a time. Lines end at a line feed only: GloVe has words such as U+0085."""
    dimensions = 0
    words: list[str] = []
    numbers: list[bytes] = []
    first = 1
    for line_number, line in enumerate(stream, start=1):
        fields = line.rstrip(b" \r\n").rsplit(b" ", dimensions) if dimensions else line.split()
        if not dimensions:
            if line_number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                first = 2
                continue
            if len(fields) < 2:
                raise UserError(f"{path}:{line_number}: no vector on this line: expected a word and its numbers")
            dimensions = len(fields) - 1
        if b" " in fields[0] and _try_floats(fields[0].rpartition(b" ")[2]).size:
            raise UserError(f"{path}:{line_number}: expected a word and {dimensions} numbers, found more numbers")
        if len(fields) != dimensions + 1:
            raise UserError(
                f"{path}:{line_number}: expected a word and {dimensions} numbers, found {len(fields) - 1} numbers"
            )
        try:
            words.append(fields[0].decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(
                f"{path}:{line_number}: the word is not UTF-8: this is read as text, since a file of gensim ends in .kv, "
                "one of word2vec in .bin"
            ) from None
        numbers.append(b" ".join(fields[1:]))
        if len(words) == _LINES_AT_ONCE:
            yield words, _floats(numbers, dimensions, path, first)
            words, numbers, first = [], [], line_number + 1
    if words:
        yield words, _floats(numbers, dimensions, path, first)


def _floats(lines: Sequence[bytes], dimensions: int, path: Path, first: int) -> NDArray[np.float32]:
    """Parse lines of numbers in one go; when that fails, find the line to blame."""
    values = _try_floats(b" ".join(lines))
    if len(values) == len(lines) * dimensions and np.isfinite(values).all():
        return values.reshape(-1, dimensions)
    for number, line in enumerate(lines, start=first):
        values = _try_floats(line)
        if len(values) != dimensions or not np.isfinite(values).all():
            raise UserError(f"{path}:{number}: expected a word and {dimensions} numbers, all finite")
    raise AssertionError("lines that parse one by one parse together")


def _try_floats(text: bytes) -> NDArray[np.float32]:
    """The numbers of ``text``; empty when one of them is none. Several times faster than float()."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way to say that it stopped before the end
        try:
            return np.fromstring(text, dtype=np.float32, sep=" ")
        except (DeprecationWarning, ValueError):
            return np.empty(0, np.float32)
