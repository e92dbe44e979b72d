"""Linear maps from a narrower student to its teacher."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.data.batching import sequential_batches
from paddledistill.distill import losses, objectives
from paddledistill.distill.layer_maps import layer_map
from paddledistill.distill.projections import fit_projections, project_to
from paddledistill.models import EncoderModel, PlainEncoder
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

TEXTS = [
    "a warm and funny story",
    "the plot is dull and the jokes are old and long",
    "no",
    "they like the long story of the old man",
]
EXAMPLES = [Example(f"{one} {other}", None, 0) for one in TEXTS for other in TEXTS]


@pytest.fixture
def teacher(tiny_bert: Path) -> PlainEncoder:
    return models.plain_encoder(str(tiny_bert))


@pytest.fixture
def student(teacher: PlainEncoder) -> PlainEncoder:
    """Of 2 layers with new weights."""
    paddle.seed(3)
    return models.new_plain_encoder(teacher, layers=2, width=8, heads=2, intermediate=16)


@pytest.mark.parametrize("shared", [False, True])
def test_a_narrower_student_learns_through_projections(
    teacher: PlainEncoder, student: PlainEncoder, shared: bool
) -> None:
    layers, dataset = layer_map("2i+1", 2, 4), teacher.encode(EXAMPLES)
    with pytest.raises(ValueError, match="hidden size of the student is 8, of the teacher 16"):
        objectives.intermediate(student, teacher, layers)
    before = models.parameters(student)
    project_to(student, teacher, layers, shared)
    assert models.parameters(student) == before  # they are not the model's own
    assert len({id(one) for one in student.projections.values()}) == (1 if shared else 3)
    objective, batch = objectives.intermediate(student, teacher, layers), to_batch(dataset.batch(range(3)))
    own, goal = student.capture(batch, **layers.of_student), teacher.capture(batch, **layers.of_teacher)
    found = objective(batch)
    for i, j in layers.hidden:
        projection = student.projections[str(i)]
        state = own.hidden[i].numpy() @ projection.weight.numpy() + projection.bias.numpy()
        expected = losses.hidden_mse(paddle.to_tensor(state), goal.hidden[j], batch["attention_mask"])
        assert float(found[f"hidden_{i}"]) == pytest.approx(float(expected), rel=1e-4)
    sum(found.values()).backward()
    moved = [name for name, one in student.named_parameters() if one.grad is not None]
    assert sum(name.startswith("projections.") for name in moved) == (2 if shared else 6)


def states(model: EncoderModel, number: int) -> np.ndarray:
    """Of all tokens of all rows, [tokens, width]."""
    model.eval()
    dataset = model.encode(EXAMPLES)
    batches = (to_batch(dataset.batch(rows)) for rows in sequential_batches(dataset.lengths, 1))
    return np.concatenate([model.capture(batch, hidden=[number]).hidden[number].numpy()[0] for batch in batches])


@pytest.mark.parametrize("shared", [False, True])
def test_they_start_as_the_least_squares_over_all_tokens(
    teacher: PlainEncoder, student: PlainEncoder, shared: bool
) -> None:
    layers = layer_map("2i+1", 2, 4)
    project_to(student, teacher, layers, shared)
    student.train()
    fit_projections(student, teacher, layers, teacher.encode(EXAMPLES))
    assert student.training
    own = [states(student, i) for i, _ in layers.hidden]
    goal = [states(teacher, j) for _, j in layers.hidden]
    if shared:
        own, goal = [np.concatenate(own)], [np.concatenate(goal)]
    for number, (x, y) in enumerate(zip(own, goal, strict=True)):
        x = np.insert(x, 0, 1, axis=1)
        best = ((x @ np.linalg.lstsq(x, y, rcond=None)[0] - y) ** 2).mean()
        projection = student.projections[str(number)]
        found = ((x[:, 1:] @ projection.weight.numpy() + projection.bias.numpy() - y) ** 2).mean()
        assert best * 0.999 < found < best * 1.02
        assert found < 0.9 * y.var()


def test_without_projections_nothing_is_read(teacher: PlainEncoder) -> None:
    fit_projections(teacher, teacher, layer_map("last", 4, 4), None)  # type: ignore[arg-type]
    assert teacher.projections is None
