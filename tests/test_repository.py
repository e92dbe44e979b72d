"""The house is in order: what is committed, what imports what, what the documents tell a user to type."""

import ast
import importlib.metadata
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "paddledistill"
RECIPES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("benchmark", "examples", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.startswith("_")
)
COMMANDS = [*RECIPES, "-m paddledistill.compare", "-m paddledistill.predict"]
# What an import is called by pip, where the two differ.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "paddle": "paddlepaddle", "yaml": "pyyaml"}


def _imports(path: Path) -> Iterator[str]:
    """The full dotted names that a source file imports, at its top or anywhere inside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _sources() -> list[Path]:
    return [*sorted(PACKAGE.rglob("*.py")), *(ROOT / recipe for recipe in RECIPES)]


def _committed() -> list[Path]:
    """Files that are in git, or would be after ``git add .``."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def _requirements(name: str) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, filter(None, lines))}


@cache
def _help(command: str) -> str:
    done = subprocess.run([sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_large_is_committed():
    large = {
        str(path.relative_to(ROOT)): path.stat().st_size for path in _committed() if path.stat().st_size > 2_000_000
    }
    assert not large


def test_no_path_of_a_home_directory_is_committed():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in _committed()
        if path.suffix in (".py", ".rst", ".md", ".json", ".toml", ".txt", ".html")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"(?<![\w./-])/(home|root|Users)/\w", line)
    ]
    assert not found


def test_every_direct_import_is_a_pinned_requirement():
    own = {"paddledistill", *sys.stdlib_module_names}
    imported = {name.split(".")[0] for path in _sources() for name in _imports(path)} - own
    wanted = {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in imported}
    assert "paddlepaddle" in wanted
    assert not wanted - set(_requirements("requirements.txt"))


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-gpu.txt", "constraints.txt"])
def test_requirements_are_pinned_exactly(name: str):
    loose = [str(r) for r in _requirements(name).values() if [s.operator for s in r.specifier] != ["=="]]
    assert not loose


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_the_tests_run_on_the_pinned_versions(name: str):
    pinned = {name: next(iter(r.specifier)).version for name, r in _requirements(name).items()}
    assert {name: importlib.metadata.version(name) for name in pinned} == pinned


def test_gpu_and_cpu_builds_of_paddle_are_of_one_version():
    cpu, gpu = (
        _requirements("requirements.txt")["paddlepaddle"],
        _requirements("requirements-gpu.txt")["paddlepaddle-gpu"],
    )
    assert cpu.specifier == gpu.specifier


def test_version_is_that_of_the_changelog():
    from paddledistill import __version__

    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest.group(1) == __version__


def test_models_of_paddlenlp_are_imported_by_the_models_part_only():
    models = PACKAGE / "models"
    users = {
        path.relative_to(ROOT)
        for path in _sources()
        if any(name.startswith("paddlenlp.transformers") for name in _imports(path)) and models not in path.parents
    }
    assert not users


def test_the_models_know_nothing_of_distillation():
    """Distillation is built on models, so an import the other way would close a circle."""
    parts = sorted((PACKAGE / "models").glob("*.py"))
    assert not [path for path in parts if any(name.startswith("paddledistill.distill") for name in _imports(path))]


def test_no_part_sees_command_line_arguments():
    commands = {PACKAGE / name for name in ("cli.py", "flags.py", "compare.py", "predict.py")}
    parts = [path for path in sorted(PACKAGE.rglob("*.py")) if path not in commands]
    assert not [path for path in parts if any(name.startswith("argparse") for name in _imports(path))]


