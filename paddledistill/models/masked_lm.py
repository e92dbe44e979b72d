"""Masked language models: what guesses the words that could stand in a gap.

``minilm-l6`` comes without a masked-LM head. The project ships one as an update of 870,000 numbers: a low-rank change (Hu et al.,
arXiv 2106.09685) of the encoder's matrices, new layer norms and biases, and the head, whose decoder is tied to the word
embeddings. ``examples/tinybert/fit_masked_lm.py`` makes it; loading merges it into the encoder's matrices.
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from paddledistill.data.subwords import SubwordTokenizer
from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import atomic_file
from paddledistill.models import kernels
from paddledistill.models.base import Batch, TaskInfo
from paddledistill.models.encoder import EncoderModel, find_pretrained, read_pretrained, read_tensors, set_dropout
from paddledistill.models.engine import Engine
from paddledistill.models.families import FAMILIES
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.models.weights import State, fill

SHIPPED = {"minilm-l6": Path(__file__).with_name("minilm_l6_masked_lm.npz")}
UPDATE_FILE = "masked_lm.npz"

_MATRICES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "linear1", "linear2")
_HEAD = "cls.predictions."


class MaskedLM(EncoderModel):
    """A BERT encoder with a head that scores every wordpiece of the vocabulary for a masked position."""

    tokenizer: Tokenizer

    def __init__(self, network: Any, tokenizer: Tokenizer | SubwordTokenizer, info: TaskInfo | None = None) -> None:
        """:param network: PaddleNLP's ``BertForMaskedLM``, its decoder tied to the word embeddings."""
        if not isinstance(tokenizer, Tokenizer):
            raise UserError("a masked LM must read WordPiece: give a bert with a vocab.txt")
        positions = network.config.max_position_embeddings
        super().__init__(
            network, tokenizer, info or TaskInfo("masked-lm", None, is_pair=False, max_seq_length=positions)
        )
        self._engine: Engine | None = None

    answers = "wordpieces for masked positions"
    next_step = "Augment with it: `data_augmentation.py --pretrained_bert_model DIRECTORY ...`"

    @property
    def description(self) -> str:
        """For example ``bert 6x384 masked LM``."""
        return f"{super().description} masked LM"

    def forward(self, batch: Batch) -> paddle.Tensor:
        """Logits, [positions, vocabulary]; ``batch["positions"]`` counts through the flattened rows.

        Only these positions are projected on the vocabulary, which would otherwise cost as much as the whole encoder.
        """
        hidden = self.backbone(**self.inputs(batch))[0]
        return self.guess(hidden, batch["positions"])

    def guess(self, hidden: paddle.Tensor, positions: paddle.Tensor) -> paddle.Tensor:
        """Logits, [positions, vocabulary], from the last hidden state, [batch, length, width]."""
        return self.network.cls(hidden, masked_positions=positions)

    def predict_logits(
        self,
        input_ids: NDArray[Any],
        token_type_ids: NDArray[Any],
        attention_mask: NDArray[Any],
        positions: NDArray[Any],
    ) -> NDArray[np.float32]:
        """Logits of chosen positions, float32 [positions, vocabulary], without gradients.

        :param input_ids: [batch, length], as are ``token_type_ids`` and ``attention_mask`` (1 where there is a token).
        :param positions: row * length + column of each, [positions].
        """
        arrays = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "attention_mask": attention_mask,
            "positions": positions,
        }
        batch = {name: np.asarray(array, np.int64) for name, array in arrays.items()}
        if self._engine:
            return self._engine.run(batch)
        self.eval()
        with paddle.no_grad():
            return self({name: paddle.to_tensor(array) for name, array in batch.items()}).numpy()

    def accelerate(self) -> None:
        """Let an inference engine answer :meth:`predict_logits` from here on, with the weights as they are now.

        Making it takes seconds the first time and is worth it from some hundred sentences on.
        """
        mask = np.array([[1] * 6, [1] * 3 + [0] * 3])  # one row of two is padded
        ids = np.where(mask, np.arange(6), self.tokenizer.pad_id)
        example = {"input_ids": ids, "token_type_ids": 0 * ids, "attention_mask": mask, "positions": np.array([1, 7])}
        self._engine = Engine(self, {name: array.astype(np.int64) for name, array in example.items()})

    def save(self, directory: Path) -> None:
        """Write the update if there is one that is not merged (see :func:`add_update`), else a PaddleNLP directory."""
        if next(_low_rank(self.network), None):
            save_update(self.network, directory / UPDATE_FILE)
        else:
            super().save(directory)


