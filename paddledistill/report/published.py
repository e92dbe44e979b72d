"""Figures that PaddleNLP publishes for its examples, to be told beside one's own. None of them was measured here."""

from collections.abc import Mapping

_DEV = "PaddleNLP's figure on dev"

# System -> task -> metric, named as an evaluation names it -> points of 100.
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
    "BiLSTM": {
        "sst-2": {"accuracy": 85.44},
        "qqp": {"accuracy": 85.66, "f1": 79.97},
        "chnsenticorp": {"accuracy": 92.00},
    },
    "BiLSTM, distilled": {
        "sst-2": {"accuracy": 88.76},
        "qqp": {"accuracy": 87.52, "f1": 83.13},
        "chnsenticorp": {"accuracy": 93.25},
    },
}


def beside(system: str, task: str, metrics: Mapping[str, float]) -> list[str]:
    """A line for each metric of a run that has a published figure: both, and the difference.

    :param system: a key of :data:`FIGURES`; others have none. :param metrics: from 0 to 1, as an evaluation gives them.
    """
    return [
        f"{name} {100 * metrics[name]:.2f}; {_DEV} for {system}: {figure:.2f} ({100 * metrics[name] - figure:+.2f})"
        for name, figure in FIGURES.get(system, {}).get(task, {}).items()
        if name in metrics
    ]
