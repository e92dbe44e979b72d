"""Capture against the model's own forward pass and against numpy."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.models import EncoderClassifier, TaskInfo
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

INFO = TaskInfo("sst-2", ("0", "1"), is_pair=False, max_seq_length=32)
EXAMPLES = [
    Example("a warm and funny story", None, 1),
    Example("the plot is dull and the jokes are old and long", None, 0),
]


@pytest.fixture
def model(tiny_bert: Path) -> EncoderClassifier:
    found = models.new_encoder_classifier(str(tiny_bert), INFO)
    found.eval()
    return found


@pytest.fixture
def batch(model: EncoderClassifier) -> dict[str, paddle.Tensor]:
    return to_batch(model.encode(EXAMPLES).batch([0, 1]))


def test_hidden_states_are_those_of_the_model(model: EncoderClassifier, batch: dict[str, paddle.Tensor]) -> None:
    own = model.backbone(
        batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=True,
        return_dict=True,
    )
    found = model.capture(batch, hidden=range(5))
    assert len(own.hidden_states) == len(found.hidden) == 5
    for number, state in enumerate(own.hidden_states):
        np.testing.assert_allclose(found.hidden[number].numpy(), state.numpy(), atol=1e-5)


def test_scores_are_scaled_products_before_the_softmax(
    model: EncoderClassifier, batch: dict[str, paddle.Tensor]
) -> None:
    found = model.capture(batch, hidden=range(5), scores=range(4))
    for number, layer in enumerate(model.backbone.encoder.layers):
        state, attention = found.hidden[number].numpy(), layer.self_attn
        query, key = (
            (state @ projection.weight.numpy() + projection.bias.numpy()).reshape(2, -1, 2, 8).transpose(0, 2, 1, 3)
            for projection in (attention.q_proj, attention.k_proj)
        )
        np.testing.assert_allclose(
            found.scores[number].numpy(), query @ key.transpose(0, 1, 3, 2) / np.sqrt(8), atol=1e-5
        )


def test_only_what_is_asked_for_is_kept_and_run(model: EncoderClassifier, batch: dict[str, paddle.Tensor]) -> None:
    ran = []
    for number, layer in enumerate(model.backbone.encoder.layers):
        layer.linear1.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    found = model.capture(batch, hidden=[2], scores=[1])
    assert (list(found.hidden), list(found.scores), ran) == ([2], [1], [0, 1])
    ran.clear()
    model.capture(batch, scores=[2])  # of the last layer the scores alone are needed
    assert ran == [0, 1]


def test_nothing_is_patched(model: EncoderClassifier, batch: dict[str, paddle.Tensor]) -> None:
    before = paddle.nn.MultiHeadAttention.forward
    logits = model(batch).numpy()
    model.capture(batch, hidden=[4], scores=[3])
    assert paddle.nn.MultiHeadAttention.forward is before
    np.testing.assert_array_equal(model(batch).numpy(), logits)


def test_a_layer_that_is_not_there(model: EncoderClassifier, batch: dict[str, paddle.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"4 layers.*\[5\]"):
        model.capture(batch, hidden=[5])
