"""BERT-like sequence classifiers of PaddleNLP: teachers, and TinyBERT students."""

import copy
import dataclasses
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import paddle
from paddle import nn

from paddledistill import assets
from paddledistill.data.datasets import BertDataset, encode_for_bert
from paddledistill.data.subwords import SubwordTokenizer, read_tokenizer
from paddledistill.data.tokenization import VOCABULARY_FILE, Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import digest
from paddledistill.models import kernels, transformer
from paddledistill.models.base import UNKNOWN_TASK, Batch, Classifier, TaskInfo
from paddledistill.models.families import FAMILIES, HEADS, Family, kind_of, part_of
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.models.weights import PADDLE_WEIGHTS, State, fill, read_config, read_state
from paddledistill.tasks import Example
from paddledistill.training.run_directory import best_model

logger = logging.getLogger(__name__)

# Tensors of a classifier that a pre-trained encoder may lack, or that only TinyBERT's own pre-training uses.
_NEW = ("pooler.", "fit_dense")
_LEAST_VOCABULARY = 0.9  # of the embeddings, whose number is often rounded up
_MOST_USED_POSITIONS = 2  # that a family has before the first token
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "classifier_dropout_prob", "dropout", "classfier_dropout"
)  # fmt: skip


Encoder = TypeVar("Encoder", bound="EncoderModel")


