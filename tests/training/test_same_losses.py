"""Nothing is changed by being fast: the loss of each of 50 steps is that of a plain Paddle loop, dropout off.

The plain loop here uses PaddleNLP's own forward, pads each batch by hand, keeps the teacher in the dynamic graph and asks it in every
step. Ours: kernels, flat arrays, the teacher's states from an inference engine, its logits stored.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddledistill import models
from paddledistill.data import movie_reviews
from paddledistill.data.batching import bucketed_batches
from paddledistill.distill import objectives
from paddledistill.distill import teacher as teachers
from paddledistill.distill.layer_maps import layer_map
from paddledistill.models import EncoderClassifier, TaskInfo, engine
from paddledistill.tasks import Example
from paddledistill.training import loop
from paddledistill.training.evaluation import Evaluation
from paddledistill.training.optimization import Optimization
from paddledistill.training.run_directory import RunDirectory, read_metrics

STEPS, BATCH, SEED, RATE = 50, 4, 3, 1e-4
INFO = TaskInfo("movie-reviews", ("negative", "positive"), is_pair=False, max_seq_length=48)
WORDS = "the plot of this warm and funny film is dull but its actors are good in a story without end"


def made_up(count: int) -> list[Example]:
    random = np.random.default_rng(1)
    return [
        Example(" ".join(random.choice(WORDS.split(), random.integers(3, 20))), None, int(random.integers(2)))
        for _ in range(count)
    ]


@pytest.fixture(params=["tiny", pytest.param("minilm-l6", marks=[pytest.mark.slow, pytest.mark.assets])])
def case(request: pytest.FixtureRequest, tiny_bert: Path) -> tuple[str, list[int], list[Example]]:
    """An encoder, the layers of it that make the student, and text."""
    if request.param == "tiny":
        return str(tiny_bert), [1, 3], made_up(STEPS * BATCH)
    return "minilm-l6", [1, 3, 5], movie_reviews.classes()["train"][: STEPS * BATCH]


def new(source: str, layers: list[int] | None = None) -> EncoderClassifier:
    paddle.seed(SEED)
    return models.new_encoder_classifier(source, INFO, layers=layers, dropout=0.0)


def plain_copy(model: EncoderClassifier) -> object:
    """PaddleNLP's own model of the same weights, untouched by our kernels."""
    network = type(model.network)(model.config)
    network.set_state_dict(model.network.state_dict())
    return network


def plain_batches(model: EncoderClassifier, examples: list[Example]) -> Iterator[dict[str, paddle.Tensor]]:
    """The rows of the loop's batches, tokenised and padded one by one."""
    rows = [model.tokenizer.ids([example.text_a])[0][: INFO.max_seq_length - 2] for example in examples]
    rows = [[model.tokenizer.cls_id, *row, model.tokenizer.sep_id] for row in rows]
    for batch in bucketed_batches(list(map(len, rows)), BATCH, SEED, epoch=0):
        longest = max(len(rows[number]) for number in batch)
        ids = [rows[number] + [model.tokenizer.pad_id] * (longest - len(rows[number])) for number in batch]
        mask = [[1] * len(rows[number]) + [0] * (longest - len(rows[number])) for number in batch]
        yield {
            "input_ids": paddle.to_tensor(ids),
            "mask": paddle.to_tensor(mask),
            "labels": paddle.to_tensor([examples[number].label for number in batch]),
        }


def plain_states(network: object, batch: dict[str, paddle.Tensor]) -> tuple[list[paddle.Tensor], list[paddle.Tensor]]:
    """Hidden states of the embeddings and every layer, and attention scores of every layer before mask and softmax."""
    hidden = network.bert(  # type: ignore[attr-defined]
        batch["input_ids"], attention_mask=batch["mask"], output_hidden_states=True, return_dict=True
    ).hidden_states
    scores = []
    for layer, state in zip(network.bert.encoder.layers, hidden, strict=False):  # type: ignore[attr-defined]
        attention = layer.self_attn
        query, key = (
            projection(state).reshape([0, 0, attention.num_heads, attention.head_dim]).transpose([0, 2, 1, 3])
            for projection in (attention.q_proj, attention.k_proj)
        )
        scores.append(paddle.matmul(query, key, transpose_y=True) / attention.head_dim**0.5)
    return hidden, scores


