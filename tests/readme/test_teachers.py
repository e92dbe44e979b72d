"""docs/teachers.rst: its table of families is that of the code, its example is a task that every recipe can read."""

import json
import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from paddledistill.data.reading import load_training
from paddledistill.models import FAMILIES
from paddledistill.tasks import get_task

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "teachers.rst").read_text(encoding="utf-8")
QUEUES = ("billing", "technical", "other")


def blocks() -> list[str]:
    """The indented blocks after each ``::``."""
    return [textwrap.dedent(found).strip() for found in re.findall(r"::\n\n((?:    .*\n|\n)+)", PAGE)]


def test_the_table_is_that_of_the_code() -> None:
    rows = re.findall(r"^``([a-z_]+)``\s+``.*?``.*?\s+(yes|no)\s+(yes|no)\s", PAGE, flags=re.MULTILINE)
    assert {name: scores == "yes" for name, _, scores in rows} == {
        name: family.blocks is not None for name, family in FAMILIES.items()
    }
    assert all(states == "yes" for _, states, _ in rows)


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    """The example's folder, with more lines like its own."""
    description, line, _ = blocks()
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "task.yaml").write_text(description + "\n", encoding="utf-8")
    for split in ("train", "dev", "test"):
        rows = [json.loads(line) | {"body": f"{split} ticket {n}", "queue": QUEUES[n % 3]} for n in range(12)]
        (tmp_path / "tickets" / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "tickets"


def test_the_example_is_read(tickets: Path) -> None:
    task = get_task("tickets", tickets)
    assert (task.labels, task.metrics, task.best_metric) == (QUEUES, ("f1", "accuracy"), "accuracy")
    assert load_training(task, tickets)[0].texts == ("Charged twice", "train ticket 0")


@pytest.mark.slow
def test_the_example_runs_as_written(
    run_recipe: Callable[..., "subprocess.CompletedProcess[str]"], tickets: Path, tiny_bert: Path
) -> None:
    command = [flag if flag != "minilm-l6" else str(tiny_bert) for flag in shlex.split(blocks()[2])[1:]]
    run_recipe(*command, "--max_steps", 2, cwd=tickets.parent, check=True)
    assert (tickets.parent / "runs" / "tickets" / "report.html").is_file()
