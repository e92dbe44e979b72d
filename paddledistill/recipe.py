"""Recipes run one after another, each as a user would run it, in a run directory of its own."""

import logging
import shlex
import subprocess
import sys
from pathlib import Path

from paddledistill.files import read_json

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]


def run(what: str, command: str, **paths: Path) -> None:
    """Run one recipe, and leave with its exit code if it fails.

    :param what: for the log. :param command: a script of this repository and its flags. :param paths: further flags, by name.
    """
    script, *flags = shlex.split(command)
    for name, path in paths.items():
        flags += [f"--{name}", str(path)]
    logger.info("\n== %s\n   python %s", what, shlex.join([script, *flags]))
    code = subprocess.run([sys.executable, str(ROOT / script), *flags], check=False).returncode
    if code:
        sys.exit(code)


def once(what: str, command: str, output_dir: Path, **paths: Path) -> Path:
    """Run a recipe that trains, unless its run directory is complete; a killed one goes on. Returns the run directory."""
    if not (output_dir / "run.json").is_file() or read_json(output_dir / "run.json")["status"] != "complete":
        run(what, f"{command} --resume", output_dir=output_dir, **paths)
    return output_dir


def steps_of(run: Path) -> int:
    """How many updates a complete run made: the student without a teacher gets as many."""
    return int(read_json(run / "run.json")["steps"])
