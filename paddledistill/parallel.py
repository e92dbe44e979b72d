"""What the processes of a run tell each other. With one process everything here is a no-op.

All of them must come by each of these calls in the same order. Paddle is imported only where there are several.
"""

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from paddledistill import launch, runtime

if TYPE_CHECKING:  # neither --help nor an argument error waits for numpy
    from numpy.typing import NDArray

_PATIENCE = 7 * 24 * 3600 * 1000  # milliseconds; Paddle's own half an hour is less than the main process may work alone

_T = TypeVar("_T")


def start() -> None:
    """Find the other processes; the first call of a run that has any."""
    if launch.world() > 1:
        os.environ.setdefault("PADDLE_PG_TIMEOUT", str(_PATIENCE))
        runtime.load_paddle()
        import paddle

        with runtime.silence():
            paddle.distributed.init_parallel_env()


def end() -> None:
    """Leave together: with code 0 and without the teardown of libraries, which aborts where another process left before."""
    if launch.world() > 1:
        barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def is_main() -> bool:
    """Whether this is the process that writes and talks."""
    return launch.rank() == 0


def barrier() -> None:
    """Wait until all processes are here."""
    if launch.world() > 1:
        import numpy as np

        total(np.zeros(1, np.float32))  # Paddle's own barrier needs a device of its own on some back ends


def total(array: "NDArray[Any]") -> "NDArray[Any]":
    """The sum of the arrays of all processes, which have one shape and type."""
    if launch.world() == 1:
        return array
    import numpy as np
    import paddle

    tensor = paddle.to_tensor(array)
    paddle.distributed.all_reduce(tensor)
    return np.asarray(tensor.numpy()).reshape(array.shape)


def agreed(decide: Callable[[], _T]) -> _T:
    """What ``decide`` returns in the main process, in all of them; it is not called in the others."""
    if launch.world() == 1:
        return decide()
    import numpy as np

    content = np.frombuffer(pickle.dumps(decide()), np.uint8) if is_main() else np.zeros(0, np.uint8)
    size = int(total(np.array([len(content)], np.int64))[0])
    padded = np.zeros(size, np.int32)
    padded[: len(content)] = content
    decided: _T = pickle.loads(total(padded).astype(np.uint8).tobytes())
    return decided


def mine(pieces: Sequence[_T]) -> Sequence[_T]:
    """This process's share of some work: every n-th piece."""
    return pieces[launch.rank() :: launch.world()]