class EncoderModel(Classifier):
    """A PaddleNLP network with an encoder in it, that can be looked into; its tokenizer and task.

    ``projections`` are trained beside it and never saved: linear maps by the number of a hidden state, see
    :func:`paddledistill.distill.projections.project_to`.
    """

    def __init__(self, network: Any, tokenizer: Tokenizer | SubwordTokenizer, info: TaskInfo) -> None:
        """:param network: the PaddleNLP model."""
        super().__init__(tokenizer, info)
        self.network = network
        self.kind = kind_of(network)
        self.family = FAMILIES[self.kind]
        self.projections: nn.LayerDict | None = None
        transformer.accelerate(network)

    @property
    def config(self) -> Any:
        """PaddleNLP's configuration of the network."""
        return self.network.config

    @property
    def backbone(self) -> Any:
        """The encoder without a head."""
        return getattr(self.network, self.family.prefix, self.network)

    @property
    def layers_name(self) -> str:
        """What the names of the layers' tensors begin with in the network."""
        return f"{'' if self.backbone is self.network else f'{self.family.prefix}.'}{self.family.layers}"

    @property
    def num_layers(self) -> int:
        """Depth."""
        return int(self.config.num_hidden_layers)

    @property
    def description(self) -> str:
        """For example ``bert 6x384``."""
        return f"{self.kind} {self.num_layers}x{self.config.hidden_size}"

    def encode(self, examples: Sequence[Example], max_seq_length: int | None = None) -> BertDataset:
        """``[CLS] a [SEP] (b [SEP])`` as wordpiece ids."""
        return encode_for_bert(examples, self.tokenizer, max_seq_length or self.max_seq_length)

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of a batch that it looks at."""
        return ("input_ids", *(("token_type_ids",) if self.family.reads_segments else ()), "attention_mask")

    def inputs(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """A batch as the network takes it."""
        mask = self.bias(batch) if self.family.reads_bias else batch["attention_mask"].astype("float32")
        segments = {"token_type_ids": batch["token_type_ids"]} if self.family.reads_segments else {}
        return {"input_ids": batch["input_ids"], "attention_mask": mask, **segments}

    def bias(self, batch: Batch) -> paddle.Tensor:
        """What is added to attention scores, see :func:`paddledistill.models.transformer.run_layer`."""
        return kernels.attention_bias(batch["attention_mask"], self.config.num_attention_heads, transformer.MASKED)

    def capture(
        self, batch: Batch, hidden: Collection[int] = (), scores: Collection[int] = (), values: Collection[int] = ()
    ) -> transformer.Captured:
        """Hidden states, pre-softmax attention scores and values, see :func:`paddledistill.models.transformer.capture`.

        :param batch: ``input_ids``, ``token_type_ids`` and ``attention_mask``, each [batch, length].
        :raises ValueError: for a number that the encoder does not have.
        :raises UserError: for scores or values of a family whose attention cannot be had.
        """
        depth, inside = self.num_layers, {*scores, *values}
        wrong = {i for i in hidden if not 0 <= i <= depth} | {i for i in inside if not 0 <= i < depth}
        if wrong:
            raise ValueError(f"the encoder has {depth} layers, so there is no {sorted(wrong)} to capture")
        if self.family.blocks is None:
            if inside:
                raise UserError(f"attention scores of {self.family.stem} cannot be had: leave the attention loss out")
            states = self.backbone(**self.inputs(batch), output_hidden_states=True)[-1]
            return transformer.Captured({number: states[number] for number in hidden})
        state = self.family.embed(self.backbone, batch)
        blocks = self.family.blocks(self.backbone)
        return transformer.capture(blocks, state, self.bias(batch), hidden, scores, values)

    def forward(self, batch: Batch) -> paddle.Tensor:
        """Logits, [batch, labels]; of an encoder without a head the last hidden state, [batch, length, width]."""
        found = self.network(**self.inputs(batch))
        return found[0] if isinstance(found, tuple) else found

    def save(self, directory: Path) -> None:
        """Write a PaddleNLP-loadable directory."""
        self.network.save_pretrained(str(directory))
        self.tokenizer.save(directory)

    def projected(self, number: int, state: paddle.Tensor) -> paddle.Tensor:
        """A hidden state by its projection, or as it is where there are none."""
        return state if self.projections is None else self.projections[str(number)](state)


class EncoderClassifier(EncoderModel):
    """A PaddleNLP ``...ForSequenceClassification``; its head has ``info.num_outputs`` outputs."""

    def reorder(self, order: Sequence[int], labels: tuple[str, ...]) -> None:
        """Give what was output number ``order[i]`` as number i, and call the outputs ``labels``."""
        head = [layer for layer in self.network.sublayers() if isinstance(layer, nn.Linear)][-1]
        head.weight.set_value(head.weight.numpy()[:, order])
        head.bias.set_value(head.bias.numpy()[order])
        self.info = dataclasses.replace(self.info, labels=labels)

    def save(self, directory: Path) -> None:
        """Names of the labels and the task as well."""
        labels = self.labels or ("score",)
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: number for number, label in enumerate(labels)}
        super().save(directory)
        self.info.write(directory)


class PlainEncoder(EncoderModel):
    """A PaddleNLP encoder without a head."""

    answers = "hidden states; a recipe adds a head"
    next_step = (
        "Go on from it: `run_glue.py --model_name_or_path DIRECTORY ...`, or as the student of `task_distill.py`"
    )


def load_encoder_classifier(directory: Path) -> EncoderClassifier:
    """A fine-tuned classifier from a PaddleNLP or Hugging Face directory, its head included.

    :raises UserError: if the directory, its weights or its vocabulary are missing, damaged or do not fit each other.
    """
    info = TaskInfo.read(directory)
    if info is None:
        raw = read_config(directory)
        with _described(directory):
            info = _foreign_info(raw)
    return _build(directory, info, model_type=None)


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
    found = find_pretrained(source)
    model = _build(found, info, model_type, pretrained=True) if found else _download(source, info, model_type)
    return keep_layers(model, layers, dropout) if layers or dropout is not None else model


def plain_encoder(source: str, model_type: str | None = None) -> PlainEncoder:
    """A pre-trained encoder without a head, in evaluation mode.

    :param source: a local directory (of a classifier too), an embedded asset, or a PaddleNLP model name.
    :raises UserError: if it cannot be found or does not fit.
    """
    family, config, tokenizer, directory = read_pretrained(source, model_type)
    with _described(source):
        network = family.model_class()(config)
    fill(network, read_tensors(directory, family, config), Path(source), _NEW)
    model = PlainEncoder(
        network, tokenizer, TaskInfo("text", None, is_pair=True, max_seq_length=positions_of(network.config))
    )
    model.eval()
    return model


def new_plain_encoder(
    like: EncoderModel, layers: int, width: int, heads: int, intermediate: int, dropout: float = 0.0
) -> PlainEncoder:
    """An encoder of the same family and vocabulary with new weights.

    :param layers: depth. :param heads: attention heads, which divide ``width``. :param intermediate: width of the feed-forward layers.
    :raises UserError: if the heads do not divide the width, or of a family whose shape has other names.
    """
    check_heads(width, heads)
    config = copy.deepcopy(like.config)
    if not hasattr(config, "intermediate_size"):
        raise UserError(f"{like.family.stem} has no new weights here: take --init_from_layers")
    config.num_hidden_layers, config.hidden_size = layers, width
    config.num_attention_heads, config.intermediate_size = heads, intermediate
    set_dropout(config, dropout)
    return PlainEncoder(like.family.model_class()(config), like.tokenizer, like.info)


def check_heads(width: int, heads: int) -> None:
    """:raises UserError: if the heads do not divide the width."""
    if width % heads:
        raise UserError(f"{heads} attention heads do not divide a hidden size of {width}: choose another number")


def positions_of(config: Any) -> int:
    """How many positions an encoder has; XLNet's are relative, so it has as many as one likes."""
    positions = int(getattr(config, "max_position_embeddings", 0))
    return positions if positions > 0 else 512


