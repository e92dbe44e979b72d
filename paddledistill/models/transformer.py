"""The layers of a BERT-like encoder, run by our own kernels, and what happens inside them: hidden states, attention scores.

For encoders whose layers are ``paddle.nn.TransformerEncoderLayer`` (BERT, TinyBERT, RoBERTa, ERNIE, ERNIE-M, ELECTRA and DistilBERT
in PaddleNLP); ALBERT's are run so only while they are looked into. A layer's weights, names and checkpoint stay PaddleNLP's; nothing is
patched but the instances that :func:`accelerate` is given.
"""

from collections.abc import Callable, Collection, Sequence
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


@dataclass(frozen=True)
class Block:
    """A layer in two steps.

    ``scores`` gives a state's attention scores, see :func:`attention_scores`; ``values`` its values, heads side by side,
    [batch, length, width]; ``run`` takes the state, its scores and the bias of :func:`run_layer`, and gives the next state.
    """

    scores: Callable[[paddle.Tensor], paddle.Tensor]
    values: Callable[[paddle.Tensor], paddle.Tensor]
    run: Callable[[paddle.Tensor, paddle.Tensor, paddle.Tensor], paddle.Tensor]


def block(layer: nn.TransformerEncoderLayer) -> Block:
    """Of a layer of BERT's kind."""
    return Block(
        lambda state: attention_scores(layer, state), layer.self_attn.v_proj, lambda *step: run_layer(layer, *step)
    )


def albert_block(inner: Any) -> Block:
    """Of what ALBERT calls a layer: a group of layers, nearly always of one.

    :param inner: PaddleNLP's ``albert_layers``; the scores and values are those of the first.
    """
    first, *others = inner

    def run(state: paddle.Tensor, scores: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        state = _run_albert_layer(first, state, scores, bias)
        for layer in others:
            state = _run_albert_layer(layer, state, _albert_scores(layer.attention, state), bias)
        return state

    return Block(lambda state: _albert_scores(first.attention, state), first.attention.value, run)


def _albert_scores(attention: Any, state: paddle.Tensor) -> paddle.Tensor:
    query = kernels.split_heads(attention.query(state), attention.num_attention_heads)
    key = kernels.split_heads(attention.key(state), attention.num_attention_heads)
    return paddle.matmul(query * attention.attention_head_size**-0.5, key, transpose_y=True)


def _run_albert_layer(layer: Any, state: paddle.Tensor, scores: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """See :func:`run_layer`; PaddleNLP's own forward cannot be exported from here, since it reads shapes."""
    attention = layer.attention
    weights = attention.attention_dropout(F.softmax(scores + bias))
    value = kernels.split_heads(attention.value(state), attention.num_attention_heads)
    context = attention.dense(kernels.merge_heads(paddle.matmul(weights, value)))
    state = attention.layer_norm(state + attention.output_dropout(context))
    return layer.full_layer_layer_norm(layer.ffn_output(layer.activation(layer.ffn(state))) + state)


@dataclass
class Captured:
    """Tensors by layer number.

    ``hidden[i]`` is [batch, length, width]; 0 is the output of the embeddings, i the output of layer i. ``scores[i]`` is
    [batch, heads, length, length]: query times key over the root of the head width in layer i, counted from 0, before mask,
    softmax and dropout. ``values[i]`` is [batch, length, width]: the values of layer i, counted from 0, heads side by side.
    """

    hidden: dict[int, paddle.Tensor] = field(default_factory=dict)
    scores: dict[int, paddle.Tensor] = field(default_factory=dict)
    values: dict[int, paddle.Tensor] = field(default_factory=dict)


@paddle.jit.not_to_static  # an export takes the loop as it runs
def capture(
    blocks: Sequence[Block],
    state: paddle.Tensor,
    bias: paddle.Tensor,
    hidden: Collection[int] = (),
    scores: Collection[int] = (),
    values: Collection[int] = (),
) -> Captured:
    """Run layers up to the last one that is needed.

    :param state: what the first layer reads, [batch, length, width]. :param bias: of :func:`run_layer`.
    :param hidden: numbers of the hidden states to keep, 0 to the number of layers.
    :param scores: numbers of the layers, from 0, whose attention scores to keep; ``values``: whose values.
    """
    last_state, last_inside = max(hidden, default=0), max((*scores, *values), default=-1)
    kept = Captured()
    if 0 in hidden:
        kept.hidden[0] = state
    for number, layer in enumerate(blocks[: max(last_state, last_inside + 1)]):
        if number in values:
            kept.values[number] = layer.values(state)
        is_end = number == last_inside and number >= last_state
        if is_end and number not in scores:
            break
        raw = layer.scores(state)
        if number in scores:
            kept.scores[number] = raw
        if is_end:
            break
        state = layer.run(state, raw, bias)
        if number + 1 in hidden:
            kept.hidden[number + 1] = state
    return kept
