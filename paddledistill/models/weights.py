"""Weights of a model directory, in PaddleNLP's or Hugging Face's format, as numpy arrays under PaddleNLP's names."""

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddledistill.errors import UserError
from paddledistill.models import torch_file

State = dict[str, np.ndarray]
PADDLE_WEIGHTS, SAFE_WEIGHTS, TORCH_WEIGHTS = "model_state.pdparams", "model.safetensors", "pytorch_model.bin"
CONFIGS = ("config.json", "model_config.json")  # the second is what PaddleNLP wrote before 2.5

_LAYER = re.compile(r"\blayers?\.(\d+)\.")

logger = logging.getLogger(__name__)


def read_config(directory: Path) -> dict[str, Any]:
    """The configuration of a model directory, as its file has it.

    :raises UserError: if there is none, or it cannot be read.
    """
    for path in (directory / name for name in CONFIGS):
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{path} is not valid JSON ({error}): copy the model directory again") from None
            if not isinstance(content, dict):
                raise UserError(f"{path} holds no JSON object: copy the model directory again")
            return content
    seeds = sorted(directory.glob("seed-*"))
    hint = f"; it holds a run for each of several seeds: give one of them, such as {seeds[0]}" if seeds else ""
    raise UserError(f"{directory} is not a model directory: it has no {' or '.join(CONFIGS)}{hint}")


def read_state(
    directory: Path, prefixes: Collection[str], from_torch: Callable[[State], State], layers: int | None = None
) -> State:
    """All tensors of a model directory, without the ``prefix.`` that a base model has inside a larger one.

    :param prefixes: PaddleNLP's and Hugging Face's. :param from_torch: renames and transposes tensors that PyTorch wrote.
    :param layers: how many the configuration names; a warning tells of more.
    :raises UserError: if there is no weights file, or it is damaged.
    """
    readers = {PADDLE_WEIGHTS: _read_paddle, SAFE_WEIGHTS: _read_safetensors, TORCH_WEIGHTS: _read_torch}
    path = next((directory / name for name in readers if (directory / name).is_file()), None)
    if path is None:
        raise UserError(f"{directory} holds no weights: expected one of {', '.join(readers)}")
    state, by_torch = _read(path, readers[path.name])
    numbers = [int(found[1]) for name in state if (found := _LAYER.search(name))]
    if layers and numbers and max(numbers) >= layers:
        logger.warning(
            "%s holds %d layers, its configuration names %d: those above are left out", path, max(numbers) + 1, layers
        )
    for prefix in prefixes:
        state = {name.removeprefix(f"{prefix}."): tensor for name, tensor in state.items()}
    return from_torch({_current(name): tensor for name, tensor in state.items()}) if by_torch else state


def _current(name: str) -> str:
    """What a tensor of PyTorch's is called today: the first BERTs, bert-base-uncased among them, keep TensorFlow's names of norms."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def read_file(path: Path) -> State:
    """All tensors of one ``.pdparams`` file.

    :raises UserError: if it is missing or damaged.
    """
    check_file(path)
    return _read(path, _read_paddle)[0]


def check_file(path: Path) -> None:
    """:raises UserError: if there is no such file."""
    if not path.is_file():
        raise UserError(f"no file {path}: give the path of a .pdparams file")


def _read(path: Path, reader: Callable[[Path], tuple[State, bool]]) -> tuple[State, bool]:
    try:
        state, by_torch = reader(path)
        return {name: _single_precision(tensor) for name, tensor in state.items()}, by_torch
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:  # every reader has its own ways to say that the file is cut short
        raise UserError(f"{path} is damaged or cut short ({type(error).__name__}): copy or train it again") from error


def _single_precision(tensor: np.ndarray) -> np.ndarray:
    """Numbers of another precision as float32, which models here compute in; readers that know no bfloat16 give its bits."""
    if tensor.dtype == np.uint16:
        return (tensor.astype(np.uint32) << 16).view(np.float32)
    is_number = tensor.dtype.kind in "fV"  # safetensors' bfloat16 is a V
    return tensor.astype(np.float32, copy=False) if is_number else tensor


def _read_paddle(path: Path) -> tuple[State, bool]:
    state = paddle.load(str(path), return_numpy=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, np.ndarray)}, False


def _read_safetensors(path: Path) -> tuple[State, bool]:
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as stream:
        written_by = (stream.metadata() or {}).get("format", "pt")
        return {name: stream.get_tensor(name) for name in stream.keys()}, written_by == "pt"  # noqa: SIM118 (not a dict)


def _read_torch(path: Path) -> tuple[State, bool]:
    return torch_file.read(path), True


def fill(
    network: nn.Layer,
    state: Mapping[str, np.ndarray],
    source: Path,
    may_be_new: tuple[str, ...] = (),
    called: Callable[[str], str] = str,
) -> None:
    """Put ``state`` into ``network``; only names that start with one of ``may_be_new`` may keep their initial values.

    :param called: what the file of ``source`` calls a tensor, for messages.
    :raises UserError: naming the tensors that are missing or of another shape.
    """
    own = network.state_dict()
    learnt = [
        name for name, _ in network.named_parameters()
    ]  # what is computed, such as ALBERT's position numbers, may be missing
    missing = [name for name in learnt if name not in state and not name.startswith(may_be_new or ("\0",))]
    if missing:
        named = ", ".join(map(called, missing[:5])) + (", ..." if missing[5:] else "")
        raise UserError(
            f"{source} lacks {len(missing)} of {len(own)} tensors ({named}): not this kind of model, or damaged"
        )
    wrong = [
        f"{name} is {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state
        and list(state[name].shape) != list(tensor.shape)
        and not name.startswith(may_be_new or ("\0",))
    ]
    if wrong:
        raise UserError(
            f"{source} does not fit its configuration: {wrong[0]}"
            + (f" (and {len(wrong) - 1} more)" if wrong[1:] else "")
        )
    fits = lambda name: name in state and list(state[name].shape) == list(own[name].shape)  # noqa: E731
    network.set_state_dict({name: state[name] if fits(name) else tensor for name, tensor in own.items()})
