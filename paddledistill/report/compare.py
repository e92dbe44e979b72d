"""Put systems side by side: accuracy, size, speed, and the sentences on which they disagree."""

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from paddledistill import models
from paddledistill.files import read_json, size_in_megabytes
from paddledistill.models.engine import quick_forward
from paddledistill.report.latency import LENGTH, REPEATS, WARM_UP, Latency, latencies
from paddledistill.report.rows import Row, retention
from paddledistill.tasks import Example, Task
from paddledistill.training import metrics
from paddledistill.training.evaluation import predict
from paddledistill.training.run_directory import best_model

logger = logging.getLogger(__name__)

ROLES = ("teacher", "alone", "distilled")
# How two systems can part, and how many sentences of each kind are shown. The first three always concern the teacher's answer.
KINDS = {
    "gained": "The teacher is right, its distilled students are right, a student without a teacher is wrong",
    "lost": "The teacher is right, a distilled student is wrong",
    "surpassed": "The teacher is wrong, a distilled student is right",
    "other": "The teacher and its distilled students are wrong, a student without a teacher is right",
}
SHARES = {"gained": 5, "lost": 3, "surpassed": 2, "other": 0}


@dataclass(frozen=True)
class System:
    """A trained model that takes part in a comparison.

    ``stages`` are run directories of earlier stages that made it: their time and steps count as its own.
    """

    name: str
    role: str
    run_dir: Path
    stages: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """A name that is unique among systems: architecture and role."""
        return self.name if self.name == self.role else f"{self.name} {self.role}"


@dataclass(frozen=True)
class Comparison:
    """The rows of one seed, and what the report needs besides them.

    By label of the system: ``logits`` on the examples of the last split, [examples, labels], in the order of ``examples``; ``shapes``,
    the model's description of itself.
    """

    systems: tuple[System, ...]
    rows: list[Row]
    examples: list[Example]
    logits: dict[str, NDArray[Any]]
    shapes: dict[str, str]
    latency: Latency


def compare(
    systems: Sequence[System],
    splits: Mapping[str, Sequence[Example]],
    task: Task,
    *,
    batch_size: int = 64,
    length: int = LENGTH,
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
) -> Comparison:
    """Measure trained models on the same examples, one row for each system, split and metric of the task.

    :param systems: with one of role ``teacher``, or none: then nothing is kept of it, nor faster than it. Their run
        directories are complete.
    :param splits: labelled examples by the name of the split; the last one gives the sentences of the report and of the latency.
    :param length: tokens a row when the latency is measured, at batches of 1 and 32.
    :raises ValueError: several teachers, an unknown role, two systems of one label, no labelled examples.
    :raises UserError: a run directory without a best model, or whose weights cannot be read.
    """
    _check(systems, splits)
    loaded = {system.label: models.load(system.run_dir) for system in systems}
    last = list(splits)[-1]
    timed = latencies(loaded, splits[last], length=length, warm_up=warm_up, repeats=repeats)
    measured = {}
    for system in systems:
        logger.info("comparing: %s (%s)", system.label, system.run_dir)
        measured[system.label] = _measure(system, loaded[system.label], timed[system.label], splits, task, batch_size)
    reference = next((system for system in systems if system.role == "teacher"), systems[0])
    teacher = measured[reference.label]
    baselines = {split: baseline(task, examples) for split, examples in splits.items()}
    untold: Any = (
        {} if reference.role == "teacher" else {"retention": None, "speed_up": None, "speed_up_batch_32": None}
    )
    rows = [
        _row(system, measured[system.label], teacher, task, split, metric, baselines[split][metric]) | untold
        for system in systems
        for split in splits
        for metric in task.metrics
    ]
    logits = {label: measure.logits[last] for label, measure in measured.items()}
    shapes = {label: measure.shape for label, measure in measured.items()}
    return Comparison(tuple(systems), rows, list(splits[last]), logits, shapes, teacher.latency)


