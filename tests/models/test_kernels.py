"""The kernels for the CPU against Paddle's own operations, forward and backward."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddledistill import models
from paddledistill.models import TaskInfo, kernels, transformer
from paddledistill.models.encoder import paddlenlp_transformers
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

Function = Callable[..., paddle.Tensor]


def random(*shape: int, seed: int = 0) -> paddle.Tensor:
    tensor = paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))
    tensor.stop_gradient = False
    return tensor


def assert_same(own: Function, paddles: Function, *inputs: paddle.Tensor) -> None:
    """Both answer alike, and so do their gradients, for an arbitrary gradient from above."""
    found, expected = own(*inputs), paddles(*inputs)
    above = random(*expected.shape, seed=9)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    for mine, theirs in zip(
        paddle.grad([found], list(inputs), [above]), paddle.grad([expected], list(inputs), [above]), strict=True
    ):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [None, False], ids=["with bias", "without"])
def test_linear(bias: bool | None) -> None:
    layer = nn.Linear(6, 10, bias_attr=bias)
    weights = list(layer.parameters())
    assert_same(lambda x, *_: kernels.linear(layer, x), lambda x, *_: layer(x), random(3, 4, 6), *weights)


def test_layer_norm() -> None:
    layer = nn.LayerNorm(8, 1e-12)
    layer.weight.set_value(random(8, seed=1))
    layer.bias.set_value(random(8, seed=2))
    assert_same(
        lambda x, *_: kernels.layer_norm(layer, x), lambda x, *_: layer(x), random(3, 5, 8), layer.weight, layer.bias
    )


def test_heads_are_split_and_merged() -> None:
    def split(x: paddle.Tensor) -> paddle.Tensor:
        return x.reshape([3, 5, 4, 2]).transpose([0, 2, 1, 3])

    assert_same(lambda x: kernels.split_heads(x, 4), split, random(3, 5, 8))
    assert_same(kernels.merge_heads, lambda x: x.transpose([0, 2, 1, 3]).flatten(2), random(3, 4, 5, 2))


def test_no_attention_goes_to_padding() -> None:
    mask = paddle.to_tensor([[1, 1, 0], [1, 1, 1]])
    bias = kernels.attention_bias(mask, heads=2, masked=-1e4)
    assert list(bias.shape) == [2, 2, 3, 3]
    weights = F.softmax(random(2, 2, 3, 3) + bias).numpy()
    assert weights[0, :, :, 2].max() < 1e-20
    assert weights[1].min() > 0


class TestDropout:
    def test_it_keeps_the_share_asked_for_and_the_mean(self) -> None:
        x = paddle.ones([200, 500])
        kept = kernels.dropout(x, 0.1, training=True).numpy()
        assert (kept == 0).mean() == pytest.approx(0.1, abs=0.005)
        assert kept.mean() == pytest.approx(1, abs=0.005)
        np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.9], rtol=1e-4)

    def test_the_gradient_passes_where_the_value_did(self) -> None:
        x = random(50, 40)
        found = kernels.dropout(x, 0.3, training=True)
        (gradient,) = paddle.grad([found], [x])
        np.testing.assert_allclose(found.numpy(), (x * gradient).numpy(), rtol=1e-6)

    def test_the_seed_decides_and_every_call_differs(self) -> None:
        x = paddle.ones([64, 64])
        paddle.seed(3)
        first, second = (kernels.dropout(x, 0.5, training=True).numpy() for _ in range(2))
        paddle.seed(3)
        np.testing.assert_array_equal(kernels.dropout(x, 0.5, training=True).numpy(), first)
        assert (first != second).mean() == pytest.approx(0.5, abs=0.1)

    def test_nothing_is_dropped_outside_training_or_with_probability_zero(self) -> None:
        x = random(4, 4)
        assert kernels.dropout(x, 0.5, training=False) is x
        assert kernels.dropout(x, 0.0, training=True) is x

    def test_all_is_dropped_with_probability_one(self) -> None:
        assert not kernels.dropout(paddle.ones([1000, 1000]), 1.0, training=True).any()


def test_an_accelerated_classifier_answers_and_learns_as_paddlenlps(tiny_bert: Path) -> None:
    info = TaskInfo("sst-2", ("0", "1"), is_pair=False, max_seq_length=32)
    model = models.new_encoder_classifier(str(tiny_bert), info, dropout=0.0)
    plain = paddlenlp_transformers().BertForSequenceClassification(model.config)
    plain.set_state_dict(model.network.state_dict())
    examples = [Example("a warm and funny story", None, 1), Example("dull and old and long", None, 0)]
    batch = to_batch(model.encode(examples).batch([0, 1]))

    found = model(batch)
    expected = plain(batch["input_ids"], token_type_ids=batch["token_type_ids"], attention_mask=batch["attention_mask"])
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
    F.cross_entropy(found, batch["labels"]).backward()
    F.cross_entropy(expected, batch["labels"]).backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in model.network.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), theirs[name].grad.numpy(), atol=1e-5, err_msg=name)


def test_every_transformer_layer_runs_by_our_kernels(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = TaskInfo("sst-2", ("0", "1"), is_pair=False, max_seq_length=32)
    model = models.new_encoder_classifier(str(tiny_bert), info)
    ran = []
    original = transformer.run_layer
    monkeypatch.setattr(transformer, "run_layer", lambda *arguments: ran.append(1) or original(*arguments))
    model(to_batch(model.encode([Example("a story", None, 1)]).batch([0])))
    assert len(ran) == model.num_layers
