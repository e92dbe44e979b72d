"""The best columns of each row of scores, with a rule for ties."""

import numpy as np
from numpy.typing import NDArray


def top(scores: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``count`` highest scores of each row, from the highest down; equal scores by the lower column.

    A few times faster than ``numpy.argpartition`` on rows as wide as a vocabulary: the ``count``-th highest maximum of groups of
    columns bounds the answer from below, which leaves a handful of columns to sort.

    :param scores: [rows, columns], without NaN; minus infinity stands for columns that must not be chosen.
    :returns: (columns, scores), both [rows, min(count, columns)]; where a row has fewer columns above minus infinity, the rest
        are columns at minus infinity.
    """
    rows, columns = scores.shape
    count = min(count, columns)
    if not rows or not count:
        return np.empty((rows, count), np.int64), np.empty((rows, count), np.float32)
    width = min(16, columns // count)
    groups = columns // width
    # Columns past the last whole group are left out of the bound, not of the answer.
    maxima = scores[:, : width * groups].reshape(rows, width, groups).max(axis=1)
    bound = np.partition(maxima, groups - count, axis=1)[:, groups - count]
    row, column = np.nonzero(scores >= bound[:, None])
    value = scores[row, column]
    order = np.lexsort((column, -value, row))
    first = np.searchsorted(row, np.arange(rows))
    best = order[first[:, None] + np.arange(count)]
    return column[best], value[best]
