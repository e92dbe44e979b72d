"""The one training loop: every recipe and every stage goes through :func:`train`.

The order of the data follows from seed and epoch, and the random numbers of a step from seed and step, so the state to go on from
is weights, optimizer and a step number. A run that was killed and resumed ends with the same weights as one that never was.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from paddledistill import progress
from paddledistill.data.batching import bucketed_batches
from paddledistill.data.datasets import Dataset
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json
from paddledistill.models.base import Batch, Classifier, parameters
from paddledistill.training.evaluation import to_batch
from paddledistill.training.optimization import (
    Optimization,
    build,
    learning_rate,
    restore_by_structure,
    state_by_structure,
)
from paddledistill.training.run_directory import Result, RunDirectory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long a run is and how often it reports.

    ``max_steps`` above 0 cuts the run short. ``best_metric`` is maximised, unless it is ``loss``.
    """

    epochs: int
    batch_size: int
    seed: int
    best_metric: str
    logging_steps: int = 100
    save_steps: int = 100
    max_steps: int = -1


@dataclass
class _State:
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    window: dict[str, float] = field(default_factory=dict)  # sums of loss terms since the last log line
    window_steps: int = 0


def train(
    model: Classifier,
    objective: Callable[[Batch], dict[str, paddle.Tensor]],
    dataset: Dataset,
    run: RunDirectory,
    optimization: Optimization,
    plan: Plan,
    evaluate: Callable[[], dict[str, float]],
) -> Result:
    """Minimise the sum of the objective's terms; evaluate and save every ``save_steps`` and at the end.

    :param run: a claimed directory; a state in it is taken up.
    :param evaluate: metrics of the model as it stands.
    :raises UserError: if the loss is no longer finite.
    """
    run.begin()
    steps_per_epoch = math.ceil(len(dataset) / plan.batch_size)
    total = plan.epochs * steps_per_epoch if plan.max_steps <= 0 else min(plan.max_steps, plan.epochs * steps_per_epoch)
    optimizer = build(optimization, model)
    state = _restore(run, model, optimizer)
    model.train()
    started, spent = time.perf_counter(), state.seconds
    estimate = progress.Estimate("steps of training", total - state.step)
    with logging_redirect_tqdm(), progress.bar("training", "step", total, state.step) as bar:
        for epoch, batch_number, rows in _batches(dataset, plan, steps_per_epoch, state.step, total):
            paddle.seed((plan.seed * 1_000_003 + state.step) % 2**31)
            rate = learning_rate(optimization, state.step, total)
            optimizer.set_lr(rate)
            terms = _step(objective, optimizer, to_batch(dataset.batch(rows)), state.step)
            state.step += 1
            state.seconds = spent + time.perf_counter() - started
            state.window_steps += 1
            for name, value in terms.items():
                state.window[name] = state.window.get(name, 0.0) + value
            bar.update()
            estimate.update()
            if state.step % plan.logging_steps == 0 or state.step == total:
                _log(run, state, epoch, batch_number, total, rate, bar)
            if state.step % plan.save_steps == 0 or state.step == total:
                _evaluate_and_save(run, model, optimizer, state, epoch, plan.best_metric, evaluate)
                state.seconds = spent + time.perf_counter() - started
    return Result(state.best_metrics, state.best_step, total, round(state.seconds, 1))


def _batches(
    dataset: Dataset, plan: Plan, steps_per_epoch: int, first: int, total: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(epoch, number in the epoch, rows) of every step from ``first`` on."""
    step = first
    while step < total:
        epoch, skipped = divmod(step, steps_per_epoch)
        for number, rows in enumerate(
            bucketed_batches(dataset.lengths, plan.batch_size, plan.seed, epoch)[skipped:], skipped
        ):
            if step == total:
                return
            yield epoch, number, rows
            step += 1


def _step(
    objective: Callable[[Batch], dict[str, paddle.Tensor]], optimizer: object, batch: Batch, number: int
) -> dict[str, float]:
    terms = objective(batch)
    loss = sum(terms.values(), start=paddle.zeros([]))
    loss.backward()
    value = float(loss)
    if not math.isfinite(value):
        raise UserError(f"the loss is {value} at step {number + 1}: lower --learning_rate; --overwrite starts again")
    optimizer.step()  # type: ignore[attr-defined]
    optimizer.clear_grad()  # type: ignore[attr-defined]
    return {"loss": value, **({name: float(term) for name, term in terms.items()} if len(terms) > 1 else {})}


def _log(run: RunDirectory, state: _State, epoch: int, batch: int, total: int, rate: float, bar: Any) -> None:
    means = {name: value / state.window_steps for name, value in state.window.items()}
    state.window, state.window_steps = {}, 0
    speed = bar.format_dict["rate"] or (state.step / state.seconds)
    logger.info(
        "global step %d/%d, epoch: %d, batch: %d, loss: %f, lr: %.10f, speed: %.4f step/s",
        state.step,
        total,
        epoch,
        batch,
        means["loss"],
        rate,
        speed,
    )
    run.log("train", state.step, epoch, state.seconds, {**means, "lr": rate})


def _evaluate_and_save(
    run: RunDirectory,
    model: Classifier,
    optimizer: object,
    state: _State,
    epoch: int,
    best_metric: str,
    evaluate: Callable[[], dict[str, float]],
) -> None:
    metrics = evaluate()
    logger.info("step %d: %s", state.step, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    run.log("eval", state.step, epoch, state.seconds, metrics)
    score = -metrics["loss"] if best_metric == "loss" else metrics[best_metric]
    if state.best is None or score > state.best:
        state.best, state.best_step, state.best_metrics = score, state.step, metrics
        run.save_best(state.step, lambda directory: _write_model(directory, model, run, state))
    run.save_last(state.step, lambda directory: _write_state(directory, model, optimizer, state))


def _write_model(directory: Path, model: Classifier, run: RunDirectory, state: _State) -> None:
    model.save(directory)
    write_json(directory / "metrics.json", {"step": state.step, **state.best_metrics})
    lines = [f"{name} on dev: {value:.4f}" for name, value in state.best_metrics.items()]
    (directory / "README.md").write_text(
        f"# {model.description} for {model.info.name}\n\n"
        f"Made by `{run.content['command']}` (PaddleDistill).\n\n"
        f"- {parameters(model):,} parameters, sequences of up to {model.max_seq_length} wordpieces\n"
        f"- answers: {', '.join(model.labels) if model.labels else 'a score'}\n"
        f"- step {state.step}: {'; '.join(lines)}\n\n"
        'Try it: `python -m paddledistill.predict DIRECTORY "a sentence"`\n',
        encoding="utf-8",
    )


def _write_state(directory: Path, model: nn.Layer, optimizer: object, state: _State) -> None:
    paddle.save(model.state_dict(), str(directory / "model.pdparams"))
    paddle.save(state_by_structure(optimizer, model), str(directory / "optimizer.pdopt"))
    write_json(directory / "state.json", vars(state))


def _restore(run: RunDirectory, model: nn.Layer, optimizer: object) -> _State:
    """Take up the run's last state; a fresh one if there is none."""
    last = run.last
    if last is None:
        run.rewind(0)
        return _State()
    try:
        model.set_state_dict(paddle.load(str(last / "model.pdparams")))
        restore_by_structure(optimizer, model, paddle.load(str(last / "optimizer.pdopt")))
        state = _State(**read_json(last / "state.json"))
    except (OSError, ValueError, EOFError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"the saved state {last} is damaged ({type(error).__name__}): --overwrite starts the run again"
        ) from error
    run.rewind(state.step)
    logger.info("going on at step %d of %s", state.step, run.path)
    return state
