"""Several processes by one command: who says what, and how it ends. The commands here are small scripts without paddle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddledistill import runtime

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import os, time
from pathlib import Path
from paddledistill import cli, flags, launch, parallel
from paddledistill.errors import UserError

parallel.start = parallel.end = lambda: None  # these processes have nothing to tell each other

def main(args):
    rank = launch.rank()
    Path(f"seen-{rank}").write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {args.device} {launch.world()}")
    print(f"out {rank}", flush=True)
    if args.what == "both":
        raise UserError("no file x: give one")
    if args.what == str(rank):
        raise UserError(f"process {rank} cannot read x")
    if args.what == "crash" and rank == 1:
        raise ValueError("a defect")
    if args.what in ("wait", "crash"):
        time.sleep(60)

parser = cli.Parser("a test")
parser.add_argument("--what")
flags.add_device_flags(parser)
cli.run(main, parser)
"""


@pytest.fixture
def start(tmp_path: Path) -> "type[subprocess.Popen[str]]":
    """Start the script in ``tmp_path`` with these flags, in a process group of its own, as a shell does."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def run(*flags: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "script.py", *flags], cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    return run  # type: ignore[return-value]


def seen(directory: Path, rank: int) -> list[str]:
    """What process ``rank`` wrote about itself, as soon as it has."""
    file = directory / f"seen-{rank}"
    deadline = time.monotonic() + 30
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return file.read_text().split()


def test_all_run_and_the_first_one_talks(start, tmp_path: Path) -> None:
    done = start("--n_cpu", "3")
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out, err) == (0, "out 0\n", "")
    share = str(max(1, runtime.machine()["cores"] // 3))
    assert [seen(tmp_path, rank)[1:] for rank in range(3)] == [[share, "cpu", "3"]] * 3


def test_threads_that_the_user_set_are_kept(start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "script.py", "--n_cpu", "2"], cwd=tmp_path, check=True, capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "5", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr == b""
    assert [seen(tmp_path, rank)[1] for rank in range(2)] == ["5", "5"]


@pytest.mark.parametrize(
    ("what", "message"),
    [("both", "no file x: give one"), ("0", "process 0 cannot read x"), ("1", "process 1 cannot read x")],
)
def test_what_the_user_can_mend_is_said_once(start, what: str, message: str) -> None:
    done = start("--n_cpu", "2", "--what", what)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 2
    assert err == f"script.py: error: {message}\n"


def test_a_process_that_crashes_takes_the_run_down_with_its_traceback(start) -> None:
    done = start("--n_cpu", "2", "--what", "crash")
    _, err = done.communicate(timeout=30)
    assert done.returncode == 1
    assert "ValueError: a defect" in err
    assert err.splitlines()[-1] == (
        "script.py: error: process 2 of 2 failed with exit code 1, so the run was ended; --resume goes on"
    )


def test_a_process_that_is_killed_takes_the_run_down(start, tmp_path: Path) -> None:
    done = start("--n_cpu", "2", "--what", "wait")
    pids = [int(seen(tmp_path, rank)[0]) for rank in range(2)]
    os.kill(pids[1], signal.SIGKILL)
    _, err = done.communicate(timeout=30)
    assert done.returncode == 1
    assert "process 2 of 2 was killed by SIGKILL (out of memory?)" in err and len(err.splitlines()) == 1
    assert not alive(pids[0])


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(start, tmp_path: Path, with_signal: signal.Signals) -> None:
    if sys.platform != "linux" and with_signal == signal.SIGKILL:
        pytest.skip("only Linux tells a process of its parent's end")
    done = start("--n_cpu", "2", "--what", "wait")
    pids = [int(seen(tmp_path, rank)[0]) for rank in range(2)]
    done.send_signal(with_signal)
    done.communicate(timeout=30)
    assert done.returncode
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_control_c_is_told_once(start, tmp_path: Path) -> None:
    done = start("--n_cpu", "2", "--what", "wait")
    for rank in range(2):
        seen(tmp_path, rank)
    os.killpg(done.pid, signal.SIGINT)
    _, err = done.communicate(timeout=30)
    assert done.returncode == 130
    assert err == "script.py: error: interrupted; the same command goes on\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--n_cpu", "2", "--n_gpu", "2"), "exclude each other"),
        (("--n_cpu", "0"), "at least 1"),
        (("--device", "cpu", "--n_gpu", "4"), "--device cpu uses no GPU: give --n_cpu 4"),
    ],
)
def test_flags_that_make_no_sense_are_refused(start, flags: tuple[str, ...], message: str) -> None:
    done = start(*flags)
    _, err = done.communicate(timeout=30)
    assert done.returncode == 2
    assert message in err and len(err.splitlines()) == 1


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
