"""One command, several processes: starts them, watches them, and takes all down when one of them dies.

Light on purpose: nothing here imports paddle. The processes find each other by the variables that ``paddle.distributed.launch``
sets too, so a command that is started by that, on one machine or many, runs the same way.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

RANK, WORLD, LOCAL_WORLD = "PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE"
DYING_WORDS = 1.0  # seconds that a process which failed waits before it says so, see `watch`
_GRACE = 5.0  # seconds that the others get to end by themselves when one of them ended with a message for the user
_POLL = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = (
    ctypes.CDLL(None).prctl if sys.platform == "linux" else None
)  # looked up here, since little is safe after a fork
_EXIT_BAD_INPUT, _EXIT_INTERRUPTED = 2, 130


def rank() -> int:
    """Number of this process in the run, from 0."""
    return int(os.environ.get(RANK, "0"))


def world() -> int:
    """How many processes the run has, on all machines."""
    return int(os.environ.get(WORLD, "1"))


def processes_here() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ.get(LOCAL_WORLD, "0")) or len(_local_endpoints()) or 1


def launch(processes: int, on_gpus: bool, environment: Mapping[str, str]) -> int:
    """Run this very command in ``processes`` processes and wait for their end.

    The first one has the terminal; of the others is shown what they said last, should one of them be the cause of an end.

    :param on_gpus: a GPU each; else they share the cores.
    :param environment: variables of the processes, without those that fit one process only.
    :returns: exit code: 0, 2 for what the user can mend, 130 when interrupted, 1 when a process died.
    """
    endpoints = [f"127.0.0.1:{port}" for port in _free_ports(processes)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the processes by itself; they say what there is to say
    with ExitStack() as files:
        said = [files.enter_context(tempfile.TemporaryFile()) for _ in endpoints]
        running: list[subprocess.Popen[bytes]] = []
        signal.signal(signal.SIGTERM, lambda *_: _end(running, signal.SIGTERM))
        for number, endpoint in enumerate(endpoints):
            streams = {} if number == 0 else {"stdout": subprocess.DEVNULL, "stderr": said[number]}
            running.append(
                subprocess.Popen(
                    [sys.executable, *sys.argv],
                    env={**environment, **_variables(number, endpoint, endpoints, on_gpus)},
                    preexec_fn=die_with_parent,
                    **streams,  # type: ignore[call-overload]
                )
            )
        return watch(running, said)


def watch(running: Sequence["subprocess.Popen[bytes]"], said: Sequence[IO[bytes]]) -> int:
    """Wait until all have ended well, or one has not: then end the others.

    When a process dies, the others fail a moment later, in the middle of talking to it. They hold back what they would say of that
    for :data:`DYING_WORDS`, and are killed before.
    """
    while True:
        codes = [process.poll() for process in running]
        failed = [(number, code) for number, code in enumerate(codes) if code]
        if failed:
            break
        if all(code == 0 for code in codes):
            return 0
        time.sleep(_POLL)
    number, code = failed[0]
    explained = code in (_EXIT_BAD_INPUT, _EXIT_INTERRUPTED)
    if explained:
        _wait(running, _GRACE)
    _end(running, signal.SIGKILL)
    if explained and running[0].returncode in (_EXIT_BAD_INPUT, _EXIT_INTERRUPTED):
        return running[0].returncode  # it has said why
    if number:
        said[number].seek(0)
        sys.stderr.buffer.write(said[number].read()[-4000:])
        sys.stderr.flush()
    if explained:
        return code
    name = Path(sys.argv[0]).name
    told = (
        f"{name}: error: process {number + 1} of {len(running)} {_fate(code)}, so the run was ended; --resume goes on"
    )
    print(told, file=sys.stderr)
    return 1


def _variables(number: int, endpoint: str, endpoints: Sequence[str], on_gpus: bool) -> dict[str, str]:
    """As ``paddle.distributed.launch`` sets them."""
    return {
        RANK: str(number),
        WORLD: str(len(endpoints)),
        LOCAL_WORLD: str(len(endpoints)),
        "PADDLE_CURRENT_ENDPOINT": endpoint,
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        **({"FLAGS_selected_gpus": str(number)} if on_gpus else {"PADDLE_DISTRI_BACKEND": "gloo"}),
    }


def _local_endpoints() -> list[str]:
    """Addresses of the run's processes that are on this machine."""
    own = os.environ.get("PADDLE_CURRENT_ENDPOINT", "").split(":")[0]
    everywhere = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    return [address for address in everywhere if own and address.split(":")[0] == own]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def die_with_parent() -> None:
    """For ``preexec_fn``: a process whose launcher was killed would go on for ever, and keep its run directory in use."""
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(running: Sequence["subprocess.Popen[Any]"], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in running):
        time.sleep(_POLL)


def _end(running: Sequence["subprocess.Popen[Any]"], with_signal: int) -> None:
    for process in running:
        if process.poll() is None:
            process.send_signal(with_signal)
    for process in running:
        process.wait()


def _fate(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"
