"""Whole or not there; links replaced in one step; digests of names and contents."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddledistill import files


def test_a_failed_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with files.atomic_file(path) as partial:
        partial.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_an_array_on_a_full_disk(tmp_path: Path) -> None:
    """numpy's own error says neither that the disk is full nor where."""
    script = (
        "import numpy as np, pathlib, resource, signal; from paddledistill import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "try: files.write_array(pathlib.Path('a.npy'), np.zeros(10_000))\n"
        "except OSError as error: print(error.errno)\n"
        "files.write_array(pathlib.Path('b.npy'), np.arange(3))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["b.npy"]
    assert np.load(tmp_path / "b.npy").tolist() == [0, 1, 2]


def test_a_failed_directory_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.atomic_directory(path) as partial:
        (partial / "weights").write_text("old")
    with pytest.raises(OSError, match="full"), files.atomic_directory(path) as partial:
        (partial / "weights").write_text("ne")
        raise OSError("full")
    assert (path / "weights").read_text() == "old"
    with files.atomic_directory(path) as partial:
        (partial / "other").write_text("new")
    assert [file.name for file in path.iterdir()] == ["other"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_another_process_fills_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.atomic_directory(path) as partial:
        (partial / "weights").write_text("late")
        path.mkdir()
        (path / "weights").write_text("early")
    assert (path / "weights").read_text() == "early", "it may be in use"
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_replace_a_directory_at_once(tmp_path: Path) -> None:
    script = """if True:
        import sys, pathlib
        from paddledistill import files
        for number in range(200):
            with files.atomic_directory(pathlib.Path(sys.argv[1])) as partial:
                for name in "abcdefgh":
                    (partial / name).write_text("whole")
    """
    command = [sys.executable, "-c", script, tmp_path / "model"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in running] == [""] * 3
    assert sorted(path.name for path in tmp_path.rglob("*")) == [*"abcdefgh", "model"]


def test_point(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.point(tmp_path / "best", name)
        assert (tmp_path / "best").resolve() == (tmp_path / name).resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "best"]


def test_digest_and_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"345")
    before = files.digest(tmp_path)
    assert files.size_in_megabytes(tmp_path) == pytest.approx(5e-6)
    (tmp_path / "b").rename(tmp_path / "c")
    renamed = files.digest(tmp_path)
    (tmp_path / "c").write_bytes(b"346")
    assert len({before, renamed, files.digest(tmp_path), files.digest(tmp_path / "a")}) == 4


def test_json_keeps_letters(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"text": "电影 é"})
    assert "电影 é" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert files.read_json(tmp_path / "x.json") == {"text": "电影 é"}
