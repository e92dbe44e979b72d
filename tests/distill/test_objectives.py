"""What the stages compare, and that the teacher is asked rightly."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.data.batching import sequential_batches
from paddledistill.distill import losses, objectives
from paddledistill.distill.layer_maps import layer_map
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier, TaskInfo
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

INFO = TaskInfo("sst-2", ("0", "1"), is_pair=False, max_seq_length=32)
EXAMPLES = [
    Example("a warm and funny story", None, 1),
    Example("the plot is dull and the jokes are old and long", None, 0),
]


def classifier(directory: Path, info: TaskInfo = INFO) -> EncoderClassifier:
    paddle.seed(7)
    return models.new_encoder_classifier(str(directory), info)


def batch_of(model: EncoderClassifier) -> dict[str, paddle.Tensor]:
    dataset = model.encode(EXAMPLES)
    return to_batch(dataset.batch(sequential_batches(dataset.lengths, 8)[0]))


def test_intermediate_compares_states_0_to_12_and_attentions_1_to_11(tiny_bert_12: Path, tmp_path: Path) -> None:
    """A 12-layer teacher and a 6-layer student: TinyBERT's map, by the numbers."""
    teacher = classifier(tiny_bert_12)
    student = models.new_encoder_classifier(str(tiny_bert_12), INFO, layers=[0, 1, 2, 3, 4, 5])
    student.eval()
    teacher.eval()
    batch = batch_of(teacher)
    found = objectives.intermediate(student, teacher, layer_map("2i+1", 6, 12))(batch)
    own = student.capture(batch, range(7), range(6))
    everything = teacher.capture(batch, range(13), range(12))
    expected = {
        f"hidden_{i}": losses.hidden_mse(own.hidden[i], everything.hidden[j], batch["attention_mask"])
        for i, j in enumerate(range(0, 13, 2))
    }
    expected |= {
        f"attention_{i}": losses.attention_mse(own.scores[i], everything.scores[j], batch["attention_mask"])
        for i, j in enumerate(range(1, 12, 2))
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-6
    )
    others = [float(losses.hidden_mse(own.hidden[1], everything.hidden[j], batch["attention_mask"])) for j in (1, 3)]
    assert float(found["hidden_1"]) != pytest.approx(others[0], rel=1e-3)
    assert float(found["hidden_1"]) != pytest.approx(others[1], rel=1e-3)


def test_the_teachers_dropout_is_not_in_the_targets(tiny_bert: Path, tiny_student: Path) -> None:
    """Defect 2: the teacher was never in evaluation mode. Its configuration drops 10%, and here it is even put in training mode."""
    teacher, student = classifier(tiny_bert), classifier(tiny_student)
    assert teacher.config.hidden_dropout_prob > 0
    student.eval()
    objective = objectives.intermediate(student, teacher, layer_map("2i+1", 2, 4))
    batch = batch_of(teacher)
    values = []
    for _ in range(2):
        teacher.train()
        values.append({name: float(value) for name, value in objective(batch).items()})
    assert values[0] == values[1]


def test_no_gradient_reaches_the_teacher_and_padding_changes_nothing(tiny_bert: Path, tiny_student: Path) -> None:
    teacher, student = classifier(tiny_bert), classifier(tiny_student)
    student.eval()
    objective = objectives.intermediate(student, teacher, layer_map("2i+1", 2, 4))
    batch = batch_of(teacher)
    together = objective(batch)
    sum(together.values()).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    wider = {
        name: paddle.concat([value, paddle.zeros([2, 9], value.dtype)], axis=1) if value.ndim == 2 else value
        for name, value in batch.items()
    }
    padded = objective(wider)
    assert {name: float(value) for name, value in padded.items()} == pytest.approx(
        {name: float(value) for name, value in together.items()}, rel=1e-4
    )


def test_regression_learns_the_teachers_score(tiny_bert: Path) -> None:
    """Defect 3: softmax over one logit is 1, so the loss was 0 at every step whatever the student answered."""
    student = classifier(tiny_bert, TaskInfo("sts-b", None, is_pair=False, max_seq_length=32))
    student.eval()
    batch = batch_of(student)
    batch[objectives.TEACHER_LOGITS] = student(batch).detach() + paddle.to_tensor([[1.0], [-2.0]])
    batch["labels"] = paddle.to_tensor([3.0, 4.0])
    (loss,) = objectives.prediction(student, 1.0)(batch).values()
    assert float(loss) == pytest.approx((1.0 + 4.0) / 2, rel=1e-4)
    loss.backward()
    assert float(student.network.classifier.weight.grad.abs().max()) > 0


def test_alpha_mixes_labels_and_logits(tiny_bert: Path) -> None:
    student = classifier(tiny_bert)
    student.eval()
    batch = batch_of(student)
    logits = student(batch).detach()
    batch[objectives.TEACHER_LOGITS] = logits + 0.5
    whole = {
        alpha: sum(float(term) for term in objectives.logits_and_labels(student, alpha)(batch).values())
        for alpha in (0.0, 0.3, 1.0)
    }
    ce = float(losses.supervised(logits, batch["labels"]))
    assert whole == pytest.approx({0.0: 0.25, 0.3: 0.3 * ce + 0.7 * 0.25, 1.0: ce}, rel=1e-4)


def test_prediction_stage_never_asks_for_attentions(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect 11: stage 2 still computed attentions and hidden states."""
    student = classifier(tiny_bert)
    batch = batch_of(student)
    batch[objectives.TEACHER_LOGITS] = paddle.zeros([2, 2])

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("hidden states or attentions were computed")

    monkeypatch.setattr(EncoderClassifier, "capture", forbidden)
    objectives.prediction(student, 2.0)(batch)


def test_other_widths_are_refused(tiny_bert: Path, tiny_student: Path) -> None:
    teacher, student = classifier(tiny_bert), classifier(tiny_student)
    student.config.hidden_size = 8
    with pytest.raises(UserError, match="hidden size of the student is 8, of the teacher 16"):
        objectives.intermediate(student, teacher, layer_map("2i+1", 2, 4))
    assert np.isfinite(float(objectives.supervised(student)(batch_of(student))["supervised"]))
