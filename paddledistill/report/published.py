"""Figures that others publish for their models, to be told beside one's own. None of them was measured here."""

from collections.abc import Mapping
from pathlib import Path

from paddledistill.report.rows import Row, row_of

# Whose the figures of a system are, where it is not PaddleNLP.
_AUTHORS = {"MiniLM-L6-H384": "its authors'"}
# System -> task -> metric, named as an evaluation names it -> points of 100, on dev.
FIGURES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "bert-base-uncased": {
        "sst-2": {"accuracy": 93.00},
        "qnli": {"accuracy": 91.78},
        "cola": {"matthews": 59.56},
        "mrpc": {"f1": 91.67, "accuracy": 88.24},
        "sts-b": {"pearson": 88.85, "spearman": 88.35},
        "qqp": {"accuracy": 90.58, "f1": 87.35},
        "mnli": {"accuracy": 84.42, "dev_mismatched/accuracy": 84.83},
        "rte": {"accuracy": 71.12},
    },
    "tinybert-6l-768d-v2": {
        "sst-2": {"accuracy": 93.00},
        "qqp": {"accuracy": 91.13, "f1": 88.20},
        "mrpc": {"accuracy": 88.48, "f1": 91.91},
        "cola": {"matthews": 52.64},
        "rte": {"accuracy": 72.94},
        "mnli": {"accuracy": 84.57, "dev_mismatched/accuracy": 84.63},
        "qnli": {"accuracy": 91.36},
    },
    "tinybert-4l-312d-v2": {
        "sst-2": {"accuracy": 92.34},
        "qqp": {"accuracy": 90.47, "f1": 87.51},
        "mrpc": {"accuracy": 85.54, "f1": 89.98},
        "cola": {"matthews": 49.61},
        "rte": {"accuracy": 65.34},
        "mnli": {"accuracy": 82.56, "dev_mismatched/accuracy": 82.94},
        "qnli": {"accuracy": 87.46},
        "sts-b": {"pearson": 86.35, "spearman": 86.31},
    },
    "bert-base-chinese": {"chnsenticorp": {"accuracy": 95.17}},
    "bert-wwm-ext-chinese": {"chnsenticorp": {"accuracy": 95.50}},
    "MiniLM-L6-H384": {
        "sst-2": {"accuracy": 91.5},
        "cola": {"matthews": 47.5},
        "mnli": {"accuracy": 83.3},
    },
    "BiLSTM": {
        "sst-2": {"accuracy": 85.44},
        "qqp": {"accuracy": 85.66, "f1": 79.97},
        "chnsenticorp": {"accuracy": 92.00},
    },
    "BiLSTM, distilled": {
        "sst-2": {"accuracy": 88.76},
        "qqp": {"accuracy": 87.52, "f1": 83.13},
        "chnsenticorp": {"accuracy": 93.42},  # by bert-wwm-ext-chinese, as in our recipe; 93.25 by bert-base-chinese
    },
}


def beside(system: str, task: str, metrics: Mapping[str, float]) -> list[str]:
    """A line for each metric of a run that has a published figure: both, and the difference.

    :param system: a key of :data:`FIGURES`, or a path that ends in one; others have none.
    :param metrics: from 0 to 1, as an evaluation gives them.
    """
    system = Path(system).name
    whose = _AUTHORS.get(system, "PaddleNLP's")
    return [
        f"{name} {100 * metrics[name]:.2f}; {whose} figure on dev for {system}: {figure:.2f} ({100 * metrics[name] - figure:+.2f})"
        for name, figure in FIGURES.get(system, {}).get(task, {}).items()
        if name in metrics
    ]


def row(system: str, task: str, metric: str) -> Row | None:
    """A published figure as a row of results; None where there is none."""
    figure = FIGURES.get(system, {}).get(task, {}).get(metric)
    if figure is None:
        return None
    return row_of(
        task=task, system=system, role="published", split="dev", metric=metric, values=[figure], mean=figure,
        command="published, not run here",
    )  # fmt: skip
