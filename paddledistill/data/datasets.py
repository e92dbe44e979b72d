"""Examples, tokenised once and kept as flat arrays, from which batches are cut.

A million rows cost the bytes of their tokens (int32) and little more; padding exists only in the batch at hand.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from paddledistill.data.reading import digest_examples
from paddledistill.data.subwords import SubwordTokenizer
from paddledistill.data.tokenization import Layout, Tokenizer
from paddledistill.tasks import Example

# Part of every key, by which a teacher's logits are stored: raise it when the same inputs give other arrays than before.
_VERSION = 1
_CHUNK = 8192


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length in one array: row i is ``flat[offsets[i]:offsets[i + 1]]``.

    ``flat``: int32 [tokens]; ``offsets``: int64 [rows + 1].
    """

    flat: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, chunks: Sequence[NDArray[np.int32]], lengths: Sequence[int]) -> Self:
        """From the rows' tokens, joined in chunks of any size, and the length of each row."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        flat = np.concatenate(chunks) if chunks else np.zeros(0, np.int32)
        return cls(flat.astype(np.int32, copy=False), offsets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def padded(
        self, rows: NDArray[np.int64], pad: int, left: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows, padded on the right or on the ``left``, int64 [rows, longest], and their lengths, int64 [rows]."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        width = int(lengths.max(initial=0))
        filled = np.arange(width) >= width - lengths[:, None] if left else np.arange(width) < lengths[:, None]
        # The tokens of row r stand at starts[r], starts[r] + 1, ...
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        padded = np.full((len(rows), width), pad, np.int64)
        padded[filled] = self.flat[np.repeat(starts, lengths) + within]
        return padded, lengths


@dataclass(frozen=True)
class Dataset(ABC):
    """Tokenised examples.

    ``columns``: further arrays with one entry a row (labels, ...), added to each batch by their name; ``pad_id``: what
    fills the rows of a batch.
    """

    columns: Mapping[str, NDArray[Any]]
    pad_id: int

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, which decide what a batch costs: int64 [rows]."""

    @abstractmethod
    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The model's inputs for these rows."""

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: NDArray[np.int64] | Sequence[int]) -> dict[str, NDArray[Any]]:
        """The inputs of these rows, padded to the longest, and their columns."""
        rows = np.asarray(indices, np.int64)
        return {**self._inputs(rows), **{name: column[rows] for name, column in self.columns.items()}}

    def with_column(self, name: str, array: NDArray[Any]) -> Self:
        """The same dataset, whose batches also hold ``array[indices]`` under ``name``.

        :raises ValueError: not one entry a row.
        """
        array = np.ascontiguousarray(array)
        if len(array) != len(self):
            raise ValueError(f"column {name!r} has {len(array)} rows, the dataset {len(self)}")
        return replace(self, columns={**self.columns, name: array})


@dataclass(frozen=True)
class BertDataset(Dataset):
    """Rows ``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``, or as another ``layout`` has it; ``first``: how many tokens are segment
    0's, int32 [rows]; ``key``: SHA-256 (hex) of all that shapes them.

    Batches: input_ids, token_type_ids, attention_mask, all int64 [B, T].
    """

    key: str
    sequences: Ragged = field(repr=False)
    first: NDArray[np.int32] = field(repr=False)
    layout: Layout

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.sequences.lengths

    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        input_ids, lengths = self.sequences.padded(rows, self.pad_id, self.layout.pads_left)
        position, end = np.arange(input_ids.shape[1]), lengths[:, None]
        if self.layout.pads_left:
            position = position - (input_ids.shape[1] - end)
        mask = (position >= 0) & (position < end)
        segments = (position >= self.first[rows, None]).astype(np.int64)
        segments[position >= end - self.layout.own_segments] = 2
        return {
            "input_ids": input_ids,
            "token_type_ids": segments * mask,
            "attention_mask": mask.astype(np.int64),
        }


@dataclass(frozen=True)
class BilstmDataset(Dataset):
    """Rows without special tokens, the two texts of a pair apart; ``key`` as of :class:`BertDataset`.

    Batches: input_ids int64 [B, T], lengths int64 [B], and for pairs input_ids_b, lengths_b.
    """

    key: str
    sequences: Ragged = field(repr=False)
    sequences_b: Ragged | None = field(repr=False)

    @property
    def lengths(self) -> NDArray[np.int64]:
        lengths = self.sequences.lengths
        return lengths if self.sequences_b is None else np.maximum(lengths, self.sequences_b.lengths)

    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        input_ids, lengths = self.sequences.padded(rows, self.pad_id)
        inputs = {"input_ids": input_ids, "lengths": lengths}
        if self.sequences_b is not None:
            inputs["input_ids_b"], inputs["lengths_b"] = self.sequences_b.padded(rows, self.pad_id)
        return inputs


