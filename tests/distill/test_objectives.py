"""What the stages compare, and that the teacher is asked rightly."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.data.batching import sequential_batches
from paddledistill.data.masked_text import mask_text
from paddledistill.distill import losses, objectives
from paddledistill.distill.layer_maps import layer_map
from paddledistill.distill.teacher import targets
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier, TaskInfo, engine
from paddledistill.models.masked_lm import masked_lm, with_new_head
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
    loss = objectives.prediction(student, 1.0)(batch)["score"]
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
        alpha: sum(float(term) for term in objectives.prediction(student, None, 1 - alpha, alpha)(batch).values())
        for alpha in (0.0, 0.3, 1.0)
    }
    ce = float(losses.supervised(logits, batch["labels"]))
    assert whole == pytest.approx({0.0: 0.25, 0.3: 0.3 * ce + 0.7 * 0.25, 1.0: ce}, rel=1e-4)
    assert list(objectives.prediction(student, None, 0.7, 0.3)(batch)) == ["logits", "supervised"]


def test_prediction_stage_never_asks_for_attentions(tiny_bert: Path) -> None:
    """Defect 11: stage 2 still computed attentions and hidden states. The encoder runs once: its last state, and the pooled one."""
    student = classifier(tiny_bert)
    batch = batch_of(student)
    batch[objectives.TEACHER_LOGITS] = paddle.zeros([2, 2])
    passes: list[int] = []
    answers: list[tuple[paddle.Tensor, ...]] = []
    student.backbone.embeddings.register_forward_pre_hook(lambda *_: passes.append(1))
    student.backbone.register_forward_post_hook(lambda layer, inputs, answer: answers.append(answer))
    objectives.prediction(student, 2.0)(batch)
    assert (len(passes), len(answers)) == (1, 1)
    assert [tensor.shape for tensor in answers[0]] == [[*batch["input_ids"].shape, 16], [2, 16]]


def narrow(like: EncoderClassifier, width: int = 8, heads: int = 2) -> models.PlainEncoder:
    """A student of 2 layers with new weights."""
    paddle.seed(3)
    return models.new_plain_encoder(like, layers=2, width=width, heads=heads, intermediate=2 * width)


def test_other_numbers_of_heads_want_another_comparison(tiny_bert: Path) -> None:
    teacher = classifier(tiny_bert)
    student = narrow(teacher, width=16, heads=4)
    batch = batch_of(teacher)
    with pytest.raises(
        UserError, match=r"attention heads of the student is 4, of the teacher 2.*--attention_by mean_scores or values"
    ):
        objectives.intermediate(student, teacher, layer_map("2i+1", 2, 4))
    teacher.eval()
    for by in ("mean_scores", "values"):
        layers = layer_map("2i+1", 2, 4, by)
        found = objectives.intermediate(student, teacher, layers)(batch)
        own, goal = student.capture(batch, **layers.of_student), teacher.capture(batch, **layers.of_teacher)
        for i, j in layers.attention:
            if by == "values":
                expected = losses.value_relation_kl(own.values[i], goal.values[j], batch["attention_mask"], 2)
            else:
                expected = losses.attention_mse(
                    own.scores[i].mean(1, keepdim=True), goal.scores[j].mean(1, keepdim=True), batch["attention_mask"]
                )
            assert float(found[f"attention_{i}"]) == pytest.approx(float(expected), rel=1e-5)


def test_values_are_those_of_the_layers(tiny_bert: Path) -> None:
    model = classifier(tiny_bert)
    model.eval()
    batch = batch_of(model)
    found = model.capture(batch, hidden=[1], values=[1, 3])
    layer = model.backbone.encoder.layers[1].self_attn.v_proj
    expected = found.hidden[1].numpy() @ layer.weight.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(found.values[1].numpy(), expected, atol=1e-5)
    assert sorted(found.values) == [1, 3]


def test_weights_scale_terms_and_zero_leaves_them_out(tiny_bert: Path, tiny_student: Path) -> None:
    teacher, student = classifier(tiny_bert), classifier(tiny_student)
    student.eval()
    batch = batch_of(teacher)
    plain = objectives.intermediate(student, teacher, layer_map("2i+1", 2, 4))(batch)
    weights = objectives.Weights(embedding=0.0, hidden=2.0, attention=0.5)
    layers = layer_map("2i+1", 2, 4).weighed(0.0, 2.0, 0.5)
    assert 0 not in layers.of_teacher["hidden"]
    found = objectives.intermediate(student, teacher, layers, weights=weights)(batch)
    assert set(found) == set(plain) - {"hidden_0"}
    for name, value in found.items():
        factor = 2.0 if name.startswith("hidden") else 0.5
        assert float(value) == pytest.approx(factor * float(plain[name]), rel=1e-5)
    only_states = layer_map("2i+1", 2, 4).weighed(1.0, 1.0, 0.0)
    assert only_states.of_teacher["scores"] == ()


@pytest.mark.parametrize("with_engine", [False, True])
def test_the_teacher_guesses_from_the_pass_that_is_compared(
    tiny_masked_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_engine: bool
) -> None:
    """Its encoder ran a second time for its guesses, which are the same from the hidden state that it shows."""
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path))
    monkeypatch.setattr(engine, "WORTH_AN_EXPORT", 1 if with_engine else 1000)
    teacher = masked_lm(tiny_masked_lm)
    paddle.seed(1)
    student = with_new_head(models.keep_layers(models.plain_encoder(str(tiny_masked_lm)), [1], 0.0))
    rows = mask_text(np.random.default_rng(0).integers(5, 790, 100).astype(np.int32), teacher.tokenizer, 16, 0)
    batch = to_batch(rows.batch(np.arange(4)))
    layers, words = layer_map("2i+1", 1, 2), objectives.Words(0.5, 2.0, temperature=3.0)
    answers = targets(teacher, words.asked_of(teacher, layers), rows, epochs=1)
    assert (answers is not None) == with_engine
    passes: list[int] = []
    teacher.backbone.embeddings.register_forward_pre_hook(lambda *_: passes.append(1))
    found = objectives.general(student, teacher, layers, answers, objectives.Weights(), words)(batch)
    assert len(passes) == (0 if with_engine else 1)
    goal = teacher(batch).detach()
    hard = losses.supervised(student(batch), batch["labels"])
    soft = losses.soft_cross_entropy(student(batch), goal, 3.0)
    assert float(found["mlm"]) == pytest.approx(0.5 * float(hard), rel=1e-5)
    assert float(found["soft_mlm"]) == pytest.approx(2.0 * float(soft), rel=1e-5)
    assert {"hidden_0", "hidden_1", "attention_0"} < set(found)
    sum(found.values()).backward()
    assert all(weight.grad is None for weight in teacher.parameters())


def test_labels_beside_the_teachers_logits(tiny_student: Path) -> None:
    student = classifier(tiny_student)
    student.eval()
    batch = batch_of(student) | {objectives.TEACHER_LOGITS: paddle.to_tensor([[1.0, 2.0], [0.5, 0.1]])}
    both = objectives.prediction(student, 2.0, weight=0.3, label_weight=0.7)(batch)
    logits = student(batch)
    assert float(both["soft"]) == pytest.approx(
        0.3 * float(losses.soft_cross_entropy(logits, batch[objectives.TEACHER_LOGITS], 2.0)), rel=1e-5
    )
    assert float(both["supervised"]) == pytest.approx(0.7 * float(losses.supervised(logits, batch["labels"])), rel=1e-5)
    assert list(objectives.prediction(student, 1.0, 0.0, 1.0)(batch)) == ["supervised"]


def test_a_bilstm_has_no_layers_to_compare(tiny_student: Path) -> None:
    student = classifier(tiny_student)
    teacher = models.new_bilstm(models.BiLSTMConfig(4, 4), student.tokenizer, INFO)
    with pytest.raises(UserError, match="has no layers to compare: take --stage prediction"):
        objectives.matched(student, teacher, "uniform", "scores", objectives.Weights(1, 1, 1), shared=False)
