"""Tests of paddledistill.runtime: what a fresh process ends up with, so most of them start one."""

import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from paddledistill import runtime
from paddledistill.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
OURS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
REPORT = """
import dataclasses, json, os
settings = runtime.configure()
print(json.dumps({
    "settings": dataclasses.asdict(settings),
    "environment": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")},
    "described": runtime.describe(),
    "paddle": "paddle" in sys.modules,
}))
"""


def report(code: str, cpus: Sequence[int] = (), **environment: str) -> dict:
    """Run ``code`` in a fresh interpreter where none of our variables is set but ``environment``; the JSON it prints last.

    :param cpus: all that it may run on.
    """
    clean = (
        {name: value for name, value in os.environ.items() if name not in OURS}
        | {"PYTHONPATH": str(ROOT)}
        | environment
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=120,
        preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def cores(count: int) -> list[int]:
    """A CPU of each of ``count`` physical cores that this process may use; skips the test where there are fewer."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    of_core: dict[tuple[str, ...], int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        core = tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
        of_core.setdefault(core, cpu)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if len(of_core) < count or (count > 1 and quota.is_file() and not quota.read_text().startswith("max")):
        pytest.skip(f"needs {count} cores without a quota")
    return list(of_core.values())[:count]


def test_importing_the_package_sets_threads_without_importing_paddle() -> None:
    """As many as there are cores that the process may use."""
    code = "import sys, paddledistill\nfrom paddledistill import runtime" + REPORT
    found = report(code, cpus=cores(1))
    assert not found["paddle"]
    assert not found["settings"]["late"]
    assert found["environment"]["OMP_NUM_THREADS"] == found["settings"]["chosen"]["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS=1" in found["described"]
    assert "\n" not in found["described"]


def test_paddle_sees_the_threads() -> None:
    """Paddle writes what it read back into the environment: 1, had we come too late."""
    code = "import sys, paddledistill, paddle\nfrom paddledistill import runtime" + REPORT
    found = report(code, cpus=cores(2))
    assert found["paddle"]
    assert found["environment"]["OMP_NUM_THREADS"] == "2"


def test_what_the_user_set_stays() -> None:
    code = "import sys, paddledistill\nfrom paddledistill import runtime" + REPORT
    found = report(code, OMP_NUM_THREADS="3", MKL_DEBUG_CPU_TYPE="4", MALLOC_TRIM_THRESHOLD_="100000")
    assert found["environment"] == {"OMP_NUM_THREADS": "3", "MKL_DEBUG_CPU_TYPE": "4"}
    assert found["settings"]["chosen"].keys().isdisjoint({"OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"})
    assert not found["settings"]["allocator"]
    assert "OMP_NUM_THREADS=3 (already set)" in found["described"]


def test_after_paddle_nothing_is_changed_and_it_says_so() -> None:
    found = report("import sys, paddle, paddledistill\nfrom paddledistill import runtime" + REPORT)
    assert found["settings"]["late"]
    assert found["settings"]["chosen"] == {}
    assert found["environment"]["MKL_DEBUG_CPU_TYPE"] is None
    assert "paddle was imported first" in found["described"]


def test_the_blas_path_is_chosen_on_amd_only() -> None:
    if not Path("/proc/cpuinfo").is_file():
        pytest.skip("this system does not tell its CPU there")
    found = report("import sys, paddledistill\nfrom paddledistill import runtime" + REPORT)
    cpu = Path("/proc/cpuinfo").read_text()
    of_amd = "7" if "avx512vl" in cpu else "5"
    assert found["environment"]["MKL_DEBUG_CPU_TYPE"] == (of_amd if "AuthenticAMD" in cpu else None)


@pytest.mark.parametrize(
    ("instructions", "path"),
    [
        ("fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16", "7"),
        ("fma avx2 avx512f avx512cd", "5"),
        ("fma avx2", "5"),
    ],
)
def test_the_blas_path_of_avx512_is_taken_where_all_of_it_is_there(instructions: str, path: str) -> None:
    assert runtime._blas_path(instructions.split()) == path


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep large blocks")
def test_malloc_keeps_large_blocks() -> None:
    """Touching 256 MB again after freeing it faults no pages in when the block was kept."""
    code = """
import ctypes, json, resource, sys
import paddledistill
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(256 << 20)
    ctypes.memset(block, 1, 256 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([faults(), faults()]))
"""
    first, second = report(code)
    assert second < first / 10
    first, second = report(
        code, MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072"
    )  # the user's choice is kept
    assert second > first / 2


def test_a_container_quota_counts_whole_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(runtime, "_CPU_QUOTA", quota)
    assert runtime._container_quota() == sys.maxsize  # no control groups
    for content, cpus in (("max 100000", sys.maxsize), ("250000 100000", 2), ("50000 100000", 1)):
        quota.write_text(content)
        assert runtime._container_quota() == cpus


def test_memory_is_what_a_container_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(runtime, "_MEMORY_LIMIT", limit)
    whole = runtime._memory_gb()
    assert whole and whole > 0.5
    for content, memory in (("max", whole), (str(2**40), whole), (str(2**29), 0.5)):
        limit.write_text(f"{content}\n")
        assert runtime._memory_gb() == memory


def test_gpu_falls_back_to_cpu_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    if runtime.gpus():
        pytest.skip("this machine has a GPU")
    with caplog.at_level("INFO", logger="paddledistill.runtime"):
        assert runtime.set_device("gpu") == "cpu"
    assert "no GPU" in caplog.text
    assert runtime.set_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["tpu", "gpu:x", "cpu:1", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="use cpu or gpu"):
        runtime.set_device(name)


def test_half_precision_is_refused_on_a_cpu() -> None:
    """Paddle would take it without a word and go on in float32."""
    with pytest.raises(UserError, match="--amp bf16 needs a GPU"):
        runtime.start("cpu", 1, "bf16")


def test_one_seed_decides_all_three_generators() -> None:
    import paddle

    def draw(seed: int) -> tuple[float, float, float]:
        runtime.seed_everything(seed)
        return random.random(), float(np.random.rand()), float(paddle.rand([1]))

    assert draw(7) == draw(7)
    assert all(a != b for a, b in zip(draw(7), draw(8), strict=True))


def test_the_record_of_machine_and_versions_is_json() -> None:
    machine, versions = runtime.machine(), runtime.versions()
    assert json.loads(json.dumps({"machine": machine, "versions": versions})) == {
        "machine": machine,
        "versions": versions,
    }
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["threads"] >= 1
    assert {"python", "paddlepaddle", "paddlenlp", "numpy", "paddledistill"} <= versions.keys()