def freeze(model: EncoderClassifier, layers: int, embeddings: bool) -> None:
    """Let training leave the lowest ``layers`` layers as they are, and with any of them, or if so asked, the embeddings.

    :raises UserError: if there are fewer layers.
    """
    if layers > model.num_layers:
        raise UserError(f"--freeze_layers {layers}: the encoder has {model.num_layers} layers")
    if layers and model.family.layers is None:
        raise UserError(f"--freeze_layers: the layers of {model.family.stem} share their weights; leave it out")
    for part in model.family.parts(model.backbone, layers, embeddings=embeddings or layers > 0):
        for weight in part.parameters():
            weight.stop_gradient = True


def find_pretrained(source: str) -> Path | None:
    """The directory of a local or embedded encoder; None if ``source`` can only be a PaddleNLP name.

    A run directory means its best model. The path is absolute: PaddleNLP takes a relative one such as ``bert-base-uncased`` for a
    name of its own.

    :raises UserError: for a path that does not exist.
    """
    if Path(source).is_dir():
        return best_model(source).resolve()
    if source in assets.ASSETS:
        return assets.directory(source)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(
            f"no directory {source}: expected a local model directory, an embedded one "
            f"({', '.join(assets.ENCODERS)}) or a PaddleNLP name"
        )
    return None


def read_pretrained(
    source: str, model_type: str | None = None
) -> tuple[Family, Any, Tokenizer | SubwordTokenizer, Path]:
    """Family, configuration and tokenizer of an encoder, and the directory that holds its weights.

    :param source: a local directory (of a classifier too), an embedded asset, or a PaddleNLP model name.
    :raises UserError: if it cannot be found or does not fit.
    """
    directory = find_pretrained(source)
    if directory is None:
        return _fetch(source, model_type)
    family = FAMILIES[_kind(read_config(directory), directory, model_type)]
    return family, *read_shape(directory, family, family), directory


def identify(source: str) -> str:
    """What tells one pre-trained encoder from another: a digest, or its PaddleNLP name.

    :raises UserError: for a path that does not exist, or that holds no model.
    """
    directory = find_pretrained(source)
    if directory is None:
        return source
    read_config(directory)
    return digest(directory) if Path(source).is_dir() else assets.ASSETS[source].sha256


