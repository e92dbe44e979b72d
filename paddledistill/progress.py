"""Progress of long work: a bar with rate and time left, and a line beforehand that says how long it will take."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

LONG = 60.0  # seconds from which the line is worth reading
_ESTIMATE_AFTER = 4  # pieces of work: the first one is slower than the rest
_Piece = TypeVar("_Piece")


def bar(what: str, unit: str, total: int, done: int = 0) -> Any:
    """A tqdm bar: redrawn often on a terminal, rarely in a log file."""
    from tqdm import tqdm

    often = 0.2 if sys.stderr.isatty() else 30
    return tqdm(desc=what, unit=unit, total=total, initial=done, mininterval=often, smoothing=0.1, dynamic_ncols=True)


def say_how_long(what: str, seconds: float) -> None:
    """One line for work of more than a minute; none for less."""
    if seconds > LONG:
        logger.info("%s, about %d minutes here", what, math.ceil(seconds / 60))


class Estimate:
    """Says how long the rest takes, once, after the first few pieces of work."""

    def __init__(self, what: str, left: int) -> None:
        """:param left: how many pieces there are to do."""
        self._what, self._left, self._done, self._start = what, left, 0, time.perf_counter()

    def update(self) -> None:
        """A piece is done."""
        self._done += 1
        if self._done == _ESTIMATE_AFTER:
            left = self._left - self._done
            say_how_long(f"{self._what}: {left} to go", left * (time.perf_counter() - self._start) / self._done)


def watched(pieces: Sequence[_Piece], what: str, unit: str) -> Iterator[_Piece]:
    """The pieces one by one, with a bar and the line."""
    estimate = Estimate(what, len(pieces))
    with bar(what, unit, len(pieces)) as shown:
        for piece in pieces:
            yield piece
            shown.update()
            estimate.update()
