"""Loading any teacher or student, making new ones, and looking inside.

Every import of PaddleNLP's models is in this package.
"""

from pathlib import Path

from paddledistill import runtime
from paddledistill.errors import UserError

runtime.load_paddle()  # before the modules below import it

from paddledistill.models.base import Batch, Classifier, TaskInfo, parameters
from paddledistill.models.bilstm import (
    MODEL_TYPE,
    BiLSTM,
    BiLSTMConfig,
    identify_start,
    load_bilstm,
    new_bilstm,
    student_tokenizer,
)
from paddledistill.models.encoder import (
    EncoderClassifier,
    EncoderModel,
    PlainEncoder,
    check_length,
    find_pretrained,
    freeze,
    identify,
    keep_layers,
    load_encoder_classifier,
    new_encoder_classifier,
    new_plain_encoder,
    plain_encoder,
)
from paddledistill.models.families import FAMILIES
from paddledistill.models.narrowing import narrowed
from paddledistill.models.transformer import Captured
from paddledistill.models.weights import read_config
from paddledistill.training.run_directory import best_model

__all__ = [
    "FAMILIES",
    "Batch",
    "BiLSTM",
    "BiLSTMConfig",
    "Captured",
    "Classifier",
    "EncoderClassifier",
    "EncoderModel",
    "PlainEncoder",
    "TaskInfo",
    "check_length",
    "freeze",
    "identify",
    "identify_start",
    "keep_layers",
    "load",
    "narrowed",
    "new_bilstm",
    "new_encoder_classifier",
    "new_plain_encoder",
    "parameters",
    "plain_encoder",
    "student_tokenizer",
]


def load(path: str | Path) -> Classifier:
    """A fine-tuned or distilled classifier, in evaluation mode.

    :param path: a run directory, a ``best_model`` directory, or any local PaddleNLP or Hugging Face classifier.
    :raises UserError: if nothing usable is there.
    """
    directory = find_pretrained(str(path)) or best_model(path)
    is_bilstm = read_config(directory).get("model_type") == MODEL_TYPE
    model: Classifier = load_bilstm(directory) if is_bilstm else load_encoder_classifier(directory)
    if not model.info.is_trained:
        raise UserError(
            f"{path} has been through the intermediate stage alone, so its answers are untrained: "
            "`task_distill.py --stage prediction` goes on with it"
        )
    model.eval()
    return model
