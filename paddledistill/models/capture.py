"""Hidden states and pre-softmax attention scores of a BERT-like encoder.

An encoder whose layers are ``paddle.nn.TransformerEncoderLayer`` (BERT, TinyBERT, ERNIE, RoBERTa, ELECTRA in PaddleNLP) is walked
layer by layer with the layers' own weights. Nothing is patched, only what is asked for is kept, and layers above the last one
asked for are not run.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import paddle
import paddle.nn.functional as F
from paddle import nn

MASKED = -1e4  # PaddleNLP's own value for positions that hold no token


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
    bias = (1.0 - batch["attention_mask"].astype(state.dtype)).unsqueeze([1, 2]) * MASKED
    for number, layer in enumerate(layers[: max(last_state, last_scores + 1)]):
        raw = _scores(layer.self_attn, state)
        if number in scores:
            kept.scores[number] = raw
        if number == last_scores and number >= last_state:
            break
        state = _rest_of_layer(layer, state, raw + bias)
        if number + 1 in hidden:
            kept.hidden[number + 1] = state
    return kept


def _rest_of_layer(layer: nn.TransformerEncoderLayer, state: paddle.Tensor, scores: paddle.Tensor) -> paddle.Tensor:
    """What ``nn.TransformerEncoderLayer.forward`` does after the attention scores (norm after each sum, as in BERT)."""
    attention = layer.self_attn
    weights = F.softmax(scores)
    if attention.dropout:
        weights = F.dropout(weights, attention.dropout, training=layer.training)
    context = (
        paddle.matmul(weights, _split_heads(attention, attention.v_proj(state))).transpose([0, 2, 1, 3]).flatten(2)
    )
    state = layer.norm1(state + layer.dropout1(attention.out_proj(context)))
    return layer.norm2(state + layer.dropout2(layer.linear2(layer.dropout(layer.activation(layer.linear1(state))))))


def _scores(attention: nn.MultiHeadAttention, source: paddle.Tensor) -> paddle.Tensor:
    query = _split_heads(attention, attention.q_proj(source)) * attention.head_dim**-0.5
    return paddle.matmul(query, _split_heads(attention, attention.k_proj(source)), transpose_y=True)


def _split_heads(attention: nn.MultiHeadAttention, states: paddle.Tensor) -> paddle.Tensor:
    """[batch, length, width] -> [batch, heads, length, head width]."""
    return states.reshape([0, 0, attention.num_heads, attention.head_dim]).transpose([0, 2, 1, 3])
