"""Errors are one line and exit code 2; everything else is let through."""

import argparse
import errno
from collections.abc import Callable

import pytest

from paddledistill import cli
from paddledistill.errors import UserError


@pytest.fixture
def leave(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a command whose work is ``main`` and give its exit code and what it said on standard error."""

    def run(main: Callable[[argparse.Namespace], object], *argv: str, can_resume: bool = False) -> tuple[int, str]:
        parser = cli.Parser("a test")
        parser.prog = "test.py"
        parser.add_argument("--rate", type=cli.positive_float, default=0.5, help="a rate")
        parser.add_argument("--share", type=cli.probability, help="a share")
        parser.add_argument("--layers", type=cli.int_list, help="layers")
        parser.add_argument("--steps", type=cli.step_limit, help="steps")
        parser.add_argument("--target", type=cli.directory, help="where to")
        parser.add_argument("--file", type=cli.new_file, help="where to")
        if can_resume:
            parser.add_argument("--resume", action="store_true", help="go on")
        with pytest.raises(SystemExit) as left:
            cli.run(main, parser, argv)
        return int(str(left.value.code)), capsys.readouterr().err

    return run


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def main(_: argparse.Namespace) -> None:
        raise error

    return main


def test_done(leave: Callable[..., tuple[int, str]]) -> None:
    seen: list[argparse.Namespace] = []
    assert leave(seen.append, "--layers", "1,3,5") == (0, "")
    assert (seen[0].rate, seen[0].layers) == (0.5, [1, 3, 5])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no file x:\n give another"), 2, "test.py: error: no file x: give another\n"),
        (OSError(errno.ENOSPC, "No space left", "/d/model"), 2, "no space left to write /d/model"),
        (PermissionError(errno.EACCES, "Permission denied", "/d"), 2, "/d: Permission denied: choose"),
        (OSError(errno.EROFS, "Read-only file system", "/d"), 2, "/d: Read-only file system"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "f/d"), 2, "f/d: Not a directory"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "d"), 2, "d: Is a directory: choose another path"),
        (FileExistsError(errno.EEXIST, "File exists", "f"), 2, "f: File exists: choose another path"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on"),
    ],
)
def test_what_a_user_can_mend(
    leave: Callable[..., tuple[int, str]], error: BaseException, code: int, said: str
) -> None:
    found, err = leave(raising(error))
    assert (found, said in err, err.count("\n")) == (code, True, 1)


def test_defaults_are_shown_as_they_would_be_typed() -> None:
    parser = cli.Parser("a test")
    parser.add_argument("--tasks", nargs="+", default=["RTE", "MRPC"], help="which ones")
    parser.add_argument("--seeds", type=cli.int_list, default=[1, 2], help="one run for each")
    parser.add_argument("--alpha", default=0.0, help="a weight")
    parser.add_argument("--file", help="a file")
    parser.add_argument("--files", nargs="+", default=[], help="files")
    text = parser.format_help()
    for words in (
        "which ones (default: RTE MRPC)\n",
        "one run for each (default: 1,2)\n",
        "a weight (default: 0.0)\n",
        "a file\n",
        " files\n",
    ):
        assert words in text


def test_what_can_be_resumed_is_told_so(leave: Callable[..., tuple[int, str]]) -> None:
    _, err = leave(raising(KeyboardInterrupt()), "--resume", can_resume=True)
    assert "the same command with --resume goes on" in err


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()), cli.Parser("a test"), [])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--rate", "-1"], "must be a number above 0, got '-1'"),
        (["--rate", "nan"], "must be a number above 0, got 'nan'"),
        (["--share", "1.5"], "must be a number from 0 to 1, got '1.5'"),
        (["--layers", "1,x"], "must be different numbers like 1,3,5, got '1,x'"),
        (["--steps", "0"], "must be -1 or a whole number of at least 1, got '0'"),
        (["--steps", "-2"], "must be -1 or a whole number of at least 1, got '-2'"),
        (["--target", ""], "must be the path of a directory, got ''"),
        (["--target", __file__], "must be the path of a directory, got "),
        (["--file", "/"], "must be the path of a file, got '/'"),
        (["--file", f"{__file__}/a.json"], "must be the path of a file, got "),
        (["--nothing"], "unrecognized arguments: --nothing"),
    ],
)
def test_bad_flags(leave: Callable[..., tuple[int, str]], argv: list[str], said: str) -> None:
    code, err = leave(raising(AssertionError("the work began")), *argv)
    assert (code, said in err, err.count("\n")) == (2, True, 1)