def disagreements(
    examples: Sequence[Example],
    logits: Mapping[str, NDArray[Any]],
    systems: Sequence[System],
    *,
    shares: Mapping[str, int] = SHARES,
    longest: int = 200,
) -> dict[str, Any]:
    """Examples that some systems answer rightly and others wrongly, by kind of disagreement.

    Which ones are shown is decided by a hash of the text, not by hand: each kind has its share, and what one kind cannot fill goes to the
    next. Of a regression nothing is right or wrong, so it has none.

    :param examples: labelled, in the order of the logits. :param logits: by label of the system, [examples, labels].
    :param longest: examples of more characters are counted, but not shown.
    :returns: ``{"total": examples, "kinds": [{"kind", "meaning", "count"}], "shown": [{"kind", "text_a", "text_b", "label",
        "probabilities": {system: [a number a label]}}]}``.
    """
    width = next(iter(logits.values())).shape[1] if logits else 1
    if width == 1:
        return {"total": len(examples), "kinds": [], "shown": []}
    truth = np.array([example.label for example in examples])
    right = {label: values.argmax(axis=1) == truth for label, values in logits.items()}
    of_role = {role: np.array([right[system.label] for system in systems if system.role == role]) for role in ROLES}
    members = {kind: np.flatnonzero(mask) for kind, mask in _kinds(of_role, len(examples)).items()}
    probabilities = {label: softmax(values, axis=1) for label, values in logits.items()}
    shown = [
        {
            "kind": kind,
            "text_a": examples[index].text_a,
            "text_b": examples[index].text_b,
            "label": int(truth[index]),
            "probabilities": {
                label: [round(float(p), 4) for p in values[index]] for label, values in probabilities.items()
            },
        }
        for kind, index in _choose(members, examples, shares, longest)
    ]
    kinds = [{"kind": kind, "meaning": KINDS[kind], "count": len(indices)} for kind, indices in members.items()]
    return {"total": len(examples), "kinds": kinds, "shown": shown}


@dataclass(frozen=True)
class _Measured:
    logits: dict[str, NDArray[Any]]
    scores: dict[tuple[str, str], float]  # (split, metric) -> points of 100
    latency: Latency
    shape: str
    parameters: int
    megabytes: float
    runs: list[dict[str, Any]]  # run.json of each stage, the last one its own


def _measure(
    system: System,
    model: models.Classifier,
    timed: Latency,
    splits: Mapping[str, Sequence[Example]],
    task: Task,
    batch_size: int,
) -> _Measured:
    sets = {split: model.encode(examples) for split, examples in splits.items()}
    logits = {
        split: predict(model, dataset, batch_size, forward=quick_forward(model, dataset))
        for split, dataset in sets.items()
    }
    scores = {
        (split, metric): 100 * value
        for split, examples in splits.items()
        for metric, value in metrics.compute(task.metrics, logits[split], _labels(examples)).items()
    }
    return _Measured(
        logits,
        scores,
        timed,
        model.description,
        models.parameters(model),
        size_in_megabytes(best_model(system.run_dir)),
        [read_json(run / "run.json") for run in (*system.stages, system.run_dir)],
    )


def _row(
    system: System, measured: _Measured, teacher: _Measured, task: Task, split: str, metric: str, baseline: float
) -> Row:
    score = round(measured.scores[split, metric], 4)
    own, reference = measured.latency.milliseconds, teacher.latency.milliseconds
    return Row(
        task=task.name,
        system=system.name,
        role=system.role,
        split=split,
        metric=metric,
        values=[score],
        mean=score,
        std=None,
        retention=retention(score, teacher.scores[split, metric]),
        baseline=round(baseline, 4),
        parameters=measured.parameters,
        megabytes=round(measured.megabytes, 2),
        latency_ms=own[1],
        latency_ms_batch_32=own[32],
        latency_tokens=measured.latency.length,
        speed_up=round(reference[1] / own[1], 3),
        speed_up_batch_32=round(reference[32] / own[32], 3),
        minutes=round(sum(run["seconds"] for run in measured.runs) / 60, 2),
        train_rows=measured.runs[-1].get("rows"),
        train_steps=sum(run["steps"] for run in measured.runs),
        setting=epochs(measured.runs),
        command=" && ".join(dict.fromkeys(run["command"] for run in measured.runs)),
    )


