"""Optimizers and learning-rate schedules."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from paddledistill.errors import UserError
from paddledistill.models.base import Classifier

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


def restore_file(optimizer: Any, model: Classifier, path: Path) -> None:
    """Take up the state that a ``.pdopt`` file holds; without one the optimizer stays new.

    Our runs name a state by the parameter's name in the model. Another script's optimizer knows the name that Paddle gave it, which
    the ``.pdparams`` file beside it translates. What fits neither way is left, with a word of it.

    :raises UserError: if a file is damaged.
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
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    if not _states_of(state, shapes):
        state = _rename(state, _given_names(model, path.with_suffix(".pdparams")))
    found = _states_of(state, shapes)
    if not found or any(list(value.shape) not in ([1], [], shapes[name]) for name, value in found):
        logger.warning("%s holds no state of these parameters: the optimizer starts anew", path)
        return
    restore_by_structure(optimizer, model, state)


def _states_of(state: dict[str, Any], names: Iterable[str]) -> list[tuple[str, Any]]:
    """Tensors of a state whose parameters are among ``names``, each with the parameter's name."""
    owners = ((_owner(key, names), value) for key, value in state.items())
    return [(name, value) for name, value in owners if name]


def _owner(key: str, names: Iterable[str]) -> str | None:
    """The parameter, of several the one of the longest name, that a tensor of an optimizer's state belongs to."""
    return max((name for name in names if key.startswith(f"{name}_")), key=len, default=None)


def _given_names(model: Classifier, weights: Path) -> dict[str, str]:
    """Of the names that Paddle gave to parameters when ``weights`` was saved, those that it tells: theirs in the model."""
    if not weights.is_file():
        return {}
    table = paddle.load(str(weights), keep_name_table=True).get("StructuredToParameterName@@", {})
    own = {name for name, _ in model.named_parameters()}
    return {given: name for name, given in model.renamed(table).items() if name in own}


def _rename(state: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    renamed = {}
    for key, value in state.items():
        old = _owner(key, names)
        renamed[names[old] + key[len(old) :] if old else key] = value
    return renamed
