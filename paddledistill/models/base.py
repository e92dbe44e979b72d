"""What every classifier offers to the loop, the evaluation, the report and the server, whatever is inside."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from paddledistill.data.datasets import Encoded
from paddledistill.data.subwords import SubwordTokenizer
from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json
from paddledistill.tasks import Example, Task

TASK_FILE = "task.json"
UNKNOWN_TASK = "unknown"  # of a model that another tool wrote
Batch = dict[str, paddle.Tensor]


@dataclass(frozen=True)
class TaskInfo:
    """What a model answers: saved beside its weights, so that a directory is all that a prediction needs."""

    name: str
    labels: tuple[str, ...] | None  # None: a score instead of a class
    is_pair: bool
    max_seq_length: int
    is_trained: bool = True  # False after the intermediate stage alone, whose classifier is as it was drawn

    @classmethod
    def of(cls, task: Task, max_seq_length: int) -> "TaskInfo":
        """The part of ``task`` that a trained model has to remember."""
        return cls(task.name, task.labels, task.is_pair, max_seq_length)

    @classmethod
    def read(cls, directory: Path) -> "TaskInfo | None":
        """Read it from a model directory; None where the directory was written by another tool."""
        path = directory / TASK_FILE
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            return cls(**{**content, "labels": content["labels"] and tuple(content["labels"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}): copy the model directory again") from None

    def write(self, directory: Path) -> None:
        """Write it into a model directory."""
        write_json(directory / TASK_FILE, asdict(self))

    @property
    def num_outputs(self) -> int:
        """Width of the last layer: a logit a label, or one score."""
        return 1 if self.labels is None else len(self.labels)


class Classifier(nn.Layer):
    """A network from a batch to logits that knows its tokenizer and its task."""

    def __init__(self, tokenizer: Tokenizer | SubwordTokenizer, info: TaskInfo) -> None:
        """:param tokenizer: turns text into the ids that the network was built for."""
        super().__init__()
        self.tokenizer = tokenizer
        self.info = info

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the logits; None for a regression."""
        return self.info.labels

    @property
    def answers(self) -> str:
        """What it gives, for its model card."""
        return ", ".join(self.labels) if self.labels else "a score"

    next_step = 'Try it: `python -m paddledistill.predict DIRECTORY "a sentence"`'

    @property
    def is_pair(self) -> bool:
        """Whether the task is about two sentences."""
        return self.info.is_pair

    @property
    def max_seq_length(self) -> int:
        """Length that the model was trained at, in tokens."""
        return self.info.max_seq_length

    @property
    def description(self) -> str:
        """The shape in a few words."""
        raise NotImplementedError

    def encode(self, examples: Sequence[Example], max_seq_length: int | None = None) -> Encoded:
        """Tokenise ``examples`` the way this model wants them."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> paddle.Tensor:
        """From a collated batch to logits of shape [batch, labels]."""
        raise NotImplementedError

    def renamed(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """What another project calls its tensors under the names that they have here; all else stays."""
        return dict(state)

    def save(self, directory: Path) -> None:
        """Write all that :func:`paddledistill.models.load` needs into ``directory``, which exists."""
        raise NotImplementedError


def parameters(model: nn.Layer) -> int:
    """Number of parameters, embeddings included; projections, which are trained beside a model, are not its own."""
    return sum(int(one.size) for name, one in model.named_parameters() if not name.startswith("projections."))