Encoded = BertDataset | BilstmDataset


def encode_for_bert(
    examples: Sequence[Example], tokenizer: Tokenizer | SubwordTokenizer, max_seq_length: int
) -> BertDataset:
    """Examples as BERT, or the tokenizer's own model, reads them: at most ``max_seq_length`` tokens, special ones among them.

    Of a pair that is too long, the longer text loses tokens first, as in PaddleNLP's BertTokenizer.

    :raises ValueError: ``max_seq_length`` leaves no room; singles and pairs, or labelled and unlabelled, mixed.
    """
    is_pair = _is_pair(examples)
    layout = tokenizer.layout
    room = max_seq_length - layout.special(is_pair)
    if room < 1 + is_pair:
        raise ValueError(f"max_seq_length {max_seq_length} leaves no room for text")
    tokens: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    first: list[int] = []
    for chunk in _chunks(examples):
        ids_a = tokenizer.ids([example.text_a for example in chunk])
        ids_b = tokenizer.ids([example.text_b or "" for example in chunk]) if is_pair else [[]] * len(chunk)
        joined: list[int] = []
        for a, b in zip(ids_a, ids_b, strict=True):
            keep_a, keep_b = _longest_first(len(a), len(b), room)
            before = len(joined)
            joined += [*layout.before, *a[:keep_a], *(layout.between if is_pair else layout.after)]
            first.append(len(joined) - before)
            if is_pair:
                joined += [*b[:keep_b], *layout.after]
            lengths.append(len(joined) - before)
            if not layout.second_segment:
                first[-1] = lengths[-1]
        tokens.append(np.array(joined, np.int32))
    key, sequences = _key("bert", examples, tokenizer, max_seq_length), Ragged.of(tokens, lengths)
    return BertDataset(_labels(examples), tokenizer.pad_id, key, sequences, np.array(first, np.int32), layout)


def encode_for_bilstm(examples: Sequence[Example], tokenizer: Tokenizer, max_seq_length: int) -> BilstmDataset:
    """Examples as the BiLSTM reads them: each text on its own, its first ``max_seq_length`` tokens, no special ones.

    A text of which nothing is left becomes one [UNK]: an LSTM needs a step.

    :raises ValueError: ``max_seq_length`` below 1; singles and pairs, or labelled and unlabelled, mixed.
    """
    is_pair = _is_pair(examples)
    if max_seq_length < 1:
        raise ValueError(f"max_seq_length {max_seq_length} leaves no room for text")
    sides = []
    for side in range(1 + is_pair):
        tokens: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for chunk in _chunks(examples):
            ids = tokenizer.ids([example.texts[side] for example in chunk])
            rows = [row[:max_seq_length] or [tokenizer.unk_id] for row in ids]
            tokens.append(np.array([token for row in rows for token in row], np.int32))
            lengths += map(len, rows)
        sides.append(Ragged.of(tokens, lengths))
    key = _key("bilstm", examples, tokenizer, max_seq_length)
    return BilstmDataset(_labels(examples), tokenizer.pad_id, key, sides[0], sides[1] if is_pair else None)


def _longest_first(length_a: int, length_b: int, room: int) -> tuple[int, int]:
    """How many tokens of each text are kept when one at a time is taken from the longer, from b when they are equal."""
    if length_a + length_b <= room:
        return length_a, length_b
    if length_b <= room // 2:
        return room - length_b, length_b
    if length_a <= (room + 1) // 2:
        return length_a, room - length_a
    return (room + 1) // 2, room // 2


def _chunks(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    return (examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK))


def _is_pair(examples: Sequence[Example]) -> bool:
    pairs = sum(example.text_b is not None for example in examples)
    if pairs not in (0, len(examples)):
        raise ValueError(f"{pairs} of {len(examples)} examples are pairs: they must be all or none")
    return pairs > 0


def _labels(examples: Sequence[Example]) -> dict[str, NDArray[Any]]:
    """{"labels": int64 classes or float32 scores}, or nothing when the examples have none."""
    labels = [example.label for example in examples if example.label is not None]
    if not labels:
        return {}
    if len(labels) != len(examples):
        raise ValueError(f"{len(labels)} of {len(examples)} examples have a label: they must be all or none")
    is_score = any(isinstance(label, float) for label in labels)
    return {"labels": np.array(labels, np.float32 if is_score else np.int64)}


def _key(layout: str, examples: Sequence[Example], tokenizer: Tokenizer | SubwordTokenizer, max_seq_length: int) -> str:
    parts = (_VERSION, layout, max_seq_length, tokenizer.key, digest_examples(examples))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
