"""The tables of the READMEs are what docs/results says."""

import json
import shutil
from pathlib import Path

import pytest

from paddledistill.report.rows import row_of
from paddledistill.report.table import text_table

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "docs/render_tables.py"
PAGE = "Before.\n\n.. results small start\nstale\n.. results small end\n\nAfter.\n"


@pytest.fixture
def repository(tmp_path):
    row = row_of(
        task="sst-2", system="BiLSTM", role="distilled", split="test", metric="accuracy", values=[81.0, 83.0], mean=82.0, std=1.4142,
        parameters=1000, megabytes=4.0, minutes=1.5, train_rows=1, train_steps=1, command="c",
    )  # fmt: skip
    content = {
        "command": "make small",
        "machine": {"cpu": "A CPU", "threads": 2},
        "versions": {},
        "date": "2026-11-21",
        "note": "This is not theirs.",
        "shared": {"a general student": {"minutes": 63.1, "command": "make general"}},
        "rows": [row],
    }
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "small.json").write_text(json.dumps(content))
    (tmp_path / "README.rst").write_text(PAGE)
    return tmp_path


def test_tables_of_this_repository_are_up_to_date(run_recipe):
    run_recipe(SCRIPT, "--check", check=True)


def test_a_stale_table_fails_the_check_and_is_left_alone(repository, run_recipe):
    done = run_recipe(SCRIPT, "--check", "--root", repository)
    assert done.returncode != 0
    assert "README.rst" in done.stderr and len(done.stderr.splitlines()) == 1
    assert (repository / "README.rst").read_text() == PAGE


def test_rendering_replaces_what_is_between_the_markers_and_nothing_else(repository, run_recipe):
    run_recipe(SCRIPT, "--root", repository, check=True)
    text = (repository / "README.rst").read_text()
    assert text.startswith("Before.\n\n.. results small start\n\n====")
    assert text.endswith("\n\n.. results small end\n\nAfter.\n")
    assert "stale" not in text
    for words in (
        "82.0 ± 1.4",
        "over 2 seeds",
        "``make small``",
        "A CPU, 2 threads",
        "2026-11-21",
        "63.1 minutes by ``make general``",
        "This is not theirs.",
    ):
        assert words in text, words
    run_recipe(SCRIPT, "--check", "--root", repository, check=True)


def test_changed_results_are_noticed(repository, run_recipe):
    run_recipe(SCRIPT, "--root", repository, check=True)
    file = repository / "docs" / "results" / "small.json"
    file.write_text(file.read_text().replace("82.0", "92.0"))
    assert run_recipe(SCRIPT, "--check", "--root", repository).returncode != 0


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (PAGE.replace("small end", "other end"), "README.rst:3: no line"),
        (PAGE.replace("small", "unknown"), "README.rst:3: there is no docs/results/unknown.json"),
    ],
)
def test_a_broken_marker_is_one_line(repository, run_recipe, page, message):
    (repository / "README.rst").write_text(page)
    done = run_recipe(SCRIPT, "--root", repository)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert (repository / "README.rst").read_text() == page


def test_committed_results_hold_what_the_readers_need():
    for file in sorted((ROOT / "docs" / "results").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"command", "machine", "versions", "date", "rows"} <= set(content), file.name
        assert text_table(content["rows"]), file.name


def test_every_page_with_a_marker_is_found(repository, run_recipe):
    shutil.copytree(repository / "docs" / "results", repository / "docs" / "deep" / "results")
    (repository / "docs" / "page.rst").write_text(PAGE)
    (repository / "examples" / "one").mkdir(parents=True)
    (repository / "examples" / "one" / "README.rst").write_text(PAGE)
    done = run_recipe(SCRIPT, "--root", repository, check=True)
    for name in ("README.rst", "docs/page.rst", "examples/one/README.rst"):
        assert "stale" not in (repository / name).read_text()
        assert name in done.stdout
