"""Objectives: from a batch to named loss terms. A stage of a recipe differs from another by its objective alone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import paddle

from paddledistill.distill import losses
from paddledistill.distill.layer_maps import Asked, LayerMap, layer_map, with_state
from paddledistill.distill.projections import project_to
from paddledistill.errors import UserError
from paddledistill.models.base import Batch, Classifier
from paddledistill.models.encoder import EncoderModel
from paddledistill.models.masked_lm import MaskedLM
from paddledistill.models.transformer import Captured

logger = logging.getLogger(__name__)

TEACHER_LOGITS = "teacher_logits"  # the column that the stored logits of a teacher have in a batch
Losses = dict[str, paddle.Tensor]
Objective = Callable[[Batch], Losses]
Targets = Callable[[Batch], Captured]


def supervised(model: Classifier, label_smoothing: float = 0.0) -> Objective:
    """Plain fine-tuning on the labels."""

    def objective(batch: Batch) -> Losses:
        return {"supervised": losses.supervised(model(batch), batch["labels"], label_smoothing)}

    return objective


@dataclass(frozen=True)
class Weights:
    """What the terms of the intermediate stage count; those that count nothing are not computed."""

    embedding: float = 1.0
    hidden: float = 1.0
    attention: float = 1.0


def intermediate(
    student: EncoderModel,
    teacher: EncoderModel,
    layers: LayerMap,
    targets: Targets | None = None,
    weights: Weights = Weights(),
) -> Objective:
    """TinyBERT's first stage: the embeddings' output, hidden states and attention of a frozen teacher.

    :param layers: without what counts nothing, see :meth:`LayerMap.weighed`.
    :param targets: answers in place of the teacher, see :func:`paddledistill.distill.teacher.targets`.
    :raises UserError: if head counts or vocabularies differ, or widths without a projection (see :mod:`paddledistill.distill.projections`).
    """
    check_comparable(student, teacher, layers)
    targets = targets or live_targets(teacher, layers.of_teacher)
    compare = comparison(student, teacher, layers, weights)
    return lambda batch: compare(student.capture(batch, **layers.of_student), targets(batch), batch["attention_mask"])


def comparison(
    student: EncoderModel, teacher: EncoderModel, layers: LayerMap, weights: Weights
) -> Callable[[Captured, Captured, paddle.Tensor], Losses]:
    """The terms of the intermediate stage from what student and teacher show, and the attention mask, [batch, length]."""
    attention_loss = _attention_loss(layers.by, student, teacher)

    def compare(own: Captured, goal: Captured, mask: paddle.Tensor) -> Losses:
        terms = {}
        for i, j in layers.hidden:
            weight = weights.hidden if i else weights.embedding
            terms[f"hidden_{i}"] = weight * losses.hidden_mse(student.projected(i, own.hidden[i]), goal.hidden[j], mask)
        for i, j in layers.attention:
            terms[f"attention_{i}"] = weights.attention * attention_loss(own, goal, i, j, mask)
        return terms

    return compare


@dataclass(frozen=True)
class Words:
    """What guessing masked words counts: ``hard``, the words themselves; ``soft``, the teacher's guesses at ``temperature``."""

    hard: float = 0.0
    soft: float = 0.0
    temperature: float = 1.0

    def asked_of(self, teacher: EncoderModel, layers: LayerMap) -> Asked:
        """What the teacher has to show: with a soft term its last hidden state, too, which it guesses from."""
        return with_state(layers.of_teacher, teacher.num_layers) if self.soft else layers.of_teacher


def general(
    student: MaskedLM, teacher: EncoderModel, layers: LayerMap, targets: Targets | None, weights: Weights, words: Words
) -> Objective:
    """TinyBERT's general distillation on plain text, of a student that also learns to guess masked words.

    :param targets: answers to what :meth:`Words.asked_of` says, in place of the teacher.
    :param words: with a soft term the teacher is a masked language model too. The batches hold ``positions`` and ``labels``.
    """
    check_comparable(student, teacher, layers)
    targets = targets or live_targets(teacher, words.asked_of(teacher, layers))
    compare = comparison(student, teacher, layers, weights)
    asked = with_state(layers.of_student, student.num_layers)

    def objective(batch: Batch) -> Losses:
        own, goal = student.capture(batch, **asked), targets(batch)
        terms = compare(own, goal, batch["attention_mask"])
        guesses = student.guess(own.hidden[student.num_layers], batch["positions"])
        if words.hard:
            terms["mlm"] = words.hard * losses.supervised(guesses, batch["labels"])
        if words.soft:
            with paddle.no_grad():
                theirs = teacher.guess(goal.hidden[teacher.num_layers], batch["positions"])
            terms["soft_mlm"] = words.soft * losses.soft_cross_entropy(guesses, theirs, words.temperature)
        return terms

    return objective


