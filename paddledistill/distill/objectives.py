"""Objectives: from a batch to named loss terms. A stage of a recipe differs from another by its objective alone."""

from collections.abc import Callable

import paddle

from paddledistill.distill import losses
from paddledistill.distill.layer_maps import LayerMap
from paddledistill.errors import UserError
from paddledistill.models.base import Batch, Classifier
from paddledistill.models.encoder import EncoderClassifier
from paddledistill.models.transformer import Captured

TEACHER_LOGITS = "teacher_logits"  # the column that the stored logits of a teacher have in a batch
Losses = dict[str, paddle.Tensor]
Objective = Callable[[Batch], Losses]
Targets = Callable[[Batch], Captured]


def supervised(model: Classifier, label_smoothing: float = 0.0) -> Objective:
    """Plain fine-tuning on the labels."""

    def objective(batch: Batch) -> Losses:
        return {"supervised": losses.supervised(model(batch), batch["labels"], label_smoothing)}

    return objective


def intermediate(
    student: EncoderClassifier, teacher: EncoderClassifier, layers: LayerMap, targets: Targets | None = None
) -> Objective:
    """TinyBERT's first stage: the embeddings' output, hidden states and attention scores of a frozen teacher.

    :param targets: answers in place of the teacher, see :func:`paddledistill.distill.teacher.targets`.
    :raises UserError: if widths, head counts or vocabularies differ.
    """
    check_comparable(student, teacher)
    student_hidden, student_scores = dict(layers.hidden), dict(layers.attention)
    targets = targets or live_targets(teacher, layers)

    def objective(batch: Batch) -> Losses:
        goal = targets(batch)
        own = student.capture(batch, student_hidden, student_scores)
        mask = batch["attention_mask"]
        terms = {f"hidden_{i}": losses.hidden_mse(own.hidden[i], goal.hidden[j], mask) for i, j in layers.hidden}
        terms |= {
            f"attention_{i}": losses.attention_mse(own.scores[i], goal.scores[j], mask) for i, j in layers.attention
        }
        return terms

    return objective


def check_comparable(student: EncoderClassifier, teacher: EncoderClassifier) -> None:
    """Whether the states of student and teacher have the same shape and stand for the same tokens.

    :raises UserError: if they do not.
    """
    for model in (student, teacher):
        if model.family.blocks is None:
            raise UserError(f"attention scores of {model.family.stem} cannot be had: take --stage prediction")
    for what, name in (("hidden size", "hidden_size"), ("number of attention heads", "num_attention_heads")):
        own, other = getattr(student.config, name), getattr(teacher.config, name)
        if own != other:
            raise UserError(
                f"{what} of the student is {own}, of the teacher {other}: they must be equal for the intermediate stage; "
                "take --stage prediction"
            )
    if student.tokenizer.key != teacher.tokenizer.key:
        raise UserError(
            "student and teacher have different vocabularies, so their tokens do not match: take --stage prediction"
        )


def live_targets(teacher: EncoderClassifier, layers: LayerMap) -> Targets:
    """What the teacher itself answers, in evaluation mode: its dropout must not be in the targets."""

    def targets(batch: Batch) -> Captured:
        with paddle.no_grad():
            teacher.eval()
            return teacher.capture(batch, layers.teacher_hidden, layers.teacher_attention)

    return targets


def prediction(student: Classifier, temperature: float) -> Objective:
    """TinyBERT's second stage: soft cross-entropy with the teacher's stored logits; their squared error for a score."""

    def objective(batch: Batch) -> Losses:
        logits = student(batch)
        if student.labels is None:  # softmax of a single logit is 1 whatever it is
            return {"score": losses.logits_mse(logits, batch[TEACHER_LOGITS])}
        return {"soft": losses.soft_cross_entropy(logits, batch[TEACHER_LOGITS], temperature)}

    return objective


def logits_and_labels(student: Classifier, alpha: float) -> Objective:
    """alpha * CE + (1 - alpha) * MSE of logits (arXiv 1903.12136, equation 6)."""

    def objective(batch: Batch) -> Losses:
        logits = student(batch)
        terms = {"logits": (1 - alpha) * losses.logits_mse(logits, batch[TEACHER_LOGITS])}
        if alpha:
            terms["supervised"] = alpha * losses.supervised(logits, batch["labels"])
        return terms

    return objective
