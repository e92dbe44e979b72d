"""The process around a training run: threads, BLAS path, allocator, device, seeds, and a record of all of them.

Paddle fixes its number of threads and its BLAS kernels while it is being imported, so ``configure`` runs when
``paddledistill`` is imported, and nothing in this module imports paddle at the top. What the user has set is left alone.

On a 2-core AMD machine a training step of a 6-layer, 384-wide BERT (32 x 64 tokens) takes 4.1 s with Paddle as installed and
1.4 s with these settings.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import io
import logging
import os
import platform
import random
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddledistill import launch
from paddledistill.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEEP_BYTES = (1 << 30, 32 << 20)  # older glibc refuses an mmap threshold above 32 MB
_MKL_AVX2, _MKL_AVX512 = "5", "7"  # values of MKL_DEBUG_CPU_TYPE
_AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})  # what MKL's path of Skylake uses
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "tokenizers", "onnxruntime", "gensim", "nltk")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What ``configure`` did.

    ``chosen``: environment variables set here. ``kept``: those the user (or a parent process) had set.
    ``allocator``: whether malloc was told to keep large blocks. ``late``: paddle was already imported, so that the
    environment was not touched.
    """

    chosen: Mapping[str, str]
    kept: Mapping[str, str]
    allocator: bool
    late: bool


@functools.cache
def configure() -> Settings:
    """Set what fits this machine, once a process; must come before paddle is imported to have its full effect."""
    wanted = {"OMP_NUM_THREADS": str(max(1, _threads() // launch.processes_here()))}
    if _is_amd():
        wanted["MKL_DEBUG_CPU_TYPE"] = _blas_path(_cpuinfo("flags").split())
    late = "paddle" in sys.modules
    kept = {name: os.environ[name] for name in wanted if name in os.environ}
    chosen = {} if late else {name: value for name, value in wanted.items() if name not in kept}
    os.environ.update(chosen)
    warnings.filterwarnings(
        "ignore", message="No ccache found"
    )  # paddle warns of a compiler cache that nobody needs here
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "true"
    )  # else it warns of each process that is started after it worked
    settings = Settings(chosen, kept, allocator=_keep_large_blocks(), late=late)
    if late:
        logger.warning(
            "paddle was imported before paddledistill: it may run several times slower; import paddledistill first"
        )
    return settings


def describe() -> str:
    """One line for the log: what was set, what was already set, what could not be."""
    settings = configure()
    parts = [f"{name}={value}" for name, value in settings.chosen.items()]
    parts += [f"{name}={value} (already set)" for name, value in settings.kept.items()]
    if settings.allocator:
        parts.append("malloc keeps large blocks")
    if settings.late:
        parts.append("paddle was imported first, so threads and BLAS path are as it found them")
    return "runtime: " + (", ".join(parts) or "nothing to set")


def load_paddle() -> None:
    """Import paddle without its warning against more than one thread, which is what makes it fast here."""
    if "paddle" in sys.modules:
        return
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import paddle  # noqa: F401
    for line in said.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is printed meanwhile, not even from C++: Paddle and its converter do, also into standard output."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "w") as nothing:
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
        try:
            yield
        finally:
            for number, former in zip((1, 2), kept, strict=True):
                os.dup2(former, number)
                os.close(former)


def environment_of_children() -> dict[str, str]:
    """Variables for other processes of this command, which choose their own share of the threads."""
    return {name: value for name, value in os.environ.items() if name not in configure().chosen}


def start(device: str, seed: int, amp: str | None = None) -> None:
    """What every training command does first: say what was set, choose the device, seed everything.

    :param amp: ``fp16`` or ``bf16``, what matrix products are to be computed in.
    :raises UserError: for ``amp`` on a CPU.
    """
    logger.info(describe())
    if set_device(device) == "cpu" and amp:
        raise UserError(
            f"--amp {amp} needs a GPU: on a CPU Paddle goes on in float32 without a word, so nothing would be gained; leave it out"
        )
    seed_everything(seed)


def set_device(name: str) -> str:
    """Choose where paddle runs.

    :param name: ``cpu``, ``gpu`` or ``gpu:N``. Without a usable GPU, ``gpu`` says so in the log and the CPU is used.
    :returns: the device in use.
    :raises UserError: for another name.
    """
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "gpu") or (index and not (kind == "gpu" and index.isdigit())):
        raise UserError(f"unknown device {name!r}: use cpu or gpu")
    import paddle

    if kind == "gpu" and not gpus():
        logger.info("no GPU that this installation of Paddle can use: going on with the CPU")
        name = "cpu"
    paddle.set_device(name)
    return name


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and paddle's generators."""
    import numpy as np
    import paddle

    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)


