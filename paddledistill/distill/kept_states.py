"""A teacher's hidden states and attention of every row, kept in memory, so that later epochs need not compute them again."""

import logging
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import paddle
from numpy.typing import NDArray

from paddledistill import launch, runtime
from paddledistill.data.batching import sequential_batches
from paddledistill.data.datasets import Dataset
from paddledistill.distill.objectives import Targets
from paddledistill.errors import UserError
from paddledistill.models.base import Batch
from paddledistill.models.transformer import Captured
from paddledistill.progress import Watched
from paddledistill.training.feeding import to_batch

logger = logging.getLogger(__name__)

_KINDS = ("hidden", "scores", "values")
_ROW = "row"  # the column of a batch that says where its rows are kept
_BATCH = 32
_SHARE = 0.5  # of the machine's memory

_Data = TypeVar("_Data", bound=Dataset)
_Layer = tuple[str, int]


def check_one_process() -> None:
    """:raises UserError: in a run of several processes, each of which would have to keep all rows."""
    if launch.world() > 1:
        raise UserError("--keep_teacher_states is for a run of one process: leave it out")


def keep_states(answer: Targets, dataset: _Data, rows: NDArray[np.int64]) -> tuple[_Data, Targets]:
    """Ask ``answer`` about each row once, in batches that nothing else decides, so that a resumed run reads the same.

    Half precision is exact to a two-thousandth of a number, far below what a student gets near to.

    :param rows: those that will be read.
    :returns: the dataset with a column that numbers its rows, and what answers its batches from memory and others by ``answer``.
    :raises UserError: if they would take more than half of the machine's memory.
    """
    kept: dict[_Layer, list[NDArray[np.float16]]] = {}
    lengths = np.asarray(dataset.lengths)
    with Watched("teacher states", "token", int(lengths[rows].sum())) as watched:
        for number, part in enumerate(sequential_batches(lengths[rows], _BATCH)[::-1]):
            together = rows[part]
            batch = to_batch(dataset.batch(together))
            places = _places(batch)
            for layer, tensor in _layers(answer(batch)).items():
                parts = kept.setdefault(layer, [np.empty(0, np.float16)] * len(dataset))
                for row, whole, place in zip(together, tensor.numpy(), places, strict=True):
                    parts[row] = _within(whole, place).astype(np.float16)
            if not number:
                _check_memory((parts[together[0]] for parts in kept.values()), lengths[rows])
            watched.update(int(lengths[together].sum()))

    def targets(batch: Batch) -> Captured:
        if _ROW not in batch:
            return answer(batch)
        places, together, length = _places(batch), batch[_ROW].numpy(), batch["attention_mask"].shape[1]
        found = Captured()
        for (kind, number), parts in kept.items():
            getattr(found, kind)[number] = paddle.to_tensor(_padded([parts[row] for row in together], places, length))
        return found

    return dataset.with_column(_ROW, np.arange(len(dataset))), targets


def _layers(found: Captured) -> dict[_Layer, paddle.Tensor]:
    return {(kind, number): tensor for kind in _KINDS for number, tensor in getattr(found, kind).items()}


def _places(batch: Batch) -> list[slice]:
    """Where in each row its tokens are; the padding is on the right, or on the left as XLNet has it."""
    mask = batch["attention_mask"].numpy().astype(bool)
    return [slice(first, first + count) for first, count in zip(mask.argmax(1), mask.sum(1), strict=True)]


def _within(whole: NDArray[np.float32], place: slice) -> NDArray[np.float32]:
    """Of a row, what concerns its tokens: of states [length, width], of scores [heads, length, length]. A view."""
    return whole[place] if whole.ndim == 2 else whole[:, place, place]


def _padded(parts: list[NDArray[np.float16]], places: list[slice], length: int) -> NDArray[np.float32]:
    """Rows side by side, zeros where there is no token."""
    first = parts[0]
    shape = (length, first.shape[1]) if first.ndim == 2 else (len(first), length, length)
    padded = np.zeros((len(parts), *shape), np.float32)
    for row, part, place in zip(padded, parts, places, strict=True):
        _within(row, place)[:] = part
    return padded


def _check_memory(layers: Iterable[NDArray[np.float16]], lengths: NDArray[np.int64]) -> None:
    """:param layers: what of one row is kept of each layer; :param lengths: of all rows, whose tokens or pairs of tokens take as much."""
    tokens, pairs = int(lengths.sum()), int((lengths**2).sum())
    needed = sum(part.itemsize * (part.shape[1] * tokens if part.ndim == 2 else len(part) * pairs) for part in layers)
    here = runtime.machine()["memory_gb"]
    logger.info("the teacher's states of %d rows take %.1f GB of memory", len(lengths), needed / 2**30)
    if here and needed > _SHARE * here * 2**30:
        raise UserError(
            f"the teacher's states of {len(lengths)} rows take {needed / 2**30:.1f} GB, more than half of this machine's {here} GB: "
            "leave --keep_teacher_states out"
        )
