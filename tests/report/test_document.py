"""report.json and report.html of a real comparison of tiny models: complete, self-contained, safe."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paddledistill.report import document, html
from paddledistill.report.compare import Comparison, System

HOSTILE = "<script>alert('x')</script> & \"quoted\" <img src=x onerror=alert(1)>"


def gather(comparisons: list[Comparison], task, **changes):
    arguments = {
        "title": "A test",
        "question": "Is it good?", "sizes": {"train": 100, "dev": 4, "test": 24}, "try_it": "python -m x", "seconds": 75.0,
        "about": {
            "command": "make demo", "machine": {"cpu": "A CPU", "threads": 2, "gpu": None}, "versions": {"numpy": "1.26"},
            "date": "2026-11-21",
        },
    }  # fmt: skip
    return document.gather(comparisons, task, **{**arguments, **changes})


@pytest.fixture(scope="module")
def report(comparison, task):
    return gather([comparison], task)


@pytest.fixture(scope="module")
def text(report):
    return html.render(report)


class Page(HTMLParser):
    """Elements, text and ids of a page, and whether every element is closed in its turn."""

    VOID = ("meta", "br", "use", "path", "line", "link", "input", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_report_is_data(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {"command", "machine", "versions", "date", "rows", "runs", "disagreements", "latency", "sizes"} <= set(
        report
    )
    assert report["latency"] == {"length": 8, "threads": 2, "warm_up": 1, "repeats": 3} | {
        "threads": report["latency"]["threads"]
    }
    assert [run["label"] for run in report["runs"]] == [
        "teacher",
        "TinyBERT alone",
        *["TinyBERT distilled"] * 2,
        "BiLSTM alone",
        "BiLSTM distilled",
    ]


def test_curves_come_from_the_metrics_of_each_run(report):
    stage, last = report["runs"][2:4]
    assert (stage["stage"], last["stage"]) == ("distilled-first", None)
    assert last["loss"] == [[step, pytest.approx(1 / step, abs=1e-5)] for step in range(1, 6)]
    assert last["score"] == [[5, 50.0]]


def test_results_file_is_the_published_part(report):
    assert set(document.published(report)) == {"command", "machine", "versions", "date", "sizes", "latency", "rows"}


def test_both_files_are_written(report, text, tmp_path):
    data, page = document.write(report, tmp_path / "new")
    assert json.loads(data.read_text()) == report
    assert page.read_text() == text
    assert sorted(path.name for path in data.parent.iterdir()) == ["report.html", "report.json"]


def test_page_can_be_drawn_from_the_json_alone(report, text):
    assert html.render(json.loads(json.dumps(report))) == text


def test_page_needs_nothing_else(text):
    page = Page(text)
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]|@import|src=", text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert all(
        value.startswith("#")
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("href", "xlink:href")
    )


def test_ids_are_unique_and_references_resolve(text):
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def test_plots_have_descriptions_and_the_colours_of_the_page(text):
    plots = [attributes for tag, attributes in Page(text).tags if tag == "svg"]
    assert len(plots) == 2 + 6  # accuracy against latency at two batch sizes; a curve for every run
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    assert "TinyBERT distilled:" in plots[0]["aria-label"]
    assert not re.search(r"#0[12]0[0-9]0[0-9]", text), "a placeholder colour was left"
    assert "var(--series-1)" in text


def test_page_shows_every_figure_and_sentence(report, text):
    page = Page(text)
    for row in report["rows"]:
        assert f"{row['mean']:.1f}" in page.text
    for entry in report["disagreements"]["shown"]:
        assert entry["text_a"] in page.text
    for words in (
        "one seed",
        "75 seconds",
        "A CPU",
        "python -m x",
        "make demo",
        "8 tokens a sentence",
        "median of 3 passes after 1",
    ):
        assert words in page.text, words


def test_hostile_text_stays_text(comparison, task):
    examples = [example._replace(text_a=f"{HOSTILE} {number}") for number, example in enumerate(comparison.examples)]
    changed = Comparison(
        comparison.systems, comparison.rows, examples, comparison.logits, comparison.shapes, comparison.latency
    )
    report = gather(
        [changed],
        task,
        title=HOSTILE,
        question=HOSTILE,
        about={"command": HOSTILE, "machine": {"cpu": HOSTILE, "threads": 1}, "versions": {}, "date": "2026-11-21"},
        try_it=HOSTILE,
        notes=[HOSTILE],
    )
    assert report["disagreements"]["shown"], "the tiny models agree on everything: choose other seeds"
    page = Page(html.render(report))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 6 + len(report["disagreements"]["shown"])


def test_hostile_names_stay_text_in_plots(report):
    name = '"><b>&amp;x</b>'
    page = Page(html.render(json.loads(json.dumps(report).replace("BiLSTM", json.dumps(name)[1:-1]))))
    assert page.open == []
    assert page.text.count(name) >= 4
    descriptions = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert f"{name} distilled" in descriptions[0]
    assert f"{name} alone, seed 7" in descriptions[-2]


def second_seed(comparison: Comparison, systems: list[System]) -> Comparison:
    """Half as good."""
    rows = [{**row, "values": [row["mean"] / 2], "mean": row["mean"] / 2} for row in comparison.rows]
    return replace(comparison, systems=tuple(systems), rows=rows)


def copied(system: System, to: Path) -> System:
    return replace(system, run_dir=Path(shutil.copytree(system.run_dir, to / system.label, symlinks=True)))


def test_a_run_beside_several_seeds_counts_once(comparison, task, tmp_path):
    teacher, *students = comparison.systems
    second = second_seed(comparison, [teacher, *(copied(system, tmp_path) for system in students)])
    report = gather([comparison, second], task)
    assert [len(row["values"]) for row in report["rows"] if row["split"] == "dev"] == [1, 2, 2, 2, 2]
    assert [run["label"] for run in report["runs"]].count("teacher") == 1
    assert "means of 2 seeds" in Page(html.render(report)).text


def test_several_seeds(comparison, task, tmp_path):
    second = second_seed(comparison, [copied(system, tmp_path) for system in comparison.systems])
    report = gather([comparison, second], task)
    page = Page(html.render(report))
    assert "means of 2 seeds" in page.text
    assert "of 2 seeds" in page.text and "one seed" not in page.text
    first = comparison.rows[1]["mean"]
    assert f"{0.75 * first:.1f} ± {first / 4 * 2**0.5:.1f}" in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 2 + 6


def test_no_comparison_is_refused(task):
    with pytest.raises(ValueError, match="at least one seed"):
        gather([], task)


@pytest.mark.parametrize(("number", "most"), [(0, 5), (3, 5), (5, 5), (12, 5), (1001, 150)])
def test_thinning_keeps_the_mean(number, most):
    points = [[step, step * 2.0] for step in range(number)]
    thinned = document.thin(points, most)
    assert len(thinned) <= most
    if number in (3, 5):
        assert thinned == points
    if number == 12:
        assert thinned[0] == [1, 2.0]


def test_headline_says_what_the_best_student_keeps(make_row):
    teacher = make_row(90.0)
    weak = make_row(70.0, system="BiLSTM", role="distilled", retention=77.8, speed_up=10.0, megabytes=9.09)
    strong = make_row(88.2, system="TinyBERT", role="distilled", retention=98.0, speed_up=1.96, megabytes=45.45)
    assert html.headline([teacher, weak, strong]) == (
        "The distilled TinyBERT keeps 98.0% of its teacher's accuracy, answers 2.0 times as fast and is 2.0 times smaller."
    )
    assert "is no faster" in html.headline([teacher, {**strong, "speed_up": 0.9}])
    assert html.headline([teacher]) == "The teacher reaches 90.0% accuracy."


def test_what_the_teacher_was_worth(make_row):
    rows = [
        make_row(90.0),
        make_row(80.0, system="S", role="alone", values=[79.0, 81.0]),
        make_row(83.0, system="S", role="distilled", values=[86.0, 80.0]),
        make_row(83.0, system="T", role="distilled"),
    ]
    first, second = html.students(rows)
    assert (first["gain"], first["won"], first["seeds"]) == (3.0, 1, 2)
    assert (second["alone"], second["gain"]) == (None, None)


def test_one_run_beside_several_seeds_of_the_same_student(make_row):
    one, several = [80.0], [79.0, 81.0, 80.5]
    for alone, distilled, won in ((one, several, 2), (several, one, 1)):
        rows = [
            make_row(90.0),
            make_row(80.0, system="S", role="alone", values=alone),
            make_row(80.0, system="S", role="distilled", values=distilled),
        ]
        (student,) = html.students(rows)
        assert (student["won"], student["seeds"]) == (won, 3)


def test_a_page_that_cannot_be_drawn_leaves_no_data_either(report, tmp_path):
    with pytest.raises(KeyError):
        document.write({**report, "runs": [{}]}, tmp_path, tmp_path / "results.json")
    assert not list(tmp_path.iterdir())


def test_standard_error_of_an_accuracy(make_row):
    assert html.standard_error([make_row(80.0), make_row(90.0)], 2500) == pytest.approx(0.8)
    assert html.standard_error([make_row(80.0, metric="matthews")], 2500) is None
