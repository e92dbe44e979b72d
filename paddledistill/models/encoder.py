"""BERT-like sequence classifiers of PaddleNLP: teachers, and TinyBERT students."""

import copy
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddledistill import assets
from paddledistill.data.datasets import Dataset, encode_for_bert
from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import digest
from paddledistill.models import kernels, transformer
from paddledistill.models.base import Batch, Classifier, TaskInfo
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.models.weights import State, fill, read_config, read_state
from paddledistill.tasks import Example
from paddledistill.training.run_directory import best_model

logger = logging.getLogger(__name__)

# Tensors of a classifier that a pre-trained encoder does not have, or that only TinyBERT's own pre-training uses.
NEW_IN_A_CLASSIFIER = ("classifier.", "pooler.", "fit_dense")


@dataclass(frozen=True)
class Family:
    """The PaddleNLP classes of one kind of encoder."""

    config: str
    classifier: str
    prefix: str


FAMILIES = {
    "bert": Family("BertConfig", "BertForSequenceClassification", "bert"),
    "tinybert": Family("TinyBertConfig", "TinyBertForSequenceClassification", "tinybert"),
}


class EncoderClassifier(Classifier):
    """A PaddleNLP ``...ForSequenceClassification`` with its tokenizer and task."""

    def __init__(self, network: Any, tokenizer: Tokenizer, info: TaskInfo) -> None:
        """:param network: the PaddleNLP model; its head has ``info.num_outputs`` outputs."""
        super().__init__(tokenizer, info)
        self.network = network
        transformer.accelerate(network)

    @property
    def config(self) -> Any:
        """PaddleNLP's configuration of the network."""
        return self.network.config

    @property
    def backbone(self) -> Any:
        """The encoder without the classification head."""
        return getattr(self.network, self.network.base_model_prefix)

    @property
    def num_layers(self) -> int:
        """Depth."""
        return int(self.config.num_hidden_layers)

    @property
    def description(self) -> str:
        """For example ``bert 6x384``."""
        return f"{self.network.base_model_prefix} {self.num_layers}x{self.config.hidden_size}"

    def encode(
        self, examples: Sequence[Example], max_seq_length: int | None = None, cache: Path | None = None
    ) -> Dataset:
        """``[CLS] a [SEP] (b [SEP])`` as wordpiece ids."""
        return encode_for_bert(examples, self.tokenizer, max_seq_length or self.max_seq_length, cache)

    def forward(self, batch: Batch) -> paddle.Tensor:
        """Logits, [batch, labels]."""
        bias = kernels.attention_bias(batch["attention_mask"], self.config.num_attention_heads, transformer.MASKED)
        found = self.network(batch["input_ids"], token_type_ids=batch["token_type_ids"], attention_mask=bias)
        return found[0] if isinstance(found, tuple) else found

    def capture(self, batch: Batch, hidden: Collection[int] = (), scores: Collection[int] = ()) -> transformer.Captured:
        """Hidden states and pre-softmax attention scores, see :func:`paddledistill.models.transformer.capture`."""
        return transformer.capture(self.backbone, batch, hidden, scores)

    def save(self, directory: Path) -> None:
        """Write a PaddleNLP-loadable directory."""
        labels = self.labels or ("score",)
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: number for number, label in enumerate(labels)}
        self.network.save_pretrained(str(directory))
        self.tokenizer.save(directory)
        self.info.write(directory)


def load_encoder_classifier(directory: Path) -> EncoderClassifier:
    """A fine-tuned classifier from a PaddleNLP or Hugging Face directory, its head included.

    :raises UserError: if the directory, its weights or its vocabulary are missing, damaged or do not fit each other.
    """
    raw = read_config(directory)
    info = TaskInfo.read(directory) or _foreign_info(raw)
    return _build(directory, info, model_type=None, may_be_new=("fit_dense",))


