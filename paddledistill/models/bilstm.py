"""The BiLSTM student of "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddledistill.data.datasets import Dataset, encode_for_bilstm
from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import write_json
from paddledistill.models.base import Batch, Classifier, TaskInfo
from paddledistill.models.encoder import download_tokenizer, find_pretrained
from paddledistill.models.weights import PADDLE_WEIGHTS, fill, read_config, read_file, read_state
from paddledistill.tasks import Example

MODEL_TYPE = "bilstm"
_SAME_VOCABULARY = {
    "bert-base-uncased": "minilm-l6"
}  # the embedded encoder has this vocabulary, so nothing is downloaded


@dataclass(frozen=True)
class BiLSTMConfig:
    """Shape of the network.

    ``init_scale`` is the half-width of the uniform distribution that new weights are drawn from.
    """

    emb_dim: int = 300
    hidden_size: int = 300
    num_layers: int = 1
    dropout_prob: float = 0.0
    init_scale: float = 0.1


class BiLSTM(Classifier):
    """Embedding -> BiLSTM -> last states of both directions -> tanh(Linear) -> Linear.

    A pair of sentences is read by the same LSTM twice and combined as [a, b, a + b, |a - b|]. Lengths are honoured, so padding
    changes no output. Dropout acts on the embeddings and on the sentence vector, hence also with a single layer.
    """

    tokenizer: Tokenizer

    def __init__(self, config: BiLSTMConfig, tokenizer: Tokenizer, info: TaskInfo) -> None:
        """Draw new weights."""
        super().__init__(tokenizer, info)
        self.config = config
        uniform = nn.initializer.Uniform(-config.init_scale, config.init_scale)
        attr = paddle.ParamAttr(initializer=uniform)
        self.embedding = nn.Embedding(
            len(tokenizer.vocab), config.emb_dim, padding_idx=tokenizer.pad_id, weight_attr=attr
        )
        self.lstm = nn.LSTM(
            config.emb_dim, config.hidden_size, config.num_layers, direction="bidirectional",
            dropout=config.dropout_prob if config.num_layers > 1 else 0.0, weight_ih_attr=attr, weight_hh_attr=attr,
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout_prob)
        self.dense = nn.Linear(2 * config.hidden_size * (4 if info.is_pair else 1), config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, info.num_outputs)

    @property
    def description(self) -> str:
        """For example ``BiLSTM 1x300``."""
        return f"BiLSTM {self.config.num_layers}x{self.config.hidden_size}"

    def encode(
        self, examples: Sequence[Example], max_seq_length: int | None = None, cache: Path | None = None
    ) -> Dataset:
        """Wordpiece ids without special tokens; the two sentences of a pair apart."""
        return encode_for_bilstm(examples, self.tokenizer, max_seq_length or self.max_seq_length, cache)

    def forward(self, batch: Batch) -> paddle.Tensor:
        """Logits, [batch, labels], from ``input_ids`` [batch, length] and ``lengths`` [batch], and ``..._b`` for pairs."""
        vector = self._sentence(batch["input_ids"], batch["lengths"])
        if self.is_pair:
            other = self._sentence(batch["input_ids_b"], batch["lengths_b"])
            vector = paddle.concat([vector, other, vector + other, (vector - other).abs()], axis=-1)
        return self.classifier(self.dropout(F.tanh(self.dense(vector))))

    def _sentence(self, ids: paddle.Tensor, lengths: paddle.Tensor) -> paddle.Tensor:
        """Last states of the top layer's two directions, [batch, 2 * hidden]."""
        _, (last, _) = self.lstm(self.dropout(self.embedding(ids)), sequence_length=lengths)
        return paddle.concat([last[-2], last[-1]], axis=-1)

    def save(self, directory: Path) -> None:
        """Write configuration, weights and vocabulary."""
        write_json(directory / "config.json", {"model_type": MODEL_TYPE, **asdict(self.config)})
        paddle.save(self.state_dict(), str(directory / PADDLE_WEIGHTS))
        self.tokenizer.save(directory)
        self.info.write(directory)


def new_bilstm(config: BiLSTMConfig, tokenizer: Tokenizer, info: TaskInfo, checkpoint: str | None = None) -> BiLSTM:
    """A BiLSTM with new weights, or with those of ``checkpoint``, a ``.pdparams`` file.

    :raises UserError: if the checkpoint is missing, damaged or of another shape.
    """
    model = BiLSTM(config, tokenizer, info)
    if checkpoint:
        fill(model, read_file(Path(checkpoint)), Path(checkpoint))
    return model


def find_vocabulary(model_name: str, vocab_path: str | None = None) -> Tokenizer:
    """The tokenizer of a vocabulary file, or of a model by name or directory.

    :raises UserError: if there is none.
    """
    if vocab_path:
        return Tokenizer.from_vocab(Path(vocab_path))
    directory = find_pretrained(_SAME_VOCABULARY.get(model_name, model_name))
    found = Tokenizer.from_directory(directory) if directory else download_tokenizer(model_name)
    if not isinstance(found, Tokenizer):
        raise UserError(
            f"{model_name} has no WordPiece vocabulary, which the BiLSTM reads: name a BERT, or give --vocab_path"
        )
    return found


def load_bilstm(directory: Path) -> BiLSTM:
    """A trained BiLSTM.

    :raises UserError: if a file is missing or damaged.
    """
    info = TaskInfo.read(directory)
    if info is None:
        raise UserError(f"{directory} has no task.json: copy the model directory again")
    raw = read_config(directory)
    try:
        config = BiLSTMConfig(**{name: value for name, value in raw.items() if name != "model_type"})
    except TypeError as error:
        raise UserError(f"{directory}/config.json does not describe a BiLSTM: {error}") from None
    model = BiLSTM(config, Tokenizer.from_directory(directory), info)
    fill(model, read_state(directory, (), lambda state: state), directory)
    return model
