"""Recipes that run side by side: scripts of the test's own stand for them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paddledistill import recipe

MEET = """
import os, pathlib, sys, time
here, other = (pathlib.Path(path) for path in sys.argv[1:3])
here.write_text(os.environ["OMP_NUM_THREADS"])
until = time.monotonic() + 20
while not other.exists():
    if time.monotonic() > until:
        sys.exit("nobody came")
    time.sleep(0.01)
print("met")
"""


@pytest.fixture
def script(tmp_path: Path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_runs_at_the_same_time_and_returns_in_order(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each run waits for the other one's file, so one after another they would not end."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    caplog.set_level("INFO")
    meet = script("meet.py", MEET)

    def run(number: int) -> int:
        recipe.run(
            f"run {number}", f"{meet} {tmp_path / str(number)} {tmp_path / str(1 - number)}", tmp_path / f"{number}.log"
        )
        return number

    assert list(recipe.side_by_side(run, [0, 1], jobs=2)) == [0, 1]
    assert [(tmp_path / name).read_text() for name in ("0", "1")] == ["2", "2"]  # of four threads
    assert [(tmp_path / name).read_text() for name in ("0.log", "1.log")] == ["met\n", "met\n"]
    assert any(message.startswith("== run 0: done in 0.") for message in caplog.messages)


def test_one_at_a_time_writes_no_log(script, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hello = script("hello.py", "print('hello')")
    list(recipe.side_by_side(lambda name: recipe.run(name, str(hello), tmp_path / f"{name}.log"), ["a", "b"], jobs=1))
    assert capfd.readouterr().out == "hello\nhello\n"
    assert not list(tmp_path.glob("*.log"))


def test_what_another_command_made_is_not_taken_for_the_run(script, tmp_path: Path) -> None:
    """A trial's short run, for example, must not stand for the real one."""
    text = """
import json, pathlib, shlex, sys
out = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
out.mkdir(exist_ok=True)
command = shlex.join(["python", *sys.argv])
(out / "run.json").write_text(json.dumps({"status": "complete", "command": command}))
with (out / "calls").open("a") as calls:
    calls.write(command + "\\n")
"""
    train, out = script("train.py", text), tmp_path / "out"
    for flags in ("--max_steps 1", "--max_steps 1", "--max_steps -1", "--max_steps -1"):
        assert recipe.once("a run", f"{train} {flags}", out, data_dir=tmp_path / "data") == out
    calls = (out / "calls").read_text().splitlines()
    assert [call.split("--max_steps ")[1].split()[0] for call in calls] == ["1", "-1"]


def test_a_failure_ends_the_others(script, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its exit code and last line are told; what runs beside it ends, what waits does not start."""
    bad = script("bad.py", "import sys; print('no space left', file=sys.stderr); sys.exit(2)")
    sleep = script("sleep.py", "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)")
    log = tmp_path / "bad.log"

    def run(name: str) -> None:
        if name == "bad":
            wait_for((tmp_path / "long").exists)
            recipe.run("bad", str(bad), log)
        recipe.run(name, f"{sleep} {tmp_path / name}", tmp_path / f"{name}.log")

    started = time.monotonic()
    with pytest.raises(SystemExit) as left:
        list(recipe.side_by_side(run, ["bad", "long", "waiting"], jobs=2))
    assert left.value.code == 2
    assert time.monotonic() - started < 30
    assert not (tmp_path / "waiting").exists()
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == [f"bad ended with exit code 2: no space left (all of it in {log})"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_recipe_dies_with_what_started_it(script, tmp_path: Path, jobs: int) -> None:
    sleep = script(
        "sleep.py", "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    )
    main = script(
        "main.py",
        f"from paddledistill import recipe\nlist(recipe.side_by_side(lambda s: recipe.run(s, s), ['{sleep}'], {jobs}))",
    )
    root = Path(__file__).resolve().parents[1]
    running = subprocess.Popen([sys.executable, main], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)})
    written = tmp_path / "pid"
    wait_for(lambda: written.exists() and written.read_text())
    running.kill()
    running.wait()
    child = int(written.read_text())
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)
