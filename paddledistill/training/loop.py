"""The one training loop: every recipe and every stage goes through :func:`train`.

The order of the data follows from seed and epoch, and the random numbers of a step from seed and step, so the state to go on from
is weights, optimizer and a step number. A run that was killed and resumed ends with the same weights as one that never was.

With several processes a step takes ``batch_size`` rows for each process that the run began with, and shares them out among those
that it has now: resumed with another number it goes on with the same batches. A process takes its rows in portions of at most
``batch_size`` and sums their gradients, so that it needs no more memory than at first.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from paddledistill import launch, parallel, progress
from paddledistill.data.batching import bucketed_batches
from paddledistill.data.datasets import Dataset
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json
from paddledistill.models.base import Batch, Classifier, parameters
from paddledistill.training.evaluation import Evaluation
from paddledistill.training.feeding import prepared, to_batch
from paddledistill.training.gradients import Gradients
from paddledistill.training.optimization import (
    Optimization,
    build,
    learning_rate,
    restore_by_structure,
    restore_file,
    state_by_structure,
)
from paddledistill.training.run_directory import Result, RunDirectory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long a run is and how often it reports.

    ``batch_size`` is that of a process. ``max_steps`` above 0 cuts the run short. ``best_metric`` is maximised, unless it is
    ``loss``. ``amp``: ``fp16`` or ``bf16``, what a GPU computes matrix products in; None is float32.
    ``accumulation``: batches of each process whose gradients are summed for a step. ``patience``: stop after so many evaluations
    in a row without a better one; None never does. ``save_total_limit``: how many models to keep, the best one and the latest others.
    """

    epochs: int
    batch_size: int
    seed: int
    best_metric: str
    logging_steps: int = 100
    save_steps: int = 100
    max_steps: int = -1
    amp: str | None = None
    accumulation: int = 1
    patience: int | None = None
    save_total_limit: int = 1


@dataclass
class _State:
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    since_best: int = 0  # evaluations
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
    evaluate: Callable[[], Evaluation],
    start_from: Path | None = None,
) -> Result:
    """Minimise the sum of the objective's terms; evaluate and save every ``save_steps`` and at the end.

    :param run: a claimed directory; a state in it is taken up.
    :param start_from: the file of the model's weights; a ``.pdopt`` beside it is where the optimizer of a new run starts.
    :param evaluate: the model as it stands.
    :raises UserError: if the loss is no longer finite.
    """
    run.begin()
    rows_a_step, steps_per_epoch, total = _length(dataset, run, plan)
    optimizer = build(optimization, model)
    scaler = paddle.amp.GradScaler(enable=plan.amp == "fp16")
    state = _restore(run, model, optimizer, scaler)
    if start_from and not state.step:
        restore_file(optimizer, model, start_from.with_suffix(".pdopt"))
    gradients = Gradients(model)
    model.train()
    started, spent = time.perf_counter(), state.seconds
    with logging_redirect_tqdm(), progress.Watched("training", "step", total, state.step) as watched:
        positions = _positions(dataset, rows_a_step, plan.seed, steps_per_epoch, state.step, total)
        fed = prepared(lambda position: _portions(dataset, position[2], plan.batch_size), positions)
        for (epoch, batch_number, _), portions in fed:
            if plan.patience and state.since_best >= plan.patience:
                logger.info("stopped early: no better model in %d evaluations", state.since_best)
                break
            paddle.seed((plan.seed * 1_000_003 + state.step + launch.rank() * 1_000_000_007) % 2**31)
            rate = learning_rate(optimization, state.step, total)
            optimizer.set_lr(rate)
            terms = _step(objective, optimizer, scaler, gradients, portions, plan.amp, state.step)
            state.step += 1
            state.seconds = spent + time.perf_counter() - started
            state.window_steps += 1
            for name, value in terms.items():
                state.window[name] = state.window.get(name, 0.0) + value
            watched.update()
            if state.step % plan.logging_steps == 0 or state.step == total:
                _log(run, state, epoch, batch_number, total, rate, watched)
            if state.step % plan.save_steps == 0 or state.step == total:
                _evaluate_and_save(run, model, (optimizer, scaler), state, epoch, plan, evaluate)
                state.seconds = spent + time.perf_counter() - started
    return Result(state.best_metrics, state.best_step, state.step, round(state.seconds, 1))


def rows_read(dataset: Dataset, run: RunDirectory, plan: Plan) -> np.ndarray:
    """Numbers of the rows that :func:`train` will read, ascending: all of them, unless the run is shorter than an epoch."""
    rows_a_step, steps_per_epoch, total = _length(dataset, run, plan)
    if total >= steps_per_epoch:
        return np.arange(len(dataset))
    read = _positions(dataset, rows_a_step, plan.seed, steps_per_epoch, 0, total)
    return np.sort(np.concatenate([rows for _, _, rows in read]))


def _length(dataset: Dataset, run: RunDirectory, plan: Plan) -> tuple[int, int, int]:
    """Rows a step, steps an epoch, steps in all."""
    rows_a_step = plan.batch_size * run.processes * plan.accumulation
    steps_per_epoch = math.ceil(len(dataset) / rows_a_step)
    steps = plan.epochs * steps_per_epoch
    return rows_a_step, steps_per_epoch, steps if plan.max_steps <= 0 else min(plan.max_steps, steps)


