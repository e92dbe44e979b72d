"""A model that only predicts, in ONNX Runtime: about three times faster on a CPU than Paddle's dynamic graph.

For a teacher's logits, hidden states and attention scores, and for masked-LM candidates. The exported model is compared with
the original before it is trusted; where the export, or onnxruntime itself, is not to be had, the original answers.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.static import InputSpec

from paddledistill import assets, runtime
from paddledistill.data.datasets import Dataset
from paddledistill.files import atomic_file
from paddledistill.models.base import Classifier
from paddledistill.models.encoder import EncoderClassifier, EncoderModel

WORTH_AN_EXPORT = 3000  # rows
_OPSET = 17
_TOLERANCE = 1e-4  # of the largest answer; float32 sums in another order differ by some 1e-6
_KEPT = 4  # exported models in the cache

logger = logging.getLogger(__name__)


class Engine:
    """A model's forward as a function of numpy arrays. The weights are those of the moment it is made."""

    def __init__(self, model: nn.Layer, example: Mapping[str, NDArray[Any]], inputs: Sequence[str] = ()) -> None:
        """
        :param model: its forward takes a dictionary of tensors and returns a tensor or a list of them; it is set to evaluation mode.
        :param example: a batch to compare original and export on; best with rows of several lengths, so that there is padding.
        :param inputs: names of the arrays of a batch that the model reads; all of ``example`` if none are given.
        """
        self._model = model
        self._inputs = tuple(inputs or example)
        self._session: Any = None
        model.eval()
        if not paddle.get_device().startswith("cpu"):
            return
        try:
            path = _exported(model, {name: example[name] for name in self._inputs})
            try:
                self._session = _open(path)
                self._check(example)
            except Exception:
                path.unlink(missing_ok=True)  # so that the next one is made anew
                raise
        except (
            Exception
        ) as error:  # Paddle, its converter and the runtime each have their own; the original still answers
            self._session = None
            logger.warning(
                "no inference engine (%s: %s): predicting with the model itself", type(error).__name__, error
            )

    @property
    def kind(self) -> str:
        """``onnxruntime``, or ``paddle`` where the model itself answers."""
        return "onnxruntime" if self._session else "paddle"

    def run(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The model's only or first answer to a batch, which may hold more than the model reads."""
        return self.run_all(batch)[0]

    def run_all(self, batch: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """All that the model answers to a batch."""
        if self._session is None:
            return self._run_model(batch)
        read = [
            given.name for given in self._session.get_inputs()
        ]  # an export drops inputs that the model does not read
        answers: list[NDArray[np.float32]] = self._session.run(
            None, {name: np.ascontiguousarray(batch[name]) for name in read}
        )
        return answers

    def _run_model(self, batch: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        self._model.eval()
        with paddle.no_grad():
            found = self._model({name: paddle.to_tensor(batch[name]) for name in self._inputs})
        return [tensor.numpy() for tensor in (found if isinstance(found, list | tuple) else [found])]

    def _check(self, example: Mapping[str, NDArray[Any]]) -> None:
        for own, exported in zip(self._run_model(example), self.run_all(example), strict=True):
            if own.shape != exported.shape:
                raise ValueError(f"the export answers with shape {exported.shape} in place of {own.shape}")
            difference = float(np.abs(own - exported).max()) / max(1.0, float(np.abs(own).max()))
            if not difference <= _TOLERANCE:
                raise ValueError(f"the export differs from the model by {difference:.1e}")


def quick_forward(
    model: Classifier, dataset: Dataset, rows: int | None = None
) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]] | None:
    """What answers with an encoder's logits in an engine; None where its export would not pay off for so many ``rows`` of ``dataset``, by
    default all."""
    rows = len(dataset) if rows is None else rows
    if not isinstance(model, EncoderClassifier) or not is_worth_an_export(model, rows):
        return None
    return Engine(model, padded_example(dataset), model.reads).run


def is_worth_an_export(model: EncoderModel, rows: int) -> bool:
    """Whether reading so many rows takes longer than an export does, and the device is one that the engine is for.

    Never for XLNet: its export would not fail, but end the process.
    """
    return rows >= WORTH_AN_EXPORT and paddle.get_device().startswith("cpu") and model.family.blocks is not None


def padded_example(dataset: Dataset) -> dict[str, NDArray[Any]]:
    """Rows of many lengths, to compare an export on."""
    return dataset.batch(np.argsort(dataset.lengths)[:: max(1, len(dataset) // 8)])


def _exported(model: nn.Layer, example: Mapping[str, NDArray[Any]]) -> Path:
    """The ONNX file of a model, from the cache if these weights were exported before."""
    path = assets.cache_dir() / "engines" / f"{_key(model, example)}.onnx"
    if path.is_file():
        os.utime(path)  # the latest used are kept
        return path
    import paddle2onnx

    spec = {name: InputSpec([None] * array.ndim, str(array.dtype), name) for name, array in example.items()}
    with tempfile.TemporaryDirectory() as scratch, atomic_file(path) as partial, runtime.silence():
        paddle.jit.save(model, f"{scratch}/model", input_spec=[spec])
        # Its default tool would install packages behind the user's back; onnxruntime folds constants itself.
        files = f"{scratch}/model.json", f"{scratch}/model.pdiparams"
        paddle2onnx.export(*files, save_file=str(partial), opset_version=_OPSET, optimize_tool="None")
    with suppress(FileNotFoundError):  # another process does the same
        for old in sorted(path.parent.glob("*.onnx"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    return path


def _key(model: nn.Layer, example: Mapping[str, NDArray[Any]]) -> str:
    """Of all that shapes an export: structure, weights, inputs, the version of Paddle."""
    total = hashlib.sha256(repr((str(model), paddle.__version__, _OPSET)).encode())
    config = getattr(getattr(model, "network", model), "config", None)
    total.update(config.to_json_string().encode() if config is not None else b"")
    for name, array in example.items():
        total.update(f"{name} {array.ndim} {array.dtype}".encode())
    for name, tensor in model.state_dict().items():
        total.update(name.encode())
        total.update(np.ascontiguousarray(tensor.numpy()).data)
    return total.hexdigest()[:32]


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.threads()  # 0: all cores
    options.log_severity_level = 3
    # Threads that wait by spinning take the cores from Paddle's, between one batch of a teacher and the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
