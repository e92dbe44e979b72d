"""Linear maps from the width of a narrower student's hidden states to the teacher's (arXiv 1909.10351, equations 8 and 9)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from paddledistill.data.batching import sequential_batches
from paddledistill.data.datasets import Dataset
from paddledistill.data.reading import spread
from paddledistill.distill.layer_maps import LayerMap
from paddledistill.models.encoder import EncoderModel
from paddledistill.training.evaluation import evaluating
from paddledistill.training.feeding import to_batch

_ROWS, _BATCH = 512, 32
_RIDGE = (
    1e-4  # of the mean square: a layer norm can make dimensions add up to a constant, and then many maps fit equally
)


def project_to(student: EncoderModel, teacher: EncoderModel, layers: LayerMap, shared: bool) -> None:
    """Give the student linear maps from its width to the teacher's, if the widths differ.

    They are trained and resumed with it, but are no part of the model that is saved.

    :param shared: one for all layers, as TinyBERT's code has it, in place of one a layer.
    """
    own, other = int(student.config.hidden_size), int(teacher.config.hidden_size)
    if own == other:
        return
    one = nn.Linear(own, other)
    numbers = [i for i, _ in layers.hidden]
    student.projections = nn.LayerDict({str(i): one if shared else nn.Linear(own, other) for i in numbers})


def fit_projections(student: EncoderModel, teacher: EncoderModel, layers: LayerMap, dataset: Dataset) -> None:
    """Start the maps, if there are any, where they fit best: least squares over the tokens of some 500 rows.

    Maps drawn at random would first have to be learned themselves, and the student would follow them meanwhile.

    :param dataset: what will be read; as the teacher encodes it, too.
    """
    if not student.projections:
        return
    squares: dict[Any, NDArray[np.float64]] = {}
    products: dict[Any, NDArray[np.float64]] = {}
    rows = np.array(spread(range(len(dataset)), _ROWS))
    with evaluating(student), evaluating(teacher):
        for part in sequential_batches(np.asarray(dataset.lengths)[rows], _BATCH):
            batch = to_batch(dataset.batch(rows[part]))
            is_token = batch["attention_mask"].numpy().astype(bool)
            own = student.capture(batch, hidden=layers.of_student["hidden"]).hidden
            goal = teacher.capture(batch, hidden=layers.of_teacher["hidden"]).hidden
            for i, j in layers.hidden:
                x = np.insert(own[i].numpy()[is_token].astype(np.float64), 0, 1, axis=1)
                projection = student.projections[str(i)]
                squares[projection] = squares.get(projection, 0) + x.T @ x
                products[projection] = products.get(projection, 0) + x.T @ goal[j].numpy()[is_token]
    for projection, square in squares.items():
        ridge = _RIDGE * square.trace() / len(square) * np.eye(len(square))
        solution = np.linalg.solve(square + ridge, products[projection]).astype(np.float32)
        projection.bias.set_value(solution[0])
        projection.weight.set_value(solution[1:])
