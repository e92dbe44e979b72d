"""The best columns of rows of scores."""

import numpy as np
import pytest

from paddledistill.augment.top import top


@pytest.mark.parametrize("columns", [1, 7, 15, 16, 100, 1003, 30522])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_equals_a_stable_sort(columns: int, count: int) -> None:
    scores = np.random.default_rng(columns).integers(-20, 20, (9, columns)).astype(np.float32)  # full of ties
    scores[0] = 1
    scores[1, ::2] = -np.inf
    want = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    got, values = top(scores, count)
    assert (got == want).all()
    assert (values == np.take_along_axis(scores, want, axis=1)).all()


def test_no_rows_or_nothing_wanted() -> None:
    assert top(np.empty((0, 5), np.float32), 3)[0].shape == (0, 3)
    assert top(np.ones((2, 5), np.float32), 0)[0].shape == (2, 0)
