"""Weights as ``torch.save`` writes them, read without PyTorch. Nothing but tensors and dicts is unpickled, so no file can run code."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from paddledistill.errors import UserError

# Of storages; numpy has no bfloat16.
_KINDS = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


class _Storage(NamedTuple):
    """A run of numbers, which several tensors may share."""

    kind: str
    key: str


class _Tensor(NamedTuple):
    """A tensor before its numbers have been read; ``offset`` and ``strides`` in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _Tensor(*given[:4]),
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): kind for name, kind in _KINDS.items()},
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file, by name; bfloat16 as its bits, in uint16.

    :raises UserError: for a file that holds more than tensors. Other exceptions, of many kinds, for one that is damaged.
    """
    with path.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
        stream.seek(0)
        if not is_zip:
            return _of_stream(stream)
        with zipfile.ZipFile(stream) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(pickled) as content:
                found = _Unpickler(content).load()
            inside = pickled.removesuffix("data.pkl")
            return _filled(found, lambda storage: archive.read(f"{inside}data/{storage.key}"))


def _of_stream(stream: BinaryIO) -> dict[str, np.ndarray]:
    """What PyTorch wrote before 1.6: a magic number, a version, the writer's machine, the tensors, the storages' keys; then of each
    storage how many numbers it has, in eight bytes, and these."""
    for _ in range(3):
        _Unpickler(stream).load()
    data: dict[str, bytes] = {}
    unpickler = _Unpickler(stream)
    found = unpickler.load()
    for key in _Unpickler(stream).load():
        count = int.from_bytes(stream.read(8), "little")
        data[key] = stream.read(count * np.dtype(unpickler.kinds[key]).itemsize)
    return _filled(found, lambda storage: data[storage.key])


def _filled(found: dict[str, Any], read_storage: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    tensors = {name: one for name, one in found.items() if isinstance(one, _Tensor)}
    storages = {one.storage for one in tensors.values()}
    numbers = {storage: np.frombuffer(read_storage(storage), np.dtype(storage.kind)) for storage in storages}

    def array(one: _Tensor) -> np.ndarray:
        shared = numbers[one.storage]
        size = shared.itemsize
        # Made like this, an array cannot reach beyond its buffer.
        return np.ndarray(one.shape, shared.dtype, shared, one.offset * size, [step * size for step in one.strides])

    return {name: array(one) for name, one in tensors.items()}


class _Unpickler(pickle.Unpickler):
    """Knows what a dict of tensors is made of, and nothing else."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.kinds: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise UserError(f"holds a {module}.{name}: only a dict of tensors, as model.state_dict() gives, is read")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        self.kinds[key] = kind
        return _Storage(kind, key)
