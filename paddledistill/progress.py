"""Progress of long work: a bar with rate and time left, and a line beforehand that says how long it will take."""

import logging
import math
import sys
import time
from typing import Any

from paddledistill import launch

logger = logging.getLogger(__name__)

LONG = 60.0  # seconds from which the line is worth reading
_MANY = 100_000  # pieces from which on they are told in thousands
_ESTIMATE_AFTER = 4  # updates: the first one is slower than the rest


def bar(what: str, unit: str, total: int | None, done: int = 0) -> Any:
    """A tqdm bar: redrawn often on a terminal, rarely in a log file. ``total`` is None where it is not known."""
    from tqdm import tqdm

    often = 0.2 if sys.stderr.isatty() else 30
    return tqdm(
        desc=what, unit=unit, total=total, initial=done, mininterval=often, smoothing=0.1, dynamic_ncols=True,
        unit_scale=(total or 0) >= _MANY, disable=launch.rank() > 0,
    )  # fmt: skip


def duration(seconds: float) -> str:
    """``45 seconds``, ``9 minutes``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def say_how_long(what: str, seconds: float) -> None:
    """One line for work of more than a minute; none for less."""
    if seconds > LONG:
        logger.info("%s, about %d minutes here", what, math.ceil(seconds / 60))


class Watched:
    """Pieces of work of about the same size: a bar, and a line that says how long the rest takes after the first few."""

    def __init__(self, what: str, unit: str, total: int, done: int = 0) -> None:
        """:param total: how many pieces there are, ``done`` of which are done already."""
        self._bar = bar(what, unit, total, done)
        self._what, self._unit, self._left, self._start = what, unit, total - done, time.perf_counter()
        self._done = self._updates = 0

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def rate(self) -> float | None:
        """Pieces a second of late; None before there is a second piece, and where no bar is shown."""
        rate: float | None = None if self._bar.disable else self._bar.format_dict["rate"]
        return rate

    def update(self, pieces: int = 1) -> None:
        """So many pieces are done."""
        self._bar.update(pieces)
        self._done += pieces
        self._updates += 1
        if self._updates == _ESTIMATE_AFTER:
            left = self._left - self._done
            say_how_long(
                f"{self._what}: {left} {self._unit}s to go", left * (time.perf_counter() - self._start) / self._done
            )