def _positions(
    dataset: Dataset, rows_a_step: int, seed: int, steps_per_epoch: int, first: int, total: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(epoch, number in the epoch, rows) of every step from ``first`` on."""
    step = first
    while step < total:
        epoch, skipped = divmod(step, steps_per_epoch)
        batches = bucketed_batches(dataset.lengths, rows_a_step, seed, epoch)
        for number, rows in enumerate(batches[skipped:], skipped):
            if step == total:
                return
            yield epoch, number, rows
            step += 1


def _portions(dataset: Dataset, rows: np.ndarray, batch_size: int) -> list[tuple[float, Batch]]:
    """This process's part of a step's rows, in portions that each have a weight: their share of the rows.

    Rows are sorted by length, so every n-th of them makes portions that cost alike. A process for which nothing is left takes part
    with a row of weight 0, since all processes exchange the same gradients.
    """
    count = math.ceil(len(rows) / batch_size / launch.world()) * launch.world()
    portions = [part for part in parallel.mine([rows[number::count] for number in range(count)]) if len(part)]
    if not portions:
        return [(0.0, to_batch(dataset.batch(rows[:1])))]
    return [(len(part) / len(rows), to_batch(dataset.batch(part))) for part in portions]


def _step(
    objective: Callable[[Batch], dict[str, paddle.Tensor]],
    optimizer: Any,
    scaler: Any,
    gradients: Gradients,
    portions: Sequence[tuple[float, Batch]],
    amp: str | None,
    number: int,
) -> dict[str, float]:
    """Move the weights once; returns the loss and, if there are several, its terms: means of all portions, weighed by their rows."""
    sums: dict[str, paddle.Tensor] = {}
    for share, batch in portions:
        with paddle.amp.auto_cast(enable=amp is not None, dtype="bfloat16" if amp == "bf16" else "float16"):
            terms = objective(batch)
        loss = sum(terms.values(), start=paddle.zeros([])) * share
        scaler.scale(loss).backward()
        for name, term in {"loss": loss, **{name: term * share for name, term in terms.items()}}.items():
            sums[name] = sums[name] + term.detach() if name in sums else term.detach()
    gradients.add_up()
    values = parallel.total(paddle.stack(list(sums.values())).numpy())
    means: dict[str, float] = dict(zip(sums, values.tolist(), strict=True))
    if not math.isfinite(means["loss"]):
        raise UserError(
            f"the loss is {means['loss']} at step {number + 1}: lower --learning_rate; --overwrite starts again"
        )
    scaler.step(optimizer)
    scaler.update()
    optimizer.clear_grad()
    return means if len(means) > 2 else {"loss": means["loss"]}


def _log(
    run: RunDirectory, state: _State, epoch: int, batch: int, total: int, rate: float, watched: progress.Watched
) -> None:
    means = {name: value / state.window_steps for name, value in state.window.items()}
    state.window, state.window_steps = {}, 0
    speed = watched.rate or (state.step / state.seconds)
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
    movers: tuple[Any, Any],
    state: _State,
    epoch: int,
    plan: Plan,
    evaluate: Callable[[], Evaluation],
) -> None:
    """:param movers: optimizer and scaler."""
    started = time.perf_counter()
    metrics, distributions = evaluate()
    logger.info("step %d: %s", state.step, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    run.log("eval", state.step, epoch, state.seconds, metrics, distributions)
    score = -metrics["loss"] if plan.best_metric == "loss" else metrics[plan.best_metric]
    state.since_best += 1
    is_best = state.best is None or score > state.best
    if is_best:
        state.best, state.best_step, state.best_metrics, state.since_best = score, state.step, metrics, 0
    run.save_model(
        state.step,
        lambda directory: _write_model(directory, model, run, state.step, metrics),
        is_best,
        plan.save_total_limit,
    )
    state.seconds += time.perf_counter() - started
    run.save_last(state.step, lambda directory: _write_state(directory, model, movers, state))


def _write_model(directory: Path, model: Classifier, run: RunDirectory, step: int, metrics: dict[str, float]) -> None:
    model.save(directory)
    write_json(directory / "metrics.json", {"step": step, **metrics})
    lines = [f"{name} on dev: {value:.4f}" for name, value in metrics.items()]
    (directory / "README.md").write_text(
        f"# {model.description} for {model.info.name}\n\n"
        f"Made by `{run.content['command']}` (PaddleDistill).\n\n"
        f"- {parameters(model):,} parameters, sequences of up to {model.max_seq_length} tokens\n"
        f"- answers: {model.answers}\n"
        f"- step {step}: {'; '.join(lines)}\n\n"
        f"{model.next_step}\n",
        encoding="utf-8",
    )


_STATE_FILES = ("model.pdparams", "model.pdopt", "state.json")


def _write_state(directory: Path, model: nn.Layer, movers: tuple[Any, Any], state: _State) -> None:
    optimizer, scaler = movers
    weights, moved, counted = (directory / name for name in _STATE_FILES)
    paddle.save(model.state_dict(), str(weights))
    paddle.save({"optimizer": state_by_structure(optimizer, model), "scaler": scaler.state_dict()}, str(moved))
    write_json(counted, vars(state))


def _restore(run: RunDirectory, model: nn.Layer, optimizer: Any, scaler: Any) -> _State:
    """Take up the run's last state; a fresh one if there is none."""
    last = run.last
    if last is None:
        run.rewind(0)
        return _State()
    files = weights, moving, counted = [last / name for name in _STATE_FILES]
    try:
        model.set_state_dict(paddle.load(str(weights)))
        moved = paddle.load(str(moving))
        restore_by_structure(optimizer, model, moved["optimizer"])
        scaler.load_state_dict(moved["scaler"])
        state = _State(**read_json(counted))
    except (OSError, ValueError, EOFError, TypeError, json.JSONDecodeError) as error:
        missing = [file.name for file in files if not file.is_file()]
        what = f"lacks {', '.join(missing)}" if missing else f"is damaged ({type(error).__name__})"
        raise UserError(f"the saved state {last} {what}: --overwrite starts the run again") from error
    run.rewind(state.step)
    logger.info("going on at step %d of %s", state.step, run.path)
    return state