def test_there_is_one_training_loop():
    """Beside those that speed is measured by: a plain one in Paddle, one in PyTorch, and the bare step of a shape."""
    folders = (PACKAGE, *(ROOT / name for name in ("benchmark", "examples", "docs")))
    loops = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in folder.rglob("*.py")
        if re.search(r"\.backward\(", path.read_text(encoding="utf-8"))
    }
    measured = {f"benchmark/speed/{name}.py" for name in ("_plain", "_torch", "_ours")}
    assert loops == {"paddledistill/training/loop.py", *measured}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_within_a_second_and_groups_its_flags(command: str):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # Of the processor, since the machine may be busy with something else.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    if len(re.findall(r"^  -", done.stdout, re.MULTILINE)) <= 8:
        return  # few enough to be taken in at a glance
    headings = re.findall(r"^[^\s].*:$", done.stdout, re.MULTILINE)
    assert len(set(headings) - {"options:", "positional arguments:", "usage:"}) >= 1, "no flag is in a named group"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_one_line_and_exit_code_2(command: str):
    done = subprocess.run(
        [sys.executable, *command.split(), "--no_such_flag"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


def _documents() -> list[Path]:
    found = [*ROOT.glob("*.rst"), *ROOT.glob("*.md")]
    for folder in ("docs", "examples", "benchmark", "pretrained_models"):
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".rst", ".md")]
    return [path for path in sorted(found) if "best_model" not in str(path)]


def _typed(document: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, arguments) of every line of a document that runs python on a script or a module of this repository."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(
        r"python\S*\s+(?:-u\s+)?(-m paddledistill\.\S+.*|(?:\./)?(?:examples|benchmark|docs)/\S+\.py.*)", text
    ):
        words = shlex.split(line.split("`")[0], comments=True)
        if words[0] == "-m":
            yield f"-m {words[1]}", words[2:]
        else:
            yield words[0].removeprefix("./"), words[1:]


def test_commands_in_the_documents_exist_and_know_their_flags():
    wrong, seen = [], 0
    for document in _documents():
        for command, arguments in _typed(document):
            seen += 1
            if not command.startswith("-m") and not (ROOT / command).is_file():
                wrong.append(f"{document.relative_to(ROOT)}: no such script {command}")
                continue
            known = set(re.findall(r"--?\w[\w-]*", _help(command)))
            flags = {word.split("=")[0] for word in arguments if re.match(r"--?[A-Za-z]", word)}
            wrong += [f"{document.relative_to(ROOT)}: {command} has no {flag}" for flag in sorted(flags - known)]
    assert seen > 0
    assert not wrong


def _make(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def makefile_alone(tmp_path: Path) -> Path:
    """A directory with only what `make` itself reads."""
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_make_lists_all_of_its_commands():
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared
    listed = re.findall(r"^  (\S+)  +\S", _make(cwd=ROOT).stdout, re.MULTILINE)
    assert listed == declared.group(1).split()


def test_commands_of_make_in_the_documents_exist():
    listed = re.findall(r"^  (\S+)  +\S", _make(cwd=ROOT).stdout, re.MULTILINE)
    typed = {
        word
        for document in _documents()
        for word in re.findall(
            r"(?:^ *(?:\$ )?|`)make ([a-z][a-z-]*)", document.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert "test" in typed
    assert not typed - set(listed)


@pytest.mark.parametrize("python", ["/no/such/python", ""])
def test_make_says_what_to_do_without_a_fitting_python(makefile_alone: Path, python: str):
    done = _make("setup", f"PYTHON={python}", cwd=makefile_alone)
    assert done.returncode == 2
    assert "Python 3.11" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (makefile_alone / ".venv").exists()


def test_make_clean_removes_runs_and_keeps_the_environment_and_own_models(makefile_alone: Path):
    kept = [".venv/lib/module/__pycache__/a.pyc", "pretrained_models/mine/model_config.json", "requirements.txt"]
    removed = ["runs/demo/run.json", "pretrained_models/movie-reviews/run.json", "paddledistill/__pycache__/a.pyc"]
    for name in kept + removed:
        path = makefile_alone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert _make("clean", cwd=makefile_alone).returncode == 0
    assert [name for name in kept + removed if (makefile_alone / name).exists()] == kept
