"""What every command line has in common: types of arguments, one-line errors with exit code 2, logging, processes.

Light on purpose: nothing here imports paddle, so that ``--help`` and argument errors answer at once.
"""

import argparse
import errno
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from paddledistill import launch, parallel, runtime
from paddledistill.errors import UserError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
    *(errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help shows the defaults."""

    def __init__(self, description: str, epilog: str | None = None) -> None:
        """:param description: what the command does; :param epilog: an example to copy."""
        super().__init__(description=description, epilog=epilog, formatter_class=_HelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with 2."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message} (--help lists the flags)\n")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults shown where they say something, and descriptions kept as written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, []) or action.default is False:  # 0 says something
            return action.help
        if isinstance(action.default, list):  # as it would be typed
            return f"{action.help} (default: {(' ' if action.nargs else ',').join(map(str, action.default))})"
        return super()._get_help_string(action)


def positive_int(text: str) -> int:
    """An integer of at least 1, for ``type=``."""
    return _number(int, text, lambda value: value >= 1, "a whole number of at least 1")


def non_negative_int(text: str) -> int:
    """An integer of at least 0, for ``type=``."""
    return _number(int, text, lambda value: value >= 0, "a whole number of at least 0")


def positive_float(text: str) -> float:
    """A float above 0, for ``type=``."""
    return _number(float, text, lambda value: 0 < value < float("inf"), "a number above 0")


def non_negative_float(text: str) -> float:
    """A float of at least 0, for ``type=``."""
    return _number(float, text, lambda value: 0 <= value < float("inf"), "a number of at least 0")


def probability(text: str) -> float:
    """A float from 0 to 1, for ``type=``."""
    return _number(float, text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def step_limit(text: str) -> int:
    """How many steps to take at most, -1 for all, for ``type=``."""
    return _number(int, text, lambda value: value == -1 or value >= 1, "-1 or a whole number of at least 1")


def directory(text: str) -> str:
    """The path of a directory that may not be there yet, for ``type=``."""
    if not text or Path(text).is_file():
        raise argparse.ArgumentTypeError(f"must be the path of a directory, got {text!r}")
    return text


def new_file(text: str) -> Path:
    """The path of a file that may not be there yet, for ``type=``."""
    path = Path(text)
    if not text or path.is_dir() or any(parent.is_file() for parent in path.parents):
        raise argparse.ArgumentTypeError(f"must be the path of a file, got {text!r}")
    return path


def _number(kind: Callable[[str], Any], text: str, fits: Callable[[Any], bool], wanted: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value


def weights_file(text: str) -> Path:
    """A ``.pdparams`` file, for ``type=``; the ending may be left out."""
    return Path(text if text.endswith(".pdparams") else f"{text}.pdparams")


def int_list(text: str) -> list[int]:
    """Different numbers like ``1,3,5``, for ``type=``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"must be different numbers like 1,3,5, got {text!r}")
    return numbers


def run(
    main: Callable[[argparse.Namespace], Any], parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> NoReturn:
    """Parse, call ``main``, and leave with an exit code: 0, 2 for what the user can mend, 130 when interrupted."""
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    for ours in ("paddledistill", parser.prog.removesuffix(".py")):
        logging.getLogger(ours).setLevel(logging.INFO if launch.rank() == 0 else logging.ERROR)
    warnings.simplefilter("ignore")  # those of the libraries below, which a user cannot mend
    with _Interrupt() as interrupt:
        try:
            processes = _choose_processes(arguments)
            if processes > 1:
                on_gpus = arguments.device == "gpu"
                sys.exit(launch.launch(processes, on_gpus, runtime.environment_of_children()))
            parallel.start()
            main(arguments)
            parallel.end()
        except UserError as error:
            _leave(parser, str(error), EXIT_BAD_INPUT)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(EXIT_INTERRUPTED)
        except (KeyboardInterrupt, Exception) as error:
            again = "the same command with --resume" if hasattr(arguments, "resume") else "the same command"
            if interrupt.came or isinstance(error, KeyboardInterrupt):
                _leave(parser, f"interrupted; {again} goes on", EXIT_INTERRUPTED)
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                _leave(
                    parser,
                    f"no space left to write {error.filename or 'the output'}: free some, then {again} goes on",
                    EXIT_BAD_INPUT,
                )
            if isinstance(error, OSError) and error.errno in _NOT_ALLOWED:
                _leave(
                    parser,
                    f"{error.filename}: {error.strerror}: choose another path or change its permissions",
                    EXIT_BAD_INPUT,
                )
            if launch.world() > 1:
                time.sleep(launch.DYING_WORDS)
            raise
    sys.exit(0)


class _Interrupt:
    """Ctrl-C, remembered: what is raised inside a gradient comes out of Paddle as an error of its own."""

    came = False

    def __enter__(self) -> "_Interrupt":
        self._former = signal.signal(signal.SIGINT, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    def _come(self, *_: object) -> None:
        self.came = True
        raise KeyboardInterrupt


def _choose_processes(arguments: argparse.Namespace) -> int:
    """How many processes this command should start, 1 for none but its own; settles its ``device``.

    :raises UserError: for flags that contradict each other, or more GPUs than there are.
    """
    n_cpu, n_gpu = getattr(arguments, "n_cpu", 1), getattr(arguments, "n_gpu", 1)
    if n_cpu > 1 and n_gpu > 1:
        raise UserError(f"--n_cpu {n_cpu} and --n_gpu {n_gpu} exclude each other: leave one out")
    if n_gpu > 1 and arguments.device == "cpu":
        raise UserError(f"--device cpu uses no GPU: give --n_cpu {n_gpu} for as many processes, or leave --n_gpu out")
    if n_cpu > 1 or n_gpu == 0:
        arguments.device = "cpu"
    if launch.world() > 1:
        return 1
    if n_gpu > 1 and arguments.device == "gpu":
        runtime.load_paddle()
        found = len(runtime.gpus())
        if not found:
            return 1  # set_device says so
        if n_gpu > found:
            raise UserError(f"--n_gpu {n_gpu}: there are {found} GPUs here; ask for at most as many")
        return n_gpu
    return n_cpu


def _leave(parser: argparse.ArgumentParser, message: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"{parser.prog}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
