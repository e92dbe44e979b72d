"""Each loss against numpy or scipy written from the paper's formula."""

import numpy as np
import paddle
import pytest
from scipy.special import log_softmax, softmax

from paddledistill.distill import losses

RNG = np.random.default_rng(0)


def tensor(array: np.ndarray, gradient: bool = False) -> paddle.Tensor:
    return paddle.to_tensor(array, stop_gradient=not gradient)


@pytest.fixture
def mask() -> np.ndarray:
    return np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])


def test_hidden_mse_is_the_mean_over_real_tokens(mask: np.ndarray) -> None:
    student, teacher = RNG.normal(size=(2, 3, 5, 8)).astype(np.float32)
    expected = ((student - teacher) ** 2)[mask.astype(bool)].mean()
    assert float(losses.hidden_mse(tensor(student), tensor(teacher), tensor(mask))) == pytest.approx(expected, rel=1e-5)


def test_attention_mse_is_the_mean_over_pairs_of_real_tokens(mask: np.ndarray) -> None:
    student, teacher = RNG.normal(size=(2, 3, 4, 5, 5)).astype(np.float32)
    squared = (student - teacher) ** 2
    sums = sum(squared[row, :, :n, :n].sum() for row, n in enumerate(mask.sum(1)))
    expected = sums / (4 * (mask.sum(1) ** 2).sum())
    found = losses.attention_mse(tensor(student), tensor(teacher), tensor(mask))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_padding_and_masked_scores_do_not_reach_the_losses(mask: np.ndarray) -> None:
    """Defect 5 of the originals: padding counted, and scores of -1e4 or -1e9 leaked in."""
    student, teacher = RNG.normal(size=(2, 3, 4, 5, 5)).astype(np.float32)
    hidden_student, hidden_teacher = RNG.normal(size=(2, 3, 5, 8)).astype(np.float32)
    clean = (
        float(losses.attention_mse(tensor(student), tensor(teacher), tensor(mask))),
        float(losses.hidden_mse(tensor(hidden_student), tensor(hidden_teacher), tensor(mask))),
    )
    padding = mask == 0
    for row in range(len(mask)):
        teacher[row, :, :, padding[row]] = -1e9
        student[row, :, padding[row]] = -1e4
    hidden_student[padding] = 1e6
    spoilt = (
        float(losses.attention_mse(tensor(student), tensor(teacher), tensor(mask))),
        float(losses.hidden_mse(tensor(hidden_student), tensor(hidden_teacher), tensor(mask))),
    )
    assert spoilt == pytest.approx(clean, rel=1e-6)


def test_value_relations_are_minilms(mask: np.ndarray) -> None:
    """Equation 8 of 2002.10957, the widths 12 and 8, cut into 4 heads; padded positions neither count nor are looked at."""
    student, teacher = RNG.normal(size=(3, 5, 12)).astype(np.float32), RNG.normal(size=(3, 5, 8)).astype(np.float32)
    total, heads = 0.0, 4
    for row, length in enumerate(mask.sum(1)):
        for head in range(heads):
            relations = []
            for values in (student, teacher):
                wide = values.shape[-1] // heads
                own = values[row, :length, head * wide : (head + 1) * wide]
                relations.append(log_softmax(own @ own.T / np.sqrt(wide), axis=-1))
            total += (np.exp(relations[1]) * (relations[1] - relations[0])).sum()
    found = losses.value_relation_kl(tensor(student, gradient=True), tensor(teacher), tensor(mask), heads)
    assert float(found) == pytest.approx(total / (mask.sum() * heads), rel=1e-5)
    spoilt = student.copy()
    spoilt[mask == 0] = 1e3
    again = losses.value_relation_kl(tensor(spoilt), tensor(teacher), tensor(mask), heads)
    assert float(again) == pytest.approx(float(found), rel=1e-5)
    assert float(losses.value_relation_kl(tensor(teacher), tensor(teacher), tensor(mask), 2)) == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_cross_entropy(temperature: float) -> None:
    student, teacher = RNG.normal(size=(2, 6, 3)).astype(np.float32) * 3
    target = softmax(teacher / temperature, axis=-1)
    expected = -(target * log_softmax(student / temperature, axis=-1)).sum(-1).mean() * temperature**2
    found = losses.soft_cross_entropy(tensor(student), tensor(teacher), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_gradient_of_the_soft_loss_keeps_its_size_at_any_temperature() -> None:
    """Defect 6: without T squared the gradient shrinks with it. For high T it tends to (student - teacher) / labels."""
    student, teacher = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    logits = tensor(student, gradient=True)
    losses.soft_cross_entropy(logits, tensor(teacher), 200.0).backward()
    centred = (student - student.mean(-1, keepdims=True)) - (teacher - teacher.mean(-1, keepdims=True))
    np.testing.assert_allclose(logits.grad.numpy(), centred / 3 / 6, rtol=0.05, atol=1e-3)


def test_logits_mse_and_supervised() -> None:
    student, teacher = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    assert float(losses.logits_mse(tensor(student), tensor(teacher))) == pytest.approx(
        ((student - teacher) ** 2).mean(), rel=1e-5
    )
    labels = RNG.integers(0, 3, 6)
    expected = -log_softmax(student, axis=-1)[np.arange(6), labels].mean()
    assert float(losses.supervised(tensor(student), tensor(labels))) == pytest.approx(expected, rel=1e-5)
    scores = RNG.normal(size=6).astype(np.float32)
    expected = ((student[:, 0] - scores) ** 2).mean()
    assert float(losses.supervised(tensor(student[:, :1]), tensor(scores))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.logits_mse, losses.soft_cross_entropy])
def test_no_gradient_reaches_the_teacher(loss) -> None:  # type: ignore[no-untyped-def]
    student, teacher = (tensor(RNG.normal(size=(4, 3)).astype(np.float32), gradient=True) for _ in range(2))
    loss(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_label_smoothing_spreads_a_share_of_the_target() -> None:
    logits, labels = RNG.normal(size=(6, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0, 2])
    target = np.full((6, 3), 0.2 / 3)
    target[np.arange(6), labels] += 0.8
    expected = -(target * log_softmax(logits, axis=1)).sum(1).mean()
    assert float(losses.supervised(tensor(logits), tensor(labels), 0.2)) == pytest.approx(expected, rel=1e-5)