def machine() -> dict[str, Any]:
    """What the figures of a run depend on: ``cpu``, ``cores``, ``threads``, ``memory_gb``, ``os``, ``gpu``."""
    return {
        "cpu": _cpu_model(),
        "cores": _threads(),
        "threads": threads() or _threads(),
        "memory_gb": _memory_gb(),
        "os": platform.platform(),
        "gpu": ", ".join(gpus()) or None,
    }


def threads() -> int:
    """How many threads a process computes with, by ``OMP_NUM_THREADS``; 0 where it does not say."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(said) if said.isdigit() else 0


def typed_command() -> str:
    """The running command as one would type it, its script relative to the working directory."""
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def provenance(command: str | None = None) -> dict[str, Any]:
    """What a file of figures says of how they came about: command, machine, versions, date.

    :param command: what to type for all of them; by default the running command.
    """
    return {
        "command": command or typed_command(),
        "machine": machine(),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that shape a result, and of the project (with its git commit in a checkout)."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    from paddledistill import __version__

    found["paddledistill"] = __version__
    commit = _git_commit()
    return found | ({"commit": commit} if commit else {})


def _threads() -> int:
    """Cores this process may use: its affinity mask and its container's quota count, hyper-threads do not."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _container_quota()))


def _core_of(cpu: int) -> str:
    """What identifies the physical core of a logical CPU; the CPU itself where the system does not tell."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _container_quota() -> int:
    """Whole CPUs that the control group of a container allows; a large number where there is no limit."""
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no control groups, or quota "max"
        return sys.maxsize


def _is_amd() -> bool:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return "AuthenticAMD" in (_cpuinfo("vendor_id") or platform.processor())


def _blas_path(instructions: Collection[str]) -> str:
    """The MKL bundled with Paddle takes its slowest path on AMD unless told what is there.

    A product of 2048 x 384 and 384 x 1536 on one thread of Zen 5, in GFLOP/s: untold 44, AVX2 99, AVX-512 163.
    """
    return _MKL_AVX512 if _AVX512.issubset(instructions) else _MKL_AVX2


def _cpuinfo(key: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def _cpu_model() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    """In units of 2^30 bytes; that of a container is what its control group allows."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    with contextlib.suppress(OSError, ValueError):  # no control groups, or limit "max"
        memory = min(memory, int(_MEMORY_LIMIT.read_text()))
    return round(memory / 2**30, 1)


def _keep_large_blocks() -> bool:
    """Let malloc reuse large blocks in place of returning them to the system after every tensor.

    ``MALLOC_*`` variables are read when a process starts, too early for us, so glibc is told directly. Only glibc has this call.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False  # the user's own tuning
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
    kept = any(mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in _KEEP_BYTES)
    return kept and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES[0]) == 1


def gpus() -> list[str]:
    """Names of the GPUs that this installation of Paddle can use."""
    import paddle

    if not paddle.device.is_compiled_with_cuda():
        return []
    return [paddle.device.cuda.get_device_name(index) for index in range(paddle.device.cuda.device_count())]


def _git_commit() -> str:
    root = Path(__file__).resolve().parents[1]
    return (
        _output("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*")
        if (root / ".git").exists()
        else ""
    )


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
