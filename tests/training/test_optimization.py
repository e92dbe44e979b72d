"""The schedule, what weight decay spares, and optimizer state that another process can take up."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from paddledistill.errors import UserError
from paddledistill.training import optimization
from paddledistill.training.optimization import OPTIMIZERS, Optimization


def test_linear_warm_up_and_decay() -> None:
    settings = Optimization(1.0, warmup_proportion=0.1)
    rates = [optimization.learning_rate(settings, step, 100) for step in range(101)]
    np.testing.assert_allclose(rates[:11], np.arange(11) / 10)
    np.testing.assert_allclose(rates[10:], (100 - np.arange(10, 101)) / 90)


def test_warm_up_steps_beat_the_proportion_and_decay_can_be_off() -> None:
    settings = Optimization(2.0, warmup_steps=4, warmup_proportion=0.5, decay=False)
    assert [optimization.learning_rate(settings, step, 10) for step in (0, 2, 4, 9)] == [0.0, 1.0, 2.0, 2.0]


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm1 = nn.Linear(3, 3), nn.LayerNorm(3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm1(self.dense(x))


def test_weight_decay_spares_biases_and_norms() -> None:
    network = Network()
    network.dense.bias.set_value(paddle.ones([3]))
    before = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    optimizer = optimization.build(Optimization(0.1, weight_decay=0.5), network)
    (network(paddle.ones([2, 3])) * 0).sum().backward()
    optimizer.step()
    after = network.state_dict()
    np.testing.assert_allclose(after["dense.weight"].numpy(), before["dense.weight"] * (1 - 0.1 * 0.5), rtol=1e-5)
    for name in ("dense.bias", "norm1.weight", "norm1.bias"):
        np.testing.assert_array_equal(after[name].numpy(), before[name])


def test_an_unknown_optimizer_is_refused() -> None:
    """It used to become AdamW without a word."""
    with pytest.raises(KeyError, match="sgd"):
        optimization.build(Optimization(0.1, "sgd"), Network())


def test_a_file_that_holds_no_state_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Linear(2, 2)
    optimizer = optimization.build(Optimization(0.1), network)
    caplog.set_level("INFO")
    optimization.restore_file(optimizer, network, tmp_path / "none.pdopt")
    paddle.save({"lstm_cell_0.w_0_moment1_0": paddle.ones([2])}, str(tmp_path / "theirs.pdopt"))
    optimization.restore_file(optimizer, network, tmp_path / "theirs.pdopt")
    assert [message.split(": ")[1] for message in caplog.messages] == ["the optimizer starts anew"] * 2
    (tmp_path / "cut.pdopt").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="damaged or cut short"):
        optimization.restore_file(optimizer, network, tmp_path / "cut.pdopt")


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_state_survives_another_order_of_parameter_names(kind: str, tmp_path: Path) -> None:
    """Paddle counts layers up over a process's life: a resumed run that built something else first has other names."""
    inputs, goal = (
        paddle.to_tensor(array) for array in np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    )
    settings = Optimization(0.05, kind)

    def step(network: Network, optimizer: object) -> None:
        (network(inputs) * goal).sum().backward()
        optimizer.step()  # type: ignore[attr-defined]
        optimizer.clear_grad()  # type: ignore[attr-defined]

    first = Network()
    optimizer = optimization.build(settings, first)
    for _ in range(3):
        step(first, optimizer)
    paddle.save(optimization.state_by_structure(optimizer, first), str(tmp_path / "model.pdopt"))
    weights = {name: tensor.numpy().copy() for name, tensor in first.state_dict().items()}

    nn.Linear(2, 2)
    second = Network()
    assert second.dense.weight.name != first.dense.weight.name
    second.set_state_dict(weights)
    resumed = optimization.build(settings, second)
    optimization.restore_file(resumed, second, tmp_path / "model.pdopt")
    step(first, optimizer)
    step(second, resumed)
    for name, tensor in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name].numpy(), tensor.numpy())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_frozen_weights_stay_and_take_no_part(kind: str) -> None:
    network = Network()
    network.dense.weight.stop_gradient = True
    before = network.dense.weight.numpy().copy()
    bias = network.dense.bias.numpy().copy()
    optimizer = optimization.build(Optimization(0.1, kind, weight_decay=0.1 if kind == "adamw" else 0.0), network)
    (network(paddle.to_tensor([[1.0, 2.0, 4.0]])) * paddle.to_tensor([1.0, 0.0, 0.0])).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(network.dense.weight.numpy(), before)
    assert np.abs(network.dense.bias.numpy() - bias).max() > 1e-4


@pytest.mark.parametrize("longest", [0.5, 1000.0])
def test_gradients_are_clipped_all_together(longest: float) -> None:
    """With a huge epsilon AdamW moves in proportion to the gradient, so that the step shows what was clipped."""
    rate, epsilon = 1.0, 1e6
    network = Network()
    before = {name: weight.numpy().copy() for name, weight in network.named_parameters()}
    settings = Optimization(rate, adam_epsilon=epsilon, max_grad_norm=longest)
    optimizer = optimization.build(settings, network)
    loss = (network(paddle.to_tensor([[1.0, 2.0, 4.0], [0.5, -1.0, 2.0]])) * paddle.to_tensor([5.0, -3.0, 1.0])).sum()
    loss.backward()
    gradients = {name: weight.grad.numpy().copy() for name, weight in network.named_parameters()}
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    optimizer.step()
    scale = min(1.0, longest / norm)
    assert (scale < 1) == (longest == 0.5)
    for name, weight in network.named_parameters():
        moved = (before[name] - weight.numpy()) * epsilon / rate
        np.testing.assert_allclose(moved, gradients[name] * scale, rtol=0.05, atol=0.2, err_msg=name)
