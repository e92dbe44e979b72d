"""The journal of finished parts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddledistill.errors import UserError
from paddledistill.journal import Journal


def fail() -> np.ndarray:
    raise AssertionError("computed again")


def ones() -> np.ndarray:
    return np.ones((2, 3), np.int32)


def test_parts_are_read_back_for_the_same_key_only(tmp_path: Path) -> None:
    work = tmp_path / ".work"
    with Journal(work, {"p": 0.4, "n": [1]}, resume=True) as journal:
        assert not journal.resumed and not journal.has("a.npy")
        assert (journal.array("a.npy", ones) == ones()).all()
        assert journal.json("b.json", lambda: {"x": ["é"]}) == {"x": ["é"]}
    with Journal(work, {"p": 0.4, "n": [1]}, resume=True) as journal:
        assert journal.resumed and journal.has("a.npy")
        assert (journal.array("a.npy", fail) == ones()).all()
        assert journal.json("b.json", fail) == {"x": ["é"]}
    with Journal(work, {"p": 0.5, "n": [1]}, resume=True) as journal:
        assert not journal.resumed and not journal.has("a.npy"), "another key"
        journal.array("a.npy", ones)
    with Journal(work, {"p": 0.5, "n": [1]}, resume=False) as journal:
        assert not journal.has("a.npy"), "not asked to resume"
        journal.remove()
    assert not work.exists()


def test_a_failed_part_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / ".work", 1, resume=True) as journal:
        with pytest.raises(AssertionError):
            journal.array("a.npy", fail)
        with pytest.raises(AssertionError), journal.text(tmp_path / "out.tsv") as stream:
            stream.write(f"half a line {fail()}")
        assert sorted(path.name for path in journal.directory.iterdir()) == ["key.json", "lock"]
        with journal.text(tmp_path / "out.tsv") as stream:
            stream.write("a\u2028b\n")
    assert (tmp_path / "out.tsv").read_bytes() == "a\u2028b\n".encode()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from paddledistill.journal import Journal; Journal(pathlib.Path(sys.argv[1]), 1, True)"
    )
    with Journal(tmp_path / ".work", 1, resume=True) as journal:
        journal.array("a.npy", ones)
        with pytest.raises(UserError, match="in use by another"):
            Journal(tmp_path / ".work", 1, resume=True)
        other = subprocess.run([sys.executable, "-c", script, str(tmp_path / ".work")], capture_output=True, text=True)
        assert "in use by another" in other.stderr
        assert journal.has("a.npy"), "the other process deleted nothing"
    with Journal(tmp_path / ".work", 1, resume=True) as journal:
        assert journal.resumed, "free again"


def test_a_command_that_comes_while_it_is_removed_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file is gone before the directory is: the newcomer's must stay, and neither fails."""
    rmdir, newcomers = Path.rmdir, []

    def late(directory: Path) -> None:
        monkeypatch.setattr(Path, "rmdir", rmdir)
        newcomers.append(Journal(directory, 2, resume=True))
        rmdir(directory)

    with Journal(tmp_path / ".work", 1, resume=True) as journal:
        journal.array("a.npy", ones)
        monkeypatch.setattr(Path, "rmdir", late)
        journal.remove()
    assert newcomers[0].directory.is_dir()
    with newcomers[0] as journal:
        np.testing.assert_array_equal(journal.array("a.npy", ones), ones())


def test_without_a_result_nothing_is_left(tmp_path: Path) -> None:
    with Journal(tmp_path / ".work", 1, resume=True), pytest.raises(AssertionError):
        fail()
    assert not list(tmp_path.iterdir())
