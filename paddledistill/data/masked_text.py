"""Running text as rows for masked language modelling (Devlin et al., arXiv 1810.04805, section 3.1 and appendix A)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paddledistill.data.datasets import Dataset
from paddledistill.errors import UserError

MASKED_SHARE = 0.15


def read_articles(path: Path) -> Iterator[list[str]]:
    """Articles of a text file as lists of paragraphs: a paragraph a line, a blank line after each article.

    :raises UserError: if the file is missing, empty or not UTF-8.
    """
    paragraphs: list[str] = []
    found = False
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    paragraphs.append(line.strip())
                elif paragraphs:
                    found = True
                    yield paragraphs
                    paragraphs = []
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"no text file {path}: give plain text, a paragraph a line, a blank line between articles"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): convert it") from None
    if paragraphs:
        yield paragraphs
    elif not found:
        raise UserError(f"{path} holds no text")


def split_articles(articles: Iterable[list[str]], held_out_every: int = 100) -> tuple[list[str], list[str]]:
    """Paragraphs to train on, and those of every ``held_out_every``-th article, which training never sees."""
    train: list[str] = []
    held_out: list[str] = []
    for number, paragraphs in enumerate(articles):
        (train if number % held_out_every else held_out).extend(paragraphs)
    return train, held_out


def to_stream(
    paragraphs: Sequence[str], ids: Callable[[Sequence[str]], list[list[int]]], chunk: int = 4096
) -> NDArray[np.int32]:
    """All wordpiece ids one after the other, int32.

    :param ids: a tokenizer's function from texts to ids without special tokens.
    """
    parts = []
    for first in range(0, len(paragraphs), chunk):
        parts += [np.asarray(row, np.int32) for row in ids(paragraphs[first : first + chunk])]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


@dataclass(frozen=True, repr=False)
class MaskedText(Dataset):
    """Rows of equal length cut from a stream of wordpieces, 15% of which are to be guessed. Made by :func:`mask_text`.

    Rows alternate between one segment, ``[CLS] a [SEP]``, and two, ``[CLS] a [SEP] b [SEP]``, so that a model learns both
    forms. Of the pieces to guess 80% become ``[MASK]``, 10% another piece, 10% stay. Which ones is decided by ``seed`` and
    the row's number alone, so a row is always the same and a stopped run goes on exactly.
    """

    stream: NDArray[np.int32]
    vocab: Sequence[str]
    rows: int
    length: int
    seed: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The same length for every row."""
        return np.full(self.rows, self.length)

    @cached_property
    def _ordinary(self) -> NDArray[np.int64]:
        """Ids that may stand in for another: all but special and unused ones."""
        return np.array(
            [number for number, piece in enumerate(self.vocab) if not piece.startswith("[") or piece == "["]
        )

    @cached_property
    def _special(self) -> tuple[int, int, int]:
        return self.vocab.index("[CLS]"), self.vocab.index("[SEP]"), self.vocab.index("[MASK]")

    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Rows as a batch.

        :returns: ``input_ids``, ``token_type_ids``, ``attention_mask``, each int64 [rows, length]; ``positions`` of the
            pieces to guess, counted through the flattened rows, and the pieces themselves as ``labels``, both
            int64 [guesses].
        """
        made = [self._row(int(row)) for row in rows]
        columns = np.concatenate([chosen + number * self.length for number, (_, _, chosen, _) in enumerate(made)])
        return {
            "input_ids": np.stack([ids for ids, _, _, _ in made]),
            "token_type_ids": np.stack([segments for _, segments, _, _ in made]),
            "attention_mask": np.ones((len(made), self.length), np.int64),
            "positions": columns,
            "labels": np.concatenate([labels for _, _, _, labels in made]),
        }

    def _row(self, index: int) -> tuple[NDArray[np.int64], ...]:
        """Ids with the guesses masked, segment numbers, columns of the guesses, what was there."""
        cls, sep, mask = self._special
        random = np.random.default_rng((self.seed, index))
        pair, has_two = divmod(index, 2)
        start = pair * (2 * self.length - 5) + has_two * (self.length - 2)
        text = self.stream[start : start + self.length - 2 - has_two].astype(np.int64)
        cut = int(random.integers(1, len(text))) if has_two else len(text)
        segments = np.zeros(self.length, np.int64)
        segments[cut + 2 :] = has_two
        ids = np.array([cls, *text[:cut], sep, *text[cut:], *[sep] * has_two], np.int64)
        columns = np.setdiff1d(np.arange(1, self.length - 1), [cut + 1])
        chosen = np.sort(random.choice(columns, max(1, round(MASKED_SHARE * len(columns))), replace=False))
        labels = ids[chosen]
        fate = random.random(len(chosen))
        others = random.choice(self._ordinary, len(chosen))
        ids[chosen] = np.where(fate < 0.8, mask, np.where(fate < 0.9, others, labels))
        return ids, segments, chosen, labels


def mask_text(
    stream: NDArray[np.int32], vocab: Sequence[str], length: int = 64, seed: int = 0, limit: int | None = None
) -> MaskedText:
    """Rows for masked language modelling from running text.

    :param stream: wordpiece ids, one dimension.
    :param vocab: the wordpieces in the order of their ids; must hold the special ones.
    :param length: pieces a row, special ones included.
    :param limit: make no more than this many rows.
    :raises UserError: if the stream does not fill a row of each kind.
    """
    pairs = len(stream) // (2 * length - 5)  # a row of one segment takes length - 2 pieces, one of two takes length - 3
    if pairs == 0:
        raise UserError(f"{len(stream)} wordpieces of text are too few for rows of {length}: give more text")
    rows = 2 * pairs if limit is None else min(limit, 2 * pairs)
    key = hashlib.sha256(stream.tobytes() + repr((length, seed, rows, list(vocab))).encode()).hexdigest()
    return MaskedText(key, {}, vocab.index("[PAD]"), stream, vocab, rows, length, seed)