def _build(directory: Path, info: TaskInfo, model_type: str | None, pretrained: bool = False) -> EncoderClassifier:
    kind = _kind(read_config(directory), directory, model_type)
    if model_type and model_type != kind and pretrained and {model_type, kind} != {"bert", "tinybert"}:
        raise UserError(f"--model_type {model_type} does not fit {directory}, which holds a {kind} model")
    family, own = FAMILIES[kind], FAMILIES[model_type if pretrained and model_type else kind]
    config, tokenizer = read_shape(directory, family, own, info.max_seq_length)
    return _filled(directory, family, own, config, tokenizer, info, directory, pretrained)


def _filled(
    source: Path, family: Family, own: Family, config: Any, tokenizer: Tokenizer | SubwordTokenizer, info: TaskInfo, weights: Path,
    pretrained: bool,
) -> EncoderClassifier:  # fmt: skip
    """A classifier of family ``own`` with what the directory ``weights`` holds of a ``family``; ``source`` is for messages."""
    _check_room(tokenizer, info.max_seq_length, info.is_pair)
    if len(tokenizer) < config.vocab_size * _LEAST_VOCABULARY:
        logger.warning(
            "%s: the vocabulary has only %d entries for %d embeddings: is it another model's?",
            source, len(tokenizer), config.vocab_size,
        )  # fmt: skip
    config.num_labels = info.num_outputs
    with _described(source):
        network = own.classifier_class()(config)
    state = read_tensors(weights, family, config)
    heads = {name: tensor for name, tensor in state.items() if name.startswith(HEADS)}
    if not heads and not pretrained:
        raise UserError(f"{source} is an encoder without a head: fine-tune it with run_glue.py first")
    inside = {f"{own.prefix}.{name}": tensor for name, tensor in state.items() if name not in heads}
    may_be_new = [f"{own.prefix}.{name}" for name in _NEW[0 if pretrained else 1 :]]
    # A head found in a pre-trained encoder was trained for something else.
    fill(
        network, inside if pretrained else inside | heads, source, (*may_be_new, *(HEADS if pretrained else ())),
        lambda name: name if (weights / PADDLE_WEIGHTS).is_file() else _torch_name(name, family, own, config),
    )  # fmt: skip
    if part_of(network, f"{own.prefix}.pooler") is not None and not any(name.startswith("pooler.") for name in state):
        logger.warning("%s has no pooler, which the head is on: a new one is drawn, as the head is", source)
    return EncoderClassifier(network, tokenizer, info)


def _torch_name(name: str, family: Family, own: Family, config: Any) -> str:
    """What a file of PyTorch's calls a tensor of a classifier."""
    inside = name.removeprefix(f"{own.prefix}.")
    called = family.torch_names(config).get(inside, inside)
    return called if inside == name else f"{family.foreign_prefix or family.prefix}.{called}"


@contextmanager
def _described(source: str | Path) -> Iterator[None]:
    """For what PaddleNLP makes of a configuration."""
    try:
        yield
    except Exception as error:  # whatever an assertion, a missing attribute, a number that is none leads to
        told = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(
            f"the configuration of {source} describes no model ({told}): copy its config.json again"
        ) from error


def read_shape(
    directory: Path, family: Family, own: Family, max_seq_length: int = 1
) -> tuple[Any, Tokenizer | SubwordTokenizer]:
    """Configuration, as ``own`` family's, and tokenizer of a directory that holds a model of ``family``."""
    with _described(directory):
        config = own.config_class().from_pretrained(str(directory))
    config.use_cache = False  # for generating text; it costs two copies a layer
    tokenizer = read_tokenizer(directory, family.subwords)
    _check_sizes(directory, family, config, tokenizer, max_seq_length)
    return config, tokenizer


def read_tensors(directory: Path, family: Family, config: Any) -> State:
    """All tensors, those of the encoder without its name before them."""
    prefixes = [family.prefix, family.foreign_prefix or family.prefix]
    return read_state(directory, prefixes, lambda tensors: family.from_torch(tensors, config), config.num_hidden_layers)