def plain_losses(
    network: object,
    batches: Iterator[dict[str, paddle.Tensor]],
    loss: Callable[[dict[str, paddle.Tensor]], paddle.Tensor],
) -> list[float]:
    optimizer = paddle.optimizer.AdamW(RATE, epsilon=1e-6, parameters=network.parameters(), weight_decay=0.0)  # type: ignore[attr-defined]
    network.train()  # type: ignore[attr-defined]
    found = []
    for batch in batches:
        value = loss(batch)
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        found.append(float(value))
    return found


def our_losses(
    student: EncoderClassifier, objective: objectives.Objective, dataset: object, directory: Path
) -> list[float]:
    run = RunDirectory.claim(directory, {"seed": SEED}, {})
    plan = loop.Plan(1, BATCH, SEED, "loss", logging_steps=1, save_steps=1000)
    nothing = Evaluation({"loss": 0.0})
    loop.train(student, objective, dataset, run, Optimization(RATE, decay=False), plan, lambda: nothing)  # type: ignore[arg-type]
    run.release()
    return [line["loss"] for line in read_metrics(directory) if line["kind"] == "train"]


def test_the_losses_of_every_stage_are_those_of_a_plain_loop(
    case: tuple[str, list[int], list[Example]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WORTH_AN_EXPORT", 1)
    source, kept, examples = case
    teacher = new(source)
    teacher.eval()
    layers = layer_map("2i+1", len(kept), teacher.num_layers)
    dataset = teacher.encode(examples)
    plain_teacher = plain_copy(teacher)
    plain_teacher.eval()  # type: ignore[attr-defined]

    student = new(source, kept)
    network = plain_copy(student)
    targets = teachers.targets(teacher, layers.of_teacher, dataset, 1)
    assert targets, "the engine answers"
    ours = our_losses(student, objectives.intermediate(student, teacher, layers, targets), dataset, tmp_path / "first")

    def intermediate(batch: dict[str, paddle.Tensor]) -> paddle.Tensor:
        with paddle.no_grad():
            goal_hidden, goal_scores = plain_states(plain_teacher, batch)
        hidden, scores = plain_states(network, batch)
        tokens = batch["mask"].astype("float32")
        pairs = tokens.unsqueeze(1) * tokens.unsqueeze(2)
        total = paddle.zeros([])
        for own, other in layers.hidden:
            squares = (hidden[own] - goal_hidden[other]).square().mean(-1)
            total = total + (squares * tokens).sum() / tokens.sum()
        for own, other in layers.attention:
            squares = (scores[own] - goal_scores[other]).square().mean(1)
            total = total + (squares * pairs).sum() / pairs.sum()
        return total

    plain = plain_losses(network, plain_batches(teacher, examples), intermediate)
    assert len(plain) == STEPS and plain[-1] < plain[0]
    np.testing.assert_allclose(ours, plain, atol=1e-4)

    student = new(source, kept)
    network = plain_copy(student)
    stored = teachers.teacher_logits(teacher, "the same losses", dataset)
    column = dataset.with_column(objectives.TEACHER_LOGITS, stored)
    ours = our_losses(student, objectives.prediction(student, 1.0), column, tmp_path / "second")

    def prediction(batch: dict[str, paddle.Tensor]) -> paddle.Tensor:
        with paddle.no_grad():
            goal = F.softmax(plain_teacher(batch["input_ids"], attention_mask=batch["mask"]))  # type: ignore[operator]
        return -(goal * F.log_softmax(network(batch["input_ids"], attention_mask=batch["mask"]))).sum(-1).mean()  # type: ignore[operator]

    np.testing.assert_allclose(ours, plain_losses(network, plain_batches(teacher, examples), prediction), atol=1e-4)
    if source == "minilm-l6":
        return  # what is left is the same path with less in it

    student = new(source, kept)
    network = plain_copy(student)
    ours = our_losses(student, objectives.supervised(student), dataset, tmp_path / "alone")

    def supervised(batch: dict[str, paddle.Tensor]) -> paddle.Tensor:
        return F.cross_entropy(network(batch["input_ids"], attention_mask=batch["mask"]), batch["labels"])  # type: ignore[operator]

    np.testing.assert_allclose(ours, plain_losses(network, plain_batches(teacher, examples), supervised), atol=1e-4)