def _attention_loss(
    by: str, student: EncoderModel, teacher: EncoderModel
) -> Callable[[Captured, Captured, int, int, paddle.Tensor], paddle.Tensor]:
    """Of what the student has in layer i and the teacher in layer j."""
    if by == "values":
        heads = relation_heads(student, teacher)
        return lambda own, goal, i, j, mask: losses.value_relation_kl(own.values[i], goal.values[j], mask, heads)
    if by == "mean_scores":
        return lambda own, goal, i, j, mask: losses.attention_mse(
            own.scores[i].mean(1, keepdim=True), goal.scores[j].mean(1, keepdim=True), mask
        )
    return lambda own, goal, i, j, mask: losses.attention_mse(own.scores[i], goal.scores[j], mask)


def relation_heads(student: EncoderModel, teacher: EncoderModel) -> int:
    """Into how many heads values are cut to compare their relations: as many as divide both widths, at most the teacher's heads."""
    widths = student.config.hidden_size, teacher.config.hidden_size
    most = int(teacher.config.num_attention_heads)
    return next(heads for heads in range(most, 0, -1) if not any(width % heads for width in widths))


def matched(student: EncoderModel, teacher: Classifier, spec: str, by: str, weights: Weights, shared: bool) -> LayerMap:
    """The layers of a map, see :func:`layer_map`, that count; the student is given the projections that it needs.

    :param by: what of attention is compared. :param shared: see :func:`paddledistill.distill.projections.project_to`.
    :raises UserError: if the teacher is a BiLSTM, the map does not fit, or what it names cannot be compared.
    """
    if not isinstance(teacher, EncoderModel):
        raise UserError(f"the teacher, {teacher.description}, has no layers to compare: take --stage prediction")
    layers = layer_map(spec, student.num_layers, teacher.num_layers, by)
    logger.info(
        "student layer <- teacher layer: %s", ", ".join(f"{own}:{learned}" for own, learned in layers.hidden if own)
    )
    layers = layers.weighed(weights.embedding, weights.hidden, weights.attention)
    project_to(student, teacher, layers, shared)
    check_comparable(student, teacher, layers)
    return layers


def check_comparable(student: EncoderModel, teacher: EncoderModel, layers: LayerMap) -> None:
    """Whether what is compared of student and teacher has the same shape and stands for the same tokens.

    :raises UserError: if it does not.
    """
    for model in (student, teacher):
        if layers.attention and model.family.blocks is None:
            raise UserError(f"attention scores of {model.family.stem} cannot be had: take --attention_weight 0")
    own, other = student.config.num_attention_heads, teacher.config.num_attention_heads
    if own != other and layers.attention and layers.by == "scores":
        raise UserError(
            f"number of attention heads of the student is {own}, of the teacher {other}: compare --attention_by mean_scores or values, "
            "or take --stage prediction"
        )
    own, other = student.config.hidden_size, teacher.config.hidden_size
    if own != other and layers.hidden and student.projections is None:
        raise ValueError(f"hidden size of the student is {own}, of the teacher {other}: a projection is needed")
    if student.tokenizer.key != teacher.tokenizer.key:
        raise UserError(
            "student and teacher have different vocabularies, so their tokens do not match: take --stage prediction"
        )


def live_targets(teacher: EncoderModel, asked: Asked) -> Targets:
    """What the teacher itself answers, in evaluation mode: its dropout must not be in the targets."""

    def targets(batch: Batch) -> Captured:
        with paddle.no_grad():
            teacher.eval()
            return teacher.capture(batch, **asked)

    return targets


def prediction(
    student: Classifier, temperature: float | None = None, weight: float = 1.0, label_weight: float = 0.0
) -> Objective:
    """The teacher's stored logits, and the labels beside them or in their place.

    With a ``temperature`` the term of the logits is ``soft``, soft cross-entropy (TinyBERT's second stage); without one ``logits``,
    their squared error (arXiv 1903.12136, section 3.2); for a score it is ``score``, a squared error always.

    :param weight: of that term. :param label_weight: of ``supervised``, the loss on the labels. One of them is above 0.
    """
    if student.labels is None:  # softmax of a single logit is 1 whatever it is
        name, loss = "score", losses.logits_mse
    elif temperature is None:
        name, loss = "logits", losses.logits_mse
    else:
        name, loss = "soft", partial(losses.soft_cross_entropy, temperature=temperature)

    def objective(batch: Batch) -> Losses:
        logits, terms = student(batch), {}
        if weight:
            terms[name] = weight * loss(logits, batch[TEACHER_LOGITS])
        if label_weight:
            terms["supervised"] = label_weight * losses.supervised(logits, batch["labels"])
        return terms

    return objective