def check_length(model: EncoderModel, source: str, max_seq_length: int, is_pair: bool = False) -> None:
    """Whether an encoder from ``source`` has so many positions, and rows of that length hold text.

    :raises UserError: if not.
    """
    _check_sizes(Path(source), model.family, model.config, model.tokenizer, max_seq_length)
    _check_room(model.tokenizer, max_seq_length, is_pair)


def _check_room(tokenizer: Tokenizer | SubwordTokenizer, max_seq_length: int, is_pair: bool) -> None:
    least = tokenizer.layout.special(is_pair) + 1 + is_pair
    if max_seq_length < least:
        raise UserError(f"--max_seq_length {max_seq_length} leaves no room for text: choose at least {least}")


def _check_sizes(
    directory: Path, family: Family, config: Any, tokenizer: Tokenizer | SubwordTokenizer, max_seq_length: int
) -> None:
    """Whether vocabulary and positions are enough."""
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{directory}: the vocabulary has {len(tokenizer)} entries, the embeddings {config.vocab_size}: "
            "they belong to different models"
        )
    positions = getattr(config, "max_position_embeddings", 0)  # XLNet has none: its positions are relative
    usable = positions - family.used_positions(tokenizer.pad_id)
    if positions > 0 and max_seq_length > usable:
        raise UserError(
            f"--max_seq_length {max_seq_length} is beyond the {usable} positions of {directory}: choose a smaller one"
        )


def _kind(raw: dict[str, Any], directory: Path, model_type: str | None) -> str:
    """The family that a configuration belongs to; ``model_type`` where it does not say."""
    architecture = raw.get("init_class") or next(iter(raw.get("architectures") or []), "")
    kind = next(
        (
            name
            for name, family in FAMILIES.items()
            if architecture.lower().startswith(f"{family.stem.lower()}for")
            or architecture.lower() == f"{family.stem.lower()}model"
        ),
        None,
    )
    kind = kind or raw.get("model_type") or (None if architecture else model_type)
    if kind not in FAMILIES:
        raise UserError(
            f"{directory} holds a {kind or architecture or 'nameless'} model; supported are {', '.join(FAMILIES)}"
            + ("" if kind or architecture else "; --model_type says which it is")
        )
    return kind


def _foreign_info(raw: dict[str, Any]) -> TaskInfo:
    """What another tool's configuration tells of the task: label names only."""
    names = raw.get("id2label") or {}
    count = len(names) or int(raw.get("num_labels") or raw.get("num_classes") or 2)
    labels = tuple(str(names.get(str(i), names.get(i, i))) for i in range(count))
    return TaskInfo(
        UNKNOWN_TASK,
        labels if count > 1 else None,
        is_pair=False,
        max_seq_length=min(128, int(raw.get("max_position_embeddings", 130)) - _MOST_USED_POSITIONS),
    )


def _download(name: str, info: TaskInfo, model_type: str | None) -> EncoderClassifier:
    family, config, tokenizer, weights = _fetch(name, model_type)
    _check_sizes(Path(name), family, config, tokenizer, info.max_seq_length)
    return _filled(Path(name), family, family, config, tokenizer, info, weights, pretrained=True)


def _fetch(name: str, model_type: str | None) -> tuple[Family, Any, Tokenizer | SubwordTokenizer, Path]:
    """Family, configuration and tokenizer of a PaddleNLP model name, and the directory to which PaddleNLP downloads its weights.

    :raises UserError: if PaddleNLP cannot reach it, or it is of another family than ``model_type``.
    """
    kind = _listed_family(name)
    if kind is None:
        guess = model_type or _kind_by_name(name)
        with _explained(name):
            raw, _ = FAMILIES[guess].config_class().get_config_dict(name)
        kind = _kind(raw, Path(name), guess)
    if model_type not in (None, kind):
        raise UserError(f"--model_type {model_type} does not fit {name}, which is a {kind} model")
    family = FAMILIES[kind]
    tokenizer = download_tokenizer(name, kind)
    with _explained(name):
        config = family.config_class().from_pretrained(name)
        weights = family.classifier_class()._resolve_model_file_path(name, config=config)[0]
    config.use_cache = False
    return family, config, tokenizer, Path(weights).parent


