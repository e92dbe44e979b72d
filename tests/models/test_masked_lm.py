"""Tests of paddledistill.models.masked_lm."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import BertForMaskedLM
from safetensors.numpy import save_file

from paddledistill.data.masked_text import mask_text
from paddledistill.distill.objectives import supervised
from paddledistill.errors import UserError
from paddledistill.models import masked_lm as mlm
from paddledistill.models import parameters


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    """Two rows of two segments, the second padded, and four positions, row * 12 + column."""
    ids = np.random.default_rng(0).integers(5, 700, (2, 12))
    mask = np.ones((2, 12), np.int64)
    mask[1, 8:] = 0
    segments = np.zeros((2, 12), np.int64)
    segments[:, 5:] = 1
    return {
        "input_ids": ids * mask,
        "token_type_ids": segments * mask,
        "attention_mask": mask,
        "positions": np.array([1, 11, 12, 19]),
    }


def test_logits_of_chosen_positions_equal_paddlenlps(tiny_masked_lm: Path, batch: dict[str, np.ndarray]) -> None:
    reference = BertForMaskedLM.from_pretrained(str(tiny_masked_lm))
    reference.eval()
    names = ("input_ids", "token_type_ids", "attention_mask")
    with paddle.no_grad():
        everywhere = reference(**{name: paddle.to_tensor(batch[name]) for name in names}).numpy()
    rows, columns = np.divmod(batch["positions"], 12)
    model = mlm.masked_lm(tiny_masked_lm)
    logits = model.predict_logits(**batch)
    assert logits.shape == (4, len(model.tokenizer.vocab))
    np.testing.assert_allclose(logits, everywhere[rows, columns], atol=1e-5)


def test_a_name_of_paddlenlp(tiny_masked_lm: Path, batch: dict[str, np.ndarray]) -> None:
    """As if PaddleNLP had downloaded it: what is in its cache it does not ask for."""
    target = Path(os.environ["PPNLP_HOME"]) / "models" / "acme" / "masked"
    shutil.copytree(tiny_masked_lm, target)
    for name in ("added_tokens.json", "chat_template.json"):
        (target / name).write_text("{}")
    found, expected = mlm.masked_lm("acme/masked"), mlm.masked_lm(tiny_masked_lm)
    np.testing.assert_array_equal(found.predict_logits(**batch), expected.predict_logits(**batch))


def test_padding_changes_nothing(tiny_masked_lm: Path, batch: dict[str, np.ndarray]) -> None:
    model = mlm.masked_lm(tiny_masked_lm)
    alone = {name: batch[name][1:, :8] for name in ("input_ids", "token_type_ids", "attention_mask")}
    np.testing.assert_allclose(
        model.predict_logits(**alone, positions=np.array([7]))[0], model.predict_logits(**batch)[3], atol=1e-5
    )


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_hugging_face_directory_gives_the_same_logits(
    prefix: str, tiny_masked_lm: Path, batch: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The names and the [out, in] matrices of PyTorch, written out by hand from the same weights."""
    renamed = {
        "embeddings.layer_norm": "embeddings.LayerNorm",
        "encoder.layers.": "encoder.layer.",
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "norm1.": "attention.output.LayerNorm.",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2.": "output.LayerNorm.",
        "predictions.transform.": "predictions.transform.dense.",
        "predictions.layer_norm": "predictions.transform.LayerNorm",
    }
    state: dict[str, np.ndarray] = {}
    for name, tensor in BertForMaskedLM.from_pretrained(str(tiny_masked_lm)).state_dict().items():
        array = tensor.numpy()
        if name.endswith("weight") and array.ndim == 2 and "embeddings" not in name and "decoder" not in name:
            array = np.ascontiguousarray(array.T)
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        state[prefix + name.removeprefix("bert.") if name.startswith("bert.") else name] = array
    state["cls.predictions.bias"] = state.pop("cls.predictions.decoder_bias")
    save_file(state, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    config = json.loads((tiny_masked_lm / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    shutil.copy(tiny_masked_lm / "vocab.txt", tmp_path)
    theirs = mlm.masked_lm(tmp_path).predict_logits(**batch)
    np.testing.assert_allclose(theirs, mlm.masked_lm(tiny_masked_lm).predict_logits(**batch), atol=1e-6)


def test_a_directory_without_a_head_is_refused(tiny_bert: Path, tiny_tinybert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no masked-LM head: give a BERT saved with one .* or minilm-l6"):
        mlm.masked_lm(tiny_bert)
    with pytest.raises(UserError, match="a masked LM must be a bert"):
        mlm.masked_lm(tiny_tinybert)
    with pytest.raises(UserError, match="nowhere"):
        mlm.masked_lm(tmp_path / "nowhere")


def test_a_vocabulary_of_another_model_is_refused(tiny_masked_lm: Path, tmp_path: Path) -> None:
    """It used to be taken, and a piece beyond the embeddings to end in a traceback."""
    copy = shutil.copytree(tiny_masked_lm, tmp_path / "copy")
    (copy / "vocab.txt").write_text((copy / "vocab.txt").read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    with pytest.raises(UserError, match="the vocabulary has 791 entries, the embeddings 790"):
        mlm.masked_lm(copy)


def test_weights_cut_short_are_refused(tiny_masked_lm: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_masked_lm, tmp_path / "copy")
    weights = next(copy.glob("model_state.pdparams"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match="damaged or cut short"):
        mlm.masked_lm(copy)


def test_it_saves_what_it_loads(tiny_masked_lm: Path, batch: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = mlm.masked_lm(tiny_masked_lm)
    model.save(tmp_path)
    np.testing.assert_array_equal(mlm.masked_lm(tmp_path).predict_logits(**batch), model.predict_logits(**batch))


class TestUpdate:
    """The low-rank update of an encoder, from a 4-layer, 16-wide one."""

    RANK = 3

    @pytest.fixture
    def model(self, tiny_bert: Path) -> mlm.MaskedLM:
        """A new update, every number of it random so that all of them matter."""
        paddle.seed(0)
        model = mlm.add_update(str(tiny_bert), self.RANK, np.arange(790))
        for parameter in model.parameters():
            if not parameter.stop_gradient:
                parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
        return model

    def test_it_starts_as_the_encoder_with_a_head_that_knows_frequencies(self, tiny_bert: Path) -> None:
        from paddlenlp.transformers import BertModel

        model = mlm.add_update(str(tiny_bert), self.RANK, np.arange(790))
        encoder = BertModel.from_pretrained(str(tiny_bert))
        encoder.eval()
        ids = paddle.to_tensor([[2, 50, 60, 3]])
        np.testing.assert_allclose(model.network.bert(ids)[0].numpy(), encoder(ids)[0].numpy(), atol=1e-6)
        bias = model.network.cls.predictions.decoder.bias.numpy()
        np.testing.assert_allclose(np.exp(bias), np.arange(1, 791) / np.arange(1, 791).sum(), rtol=1e-5)

    def test_it_is_as_large_as_the_formula_says(self, model: mlm.MaskedLM) -> None:
        width, inner, layers, vocab = 16, 32, 4, 790
        low_rank = self.RANK * (4 * 2 * width + 2 * (width + inner))
        small = 4 * width + inner + width + 4 * width  # biases of six matrices, two layer norms
        head = width * width + width + 2 * width + vocab
        assert mlm.trainable(model) == layers * (low_rank + small) + 2 * width + head

    def test_merged_it_answers_as_it_did_apart(
        self, model: mlm.MaskedLM, tiny_bert: Path, batch: dict[str, np.ndarray], tmp_path: Path
    ) -> None:
        model.save(tmp_path)
        merged = mlm.masked_lm(tiny_bert, tmp_path / mlm.UPDATE_FILE)
        apart, together = model.predict_logits(**batch), merged.predict_logits(**batch)
        assert np.abs(apart).max() > 1
        np.testing.assert_allclose(together, apart, atol=0.02)  # float16 on disk
        plain = mlm.add_update(str(tiny_bert), self.RANK, np.arange(790)).predict_logits(**batch)
        assert np.abs(together - plain).max() > 0.5

    def test_the_merge_is_exact(self, model: mlm.MaskedLM, tiny_bert: Path, tmp_path: Path) -> None:
        model.save(tmp_path)
        merged = mlm.masked_lm(tiny_bert, tmp_path / mlm.UPDATE_FILE).network
        update = np.load(tmp_path / mlm.UPDATE_FILE)
        layer = "bert.encoder.layers.2.linear1"
        down, up = (update[f"{layer}.{part}"].astype(np.float32) for part in ("down", "up"))
        before = model.network.bert.encoder.layers[2].linear1.weight.numpy()
        np.testing.assert_allclose(merged.bert.encoder.layers[2].linear1.weight.numpy(), before + down @ up, rtol=1e-6)
        assert merged.cls.predictions.decoder.weight is merged.bert.embeddings.word_embeddings.weight

    def test_training_leaves_the_encoders_own_weights_alone(self, model: mlm.MaskedLM) -> None:
        before = {name: tensor.numpy().copy() for name, tensor in model.named_parameters()}
        rows = mask_text(np.random.default_rng(0).integers(5, 790, 500).astype(np.int32), model.tokenizer, 16, 0)
        optimizer = paddle.optimizer.AdamW(0.01, parameters=model.parameters())
        batch = {name: paddle.to_tensor(array) for name, array in rows.batch(np.arange(8)).items()}
        objective = supervised(model)
        first = objective(batch)["supervised"]
        for _ in range(5):
            objective(batch)["supervised"].backward()
            optimizer.step()
            optimizer.clear_grad()
        assert float(objective(batch)["supervised"]) < float(first)
        changed = {
            name for name, tensor in model.named_parameters() if not np.array_equal(before[name], tensor.numpy())
        }
        assert changed == {name for name, tensor in model.named_parameters() if not tensor.stop_gradient}
        assert not any("word_embeddings" in name or "q_proj.weight" in name for name in changed)

    def test_an_update_of_another_encoder_is_refused(
        self, model: mlm.MaskedLM, tiny_student: Path, tmp_path: Path
    ) -> None:
        model.save(tmp_path)
        with pytest.raises(UserError, match="belongs to another encoder"):
            mlm.masked_lm(tiny_student, tmp_path / mlm.UPDATE_FILE)  # 2 layers instead of 4

    @pytest.mark.parametrize("kept", [0, 2000])
    def test_a_damaged_update_is_refused(self, kept: int, model: mlm.MaskedLM, tiny_bert: Path, tmp_path: Path) -> None:
        model.save(tmp_path)
        path = tmp_path / mlm.UPDATE_FILE
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(UserError, match="missing or damaged"):
            mlm.masked_lm(tiny_bert, path)


class TestShipped:
    """The weights in the repository."""

    def test_they_are_small_float16(self) -> None:
        for path in mlm.SHIPPED.values():
            assert path.stat().st_size < 2_000_000
            with np.load(path) as update:
                assert {update[name].dtype for name in update.files} == {np.dtype(np.float16)}

    @pytest.mark.assets("minilm-l6")
    def test_they_guess_words_that_fit(self) -> None:
        model = mlm.masked_lm("minilm-l6")
        assert parameters(model) > 22_000_000

        def guesses(sentence: str, count: int) -> set[str]:
            vocab = model.tokenizer.vocab
            ids = model.tokenizer.ids([sentence.replace("[MASK]", "mask")])[0]
            ids[ids.index(vocab.index("mask"))] = vocab.index("[MASK]")
            row = np.array([[vocab.index("[CLS]"), *ids, vocab.index("[SEP]")]])
            position = np.flatnonzero(row == vocab.index("[MASK]"))
            logits = model.predict_logits(row, np.zeros_like(row), np.ones_like(row), position)[0]
            return {vocab[number] for number in np.argsort(-logits)[:count]}

        assert {"capital", "city", "centre", "center", "home"} & guesses("the city is the [MASK] of the country .", 10)
        assert {"seen", "watched", "made", "liked", "loved", "see", "wrote"} & guesses("i [MASK] this film .", 10)
        assert {"film", "movie"} & guesses("the director of the [MASK] and its actors won a prize .", 10)
        assert not {",", ".", "the"} & guesses("she was born in [MASK] and lives in france .", 3)
