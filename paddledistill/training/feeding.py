"""Batches on their way to the device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import paddle

from paddledistill.models.base import Batch

_AHEAD = 2  # batches that are ready before they are asked for

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def to_batch(arrays: Mapping[str, np.ndarray]) -> Batch:
    """Numpy arrays as tensors on the device in use; to a GPU by way of pinned memory, so that the copy waits for nothing."""
    if not paddle.get_device().startswith("gpu"):
        return {name: paddle.to_tensor(array) for name, array in arrays.items()}
    pinned = paddle.CUDAPinnedPlace()
    return {name: paddle.to_tensor(array, place=pinned).cuda(blocking=False) for name, array in arrays.items()}


def prepared(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[tuple[_Item, _Made]]:
    """Each item with what ``make`` makes of it: ahead of time by a thread on a GPU, when asked for on a CPU, whose cores are busy."""
    if not paddle.get_device().startswith("gpu"):
        yield from ((item, make(item)) for item in items)
        return
    device = paddle.get_device()

    def on_device(item: _Item) -> _Made:
        paddle.set_device(device)  # Paddle keeps the device by thread
        return make(item)

    waiting: deque[tuple[_Item, Future[_Made]]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            waiting.append((item, thread.submit(on_device, item)))
            if len(waiting) > _AHEAD:
                first, made = waiting.popleft()
                yield first, made.result()
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()