def _kind_by_name(name: str) -> str:
    """The family under which PaddleNLP lists a name, or that the name tells, such as ``chinese-electra-base``."""
    told = (kind for kind in FAMILIES if kind in name.lower().replace("-", "_"))
    return _listed_family(name) or next(told, "bert")


def _listed_family(name: str) -> str | None:
    listed = (kind for kind, family in FAMILIES.items() if name in family.config_class().pretrained_init_configuration)
    return next(listed, None)


def download_tokenizer(name: str, kind: str | None = None) -> Tokenizer | SubwordTokenizer:
    """The tokenizer of a PaddleNLP model name.

    :param kind: a key of :data:`FAMILIES`; None takes what the name says.
    :raises UserError: if PaddleNLP does not know the name or cannot reach it.
    """
    logger.info("%s is neither a directory nor embedded: asking PaddleNLP for it", name)
    family = FAMILIES[kind or _kind_by_name(name)]
    with _explained(name):
        original = getattr(paddlenlp_transformers(), family.tokenizer).from_pretrained(name)
    original = getattr(original, "tokenizer", original)  # PaddleNLP's AlbertTokenizer holds one of two
    if list(original.resource_files_names.values()) != [VOCABULARY_FILE]:
        return SubwordTokenizer.wrapping(original)
    pieces = [piece for piece, _ in sorted(original.get_vocab().items(), key=lambda item: item[1])]
    return Tokenizer.from_vocab(pieces, lowercase=getattr(original, "do_lower_case", True))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub client raises a dozen kinds: offline, unknown name, bad archive
        raise UserError(
            f"no model {name}: not a local directory, not embedded ({', '.join(assets.ENCODERS)}), and PaddleNLP could not fetch it "
            f"({type(error).__name__}); check the spelling and the network, or give a local directory"
        ) from error


def keep_layers(model: Encoder, layers: Sequence[int] | None, dropout: float | None) -> Encoder:
    """The same model with only some of its layers, or another dropout.

    :param layers: their numbers from 0; None keeps all. :param dropout: None keeps the model's.
    :raises UserError: for a layer that is not there, or layers that share their weights.
    """
    if layers and model.family.layers is None:
        raise UserError(f"the layers of {model.family.stem} share their weights, so there are none to choose from")
    wrong = [number for number in layers or () if not 0 <= number < model.num_layers]
    if wrong:
        raise UserError(f"the encoder has layers 0 to {model.num_layers - 1}, so there is no layer {wrong[0]} to keep")
    config = copy.deepcopy(model.config)
    if layers:
        config.num_hidden_layers = len(layers)
    if dropout is not None:
        set_dropout(config, dropout)
    network = type(model.network)(config)
    state = model.network.state_dict()
    network.set_state_dict(_renumbered(state, f"{model.layers_name}.", layers) if layers else state)
    return type(model)(network, model.tokenizer, model.info)


def set_dropout(config: Any, dropout: float) -> None:
    """Everywhere in an encoder and its head."""
    for name in _DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)


def _renumbered(state: dict[str, Any], marker: str, layers: Sequence[int]) -> dict[str, Any]:
    """The tensors of some layers, counted anew, and all that belong to no layer."""
    new_number, renamed = {str(old): new for new, old in enumerate(layers)}, {}
    for name, tensor in state.items():
        number, _, rest = name.removeprefix(marker).partition(".")
        if not name.startswith(marker):
            renamed[name] = tensor
        elif number in new_number:
            renamed[f"{marker}{new_number[number]}.{rest}"] = tensor
    return renamed
