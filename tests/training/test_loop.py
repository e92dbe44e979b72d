"""The loop and its run directory: resume to the same weights, the best model, logs, and what is refused."""

import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from visualdl import LogReader

from paddledistill import models
from paddledistill.data.reading import load_split
from paddledistill.distill import objectives
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier, TaskInfo
from paddledistill.tasks import get_task
from paddledistill.training import loop
from paddledistill.training.evaluation import evaluate, predict
from paddledistill.training.optimization import Optimization
from paddledistill.training.run_directory import RunDirectory, best_model, read_metrics

ARGUMENTS = {"seed": 5, "learning_rate": 1e-3}
PLAN = loop.Plan(epochs=2, batch_size=5, seed=5, best_metric="accuracy", logging_steps=2, save_steps=3)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and tidy up."""


@pytest.fixture
def train(tiny_bert: Path, glue_dir: Path) -> Callable[..., EncoderClassifier]:
    """Train on the made-up SST-2, with dropout, in a given directory; ``die_at`` stops before that step's update."""
    task = get_task("SST-2")
    examples, dev = load_split(task, "train", glue_dir), load_split(task, "dev", glue_dir)

    def run(
        directory: Path, die_at: int | None = None, resume: bool = False, plan: loop.Plan = PLAN, rate: float = 1e-3,
        dropout: float | None = None,
    ) -> EncoderClassifier:  # fmt: skip
        claimed = RunDirectory.claim(directory, ARGUMENTS, {"data": "1"}, resume=resume)
        paddle.seed(5)
        model = models.new_encoder_classifier(str(tiny_bert), TaskInfo.of(task, 32), dropout=dropout)
        plain, dev_set = objectives.supervised(model), model.encode(dev)
        steps = 0

        def objective(batch: dict[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
            nonlocal steps
            steps += 1
            if steps == die_at:
                raise Killed
            return plain(batch)

        result = loop.train(
            model,
            objective,
            model.encode(examples),
            claimed,
            Optimization(rate, warmup_proportion=0.1),
            plan,
            lambda: evaluate(model, {"dev": dev_set}, task.metrics),
        )
        claimed.finish(result, rows=len(examples))
        claimed.release()
        return model

    return run


def weights(model: EncoderClassifier) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("max_steps", "accumulation", "processes"), [(2, 1, 1), (1, 2, 1), (1, 1, 2), (5, 1, 1), (-1, 1, 1)]
)
def test_the_rows_that_are_read_are_known_beforehand(
    tiny_bert: Path, glue_dir: Path, tmp_path: Path, max_steps: int, accumulation: int, processes: int
) -> None:
    """Also by a process that goes on with what two began."""
    task = get_task("SST-2")
    model = models.new_encoder_classifier(str(tiny_bert), TaskInfo.of(task, 32))
    dataset = model.encode(load_split(task, "train", glue_dir))
    dataset = dataset.with_column("row", np.arange(len(dataset)))
    plan = dataclasses.replace(PLAN, max_steps=max_steps, accumulation=accumulation)
    run, supervised, read = RunDirectory.claim(tmp_path / "run", {}, {}), objectives.supervised(model), set[int]()
    run.content["processes"] = processes

    def objective(batch: dict[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
        read.update(batch["row"].tolist())
        return supervised(batch)

    expected = loop.rows_read(dataset, run, plan)
    loop.train(
        model,
        objective,
        dataset,
        run,
        Optimization(1e-3),
        plan,
        lambda: evaluate(model, {"dev": dataset}, task.metrics),
    )
    assert sorted(read) == expected.tolist()
    assert len(read) == (10 if max_steps in (1, 2) else len(dataset))


@pytest.mark.parametrize("die_at", [1, 5, 10])
def test_killed_and_resumed_ends_with_the_same_weights(
    train: Callable[..., EncoderClassifier], tmp_path: Path, die_at: int
) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", die_at=die_at)
    (tmp_path / "killed" / ".best_model_3.1.part").mkdir()
    (tmp_path / "killed" / ".best_model_3.1.part" / "model_state.pdparams").write_text("half")
    resumed = train(tmp_path / "killed", resume=True)
    for name, expected in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], expected, err_msg=name)
    without_time = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(tmp_path / run)]
        for run in ("whole", "killed")
    ]
    assert without_time[0] == without_time[1]
    assert best_model(tmp_path / "killed").name == best_model(tmp_path / "whole").name
    assert not list((tmp_path / "killed").glob(".*.part"))