def masked_lm(source: str | Path, update: Path | None = None) -> MaskedLM:
    """A masked language model in evaluation mode.

    :param source: ``minilm-l6``, a local PaddleNLP or Hugging Face directory of a BERT with a masked-LM head, or a PaddleNLP model name.
    :param update: an update (see :func:`save_update`) to merge into the encoder of ``source``; ``minilm-l6`` brings its own.
    :raises UserError: if it cannot be found, is damaged, or has no masked-LM head.
    """
    update = update or SHIPPED.get(str(source))
    model = _load(str(source), may_be_new=(_HEAD,) if update else ())
    if update:
        merge_update(model.network, update)
    model.eval()
    return model


def with_new_head(encoder: EncoderModel) -> MaskedLM:
    """A masked language model of a BERT encoder and a new head, whose decoder is tied to the word embeddings.

    :raises UserError: if the encoder is of another family.
    """
    if encoder.kind != "bert":
        raise UserError(
            f"a masked LM must be a bert, not a {encoder.kind}: leave --mlm_weight and --soft_mlm_weight out"
        )
    network = paddlenlp_transformers().BertForMaskedLM(encoder.config)
    network.bert.set_state_dict(encoder.network.state_dict())
    return MaskedLM(network, encoder.tokenizer)


class LowRankLinear(nn.Layer):
    """A frozen linear layer with a trainable change of its matrix: y = x W + (x D) U + b, with D [in, rank] and U [rank, out].

    U starts at zero, so the layer starts as the one it replaces.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        """:param linear: the layer to change; its bias stays trainable."""
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        inputs, outputs = self.weight.shape
        self.down = self.create_parameter([inputs, rank], default_initializer=nn.initializer.Normal(std=inputs**-0.5))
        self.up = self.create_parameter([rank, outputs], default_initializer=nn.initializer.Constant(0.0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """:param x: [..., in]."""
        return kernels.linear(self, x) + paddle.matmul(paddle.matmul(x, self.down), self.up)


def add_update(source: str, rank: int, frequencies: NDArray[Any]) -> MaskedLM:
    """A pre-trained encoder with a new head, of which only an update is trainable: low-rank, layer norms, biases, head.

    :param source: a local or embedded encoder; the word embeddings stay as they are.
    :param frequencies: counts of the wordpieces in the text, by id, as far as any occur; the decoder's bias starts at their logarithm,
        so that training does not begin by learning which words are frequent.
    """
    model = _load(source, may_be_new=(_HEAD,))
    network = model.network
    for layer in network.bert.encoder.layers:
        for name in _MATRICES:
            *path, last = name.split(".")
            parent = getattr(layer, path[0]) if path else layer
            setattr(parent, last, LowRankLinear(getattr(parent, last), rank))
    bias = network.cls.predictions.decoder.bias
    counts = np.ones(len(bias))  # there may be more embeddings than wordpieces
    counts[: len(frequencies)] += frequencies
    bias.set_value(np.log(counts / counts.sum()).astype(np.float32))
    changing = set(_update_tensors(network))
    for name, parameter in network.named_parameters():
        parameter.stop_gradient = name not in changing
    return model


def pretrained_directory(source: str) -> Path:
    """The directory of a local or embedded encoder.

    :raises UserError: if there is none.
    """
    directory = find_pretrained(source)
    if directory is None:
        raise UserError(f"no local or embedded encoder {source}: give a directory, or {', '.join(SHIPPED)}")
    return directory


def trainable(network: nn.Layer) -> int:
    """How many numbers training may change."""
    return sum(int(parameter.size) for parameter in network.parameters() if not parameter.stop_gradient)


def save_update(network: Any, path: Path) -> None:
    """Write what :func:`add_update` made trainable as float16, atomically."""
    with atomic_file(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(
            file, **{name: tensor.numpy().astype(np.float16) for name, tensor in _update_tensors(network).items()}
        )


def merge_update(network: Any, path: Path) -> None:
    """Merge an update into a plain ``BertForMaskedLM``: W + D U for the matrices, new values for all else that it holds.

    :raises UserError: if the file is missing or damaged, or belongs to an encoder of another shape.
    """
    try:
        with np.load(path) as file:
            update = {name: file[name].astype(np.float32) for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is missing or damaged ({type(error).__name__}): restore it, or make it with fit_masked_lm.py"
        ) from None
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for name in [name for name in update if name.endswith(".down")]:
        matrix = name.removesuffix(".down")
        down, up = update.pop(name), update.pop(f"{matrix}.up")
        update[f"{matrix}.weight"] = state[f"{matrix}.weight"] + down @ up if f"{matrix}.weight" in state else down @ up
    unknown = [name for name in update if name not in state]
    if unknown:
        raise UserError(f"{path} belongs to another encoder: it updates {unknown[0]}, which this one does not have")
    fill(network, _tie(state | update), path)


def _low_rank(network: nn.Layer) -> Iterator[str]:
    return (name for name, layer in network.named_sublayers() if isinstance(layer, LowRankLinear))


def _update_tensors(network: nn.Layer) -> dict[str, paddle.Tensor]:
    """The tensors that an update consists of. The pooler and the embedding tables take no part."""
    small = (
        ".bias",
        "norm.weight",
        "norm1.weight",
        "norm2.weight",
        ".down",
        ".up",
        "decoder_bias",
        f"{_HEAD}transform.weight",
    )
    return {
        name: tensor for name, tensor in network.named_parameters() if name.endswith(small) and ".pooler." not in name
    }


def _load(source: str, may_be_new: tuple[str, ...]) -> MaskedLM:
    """A masked LM of ``source``; only tensors that start with one of ``may_be_new`` may be missing."""
    family, config, tokenizer, directory = read_pretrained(source, "bert")
    if family is not FAMILIES["bert"]:
        raise UserError(f"{source} holds a {family.stem} model; a masked LM must be a bert")
    set_dropout(config, 0.0)  # Paddle's dropout is slow, and nothing here overfits
    tensors = read_tensors(directory, family, config)
    state = {name if name.startswith("cls.") else f"bert.{name}": tensor for name, tensor in tensors.items()}
    if not may_be_new and f"{_HEAD}transform.weight" not in state:
        known = ", ".join(SHIPPED)
        raise UserError(
            f"{source} has no masked-LM head: give a BERT saved with one (BertForMaskedLM, BertForPretraining), or {known}"
        )
    network = paddlenlp_transformers().BertForMaskedLM(config)
    fill(network, _tie(state), Path(source), ("bert.pooler.", *may_be_new))
    return MaskedLM(network, tokenizer)


def _tie(state: State) -> State:
    """The decoder shares its matrix with the word embeddings, and its bias goes by two names."""
    bias = state.get(f"{_HEAD}decoder_bias", state.get(f"{_HEAD}decoder.bias"))
    words = state.get("bert.embeddings.word_embeddings.weight")
    tied = {f"{_HEAD}decoder.weight": words, f"{_HEAD}decoder_bias": bias, f"{_HEAD}decoder.bias": bias}
    return state | {name: tensor for name, tensor in tied.items() if tensor is not None}
