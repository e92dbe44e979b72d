"""Files and directories that are either whole or not there, locks on them, and digests of what they hold."""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # neither --help nor an argument error waits for numpy
    from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # Windows: two commands in one directory do not notice each other there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes ``path``'s place at the end, or vanishes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; it takes ``path``'s place at the end, or vanishes on an error.

    An older directory is moved aside before it is deleted, so that none is ever seen half-deleted. Where another process has filled
    ``path`` meanwhile, its directory stays: it may be in use already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{path.name}.{os.getpid()}{kind}.part") for kind in ("", ".former"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    replaces = path.exists()
    try:
        yield partial
        for file in (*partial.rglob("*"), partial):
            _to_disk(file)
        if replaces:
            with suppress(FileNotFoundError):  # moved by another process that replaces it
                os.replace(path, former)
        try:
            os.replace(partial, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Wait until the disk has what was written, so that not even a power cut leaves a name without its content."""
    if not fcntl:
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def lock(path: Path, wait: bool = False) -> IO[str]:
    """Hold ``path``, whose directory is made, until what is returned is closed.

    :param wait: until another command lets go of it. It may delete the file as it does so, and the directory.
    :raises BlockingIOError: if another command holds it, and one is not to wait.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = path.open("w")
        except FileNotFoundError:  # the directory was deleted in between
            continue
        if not fcntl:
            return stream
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                stream.close()
                raise
            logger.info("waiting for another command, which has %s", path.parent)
            fcntl.flock(stream, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        stream.close()


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write ``array`` as :func:`numpy.save` does, atomically. On a full disk numpy's own raises an error that does not say so."""
    import numpy as np

    with atomic_file(path) as partial, partial.open("wb") as stream:
        np.save(SimpleNamespace(write=stream.write), array)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def point(link: Path, target: str) -> None:
    """Make ``link`` a symbolic link to its sibling ``target``, replacing an older one in a single step."""
    partial = link.with_name(f".{link.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target, target_is_directory=True)
    os.replace(partial, link)


def digest(path: Path) -> str:
    """Sha256 of a file, or of the names and contents of all files below a directory."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def size_in_megabytes(path: Path) -> float:
    """Size on disk of all files below ``path``, in units of 1,000,000 bytes."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
