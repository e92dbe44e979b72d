"""Batches of rows of similar length, so that little is computed on padding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POOL_BATCHES = 50


def bucketed_batches(
    lengths: NDArray[np.int64] | Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Every row once, in batches of rows of similar length, in an order that ``seed`` and ``epoch`` decide.

    Rows are shuffled and cut into pools of 50 batches; each pool is sorted by length and cut into batches; the batches
    are shuffled. So a row meets other partners in every epoch, while a batch pads little.

    :param lengths: tokens of each row, shape [rows].
    :returns: arrays of row numbers (int64), all of ``batch_size`` but for one shorter rest, kept.
    """
    lengths = np.asarray(lengths)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    generator = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    order = generator.permutation(len(lengths))
    batches: list[NDArray[np.int64]] = []
    pool = batch_size * POOL_BATCHES
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [batches[at] for at in generator.permutation(len(batches))]


def sequential_batches(lengths: NDArray[np.int64] | Sequence[int], batch_size: int) -> list[NDArray[np.int64]]:
    """Every row once, sorted by length, for evaluation; the caller puts results back in order by the row numbers."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = np.argsort(np.asarray(lengths), kind="stable").astype(np.int64)
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