def new_encoder_classifier(
    source: str,
    info: TaskInfo,
    model_type: str | None = None,
    layers: Sequence[int] | None = None,
    dropout: float | None = None,
) -> EncoderClassifier:
    """A classifier for ``info`` on a pre-trained encoder, its head freshly initialised.

    :param source: a local directory, an embedded asset, or a PaddleNLP model name (in this order).
    :param model_type: a key of :data:`FAMILIES`; None takes what the source says.
    :param layers: numbers, from 0, of the encoder's layers to keep, for a shallower student; None keeps all.
    :param dropout: probability in the encoder and before the head; None keeps the source's.
    :raises UserError: if the source cannot be found or does not fit.
    """
    directory = find_pretrained(source)
    if directory is None:
        model = _download(source, info, model_type)
        return _keep_layers(model, layers, dropout) if layers or dropout is not None else model
    model = _build(directory, info, model_type, may_be_new=NEW_IN_A_CLASSIFIER, pretrained=True)
    return _keep_layers(model, layers, dropout) if layers or dropout is not None else model


def freeze(model: EncoderClassifier, layers: int, embeddings: bool) -> None:
    """Let training leave the lowest ``layers`` layers as they are, and with any of them, or if so asked, the embeddings.

    :raises UserError: if there are fewer layers.
    """
    if layers > model.num_layers:
        raise UserError(f"--freeze_layers {layers}: the encoder has {model.num_layers} layers")
    frozen = [
        *list(model.backbone.encoder.layers)[:layers],
        *([model.backbone.embeddings] if layers or embeddings else []),
    ]
    for part in frozen:
        for weight in part.parameters():
            weight.stop_gradient = True


def find_pretrained(source: str) -> Path | None:
    """The directory of a local or embedded encoder; None if ``source`` can only be a PaddleNLP name.

    A run directory means its best model.

    :raises UserError: for a path that does not exist.
    """
    if Path(source).is_dir():
        return best_model(source)
    if source in assets.ASSETS:
        return assets.directory(source)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(
            f"no directory {source}: expected a local model directory, an embedded one "
            f"({', '.join(assets.ASSETS)}) or a PaddleNLP name"
        )
    return None


def identify(source: str) -> str:
    """What tells one pre-trained encoder from another: a digest, or its PaddleNLP name.

    :raises UserError: for a path that does not exist, or that holds no model.
    """
    directory = find_pretrained(source)
    if directory is None:
        return source
    read_config(directory)
    return digest(directory) if Path(source).is_dir() else assets.ASSETS[source].sha256


def _build(
    directory: Path, info: TaskInfo, model_type: str | None, may_be_new: tuple[str, ...], pretrained: bool = False
) -> EncoderClassifier:
    transformers = paddlenlp_transformers()
    raw = read_config(directory)
    kind = _kind(raw, directory)
    if model_type and model_type != kind and pretrained and {model_type, kind} != {"bert", "tinybert"}:
        raise UserError(f"--model_type {model_type} does not fit {directory}, which holds a {kind} model")
    family, own = FAMILIES[kind], FAMILIES[model_type if pretrained and model_type else kind]
    config = getattr(transformers, own.config).from_pretrained(str(directory))
    config.num_labels = info.num_outputs
    config.use_cache = False  # for generating text; it costs two copies a layer
    tokenizer = Tokenizer.from_directory(directory)
    if len(tokenizer.vocab) > config.vocab_size:
        raise UserError(
            f"{directory}: vocab.txt has {len(tokenizer.vocab)} entries, the embeddings {config.vocab_size}: "
            "they belong to different models"
        )
    if info.max_seq_length > config.max_position_embeddings:
        raise UserError(
            f"max_seq_length {info.max_seq_length} is beyond the {config.max_position_embeddings} positions of {directory}: "
            "choose a smaller one"
        )
    network = getattr(transformers, own.classifier)(config)
    state = read_state(directory, family.prefix, lambda tensors: from_torch(tensors, config))
    if pretrained:  # a head found there was trained for something else
        state = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    state = {
        name if name.startswith("classifier.") else f"{own.prefix}.{name}": tensor for name, tensor in state.items()
    }
    fill(
        network,
        state,
        directory,
        tuple(name if name.startswith("classifier.") else f"{own.prefix}.{name}" for name in may_be_new),
    )
    return EncoderClassifier(network, tokenizer, info)


