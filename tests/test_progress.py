"""The line before long work: said once, only where it is long."""

import logging
import time
from collections.abc import Callable

import pytest

from paddledistill import progress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[int, float], list[str]]:
    """What is logged while so many pieces are done, so many seconds for so many at a time, by a clock that is moved by hand."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def run(pieces: int, seconds: float, at_once: int = 1) -> list[str]:
        with caplog.at_level(logging.INFO), progress.Watched("teacher logits", "token", pieces) as watched:
            for _ in range(0, pieces, at_once):
                clock[0] += seconds
                watched.update(at_once)
        return [record.getMessage() for record in caplog.records]

    return run


def test_long_work_is_announced_once(said: Callable[[int, float], list[str]]) -> None:
    assert said(104, 3.0) == ["teacher logits: 100 tokens to go, about 5 minutes here"]


def test_short_work_is_not(said: Callable[[int, float], list[str]]) -> None:
    assert said(20, 1.0) == []
    assert said(2, 100.0) == []


def test_pieces_may_be_done_by_the_dozen(said: Callable[..., list[str]]) -> None:
    assert said(1248, 3.0, 12) == ["teacher logits: 1200 tokens to go, about 5 minutes here"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 seconds"), (570, "10 minutes"), (3600 * 2 + 600, "2 h 10 min")]
)
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
