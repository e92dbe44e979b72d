"""Run directories of five tiny models on made-up sentences, as the recipes leave them, and rows to make tables of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from paddledistill.report.rows import Row
from paddledistill.tasks import Example, Task, get_task

GOOD = [
    "a warm and funny film",
    "good acting , a great story",
    "the best film of the year",
    "i loved the music and the story",
]
BAD = [
    "a cold and boring film",
    "bad acting , a weak story",
    "the worst film of the year",
    "so boring that i left early",
]


@pytest.fixture(scope="session")
def task() -> Task:
    return get_task("sst-2")


@pytest.fixture(scope="session")
def splits() -> dict[str, list[Example]]:
    """dev: 4 rows; test: 24, two thirds of them of class 1."""
    test = [Example(f"{text} {number}", None, 1) for number in range(4) for text in GOOD]
    test += [Example(f"{text} {number}", None, 0) for number in range(2) for text in BAD]
    return {
        "dev": [*(Example(text, None, 1) for text in GOOD[:2]), *(Example(text, None, 0) for text in BAD[:2])],
        "test": test,
    }


@pytest.fixture(scope="session")
def systems(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_student: Path, task: Task) -> list:
    """A teacher, and two students in both roles; random weights, every one with its own seed."""
    import paddle

    from paddledistill import models
    from paddledistill.report.compare import System
    from paddledistill.training.run_directory import Result, RunDirectory

    base = tmp_path_factory.mktemp("runs")
    info = models.TaskInfo.of(task, 32)

    def run(name: str, model: models.Classifier, steps: int) -> Path:
        claimed = RunDirectory.claim(base / name, {"seed": 7, "batch_size": 50}, {})
        claimed.begin()
        for step in range(1, steps + 1):
            claimed.log("train", step, 0, float(step), {"loss": 1 / step, "lr": 1e-4})
        claimed.log("eval", steps, 0, float(steps), {"accuracy": 0.5, "loss": 0.7})
        claimed.save_model(steps, model.save, is_best=True, keep=1)
        claimed.finish(Result({"accuracy": 0.5}, steps, steps, 60.0 * steps), rows=100)
        return base / name

    def bert(source: Path, seed: int) -> models.Classifier:
        paddle.seed(seed)
        return models.new_encoder_classifier(str(source), info)

    def bilstm(seed: int) -> models.Classifier:
        paddle.seed(seed)
        return models.new_bilstm(
            models.BiLSTMConfig(emb_dim=8, hidden_size=8, init_scale=1.0), bert(tiny_bert, 0).tokenizer, info
        )

    stage = run("distilled-first", bert(tiny_student, 3), steps=2)
    return [
        System("teacher", "teacher", run("teacher", bert(tiny_bert, 1), steps=3)),
        System("TinyBERT", "alone", run("alone", bert(tiny_student, 2), steps=4)),
        System("TinyBERT", "distilled", run("distilled", bert(tiny_student, 3), steps=5), stages=(stage,)),
        System("BiLSTM", "alone", run("bilstm-alone", bilstm(4), steps=6)),
        System("BiLSTM", "distilled", run("bilstm", bilstm(5), steps=7)),
    ]


@pytest.fixture(scope="session")
def comparison(systems: list, splits: dict[str, list[Example]], task: Task):
    from paddledistill.report.compare import compare

    return compare(systems, splits, task, length=8, warm_up=1, repeats=3)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row of 80 points; any field can be given."""

    def make(value: float = 80.0, **fields: object) -> Row:
        row = {
            "task": "sst-2", "system": "teacher", "role": "teacher", "split": "test", "metric": "accuracy",
            "values": [value], "mean": value, "std": None,
            "retention": 100.0, "baseline": 50.9, "parameters": 22_713_216, "megabytes": 90.9, "latency_ms": 8.0,
            "latency_ms_batch_32": 200.0, "latency_tokens": 32,
            "speed_up": 1.0, "speed_up_batch_32": 1.0, "minutes": 5.0, "train_rows": 7560, "train_steps": 711,
            "setting": None, "command": "python train.py",
        }  # fmt: skip
        return Row(**{**row, **fields})  # type: ignore[typeddict-item]

    return make


SEEDS = ([86.0, 84.0], [88.0, 85.0], [87.0, 86.5])  # teacher, student


@pytest.fixture
def seeds(make_row):
    return [
        [
            make_row(teacher, latency_ms=8.0 + number),
            make_row(
                student,
                system="BiLSTM",
                role="distilled",
                retention=1.0,
                latency_ms=0.5,
                speed_up=16.0,
                minutes=2.0 + number,
            ),
        ]
        for number, (teacher, student) in enumerate(SEEDS)
    ]
