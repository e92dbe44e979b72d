"""The BiLSTM student of "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks" (arXiv 1903.12136)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from paddledistill.data.datasets import BilstmDataset, encode_for_bilstm
from paddledistill.data.tokenization import CONFIG_FILE, SPECIAL_TOKENS, VOCABULARY_FILE, Tokenizer, read_vocab
from paddledistill.errors import UserError
from paddledistill.files import digest, write_json
from paddledistill.models import word_embeddings
from paddledistill.models.base import Batch, Classifier, TaskInfo
from paddledistill.models.encoder import download_tokenizer, find_pretrained
from paddledistill.models.weights import PADDLE_WEIGHTS, State, check_file, fill, read_config, read_file, read_state
from paddledistill.tasks import Example

MODEL_TYPE = "bilstm"
_SAME_VOCABULARY = {
    "bert-base-uncased": "minilm-l6"
}  # the embedded encoder has this vocabulary, so nothing is downloaded


CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
READ_OUTS = ("last", "max", "attention")
COMBINATIONS = ("sum", "product")


@dataclass(frozen=True)
class BiLSTMConfig:
    """Shape of the network.

    ``init_scale`` is the half-width of the uniform distribution that new weights are drawn from. ``cell``: of :data:`CELLS`.
    ``read_out``: how states become a sentence vector, of :data:`READ_OUTS`. ``combine``: what of two sentence vectors a and b stands
    beside a, b and |a - b|, of :data:`COMBINATIONS`.

    :raises UserError: for a name that is none of these.
    """

    emb_dim: int = 300
    hidden_size: int = 300
    num_layers: int = 1
    dropout_prob: float = 0.0
    init_scale: float = 0.1
    cell: str = "lstm"
    read_out: str = "last"
    combine: str = "sum"

    def __post_init__(self) -> None:
        for name, known in (("cell", CELLS), ("read_out", READ_OUTS), ("combine", COMBINATIONS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")


class BiLSTM(Classifier):
    """Embedding -> BiLSTM -> last states of both directions -> tanh(Linear) -> Linear.

    In place of the last states the largest of all, or a weighed sum of them, can be read out; in place of LSTMs GRUs. A pair of sentences
    is read by the same LSTM twice and combined as [a, b, a + b, |a - b|], or, as the paper has it, with a * b. Lengths are honoured, so
    padding changes no output. Dropout acts on the embeddings, between layers, and on what the last Linear reads, hence also with a single
    layer.
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
        self.lstm = CELLS[config.cell](
            config.emb_dim, config.hidden_size, config.num_layers, direction="bidirectional",
            dropout=config.dropout_prob if config.num_layers > 1 else 0.0, weight_ih_attr=attr, weight_hh_attr=attr,
        )  # fmt: skip
        # A bias would shift all scores of a sentence alike, and change nothing.
        is_weighed = config.read_out == "attention"
        self.attention = nn.Linear(2 * config.hidden_size, 1, bias_attr=False) if is_weighed else None
        self.dropout = nn.Dropout(config.dropout_prob)
        self.dense = nn.Linear(2 * config.hidden_size * (4 if info.is_pair else 1), config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, info.num_outputs)

    @property
    def description(self) -> str:
        """For example ``BiLSTM 1x300``."""
        return f"Bi{self.config.cell.upper()} {self.config.num_layers}x{self.config.hidden_size}"

    def encode(self, examples: Sequence[Example], max_seq_length: int | None = None) -> BilstmDataset:
        """Wordpiece ids without special tokens; the two sentences of a pair apart."""
        return encode_for_bilstm(examples, self.tokenizer, max_seq_length or self.max_seq_length)

    def forward(self, batch: Batch) -> paddle.Tensor:
        """Logits, [batch, labels], from ``input_ids`` [batch, length] and ``lengths`` [batch], and ``..._b`` for pairs."""
        vector = self._sentence(batch["input_ids"], batch["lengths"])
        if self.is_pair:
            other = self._sentence(batch["input_ids_b"], batch["lengths_b"])
            third = vector * other if self.config.combine == "product" else vector + other
            vector = paddle.concat([vector, other, third, (vector - other).abs()], axis=-1)
        return self.classifier(self.dropout(F.tanh(self.dense(vector))))

    def _sentence(self, ids: paddle.Tensor, lengths: paddle.Tensor) -> paddle.Tensor:
        """A vector a sentence, [batch, 2 * hidden]: by default the last states of the top layer's two directions."""
        states, last = self.lstm(self.dropout(self.embedding(ids)), sequence_length=lengths)
        if self.config.read_out == "last":
            last = last[0] if isinstance(last, tuple) else last
            return paddle.concat([last[-2], last[-1]], axis=-1)
        padding = paddle.arange(ids.shape[1]).unsqueeze(0) >= lengths.unsqueeze(1)
        outside = padding.astype("float32").unsqueeze(-1) * -1e9
        if self.attention is None:
            # Paddle's max gives the same but for ties and, on a CPU, its gradient takes thirty times as long.
            places = (states.detach() + outside).argmax(axis=1, keepdim=True)
            return paddle.take_along_axis(states, places, axis=1).squeeze(1)
        weights = F.softmax(self.attention(F.tanh(states)) + outside, axis=1)
        return (weights * states).sum(axis=1)

    def renamed(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Of PaddleNLP's example. It has a layer for single sentences and one for pairs, whichever the task is."""
        names = {"embedder": "embedding", "fc_1" if self.is_pair else "fc": "dense", "output_layer": "classifier"}
        parts = {name: name.split(".", 1) for name in state}
        return {".".join([names.get(layer, layer), *rest]): state[name] for name, (layer, *rest) in parts.items()}

    def save(self, directory: Path, quantized: bool = False) -> None:
        """Write configuration, weights and vocabulary.

        :param quantized: embeddings as int8 with a scale a word, all other weights as float16: a third of the bytes or less.
        """
        write_json(directory / "config.json", {"model_type": MODEL_TYPE, **asdict(self.config)})
        state = dict(self.named_parameters())  # the state has each weight of an LSTM twice, by layer and by cell
        paddle.save(_quantized(state) if quantized else state, str(directory / PADDLE_WEIGHTS))
        self.tokenizer.save(directory)
        self.info.write(directory)


_TABLE, _SCALES = "embedding.weight", "embedding.scales"


def _quantized(state: Mapping[str, paddle.Tensor]) -> dict[str, paddle.Tensor]:
    """Each word's vector as whole numbers from -127 to 127 times a scale of its own, [words, 1]; the rest in half precision."""
    table = state[_TABLE]
    scales = (table.abs().max(axis=1, keepdim=True) / 127).clip(min=1e-12)
    halves = {name: weight.astype("float16") for name, weight in state.items() if name != _TABLE}
    return {_TABLE: (table / scales).round().astype("int8"), _SCALES: scales, **halves}


def is_quantized(directory: Path) -> bool:
    """Whether a BiLSTM is stored so."""
    return _SCALES in read_state(directory, (), lambda state: state)


def _full(state: State) -> State:
    """The inverse, as near as it comes; other states stay as they are."""
    whole = {name: weight.astype(np.float32) for name, weight in state.items()}
    scales = whole.pop(_SCALES, None)
    return whole if scales is None else {**whole, _TABLE: whole[_TABLE] * scales}


def identify_start(checkpoint: Path | None, embeddings: str | None) -> dict[str, str]:
    """What tells one start of a student from another, see :func:`new_bilstm`: digests by name, none for new weights.

    :raises UserError: if there is no such file.
    """
    found = {}
    if checkpoint:
        check_file(checkpoint)
        found["start"] = digest(checkpoint)
    if embeddings:
        found["embeddings"] = word_embeddings.identify(embeddings)
    return found


def new_bilstm(
    config: BiLSTMConfig,
    tokenizer: Tokenizer,
    info: TaskInfo,
    checkpoint: Path | None = None,
    embeddings: str | None = None,
) -> BiLSTM:
    """A BiLSTM with new weights, or with those of ``checkpoint``, or with pre-trained ``embeddings``.

    :param checkpoint: a ``.pdparams`` file of ours, also of quantize.py, or of PaddleNLP's distill_lstm example.
    :param embeddings: see :func:`paddledistill.models.word_embeddings.pretrained`; words that it does not know keep new ones.
    :raises UserError: if a file is missing, damaged or of another shape.
    """
    model = BiLSTM(config, tokenizer, info)
    if checkpoint:
        state = _full(model.renamed(read_file(checkpoint)))
        _fit_table(state, model, checkpoint)
        fill(model, state, checkpoint)
    if embeddings:
        known, vectors = word_embeddings.pretrained(embeddings, tokenizer.vocab, config.emb_dim)
        table = model.embedding.weight.numpy().copy()
        table[known] = vectors
        model.embedding.weight.set_value(table)
    return model


def _fit_table(state: State, model: BiLSTM, checkpoint: Path) -> None:
    """Let special tokens that :func:`student_tokenizer` added to a list of words keep their new embeddings.

    :raises UserError: if other words are missing or left over.
    """
    table, own = state.get(_TABLE), model.embedding.weight.numpy()
    if table is None or table.shape[1:] != own.shape[1:]:
        return  # which `fill` explains
    if set(model.tokenizer.vocab[len(table) :]) <= set(SPECIAL_TOKENS):
        state[_TABLE] = np.concatenate([table, own[len(table) :]])
    if len(state[_TABLE]) != len(own):
        raise UserError(
            f"{checkpoint} has embeddings of {len(table)} words and the student reads {len(own)}: give --vocab_path with the vocabulary "
            "it was trained with, the vocab.txt beside it"
        )


def student_tokenizer(
    texts: Sequence[str],
    model_name: str | None = None,
    vocab_path: str | None = None,
    min_count: int | None = None,
    language: str = "en",
) -> Tokenizer:
    """What the student reads: by default the wordpieces of bert-base-uncased that ``texts`` use; of Chinese texts, which it can hardly
    read, all words.

    :param model_name: whose wordpieces instead.
    :param vocab_path: a file to take as it is instead of all others: a BERT's vocab.txt, or a list of words.
    :param min_count: words that the texts hold at least so often instead, Chinese ones as jieba parts them.
    :raises UserError: if there is no such model or file.
    """
    segmenter = "jieba" if language == "zh" else "bert"
    if vocab_path:
        file = Path(vocab_path)
        if file.name == VOCABULARY_FILE and file.with_name(CONFIG_FILE).is_file():
            return Tokenizer.from_directory(file.parent)  # which also tells about case, and who parts words
        vocab = read_vocab(file)
        if any(token.startswith("##") for token in vocab):
            return Tokenizer(vocab)
        vocab += [token for token in SPECIAL_TOKENS if token not in vocab]
        return Tokenizer(vocab, segmenter=segmenter)
    if min_count is None and model_name is None and language == "zh":
        min_count = 1
    if min_count is not None:
        return Tokenizer.of_words(texts, min_count, segmenter=segmenter)
    model_name = model_name or "bert-base-uncased"
    directory = find_pretrained(_SAME_VOCABULARY.get(model_name, model_name))
    found = Tokenizer.from_directory(directory) if directory else download_tokenizer(model_name)
    if not isinstance(found, Tokenizer):
        raise UserError(
            f"{model_name} has no WordPiece vocabulary, which the BiLSTM reads: name a BERT, or give --min_count"
        )
    return found.pruned(texts)


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
    fill(model, _full(read_state(directory, (), lambda state: state)), directory)
    return model
