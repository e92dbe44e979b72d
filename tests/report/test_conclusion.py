"""The page of a single run: every figure of its analysis, hostile text as text, no address."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.report import conclusion
from paddledistill.report.analysis import analyse
from paddledistill.report.table import decimal
from paddledistill.tasks import Example, get_task
from paddledistill.training.run_directory import Result, RunDirectory, best_model

HOSTILE = "<script>alert(1)</script> & \"quotes\" '{{ 7 * 7 }}'"


@pytest.fixture
def finished(tiny_bert: Path, tmp_path: Path) -> Path:
    """A run of the made-up kind, concluded on sentences that the model has never seen."""
    task = get_task("sst-2")
    paddle.seed(1)
    model = models.new_encoder_classifier(str(tiny_bert), models.TaskInfo.of(task, 32))
    model.eval()
    run = RunDirectory.claim(tmp_path / "run", {"seed": 3}, {})
    run.begin()
    for step in (1, 2):
        run.log("train", step, 0, float(step), {"loss": 1.0 / step, "lr": 1e-4})
        run.log("eval", step, 0, float(step), {"accuracy": step / 4, "loss": 0.5})
    run.save_model(2, lambda directory: (model.save(directory), (directory / "metrics.json").write_text("{}")), True, 1)
    dev = [Example(f"{HOSTILE} {number}", None, number % 2) for number in range(8)]
    conclusion.conclude(run, Result({"accuracy": 0.5, "loss": 0.5}, 2, 2, 61.0), 24, dev, task, None)
    return run.path


def test_the_page_holds_the_analysis(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    analysis = json.loads((best_model(finished) / "metrics.json").read_text())["analysis"]
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    cells = [int(cell) for cell in re.findall(r'style="--share: [\d.]+">(\d+)</td>', text)]
    assert cells == [count for row in analysis["confusion"] for count in row]
    assert f"<strong>{decimal(analysis['ece'])}</strong>" in text
    assert f"The {len(analysis['worst'])} worst errors" in text
    assert text.count("<svg") == 2
    assert "On dev: accuracy 50.0." in text
    assert "61 seconds of training" in text
    assert json.loads((finished / "run.json").read_text())["status"] == "complete"


def test_text_stays_text(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page and "{{ 7 * 7 }}" in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


def test_a_page_of_scores(tiny_bert: Path, tmp_path: Path) -> None:
    task = get_task("sts-b")
    model = models.new_encoder_classifier(str(tiny_bert), models.TaskInfo.of(task, 32))
    dev = [Example("a b", "c d", 1.5), Example("e", "f", 4.0)]
    found = analyse(np.array([[1.0], [0.5]]), dev, None)
    about = {
        "command": "python x",
        "machine": {"cpu": "c", "threads": 2},
        "versions": {"numpy": "1"},
        "date": "2026-01-01",
    }
    conclusion.write_page(
        tmp_path / "a.html", model, {"pearson": 0.25}, found, about, "pearson", 2, conclusion.NO_CURVES
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "mean absolute error is <strong>2.000</strong>" in page
    assert "<td>4.00</td><td>0.50</td>" in page
    assert "On dev: pearson 25.0." in page


def test_published_figures_are_told_of_the_system_that_a_run_names(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a run its ``run.json`` tells it, of a directory of another origin its name; a part of the dev set compares with nothing."""
    assert conclusion.system_of(str(finished)) is None
    content = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps(content | {"system": "models/bert-base-uncased"}))
    other = tmp_path / "bert-base-uncased"
    shutil.copytree(best_model(finished), other)
    for path in (finished, finished / "best_model", other):
        caplog.clear()
        with caplog.at_level("INFO"):
            for limit in (None, 100):
                conclusion.tell_published(
                    conclusion.system_of(str(path)), get_task("sst-2"), {"accuracy": 0.5}, limit_dev=limit
                )
        assert caplog.messages == ["accuracy 50.00; PaddleNLP's figure on dev for bert-base-uncased: 93.00 (-43.00)"]
