"""The layers of a BERT-like encoder, run by our own kernels, and what happens inside them: hidden states, attention scores.

For encoders whose layers are ``paddle.nn.TransformerEncoderLayer`` (BERT, TinyBERT, ERNIE, RoBERTa, ELECTRA in PaddleNLP). A
layer's weights, names and checkpoint stay PaddleNLP's; nothing is patched but the instances that :func:`accelerate` is given.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddledistill.models import kernels

MASKED = -1e4  # PaddleNLP's own value for positions that hold no token


def accelerate(network: nn.Layer) -> None:
    """Let ``network`` run by :mod:`paddledistill.models.kernels`; weights, names and results stay as they are."""
    for layer in network.sublayers():
        if isinstance(layer, nn.TransformerEncoderLayer) and not layer.normalize_before:
            layer.forward = _forward_of(layer)
        for kind, kernel in _KERNELS.items():
            if type(layer) is kind:
                layer.forward = _bound(kernel, layer)


_KERNELS = {nn.Linear: kernels.linear, nn.LayerNorm: kernels.layer_norm, nn.Dropout: kernels.dropout_layer}


def _bound(kernel: Callable[[Any, paddle.Tensor], paddle.Tensor], layer: nn.Layer) -> Any:
    @paddle.jit.not_to_static  # as PaddleNLP marks the forward of its layers
    def forward(x: paddle.Tensor) -> paddle.Tensor:
        return kernel(layer, x)

    return forward


def _forward_of(layer: nn.TransformerEncoderLayer) -> Any:
    original = layer.forward

    @paddle.jit.not_to_static
    def forward(
        src: paddle.Tensor, src_mask: paddle.Tensor | None = None, cache: Any = None, output_attentions: bool = False
    ) -> Any:
        if cache is not None or output_attentions or src_mask is None:
            return original(src, src_mask, cache, output_attentions)
        return run_layer(layer, src, attention_scores(layer, src), src_mask)

    return forward


def attention_scores(layer: nn.TransformerEncoderLayer, state: paddle.Tensor) -> paddle.Tensor:
    """Query times key over the root of the head width, before mask and softmax, [batch, heads, length, length]."""
    attention = layer.self_attn
    query = kernels.split_heads(attention.q_proj(state), attention.num_heads)
    key = kernels.split_heads(attention.k_proj(state), attention.num_heads)
    return paddle.matmul(query * attention.head_dim**-0.5, key, transpose_y=True)


def run_layer(
    layer: nn.TransformerEncoderLayer, state: paddle.Tensor, scores: paddle.Tensor, bias: paddle.Tensor
) -> paddle.Tensor:
    """What ``nn.TransformerEncoderLayer.forward`` does after the attention scores (norm after each sum, as in BERT).

    :param state: the layer's input, [batch, length, width].
    :param scores: of :func:`attention_scores`.
    :param bias: added to them, 0 for tokens and :data:`MASKED` for padding, [batch, 1 or heads, 1 or length, length].
    :returns: the layer's output, [batch, length, width].
    """
    attention = layer.self_attn
    weights = kernels.dropout(F.softmax(scores + bias), attention.dropout, layer.training)
    value = kernels.split_heads(attention.v_proj(state), attention.num_heads)
    context = attention.out_proj(kernels.merge_heads(paddle.matmul(weights, value)))
    state = layer.norm1(state + layer.dropout1(context))
    return layer.norm2(state + layer.dropout2(layer.linear2(layer.dropout(layer.activation(layer.linear1(state))))))


@dataclass
class Captured:
    """Tensors by layer number.

    ``hidden[i]`` is [batch, length, width]; 0 is the output of the embeddings, i the output of layer i. ``scores[i]`` is
    [batch, heads, length, length]: query times key over the root of the head width in layer i, counted from 0, before mask,
    softmax and dropout.
    """

    hidden: dict[int, paddle.Tensor] = field(default_factory=dict)
    scores: dict[int, paddle.Tensor] = field(default_factory=dict)


def capture(
    backbone: nn.Layer, batch: dict[str, paddle.Tensor], hidden: Collection[int] = (), scores: Collection[int] = ()
) -> Captured:
    """Run ``backbone`` on ``batch`` up to the last layer that is needed.

    :param backbone: a PaddleNLP base model with ``embeddings`` and ``encoder.layers``.
    :param batch: ``input_ids``, ``token_type_ids`` and ``attention_mask``, each [batch, length].
    :param hidden: numbers of the hidden states to keep, 0 to the number of layers.
    :param scores: numbers of the layers, from 0, whose attention scores to keep.
    :raises ValueError: for a number that the encoder does not have.
    """
    layers = list(backbone.encoder.layers)
    wrong = {i for i in hidden if not 0 <= i <= len(layers)} | {i for i in scores if not 0 <= i < len(layers)}
    if wrong:
        raise ValueError(f"the encoder has {len(layers)} layers, so there is no {sorted(wrong)} to capture")
    last_state, last_scores = max(hidden, default=0), max(scores, default=-1)
    kept = Captured()
    state = backbone.embeddings(batch["input_ids"], token_type_ids=batch["token_type_ids"])
    if 0 in hidden:
        kept.hidden[0] = state
    bias = kernels.attention_bias(batch["attention_mask"], layers[0].self_attn.num_heads, MASKED)
    for number, layer in enumerate(layers[: max(last_state, last_scores + 1)]):
        raw = attention_scores(layer, state)
        if number in scores:
            kept.scores[number] = raw
        if number == last_scores and number >= last_state:
            break
        state = run_layer(layer, state, raw, bias)
        if number + 1 in hidden:
            kept.hidden[number + 1] = state
    return kept
