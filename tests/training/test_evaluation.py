"""Figures over whole data sets, against numpy."""

from pathlib import Path

import numpy as np
import pytest

from paddledistill.data.masked_text import mask_text
from paddledistill.models.masked_lm import masked_lm
from paddledistill.training.evaluation import evaluate_guesses


def test_guesses_count_alike_whatever_row_they_are_in(tiny_masked_lm: Path) -> None:
    model = masked_lm(tiny_masked_lm)
    rows = mask_text(np.random.default_rng(0).integers(5, 790, 300).astype(np.int32), model.tokenizer, 16, 0)
    batch = rows.batch(np.arange(len(rows)))
    labels, read = batch["labels"], ("input_ids", "token_type_ids", "attention_mask", "positions")
    logits = model.predict_logits(**{name: batch[name] for name in read})
    shifted = logits - logits.max(-1, keepdims=True)
    own = shifted[np.arange(len(logits)), labels] - np.log(np.exp(shifted).sum(-1))
    model.train()
    found = evaluate_guesses(model, rows, batch_size=7).metrics
    assert found["loss"] == pytest.approx(-own.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())
    assert model.training
