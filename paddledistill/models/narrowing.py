"""A narrower encoder out of the weights of a wider one: the dimensions are kept that weigh most.

After "Weight subcloning" (Samragh et al., arXiv 2312.09299), which ranks dimensions by their activations on some text. Here a dimension
weighs what the matrices that use it weigh, so that no text is needed.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paddledistill.errors import UserError
from paddledistill.models.encoder import Encoder, check_heads
from paddledistill.models.weights import State

_LAYERS = "encoder.layers"
_QUERY, _KEY, _VALUE, _OUT, _UP, _DOWN = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "linear1", "linear2"
)  # fmt: skip
_Indices = NDArray[np.int64]


def narrowed(model: Encoder, width: int, heads: int, intermediate: int) -> Encoder:
    """The same layers, each matrix of which is cut to the rows and columns that weigh most.

    Of all hidden states the same dimensions are kept, since layers pass them on. Heads keep their order.

    :param width: of the hidden states. :param heads: attention heads, which divide it. :param intermediate: width of the feed-forward
        layers.
    :raises UserError: if a number is larger than the encoder's, or the heads do not divide the width, or it is not of BERT's kind.
    """
    config = copy.deepcopy(model.config)
    _check(model, width, heads, intermediate)
    state = {name: tensor.numpy() for name, tensor in model.network.state_dict().items()}
    layers = [_within(state, f"{model.layers_name}.{number}.") for number in range(model.num_layers)]
    kept = _heaviest(sum(map(_weights_of_states, layers)), width)

    small = {
        name: _cut(name, tensor, kept, config.hidden_size)
        for name, tensor in state.items()
        if not name.startswith(model.layers_name)
    }
    for number, layer in enumerate(layers):
        for name, tensor in _narrowed_layer(layer, kept, config.num_attention_heads, heads, intermediate).items():
            small[f"{model.layers_name}.{number}.{name}"] = tensor
    if getattr(config, "embedding_size", None) == config.hidden_size:
        config.embedding_size = width
    config.hidden_size, config.num_attention_heads, config.intermediate_size = width, heads, intermediate
    network = type(model.network)(config)
    network.set_state_dict(small)
    return type(model)(network, model.tokenizer, model.info)


def _check(model: Any, width: int, heads: int, intermediate: int) -> None:
    if model.family.layers != _LAYERS or model.family.blocks is None:
        raise UserError(f"the layers of {model.family.stem} cannot be narrowed: start with new weights")
    for name, number in (("hidden_size", width), ("num_attention_heads", heads), ("intermediate_size", intermediate)):
        most = getattr(model.config, name)
        if number > most:
            raise UserError(f"--{name} {number} is more than the {most} of the encoder that it starts from")
    check_heads(width, heads)
    own, most = width // heads, model.config.hidden_size // model.config.num_attention_heads
    if own > most:
        raise UserError(
            f"{heads} heads of a hidden size of {width} are {own} wide, those of the encoder that it starts from {most}: take more heads"
        )


def _within(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _squares(layer: State, name: str, axis: int) -> NDArray[Any]:
    """Of a matrix [in, out], summed over ``axis``."""
    found: NDArray[Any] = (layer[f"{name}.weight"] ** 2).sum(axis)
    return found


def _weights_of_states(layer: State) -> NDArray[Any]:
    """What reads each dimension of a hidden state, times the size that the norm gives it, [width]."""
    size = layer["norm2.weight"] ** 2 + layer["norm2.bias"] ** 2
    read: NDArray[Any] = size * sum(_squares(layer, name, 1) for name in (_QUERY, _KEY, _VALUE, _UP))
    return read


def _heaviest(weights: Any, count: int) -> _Indices:
    """The largest ``count``, in their order; of equal ones the first."""
    return np.sort(np.argsort(-weights, kind="stable")[:count])


def _narrowed_layer(layer: State, kept: _Indices, heads: int, new_heads: int, intermediate: int) -> State:
    """Cut to the dimensions ``kept`` of hidden states, to the heads, and to the dimensions of each, that carry most."""
    head_width, width = len(layer["norm1.weight"]) // heads, len(kept) // new_heads
    asked = (_squares(layer, _QUERY, 0) * _squares(layer, _KEY, 0)).reshape(heads, head_width) ** 0.5
    told = (_squares(layer, _VALUE, 0) * _squares(layer, _OUT, 1)).reshape(heads, head_width) ** 0.5
    heads_kept = _heaviest(told.sum(1), new_heads)

    def of_heads(weights: NDArray[Any]) -> _Indices:
        return np.concatenate([head * head_width + _heaviest(weights[head], width) for head in heads_kept])

    scores, values = of_heads(asked), of_heads(told)
    fed = _heaviest(_squares(layer, _UP, 0) * _squares(layer, _DOWN, 1), intermediate)
    read = {_QUERY: kept, _KEY: kept, _VALUE: kept, _OUT: values, _UP: kept, _DOWN: fed}
    written = {_QUERY: scores, _KEY: scores, _VALUE: values, _UP: fed}  # all else writes hidden states
    small = {}
    for name, tensor in layer.items():
        part = name.rpartition(".")[0]
        out = tensor[..., written.get(part, kept)]
        small[name] = out[read[part]] if tensor.ndim == 2 else out
    for end in ("weight", "bias"):  # scores are divided by the root of the head width, which is another now
        small[f"{_QUERY}.{end}"] = small[f"{_QUERY}.{end}"] * np.float32((width / head_width) ** 0.5)
    return small


def _cut(name: str, tensor: NDArray[Any], kept: _Indices, width: int) -> NDArray[Any]:
    """A tensor outside the layers; tables of embeddings have as many rows as they had."""
    axes = [axis for axis, size in enumerate(tensor.shape) if size == width]
    if "embeddings" in name and tensor.ndim == 2:
        axes = [axis for axis in axes if axis == 1]
    for axis in axes:
        tensor = tensor.take(kept, axis)
    return tensor
