"""What VisualDL shows of a run: read back from its log, and looked at in a browser without a screen."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from visualdl import LogReader

from paddledistill.training.run_directory import BINS, RunDirectory, read_metrics

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that has logged: losses, rates, metrics, logits of two classes."""
    claimed = RunDirectory.claim(tmp_path / "run", {"seed": 1}, {})
    claimed.begin()
    for step in (10, 20, 30):
        claimed.log("train", step, 0, float(step), {"loss": 1 / step, "lr": 1e-4 * step})
        claimed.log("eval", step, 0, float(step), {"accuracy": step / 100, "loss": 0.7}, logits(step))
    return claimed


def logits(step: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(step)
    return {"logits/no": draw.normal(-1, 1, 500), "logits/yes": draw.normal(step / 10, 2, 500)}


def reader(path: Path) -> LogReader:
    (log,) = (path / "visualdl").iterdir()
    return LogReader(file_path=str(log))


def shown(path: Path) -> dict[str, list[tuple[int, list[int]]]]:
    """The counts of every histogram by step."""
    log = reader(path)
    return {
        tag: [(one.id, list(one.histogram.hist)) for one in log.get_data("histogram", tag)]
        for tag in log.get_tags()["histogram"]
    }


def test_the_log_holds_losses_rates_metrics_and_logits(run: RunDirectory) -> None:
    log = reader(run.path)
    assert set(log.get_tags()["scalar"]) == {"train/loss", "train/lr", "eval/accuracy", "eval/loss"}
    rates = [(one.id, one.value) for one in log.get_data("scalar", "train/lr")]
    assert rates == [(step, pytest.approx(1e-4 * step)) for step in (10, 20, 30)]
    for name in ("no", "yes"):
        expected = [(step, np.histogram(logits(step)[f"logits/{name}"], BINS)[0].tolist()) for step in (10, 20, 30)]
        assert shown(run.path)[f"eval/logits/{name}"] == expected


def test_a_run_that_goes_on_shows_the_same(run: RunDirectory) -> None:
    before, lines = shown(run.path), read_metrics(run.path)
    run.log("train", 33, 1, 33.0, {"loss": 0.5, "lr": 1e-5})
    run.rewind(30)
    assert (shown(run.path), read_metrics(run.path)) == (before, lines)


def test_a_run_killed_as_it_goes_on_keeps_its_log(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = read_metrics(run.path)

    def kill(record: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_plot", kill)
    with pytest.raises(KeyboardInterrupt):
        run.rewind(30)
    assert read_metrics(run.path) == lines


@pytest.fixture
def server(run: RunDirectory) -> Iterator[str]:
    """VisualDL's own server for the run, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("visualdl")),
        "--logdir",
        str(run.path),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/app"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("VisualDL did not start within a minute")


@contextlib.contextmanager
def _browser(command: list[str], file: IO[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A browser, all of whose processes are gone afterwards."""
    with subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, start_new_session=True) as browser:
        try:
            yield browser
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium on the PATH")
def test_the_page_in_a_browser(server: str, tmp_path: Path) -> None:
    def page(name: str) -> str:
        target = tmp_path / f"{name}.html"
        for attempt in range(6):  # now and then the browser's virtual time stands still
            profile = f"--user-data-dir={tmp_path / f'profile-{name}-{attempt}'}"
            command = [
                BROWSER,
                *QUIET,
                profile,
                "--virtual-time-budget=5000",
                "--timeout=12000",
                "--dump-dom",
                f"{server}/{name}",
            ]
            # Into a file: processes that the browser leaves behind would hold a pipe open.
            with (
                target.open("w") as file,
                _browser(command, file) as browser,
                contextlib.suppress(subprocess.TimeoutExpired),
            ):
                assert browser.wait(timeout=20) == 0
                return target.read_text(encoding="utf-8")
        raise TimeoutError(f"no page {name} in six times 20 seconds")

    def groups(html: str) -> list[tuple[str, str]]:
        return re.findall(r'<h3>(\w+)</h3><span class="total">(\d+)</span>', html)

    scalars = page("scalar")
    assert "Scalars - VisualDL" in scalars
    assert sorted(groups(scalars)) == [("eval", "2"), ("train", "2")]
    assert "<canvas" in scalars  # a chart was drawn
    assert groups(page("histogram")) == [("eval", "2")]