def _kind(raw: dict[str, Any], directory: Path) -> str:
    """The family that a configuration belongs to."""
    architecture = raw.get("init_class") or next(iter(raw.get("architectures") or []), "")
    kind = next(
        (
            name
            for name, family in FAMILIES.items()
            if architecture.lower().startswith(f"{family.prefix}for") or architecture.lower() == f"{family.prefix}model"
        ),
        None,
    )
    kind = kind or raw.get("model_type")
    if kind not in FAMILIES:
        raise UserError(
            f"{directory} holds a {kind or architecture or 'nameless'} model; supported are {', '.join(FAMILIES)}"
        )
    return kind


def _foreign_info(raw: dict[str, Any]) -> TaskInfo:
    """What another tool's configuration tells of the task: label names only."""
    names = raw.get("id2label") or {}
    count = len(names) or int(raw.get("num_labels") or raw.get("num_classes") or 2)
    labels = tuple(str(names.get(str(i), names.get(i, i))) for i in range(count))
    return TaskInfo(
        "unknown",
        labels if count > 1 else None,
        is_pair=False,
        max_seq_length=min(128, int(raw.get("max_position_embeddings", 128))),
    )


def from_torch(state: State, config: Any) -> State:
    """Rename and transpose by PaddleNLP's own table."""
    bare = copy.deepcopy(config)
    bare.architectures = ["BertModel"]  # names without the prefix, which read_state has taken off
    known = {mapping.source_name: mapping for mapping in paddlenlp_transformers().BertModel._get_name_mappings(bare)}
    renamed: State = {}
    for name in list(state):
        if name in known:
            renamed[known[name].target_name] = np.ascontiguousarray(known[name].run(state, name))
        elif name.startswith("classifier."):
            renamed[name] = np.ascontiguousarray(state[name].T)
    return renamed


def _download(name: str, info: TaskInfo, model_type: str | None) -> EncoderClassifier:
    transformers = paddlenlp_transformers()
    family = FAMILIES[model_type or ("tinybert" if name.startswith("tinybert") else "bert")]
    tokenizer = download_tokenizer(name)
    with _explained(name):
        network = getattr(transformers, family.classifier).from_pretrained(name, num_labels=info.num_outputs)
    return EncoderClassifier(network, tokenizer, info)


def download_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a PaddleNLP model name.

    :raises UserError: if PaddleNLP does not know the name or cannot reach it.
    """
    logger.info("%s is neither a directory nor embedded: asking PaddleNLP for it", name)
    transformers = paddlenlp_transformers()
    kind = transformers.TinyBertTokenizer if name.startswith("tinybert") else transformers.BertTokenizer
    with _explained(name):
        original = kind.from_pretrained(name)
    pieces = [piece for piece, _ in sorted(original.get_vocab().items(), key=lambda item: item[1])]
    return Tokenizer.from_vocab(pieces, lowercase=original.do_lower_case)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub client raises a dozen kinds: offline, unknown name, bad archive
        raise UserError(
            f"no model {name}: not a local directory, not embedded ({', '.join(assets.ASSETS)}), and PaddleNLP could not fetch it "
            f"({type(error).__name__}); check the spelling and the network, or give a local directory"
        ) from error


def _keep_layers(model: EncoderClassifier, layers: Sequence[int] | None, dropout: float | None) -> EncoderClassifier:
    """The same model with only some of its layers, or another dropout."""
    wrong = [number for number in layers or () if not 0 <= number < model.num_layers]
    if wrong:
        raise UserError(f"the encoder has layers 0 to {model.num_layers - 1}, so there is no layer {wrong[0]} to keep")
    config = copy.deepcopy(model.config)
    if layers:
        config.num_hidden_layers = len(layers)
    if dropout is not None:
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = config.classifier_dropout = dropout
    network = type(model.network)(config)
    state, renamed = model.network.state_dict(), {}
    marker = ".encoder.layers."
    kept = (
        {old: new for new, old in enumerate(layers)}
        if layers
        else {number: number for number in range(model.num_layers)}
    )
    for name, tensor in state.items():
        head, found, tail = name.partition(marker)
        if not found:
            renamed[name] = tensor
            continue
        number, _, rest = tail.partition(".")
        if int(number) in kept:
            renamed[f"{head}{marker}{kept[int(number)]}.{rest}"] = tensor
    network.set_state_dict(renamed)
    return EncoderClassifier(network, model.tokenizer, model.info)
