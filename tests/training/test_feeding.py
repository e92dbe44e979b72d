"""Batches on their way to the device: here a CPU, where they are made when they are asked for."""

import numpy as np
import paddle

from paddledistill.training.feeding import prepared, to_batch


def test_each_item_comes_with_what_is_made_of_it() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number**2

    found = prepared(make, range(3))
    assert next(found) == (0, 0)
    assert made == [0], "the cores are busy: nothing is made ahead"
    assert list(found) == [(1, 1), (2, 4)]


def test_arrays_keep_their_types_and_values() -> None:
    batch = to_batch({"ids": np.array([[3, 4]]), "mask": np.array([0.5], np.float32)})
    assert batch["ids"].dtype == paddle.int64 and batch["ids"].tolist() == [[3, 4]]
    assert batch["mask"].dtype == paddle.float32 and batch["mask"].tolist() == [0.5]
