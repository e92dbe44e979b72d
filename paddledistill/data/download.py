"""Archives of data over the network: a broken-off download goes on where it was, and what has come is checked by its MD5."""

import hashlib
import os
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

from paddledistill import progress
from paddledistill.errors import UserError

_CHUNK = 1 << 16
_TIMEOUT = 30  # seconds without a byte


def fetch(url: str, target: Path, md5: str) -> Path:
    """The file at ``url`` as ``target``; one that is there with this MD5 is left as it is.

    What has come so far is kept as ``target`` with ``.part`` after it, until all of it has come and been checked.

    :raises UserError: if the network breaks off, or what has come is not what was expected.
    """
    if target.is_file() and _md5(target) == md5:
        return target
    partial = target.with_name(f"{target.name}.part")
    try:
        _get(url, partial)
    except (OSError, urllib.error.URLError) as error:  # a timeout, a proxy, a name that is not resolved, ...
        had = partial.stat().st_size if partial.is_file() else 0
        kept = f"; {had / 1e6:.1f} MB are kept, the same command goes on from there" if had else ""
        if target.is_file():
            kept += f"; {target}, which is there, is damaged: its MD5 is not {md5}"
        raise UserError(f"cannot download {url} ({getattr(error, 'reason', error)}){kept}") from None
    found = _md5(partial)
    if found != md5:
        partial.unlink()
        raise UserError(
            f"{url} has MD5 {found}, expected {md5}: nothing of it was kept; try again, or get it elsewhere"
        )
    os.replace(partial, target)
    return target


def _get(url: str, partial: Path) -> None:
    """Append what is missing of ``partial``."""
    had = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it is there
            return
        raise
    with answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:  # a server that starts again
            had = 0
        partial.parent.mkdir(parents=True, exist_ok=True)
        whole = had + int(answer.headers.get("Content-Length") or 0)
        with partial.open("ab" if had else "wb") as file, progress.bar(Path(url).name, "B", whole, had) as bar:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    come = partial.stat().st_size
    if come < whole:
        raise OSError(f"broke off after {come:,} of {whole:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
