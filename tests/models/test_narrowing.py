"""Narrower encoders out of wider ones."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.errors import UserError
from paddledistill.models import PlainEncoder, narrowed
from paddledistill.models.masked_lm import masked_lm
from paddledistill.models.transformer import attention_scores

KEPT = np.array([0, 1, 2, 4, 5, 7, 8, 9, 11, 12, 14, 15])  # of 16 dimensions of a state
OF_HEADS = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 13, 14, 15])  # of two heads of 8: in each 6
FED = np.arange(2, 32, 3)


def idle_outside(weight: paddle.Tensor, rows: np.ndarray, columns: np.ndarray) -> None:
    """Let a matrix [in, out], or a bias [out], be 0 but at these places."""
    there = np.zeros(weight.shape, np.float32)
    there[np.ix_(rows, columns) if weight.ndim == 2 else columns] = 1
    weight.set_value(weight.numpy() * there)


@pytest.fixture
def wide(tiny_bert: Path) -> PlainEncoder:
    """An encoder in whose layers some of all dimensions are idle."""
    model = models.plain_encoder(str(tiny_bert))
    paddle.seed(5)
    for weight in model.network.parameters():
        weight.set_value(paddle.randn(weight.shape))
    for layer in model.network.encoder.layers:
        attention, everything = layer.self_attn, np.arange(16)
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            idle_outside(linear.weight, KEPT, OF_HEADS)
            idle_outside(linear.bias, KEPT, OF_HEADS)
        idle_outside(attention.out_proj.weight, OF_HEADS, everything)
        idle_outside(layer.linear1.weight, KEPT, FED)
        idle_outside(layer.linear2.weight, FED, everything)
    return model


def test_what_is_idle_is_left_out(wide: PlainEncoder) -> None:
    """Then scores and what a layer adds to a state are the wider one's, in the dimensions that are kept."""
    narrow = narrowed(wide, 12, 2, 10)
    assert (narrow.num_layers, narrow.description) == (4, "bert 4x12")
    rows = np.random.default_rng(1).normal(size=(2, 5, 16)).astype(np.float32)
    state, small = paddle.to_tensor(rows), paddle.to_tensor(rows[..., KEPT])
    for layer, own in zip(wide.network.encoder.layers, narrow.network.encoder.layers, strict=True):
        expected, found = attention_scores(layer, state).numpy(), attention_scores(own, small).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for wider, narrower in (
            (
                layer.self_attn.out_proj(layer.self_attn.v_proj(state)),
                own.self_attn.out_proj(own.self_attn.v_proj(small)),
            ),
            (layer.linear2(layer.activation(layer.linear1(state))), own.linear2(own.activation(own.linear1(small)))),
        ):
            np.testing.assert_allclose(narrower.numpy(), wider.numpy()[..., KEPT], rtol=1e-4, atol=1e-4)
    for name in ("word_embeddings", "position_embeddings"):
        table, own_table = (getattr(model.network.embeddings, name).weight.numpy() for model in (wide, narrow))
        np.testing.assert_array_equal(own_table, table[:, KEPT])
    pooler, own_pooler = (model.network.pooler.dense for model in (wide, narrow))
    np.testing.assert_array_equal(own_pooler.weight.numpy(), pooler.weight.numpy()[np.ix_(KEPT, KEPT)])


def test_the_heads_that_pass_most_are_kept_in_their_order(tiny_bert: Path) -> None:
    model = models.plain_encoder(str(tiny_bert))
    for number, layer in enumerate(model.network.encoder.layers):
        of_head = np.arange(16) // 8 == number % 2  # the first head of the first layer, the second of the second
        value = layer.self_attn.v_proj
        value.weight.set_value(value.weight.numpy() * np.where(of_head, 3, 1).astype(np.float32))
        value.bias.set_value(np.arange(16, dtype=np.float32))
    narrow = narrowed(model, 8, 1, 32)
    for number, layer in enumerate(narrow.network.encoder.layers):
        expected = np.arange(8) + 8 * (number % 2)
        np.testing.assert_array_equal(layer.self_attn.v_proj.bias.numpy(), expected)


def test_a_masked_language_model_still_guesses(tiny_masked_lm: Path, tmp_path: Path) -> None:
    narrow = narrowed(masked_lm(tiny_masked_lm), 8, 2, 16)
    ids = np.arange(5, 15).reshape(2, 5)
    guesses = narrow.predict_logits(ids, 0 * ids, 0 * ids + 1, np.array([2, 7]))
    assert guesses.shape == (2, len(narrow.tokenizer)) and np.isfinite(guesses).all()
    narrow.save(tmp_path)
    np.testing.assert_allclose(
        masked_lm(tmp_path).predict_logits(ids, 0 * ids, 0 * ids + 1, np.array([2, 7])), guesses, atol=1e-5
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((20, 2, 32), "--hidden_size 20 is more than the 16 of the encoder that it starts from"),
        ((16, 4, 32), "--num_attention_heads 4 is more than the 2"),
        ((16, 2, 64), "--intermediate_size 64 is more than the 32"),
        ((9, 2, 32), "2 attention heads do not divide a hidden size of 9"),
        (
            (12, 1, 32),
            "1 heads of a hidden size of 12 are 12 wide, those of the encoder that it starts from 8: take more heads",
        ),
    ],
)
def test_what_does_not_fit(tiny_bert: Path, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        narrowed(models.plain_encoder(str(tiny_bert)), *shape)
