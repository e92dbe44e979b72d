"""The kinds of encoder that can become a teacher, and what one differs in from another: PaddleNLP's classes, the names that Hugging
Face gives to its tensors, where the layers are, what can be seen inside."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddledistill.data.subwords import SubwordFiles
from paddledistill.models.base import Batch
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.models.transformer import Block, albert_block, block
from paddledistill.models.weights import State

HEADS = ("classifier.", "pre_classifier.")  # of a classifier, beside its encoder
FOREIGN_HEADS = {
    "sequence_summary.summary.": "classifier.dense.", "logits_proj.": "classifier.out_proj.",  # XLNet's
    "cls.predictions.transform.dense.": "cls.predictions.transform.", "cls.predictions.bias": "cls.predictions.decoder_bias",
    "cls.predictions.transform.LayerNorm.": "cls.predictions.layer_norm.",  # what guesses words
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """PaddleNLP's classes of one kind of encoder are called ``stem + "Config"`` and so on.

    ``prefix`` is what its encoder is called inside a classifier, by PaddleNLP and, ``foreign_prefix``, by Hugging Face. ``layers`` is the
    path of the list of layers in the encoder, None where layers share their weights; ``embeddings`` are the parts below them,
    from the lowest.
    ``mapping``: whose table of Hugging Face's names to use, None where there is none. ``reads_segments``: whether the encoder takes
    token_type_ids; ``reads_bias``: whether it takes the attention mask as what is added to the scores. ``used_positions``: how many
    positions come before the first token's, for a padding id. ``blocks`` are the layers as steps, None where PaddleNLP's own forward is
    all there is: then hidden states can be had, attention scores cannot.
    """

    stem: str
    prefix: str
    foreign_prefix: str | None = None
    layers: str | None = "encoder.layers"
    embeddings: tuple[str, ...] = ("embeddings",)
    mapping: str | None = "BertModel"
    subwords: SubwordFiles | None = None
    tokenizer: str = "BertTokenizer"
    reads_segments: bool = True
    reads_bias: bool = True
    used_positions: Callable[[int], int] = lambda pad_id: 0
    blocks: Callable[[nn.Layer], list[Block]] | None = lambda backbone: list(map(block, backbone.encoder.layers))

    def config_class(self) -> Any:
        """PaddleNLP's configuration."""
        return getattr(paddlenlp_transformers(), f"{self.stem}Config")

    def classifier_class(self) -> Any:
        """PaddleNLP's encoder with a head."""
        return getattr(paddlenlp_transformers(), f"{self.stem}ForSequenceClassification")

    def model_class(self) -> Any:
        """PaddleNLP's encoder without a head."""
        return getattr(paddlenlp_transformers(), f"{self.stem}Model")

    def from_torch(self, state: State, config: Any) -> State:
        """Tensors that PyTorch wrote, without the encoder's prefix, under PaddleNLP's names and turned round."""
        table = self._table(config)
        renamed: State = {}
        for name, tensor in state.items():
            is_head = name.startswith((*HEADS, *FOREIGN_HEADS))
            if not is_head and table is not None and name not in table:
                continue  # of another head
            target, change = (_plain if is_head or table is None else table[name])(name, tensor)
            renamed[target] = np.ascontiguousarray(change)
        return renamed

    def torch_names(self, config: Any) -> dict[str, str]:
        """What PyTorch's files call the tensors of an encoder, by PaddleNLP's names; both without the encoder's prefix."""
        return {one.target_name: one.source_name for one in self._mappings(config)}

    def _table(self, config: Any) -> Mapping[str, Callable[[str, np.ndarray], tuple[str, np.ndarray]]] | None:
        if self.mapping is None:
            return None
        more = {"embeddings.task_type_embeddings.weight": _plain}  # of ERNIE, beside what it has in common with BERT
        return more | {one.source_name: _by(one) for one in self._mappings(config)}

    def _mappings(self, config: Any) -> list[Any]:
        if self.mapping is None:
            return []
        bare = copy.deepcopy(config)
        bare.architectures = [self.mapping]  # names without the prefix
        found: list[Any] = getattr(paddlenlp_transformers(), self.mapping)._get_name_mappings(bare)
        return found

    def embed(self, backbone: Any, batch: Batch) -> paddle.Tensor:
        """What the first layer reads, [batch, length, width]."""
        segments = {"token_type_ids": batch["token_type_ids"]} if self.reads_segments else {}
        state = backbone.embeddings(batch["input_ids"], **segments)
        for projection in self.embeddings[1:]:  # ELECTRA's is only there where the widths differ
            part = part_of(backbone, projection)
            state = state if part is None else part(state)
        return state

    def parts(self, backbone: Any, layers: int, embeddings: bool) -> Iterator[nn.Layer]:
        """The lowest ``layers`` layers and, if asked for, what is below them."""
        if layers:
            assert self.layers
            yield from list(part_of(backbone, self.layers))[:layers]
        for name in self.embeddings if embeddings else ():
            part = part_of(backbone, name)
            if part is not None:
                yield part


