"""Running text as rows of equal length, cut from one stream of token ids that is made once and mapped from disk."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paddledistill import assets, files, parallel, progress
from paddledistill.data.datasets import Dataset
from paddledistill.data.plain_text import digest_text, read_articles
from paddledistill.data.reading import digest_examples
from paddledistill.data.subwords import SubwordTokenizer
from paddledistill.data.tokenization import Layout, Tokenizer
from paddledistill.errors import UserError
from paddledistill.journal import Journal
from paddledistill.tasks import Example, LeakGuard

logger = logging.getLogger(__name__)

HELD_OUT_EVERY = 100  # articles
_CHUNK = 4096  # paragraphs


def to_stream(paragraphs: Sequence[str], ids: Callable[[Sequence[str]], list[list[int]]]) -> NDArray[np.int32]:
    """All token ids one after the other, int32.

    :param ids: a tokenizer's function from texts to ids without special tokens.
    """
    parts = []
    for first in range(0, len(paragraphs), _CHUNK):
        parts += [np.asarray(row, np.int32) for row in ids(paragraphs[first : first + _CHUNK])]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


@dataclass(frozen=True)
class Streams:
    """The token ids of a corpus, mapped from disk: to train on, and of the articles that are held out."""

    train: NDArray[np.int32]
    held_out: NDArray[np.int32]


def packed(corpus: Path, tokenizer: Tokenizer | SubwordTokenizer, guarded: Sequence[Example]) -> Streams:
    """Tokenise a corpus once; later commands map what this one leaves in the cache.

    :param guarded: rows that no paragraph to train on may hold; paragraphs that do are left out.
    :raises UserError: if there is no text, or a single article of it, which would be held out.
    """
    parts = tokenizer.key, digest_examples(guarded), HELD_OUT_EVERY, digest_text(corpus)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    target = assets.cache_dir() / "text" / key[:32]
    if not parallel.agreed(target.is_dir):
        with Journal(target.with_suffix(".parts"), key, resume=False, wait=True):
            if parallel.is_main() and not target.is_dir():  # not by the command that was waited for
                for killed in target.parent.glob(f".{target.name}.*.part"):
                    shutil.rmtree(killed)
                _pack(corpus, tokenizer, guarded, target)
            parallel.barrier()
    train, held_out = (np.load(target / f"{name}.npy", mmap_mode="r") for name in ("train", "held_out"))
    logger.info("%s: %d tokens to train on, %d held out (%s)", corpus, len(train), len(held_out), target)
    return Streams(train, held_out)


def _pack(corpus: Path, tokenizer: Tokenizer | SubwordTokenizer, guarded: Sequence[Example], target: Path) -> None:
    guard, kept, dropped = LeakGuard(guarded), 0, 0
    with files.atomic_directory(target) as partial, progress.bar("packing text", "article", None) as bar:
        streams = {name: (partial / f"{name}.ids").open("wb") for name in ("train", "held_out")}
        waiting: dict[str, list[str]] = {name: [] for name in streams}

        def write(name: str) -> None:
            streams[name].write(to_stream(waiting[name], tokenizer.ids).data)
            waiting[name].clear()

        for number, paragraphs in enumerate(read_articles(corpus)):
            name = "train" if number % HELD_OUT_EVERY else "held_out"
            is_safe = [name == "held_out" or not guard.leaks((paragraph,)) for paragraph in paragraphs]
            dropped += is_safe.count(False)
            kept += 0 if name == "held_out" else is_safe.count(True)
            waiting[name] += compress(paragraphs, is_safe)
            if len(waiting[name]) >= _CHUNK:
                write(name)
            bar.update()
        for name, stream in streams.items():
            write(name)
            stream.close()
            path = partial / f"{name}.ids"
            about = {"descr": "<i4", "fortran_order": False, "shape": (path.stat().st_size // 4,)}
            with path.open("rb") as ids, path.with_suffix(".npy").open("wb") as array:
                np.lib.format.write_array_header_1_0(array, about)
                shutil.copyfileobj(ids, array)  # not through a map: where the disk is full that ends the process
            path.unlink()
        if number == 0:
            raise UserError(
                f"{corpus} is one article, and of each hundred the first is held out: put a blank line between articles"
            )
    logger.info("%d paragraphs, %d dropped because they hold one of %d dev and test rows", kept, dropped, len(guarded))


@dataclass(frozen=True, repr=False)
class PackedText(Dataset):
    """Rows of equal length cut from a stream of token ids. Made by :func:`pack_rows`.

    Rows alternate between one segment, ``[CLS] a [SEP]``, and two, ``[CLS] a [SEP] b [SEP]``, so that a model learns both forms.
    Where the second one begins is decided by ``seed`` and the row's number alone, so a row is always the same and a stopped run
    goes on exactly.
    """

    stream: NDArray[np.int32]
    layout: Layout
    rows: int
    length: int
    seed: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The same length for every row."""
        return np.full(self.rows, self.length)

    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Rows as a batch: ``input_ids``, ``token_type_ids``, ``attention_mask``, each int64 [rows, length]."""
        made = [self.row(int(row), np.random.default_rng((self.seed, int(row)))) for row in rows]
        return {
            "input_ids": np.stack([ids for ids, _, _ in made]),
            "token_type_ids": np.stack([segments for _, segments, _ in made]),
            "attention_mask": np.ones((len(made), self.length), np.int64),
        }

    def row(
        self, index: int, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Ids, segment numbers, and the columns that hold text."""
        pair, has_two = divmod(index, 2)
        single, double = (self.length - self.layout.special(is_pair) for is_pair in (False, True))
        start = pair * (single + double) + has_two * single
        text = self.stream[start : start + (double if has_two else single)].astype(np.int64)
        cut = int(random.integers(1, len(text))) if has_two else len(text)
        before, between, after = self.layout.before, self.layout.between if has_two else (), self.layout.after
        ids = np.array([*before, *text[:cut], *between, *text[cut:], *after], np.int64)
        end = len(before) + cut + len(between)
        segments = np.zeros(self.length, np.int64)
        if has_two and self.layout.second_segment:
            segments[end:] = 1
        if self.layout.own_segments:
            segments[-self.layout.own_segments :] = 2
        holds_text = np.ones(self.length, bool)
        holds_text[: len(before)] = holds_text[len(before) + cut : end] = False
        holds_text[self.length - len(after) :] = False
        return ids, segments, np.flatnonzero(holds_text)


def pack_rows(
    stream: NDArray[np.int32],
    tokenizer: Tokenizer | SubwordTokenizer,
    length: int,
    seed: int,
    limit: int | None = None,
    what: str = "text",
) -> PackedText:
    """Rows from running text.

    :param stream: token ids, one dimension. :param length: tokens a row, special ones included.
    :param limit: make no more than this many rows. :param what: the stream's name in messages.
    :raises UserError: if the stream does not fill a row of each kind, or a row has no room for a token of each text.
    """
    single, double = (tokenizer.layout.special(is_pair) for is_pair in (False, True))
    if length < double + 2:
        raise UserError(f"--max_seq_length {length} leaves no room for two texts in a row: give at least {double + 2}")
    pairs = len(stream) // (2 * length - single - double)
    if pairs == 0:
        raise UserError(f"{len(stream)} tokens of {what} are too few for rows of {length}: give more text")
    rows = 2 * pairs if limit is None else min(limit, 2 * pairs)
    return PackedText({}, tokenizer.pad_id, stream, tokenizer.layout, rows, length, seed)
