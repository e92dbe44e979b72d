"""How a training recipe ends: its best model looked at closely, the run marked as complete, published figures beside its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddledistill import models, parallel
from paddledistill.files import atomic_file, read_json, write_json
from paddledistill.report import html
from paddledistill.report.analysis import analyse
from paddledistill.report.document import read_curves, thin
from paddledistill.report.published import beside
from paddledistill.tasks import Example, Task
from paddledistill.training.evaluation import predict
from paddledistill.training.run_directory import PAGE, RUN_FILE, Result, RunDirectory, best_model

NO_CURVES: Mapping[str, Any] = {"loss": [], "score": []}

logger = logging.getLogger(__name__)


def conclude(
    run: RunDirectory, result: Result, rows: int, dev: Sequence[Example], task: Task, system: str | None
) -> None:
    """Write where the best model errs into its ``metrics.json`` and, as a page, into ``report.html`` of the run; finish the run; tell
    published figures.

    :param rows: how many it trained on. :param dev: the labelled set that chose the best model.
    :param system: the name under which figures are published, or a path that ends in it; None where there can be none.
    """
    run.content["system"] = system
    if parallel.is_main():
        best = models.load(run.path)
        analysis = analyse(predict(best, best.encode(dev)), dev, best.labels)
        metrics = best_model(run.path) / "metrics.json"
        write_json(metrics, {**read_json(metrics), "analysis": analysis})
        losses, scores = read_curves(run.path, task.best_metric)
        about = {
            **{name: run.content[name] for name in ("command", "seed", "machine", "versions")},
            "date": run.content["started"][:10], "step": result.best_step, "steps": result.steps, "seconds": result.seconds, "rows": rows,
        }  # fmt: skip
        curves = {"loss": thin(losses), "score": [[step, 100 * value] for step, value in scores]}
        write_page(run.path / PAGE, best, result.metrics, analysis, about, task.best_metric, len(dev), curves)
        logger.info(in_words(analysis))
    run.finish(result, rows=rows)
    tell_published(system, task, result.metrics, run.content["arguments"].get("limit_dev"))


def tell_published(system: str | None, task: Task, metrics: Mapping[str, float], limit_dev: int | None) -> None:
    """Published figures beside those of a model, unless these are of a part of the dev set."""
    for line in beside(system, task.name, metrics) if system and not limit_dev else ():
        logger.info(line)


def system_of(path: str) -> str | None:
    """The name under which figures of a fine-tuned model may be published: what its run says, or its own."""
    file = best_model(path).resolve().parent / RUN_FILE
    return read_json(file).get("system") if file.is_file() else path


def write_page(
    path: Path,
    model: models.Classifier,
    metrics: Mapping[str, float],
    analysis: Mapping[str, Any],
    about: Mapping[str, Any],
    metric: str,
    dev_rows: int,
    curves: Mapping[str, Any],
) -> None:
    """The page of a model; ``about`` says of the run at least ``command``, ``machine``, ``versions`` and ``date``."""
    run = {
        "step": 0,
        "seed": None,
        "model": model.description,
        "task": model.info.name,
        "metric": metric,
        "dev_rows": dev_rows,
        **about,
    }
    with atomic_file(path) as partial:
        content = {"run": run, "metrics": metrics, "analysis": analysis, "curves": curves}
        partial.write_text(html.render_run(content), encoding="utf-8")


def in_words(analysis: Mapping[str, Any]) -> str:
    """The analysis in a line."""
    if "ece" not in analysis:
        return f"mean absolute error {analysis['mean_absolute_error']:.3f}"
    classes = ", ".join(f"{name} {scores['f1']:.1f}" for name, scores in analysis["classes"].items())
    return f"F1 of each class: {classes}; calibration error {analysis['ece']:.1f} points"
