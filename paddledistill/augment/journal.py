"""Finished parts of a long computation on disk, so that a killed one goes on where it stopped."""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from paddledistill import files
from paddledistill.errors import UserError

_KEY_FILE = "key.json"
_LOCK_FILE = "lock"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Journal:
    """A directory of named results, each written whole or not at all, valid for one key.

    Use it as a context manager: inside, no other process can open it.
    """

    def __init__(self, directory: Path, key: Any, resume: bool) -> None:
        """:param key: all that shapes the results, as JSON. Results of another key, and all without ``resume``, are deleted.

        :raises UserError: if another process has it open.
        """
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._lock = open(directory / _LOCK_FILE, "w")  # noqa: SIM115  (held until the journal is left)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UserError(f"{directory.parent} is in use by another augmentation: wait for it to end") from None
        self.resumed = resume and self.matches(directory, key)
        if not self.resumed:
            for stale in directory.iterdir():
                if stale.name != _LOCK_FILE:
                    stale.unlink()
            files.write_json(directory / _KEY_FILE, key)

    @staticmethod
    def matches(directory: Path, key: Any) -> bool:
        """Whether ``directory`` holds results of this key."""
        path = directory / _KEY_FILE
        return path.is_file() and bool(files.read_json(path) == json.loads(json.dumps(key)))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.directory.is_dir() and {path.name for path in self.directory.iterdir()} <= {_KEY_FILE, _LOCK_FILE}:
            self.remove()  # nothing in it is worth keeping
        self._lock.close()

    def has(self, name: str) -> bool:
        """Whether ``array`` or ``json`` of this name would be read, not computed."""
        return (self.directory / name).is_file()

    def array(self, name: str, compute: Callable[[], NDArray[np.int32]]) -> NDArray[np.int32]:
        """The array of this name, computed unless it is there."""
        path = self.directory / name
        if not path.is_file():
            with files.atomic_file(path) as partial, open(partial, "wb") as stream:
                np.save(stream, compute())
                stream.flush()
                os.fsync(stream.fileno())
        result: NDArray[np.int32] = np.load(path)
        return result

    def json(self, name: str, compute: Callable[[], T]) -> T:
        """What is stored as JSON under this name, computed unless it is there."""
        path = self.directory / name
        if not path.is_file():
            files.write_json(path, compute())
        result: T = files.read_json(path)
        return result

    @contextmanager
    def text(self, target: Path) -> Iterator[IO[str]]:
        """A file to write that takes ``target``'s place at the end. What a killed process leaves of it goes with the journal."""
        partial = self.directory / target.name
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete it: the work is done."""
        shutil.rmtree(self.directory)
