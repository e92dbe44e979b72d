"""Optimizers and learning-rate schedules."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from paddledistill.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Optimization:
    """How weights move.

    ``optimizer``: of :data:`OPTIMIZERS`; ``weight_decay`` and ``adam_epsilon`` are AdamW's alone.
    ``warmup_steps`` above 0 beats ``warmup_proportion``; without decay the rate stays constant after the warm-up.
    ``max_grad_norm``: gradients are scaled down to it where they are longer, all weights together.
    """

    learning_rate: float
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    adam_epsilon: float = 1e-6
    warmup_steps: int = 0
    warmup_proportion: float = 0.0
    decay: bool = True
    max_grad_norm: float | None = None


def learning_rate(settings: Optimization, step: int, total_steps: int) -> float:
    """The rate of ``step`` (from 0): linear warm-up, then linear decay to 0 at ``total_steps``."""
    warmup = settings.warmup_steps or int(settings.warmup_proportion * total_steps)
    if step < warmup:
        return settings.learning_rate * step / warmup
    if not settings.decay:
        return settings.learning_rate
    return settings.learning_rate * max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def build(settings: Optimization, model: nn.Layer) -> Any:
    """A Paddle optimizer, whose rate the loop sets before each step.

    :raises KeyError: if it is none of :data:`OPTIMIZERS`.
    """
    return OPTIMIZERS[settings.optimizer](
        settings,
        model,
        learning_rate=settings.learning_rate,
        parameters=[weight for weight in model.parameters() if not weight.stop_gradient],
        grad_clip=settings.max_grad_norm and nn.ClipGradByGlobalNorm(settings.max_grad_norm),
    )


def _adamw(settings: Optimization, model: nn.Layer, **common: Any) -> Any:
    """Its weight decay spares biases and norms."""
    decayed = {
        parameter.name
        for name, parameter in model.named_parameters()
        if not any(part in name for part in ("bias", "norm"))
    }
    return paddle.optimizer.AdamW(
        beta1=0.9, beta2=0.999, epsilon=settings.adam_epsilon, weight_decay=settings.weight_decay,
        apply_decay_param_fun=decayed.__contains__, **common,
    )  # fmt: skip


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adamw": _adamw,
    "adam": lambda settings, model, **common: paddle.optimizer.Adam(**common),
    "adadelta": lambda settings, model, **common: paddle.optimizer.Adadelta(epsilon=1e-6, rho=0.95, **common),
}


def state_by_structure(optimizer: Any, model: nn.Layer) -> dict[str, Any]:
    """The optimizer's state under the parameters' names in the model.

    Paddle names parameters by the order in which a process made them, which another process need not repeat.
    """
    structural = {parameter.name: name for name, parameter in model.named_parameters()}
    return _rename(optimizer.state_dict(), structural)


def restore_by_structure(optimizer: Any, model: nn.Layer, state: dict[str, Any]) -> None:
    """The inverse of :func:`state_by_structure`."""
    own = {name: parameter.name for name, parameter in model.named_parameters()}
    optimizer.set_state_dict(_rename(state, own))


def restore_file(optimizer: Any, model: nn.Layer, path: Path) -> None:
    """Take up the state that a ``.pdopt`` file holds; without one the optimizer stays new.

    Only the parameters' names in the model, which our runs write, tell whose a state is; another script's are left, with a word of it.

    :raises UserError: if the file is damaged.
    """
    if not path.is_file():
        logger.info("no %s: the optimizer starts anew", path)
        return
    try:
        content = paddle.load(str(path))
    except Exception as error:  # whatever a file that is cut short makes of unpickling
        raise UserError(
            f"{path} is damaged or cut short ({type(error).__name__}): copy it again or delete it"
        ) from error
    state = content.get("optimizer", content)
    if not any(name.startswith(own) for name in state for own, _ in model.named_parameters()):
        logger.warning("%s holds no state of these parameters: the optimizer starts anew", path)
        return
    restore_by_structure(optimizer, model, state)


def _rename(state: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    longest_first = sorted(names, key=len, reverse=True)
    renamed = {}
    for key, value in state.items():
        old = next((name for name in longest_first if key.startswith(f"{name}_")), None)
        renamed[names[old] + key[len(old) :] if old else key] = value
    return renamed