def part_of(layer: Any, path: str) -> Any:
    """The part of a layer at a path like ``encoder.layers``; None if there is none."""
    for name in path.split("."):
        layer = getattr(layer, name, None)
    return layer


def _by(one: Any) -> Callable[[str, np.ndarray], tuple[str, np.ndarray]]:
    return lambda name, tensor: (one.target_name, one.run({name: tensor}, name))


def _plain(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Names that are nearly PaddleNLP's own: matrices of linear layers turned round, XLNet's three-dimensional ones flattened."""
    for theirs, ours in FOREIGN_HEADS.items():
        name = name.replace(theirs, ours)
    name = name.replace("self_attn.self_attn.", "self_attn.")  # of ERNIE-M
    if tensor.ndim == 3 and name.rpartition(".")[2] in ("q", "k", "v", "o", "r"):
        return name, tensor.reshape(len(tensor), -1)
    is_matrix = tensor.ndim == 2 and name.endswith(".weight") and "embedding" not in name
    return name, tensor.T if is_matrix else tensor


# By the name that configurations and --model_type give it. In the order in which a name of PaddleNLP's is searched for them.
FAMILIES = {
    "tinybert": Family("TinyBert", "tinybert", "bert", tokenizer="TinyBertTokenizer"),
    "distilbert": Family(
        "DistilBert", "distilbert", mapping="DistilBertModel", tokenizer="DistilBertTokenizer", reads_segments=False
    ),
    "roberta": Family(
        "Roberta", "roberta", mapping="RobertaModel", tokenizer="RobertaTokenizer", used_positions=lambda pad_id: pad_id + 1,
        subwords=SubwordFiles("merges.txt", "RobertaBPETokenizer"),
    ),
    "albert": Family(
        "Albert", "transformer", "albert", layers=None, mapping="AlbertModel", tokenizer="AlbertTokenizer", reads_bias=False,
        embeddings=("embeddings", "encoder.embedding_hidden_mapping_in"), blocks=lambda backbone: _albert_blocks(backbone),
        subwords=SubwordFiles("spiece.model", "AlbertEnglishTokenizer"),
    ),
    "ernie_m": Family(
        "ErnieM", "ernie_m", mapping=None, tokenizer="ErnieMTokenizer", reads_segments=False, used_positions=lambda pad_id: 2,
        subwords=SubwordFiles("sentencepiece.bpe.model", "ErnieMTokenizer"),
    ),
    "ernie": Family(
        "Ernie", "ernie", tokenizer="ErnieTokenizer", subwords=SubwordFiles("spm_cased_simp_sampled.model", "ErnieTinyTokenizer")
    ),
    "electra": Family(
        "Electra", "electra", mapping="ElectraModel", tokenizer="ElectraTokenizer", embeddings=("embeddings", "embeddings_project")
    ),
    "xlnet": Family(
        "XLNet", "transformer", layers="layer", embeddings=("word_embedding",), mapping=None, tokenizer="XLNetTokenizer",
        reads_bias=False, blocks=None, subwords=SubwordFiles("spiece.model", "XLNetTokenizer"),
    ),
    "bert": Family("Bert", "bert"),
}  # fmt: skip


def kind_of(network: nn.Layer) -> str:
    """The key in :data:`FAMILIES` of a PaddleNLP model, with or without a head."""
    stem = re.sub(r"(For[A-Z]\w+|Model)$", "", type(network).__name__)
    return next(kind for kind, family in FAMILIES.items() if family.stem == stem)


def _albert_blocks(backbone: Any) -> list[Block]:
    config, groups = backbone.config, backbone.encoder.albert_layer_groups
    of_layer = [
        int(number / (config.num_hidden_layers / config.num_hidden_groups))
        for number in range(config.num_hidden_layers)
    ]
    return [albert_block(groups[number].albert_layers) for number in of_layer]
