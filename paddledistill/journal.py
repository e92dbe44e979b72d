"""Finished parts of a long computation on disk, so that a killed one goes on where it stopped, and several processes share it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from paddledistill import files, parallel
from paddledistill.errors import UserError

_KEY_FILE = "key.json"
_LOCK_FILE = "lock"

T = TypeVar("T")


class Journal:
    """A directory of named results, each written whole or not at all, valid for one key.

    Use it as a context manager: inside, no other command can open it. The processes of one command open it together.
    """

    def __init__(self, directory: Path, key: Any, resume: bool, wait: bool = False) -> None:
        """:param key: all that shapes the results, as JSON. Results of another key, and all without ``resume``, are deleted.

        :param wait: until another command that has it open is done.
        :raises UserError: if another command has it open, and one is not to wait.
        """
        self.directory = directory
        self._lock: IO[str] | None = None
        self.resumed = parallel.agreed(lambda: self._take(key, resume, wait))

    def _take(self, key: Any, resume: bool, wait: bool) -> bool:
        try:
            self._lock = files.lock(self.directory / _LOCK_FILE, wait)
        except BlockingIOError:
            raise UserError(f"{self.directory} is in use by another command: wait for it to end") from None
        resumed = resume and self.matches(self.directory, key)
        for stale in self.directory.iterdir():
            if stale.name != _LOCK_FILE and (not resumed or stale.suffix == ".part"):
                stale.unlink()
        if not resumed:
            files.write_json(self.directory / _KEY_FILE, key)
        return resumed

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
        if self._lock is None:
            return
        if self.directory.is_dir() and {path.name for path in self.directory.iterdir()} <= {_KEY_FILE, _LOCK_FILE}:
            self.remove()  # nothing in it is worth keeping
        self._release()

    def has(self, name: str) -> bool:
        """Whether ``array`` or ``json`` of this name would be read, not computed."""
        return (self.directory / name).is_file()

    def array(self, name: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of this name, computed unless it is there."""
        path = self.directory / name
        if not path.is_file():
            files.write_array(path, compute())
        result: NDArray[Any] = np.load(path)
        return result

    def arrays(self, parts: Mapping[str, Callable[[], NDArray[Any]]]) -> Iterator[NDArray[Any]]:
        """The arrays of these names in their order; those that are missing are computed first, by all processes together."""
        missing = parallel.agreed(lambda: [name for name in parts if not self.has(name)])
        for name in parallel.mine(missing):
            self.array(name, parts[name])
        parallel.barrier()
        return (self.array(name, compute) for name, compute in parts.items())

    def json(self, name: str, compute: Callable[[], T]) -> T:
        """What is stored as JSON under this name, computed by the main process unless it is there."""
        path = self.directory / name
        if parallel.is_main() and not path.is_file():
            files.write_json(path, compute())
        parallel.barrier()
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
        """Delete it: the work is done. A command that waits for it may begin as soon as the lock file is gone."""
        for entry in self.directory.iterdir():
            if entry.name != _LOCK_FILE:
                entry.unlink()
        (self.directory / _LOCK_FILE).unlink()
        with suppress(OSError):  # not empty: such a command has begun
            self.directory.rmdir()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