def epochs(runs: Iterable[Mapping[str, Any]]) -> str | None:
    """``6 + 4 epochs``: how often each stage went through its rows, as the ``run.json`` of those that trained tell it."""
    passes = []
    for run in (run for run in runs if run["steps"] and run.get("rows")):
        portions = run["arguments"].get("gradient_accumulation_steps", 1) * run.get("processes", 1)
        passes.append(run["steps"] / math.ceil(run["rows"] / run["arguments"]["batch_size"] / portions))
    return f"{' + '.join(f'{number:.1f}'.removesuffix('.0') for number in passes)} epochs" if passes else None


def baseline(task: Task, examples: Sequence[Example]) -> dict[str, float]:
    """Each of the task's metrics, in points of 100, of the best answer that does not look at the text: one label, or the mean score."""
    labels = _labels(examples)
    answers = [[labels.mean()]] if task.is_regression else np.eye(task.num_labels)
    scores = [
        metrics.compute(task.metrics, np.tile(np.asarray(answer, np.float32), (len(examples), 1)), labels)
        for answer in answers
    ]
    return {metric: 100 * max(score[metric] for score in scores) for metric in task.metrics}


def _labels(examples: Sequence[Example]) -> NDArray[Any]:
    return np.array([example.label for example in examples])


def _kinds(right: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    """A mask over the examples for each kind of disagreement; no example has two kinds. ``right[role]`` is [systems, examples]."""

    def every(role: str) -> NDArray[Any]:
        return right[role].all(axis=0) if right[role].size else np.ones(count, dtype=bool)

    def some(role: str) -> NDArray[Any]:
        return right[role].any(axis=0) if right[role].size else np.zeros(count, dtype=bool)

    teacher = every("teacher")
    return {
        "gained": teacher & every("distilled") & ~every("alone"),
        "lost": teacher & ~every("distilled"),
        "surpassed": ~teacher & some("distilled"),
        "other": ~teacher & ~some("distilled") & some("alone"),
    }


def _choose(
    members: Mapping[str, NDArray[Any]], examples: Sequence[Example], shares: Mapping[str, int], longest: int
) -> Iterable[tuple[str, int]]:
    """(kind, index) of the examples to show: each kind's share, then, while there is room, more of the kinds in their order."""
    ranked = {
        kind: sorted(
            (index for index in indices if _length(examples[index]) <= longest),
            key=lambda index: _rank(examples[index]),
        )
        for kind, indices in members.items()
    }
    taken = {kind: min(shares.get(kind, 0), len(indices)) for kind, indices in ranked.items()}
    for kind, indices in ranked.items():
        room = sum(shares.values()) - sum(taken.values())
        taken[kind] += min(room, len(indices) - taken[kind])
    return [(kind, int(index)) for kind, indices in ranked.items() for index in indices[: taken[kind]]]


def _length(example: Example) -> int:
    return len(example.text_a) + len(example.text_b or "")


def _rank(example: Example) -> str:
    return hashlib.sha256(f"{example.text_a}\t{example.text_b or ''}".encode()).hexdigest()


def _check(systems: Sequence[System], splits: Mapping[str, Sequence[Example]]) -> None:
    roles = [system.role for system in systems]
    if not roles or roles.count("teacher") > 1 or not set(roles) <= set(ROLES):
        raise ValueError(
            f"at most one system is the teacher, the others are alone or distilled, got the roles {', '.join(roles) or 'none'}"
        )
    labels = [system.label for system in systems]
    if len(set(labels)) < len(labels):
        raise ValueError(f"two systems have one label: {', '.join(labels)}")
    if not splits or not all(splits.values()):
        raise ValueError(
            f"every split must hold examples, got { ({split: len(examples) for split, examples in splits.items()}) }"
        )
    if any(example.label is None for examples in splits.values() for example in examples):
        raise ValueError("an example without a label cannot be compared")