def test_what_a_finished_run_leaves(train: Callable[..., EncoderClassifier], tmp_path: Path) -> None:
    """Defect 9 (no last step, no best model saved): 10 steps, evaluated at 3, 6, 9 and at the last one."""
    train(tmp_path / "run")
    records = read_metrics(tmp_path / "run")
    evaluations = [record for record in records if record["kind"] == "eval"]
    assert [record["step"] for record in evaluations] == [3, 6, 9, 10]
    best = max(evaluations, key=lambda record: record["accuracy"])
    assert best_model(tmp_path / "run").name == f"best_model_{best['step']}"
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == [".lock", "best_model", f"best_model_{best['step']}", "metrics.jsonl", "run.json", "visualdl"]
    content = sorted(path.name for path in best_model(tmp_path / "run").iterdir())
    assert content == [
        "README.md",
        "config.json",
        "metrics.json",
        "model_state.pdparams",
        "task.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["status"], run["steps"], run["seed"], run["rows"]) == ("complete", 10, 5, 24)
    assert run["metrics"]["accuracy"] == best["accuracy"]
    (log,) = (tmp_path / "run" / "visualdl").iterdir()
    points = LogReader(file_path=str(log)).get_data("scalar", "eval/accuracy")
    assert [(point.id, pytest.approx(point.value, abs=1e-6)) for point in points] == [
        (record["step"], record["accuracy"]) for record in evaluations
    ]


def test_the_latest_models_are_kept_beside_the_best(train: Callable[..., EncoderClassifier], tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, save_steps=1, save_total_limit=3)
    train(tmp_path / "run", plan=plan)
    best = best_model(tmp_path / "run").name
    kept = sorted(path.name for path in (tmp_path / "run").glob("*model_*"))
    others = [step for step in range(10, 0, -1) if f"best_model_{step}" != best][:2]
    assert kept == sorted([best, *(f"model_{step}" for step in others)])
    for name in kept:
        step = int(name.rpartition("_")[2])
        assert json.loads((tmp_path / "run" / name / "metrics.json").read_text())["step"] == step
        assert isinstance(models.load(tmp_path / "run" / name), EncoderClassifier)


def test_a_former_best_model_is_one_of_the_others(tmp_path: Path) -> None:
    run = RunDirectory.claim(tmp_path / "run", ARGUMENTS, {})
    run.begin()
    for step, is_best in ((1, True), (2, True), (3, False), (4, False), (5, True)):
        run.save_model(step, lambda directory, step=step: (directory / "step").write_text(str(step)), is_best, keep=3)
    names = sorted(path.name for path in run.path.glob("*model*"))
    assert names == ["best_model", "best_model_5", "model_3", "model_4"]
    assert all((run.path / name / "step").read_text() == name[-1] for name in names[1:])


def test_evaluation_is_over_the_whole_set(
    train: Callable[..., EncoderClassifier], tmp_path: Path, glue_dir: Path
) -> None:
    """Defect 9: the "eval loss" was the last batch's."""
    model = train(tmp_path / "run", plan=loop.Plan(1, 8, 5, "accuracy", save_steps=1))
    last = read_metrics(tmp_path / "run")[-1]
    examples = load_split(get_task("SST-2"), "dev", glue_dir)
    logits = predict(model, model.encode(examples), batch_size=5)
    answers = np.array([example.label for example in examples])
    shifted = logits - logits.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(answers)), answers]
    assert last["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert last["accuracy"] == pytest.approx((logits.argmax(-1) == answers).mean())


def test_the_seed_decides_the_order_and_no_row_is_dropped(
    train: Callable[..., EncoderClassifier], tmp_path: Path
) -> None:
    """Defect 10: --seed did not change the data order, and the last partial batch was dropped."""
    first = train(tmp_path / "a")
    again = train(tmp_path / "b")
    other = train(tmp_path / "c", plan=loop.Plan(2, 5, 6, "accuracy", 2, 3))
    name = "network.classifier.weight"
    np.testing.assert_array_equal(weights(first)[name], weights(again)[name])
    assert not np.array_equal(weights(first)[name], weights(other)[name])
    assert json.loads((tmp_path / "a" / "run.json").read_text())["steps"] == 2 * 5  # 24 rows in batches of 5


def test_a_loss_that_is_not_finite_stops_the_run(train: Callable[..., EncoderClassifier], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss is .* at step \d+: lower --learning_rate"):
        train(tmp_path / "run", rate=1e30)


def test_claims(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = RunDirectory.claim(path, {"seed": 1, "rate": 0.1}, {"data": "x"})
    assert not path.exists()
    first.begin()
    with pytest.raises(UserError, match="in use by an unfinished run: --resume"):
        RunDirectory.claim(path, {"seed": 1, "rate": 0.1}, {"data": "x"})
    with pytest.raises(UserError, match="in use by another process"):
        RunDirectory.claim(path, {"seed": 1, "rate": 0.1}, {"data": "x"}, resume=True).begin()
    first.release()
    with pytest.raises(UserError, match="rate was 0.1, is 0.2"):
        RunDirectory.claim(path, {"seed": 1, "rate": 0.2}, {"data": "x"}, resume=True)
    with pytest.raises(UserError, match="data was x, is y"):
        RunDirectory.claim(path, {"seed": 1, "rate": 0.1}, {"data": "y"}, resume=True)
    again = RunDirectory.claim(path, {"seed": 1, "rate": 0.2}, {"data": "y"}, overwrite=True)
    again.begin()
    again.release()
    RunDirectory.claim(path, {"seed": 1, "rate": 0.2, "resume": True}, {"data": "y"}, resume=True)
    (path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: --overwrite"):
        RunDirectory.claim(path, {}, {}, resume=True)


def test_a_run_that_is_overwritten_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunDirectory.claim(path, {"seed": 1}, {}).begin()
    names = (
        "submission/SST-2.tsv",
        "best_model_5/weights",
        ".last_5/state.json",
        "visualdl/log",
        "intermediate/run.json",
    )
    for name in names:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("old")
    (path / "report.html").write_text("old")
    (path / "notes.txt").write_text("mine")
    (path / "best_model_to_keep.zip").write_text("mine")
    (path / "best_model").symlink_to("best_model_5")
    (path / "last").symlink_to(".last_5")
    RunDirectory.claim(path, {"seed": 1}, {}, overwrite=True).begin()
    assert sorted(entry.name for entry in path.iterdir()) == [
        ".lock",
        "best_model_to_keep.zip",
        "notes.txt",
        "run.json",
    ]


@pytest.mark.parametrize("deleted", range(5))
def test_an_overwriting_run_killed_as_it_begins_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    """Whatever it had deleted by then, one of both runs is there, and the new one has no state of the old to go on from."""
    path = tmp_path / "run"
    RunDirectory.claim(path, {"seed": 1}, {}).begin()
    (path / ".last_5").mkdir()
    (path / "last").symlink_to(".last_5")
    (path / "best_model").symlink_to(".")
    for name in ("metrics.jsonl", "report.html"):
        (path / name).write_text("old")
    unlink, left = Path.unlink, [deleted]

    def dying(self: Path, missing_ok: bool = False) -> None:
        if self.name.endswith(".part"):  # was moved to its place by then
            return
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        unlink(self, missing_ok)

    run = RunDirectory.claim(path, {"seed": 2}, {}, overwrite=True)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dying)
        with suppress(Killed):
            run.begin()
    run.release()
    if not deleted:
        assert json.loads((path / "run.json").read_text())["arguments"] == {"seed": 1}
        assert (path / "last").is_dir()
        return
    RunDirectory.claim(path, {"seed": 2}, {}, resume=True).begin()
    assert sorted(entry.name for entry in path.iterdir()) == [".lock", "run.json"]


def test_the_time_of_an_evaluation_is_that_of_the_state_to_go_on_from(
    train: Callable[..., EncoderClassifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = evaluate

    def slow(*given: Any) -> Any:
        time.sleep(2)
        return quick(*given)

    monkeypatch.setitem(globals(), "evaluate", slow)  # the name that the fixture looks up
    with pytest.raises(Killed):
        train(tmp_path / "run", die_at=4)
    assert json.loads((tmp_path / "run" / "last" / "state.json").read_text())["seconds"] > 2


def test_a_process_killed_before_it_wrote_is_no_run(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.123.part").touch()
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        run = RunDirectory.claim(tmp_path, {}, {}, **flags)
    run.begin()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "run.json"]


def test_a_moved_run_goes_on(tmp_path: Path) -> None:
    arguments = {"seed": 1, "seeds": [1, 2], "output_dir": "old", "task_name": "SST-2", "data_dir": "glue"}
    run = RunDirectory.claim(tmp_path / "old", arguments, {})
    run.begin()
    run.release()
    moved = run.path.rename(tmp_path / "new")
    arguments |= {"seeds": [1, 2, 3], "output_dir": "new", "task_name": "sst2", "data_dir": "/data/glue"}
    assert RunDirectory.claim(moved, arguments, {}, resume=True).content == run.content


def test_directories_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="in use and holds no run"):
            RunDirectory.claim(tmp_path, {}, {}, overwrite=overwrite)
    with pytest.raises(UserError, match="is a file"):
        RunDirectory.claim(tmp_path / "letter.txt", {}, {})
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_damaged_state_is_told(train: Callable[..., EncoderClassifier], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "run", die_at=5)
    (tmp_path / "run" / "last" / "model.pdopt").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=r"the saved state .* is damaged .*--overwrite"):
        train(tmp_path / "run", resume=True)
    (tmp_path / "run" / "last" / "model.pdopt").unlink()
    with pytest.raises(UserError, match=r"the saved state .* lacks model.pdopt: --overwrite"):
        train(tmp_path / "run", resume=True)


def test_accumulated_batches_are_one_step(train: Callable[..., EncoderClassifier], tmp_path: Path) -> None:
    """Without dropout (which has random numbers of its own in each batch): two batches of 4 learn as one of 8."""
    plan = dataclasses.replace(PLAN, batch_size=8, logging_steps=1)
    whole = train(tmp_path / "whole", plan=plan, dropout=0.0)
    parts = train(tmp_path / "parts", plan=dataclasses.replace(plan, batch_size=4, accumulation=2), dropout=0.0)
    losses = [[line["loss"] for line in read_metrics(tmp_path / run)] for run in ("whole", "parts")]
    assert len(losses[0]) == 6 + 2
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)
    for name, expected in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], expected, atol=1e-4, err_msg=name)


def test_a_run_that_gets_no_better_stops(
    train: Callable[..., EncoderClassifier], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = dataclasses.replace(PLAN, epochs=50, save_steps=1, patience=3)
    with caplog.at_level("INFO"):
        train(tmp_path / "run", plan=plan, rate=1e-9)
    assert "stopped early: no better model in 3 evaluations" in caplog.text
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["steps"] == run["best_step"] + 3
    assert len([line for line in read_metrics(tmp_path / "run") if line["kind"] == "eval"]) == run["steps"]
    with pytest.raises(Killed):
        train(tmp_path / "killed", plan=plan, rate=1e-9, die_at=3)
    train(tmp_path / "killed", plan=plan, rate=1e-9, resume=True)
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["steps"] == run["steps"]
