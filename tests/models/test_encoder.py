"""Loading encoders from every kind of directory, making students of them, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

from paddledistill import models
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier, TaskInfo
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

INFO = TaskInfo("mnli", ("contradiction", "entailment", "neutral"), is_pair=True, max_seq_length=32)
EXAMPLES = [Example("a warm and funny story", "the plot is dull", 1), Example("dull", "the jokes are old and long", 0)]


def logits(model: models.Classifier) -> np.ndarray:
    model.eval()
    return np.asarray(model(to_batch(model.encode(EXAMPLES, 32).batch([0, 1]))).numpy())


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_tinybert"])
def test_save_and_load(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = models.new_encoder_classifier(str(request.getfixturevalue(fixture)), INFO)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert isinstance(loaded, EncoderClassifier)
    assert (loaded.labels, loaded.is_pair, loaded.max_seq_length) == (INFO.labels, True, 32)
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_paddlenlp_loads_what_we_save(tiny_bert: Path, tmp_path: Path) -> None:
    from paddlenlp.transformers import BertForSequenceClassification, BertTokenizer

    model = models.new_encoder_classifier(str(tiny_bert), INFO)
    model.save(tmp_path)
    theirs, tokenizer = (
        BertForSequenceClassification.from_pretrained(str(tmp_path)),
        BertTokenizer.from_pretrained(str(tmp_path)),
    )
    theirs.eval()
    encoded = tokenizer(EXAMPLES[0].text_a, EXAMPLES[0].text_b)
    found = theirs(
        paddle.to_tensor([encoded["input_ids"]]), token_type_ids=paddle.to_tensor([encoded["token_type_ids"]])
    )
    np.testing.assert_allclose(
        (found[0] if isinstance(found, tuple) else found).numpy()[0], logits(model)[0], atol=1e-5
    )
    assert theirs.config.id2label[1] == "entailment"


def hugging_face(source: Path, target: Path, prefix: str = "bert.", drop: str = "\0") -> Path:
    """The same model as Hugging Face writes it: its names, and linear weights the other way round."""
    names = {
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
    }
    names |= {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
    }
    names |= {
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
        "encoder.layers.": "encoder.layer.",
        "embeddings.layer_norm": "embeddings.LayerNorm",
    }
    tensors = {}
    for name, tensor in paddle.load(str(source / "model_state.pdparams"), return_numpy=True).items():
        if name.startswith("StructuredToParameterName"):
            continue
        other = name
        for ours, theirs in names.items():
            other = other.replace(ours, theirs)
        linear = tensor.ndim == 2 and "embeddings" not in name
        other = other if prefix else other.removeprefix("bert.")
        if drop not in other:
            tensors[other] = np.ascontiguousarray(tensor.T if linear else tensor)
    target.mkdir()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    kept = {
        name: config[name]
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        )
    }
    kept |= {"model_type": "bert", "architectures": ["BertForSequenceClassification" if prefix else "BertModel"]}
    kept |= {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    (target / "config.json").write_text(json.dumps(kept))
    shutil.copy(source / "vocab.txt", target)
    return target


def test_hugging_face_directory(tiny_bert: Path, tmp_path: Path) -> None:
    ours, theirs = models.load(tiny_bert), models.load(hugging_face(tiny_bert, tmp_path / "hf"))
    assert theirs.labels == ("NEGATIVE", "POSITIVE")
    np.testing.assert_allclose(logits(theirs), logits(ours), atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]


def test_a_name_of_paddlenlp(tiny_bert: Path, tmp_path: Path) -> None:
    """As if PaddleNLP had downloaded it: what is in its cache it does not ask for."""
    target = Path(os.environ["PPNLP_HOME"]) / "models" / "acme" / "tiny"
    shutil.copytree(tiny_bert, target)
    for name in ("added_tokens.json", "chat_template.json"):
        (target / name).write_text("{}")
    model = models.new_encoder_classifier("acme/tiny", INFO)
    original = models.new_encoder_classifier(str(tiny_bert), INFO)
    for name, tensor in original.backbone.state_dict().items():
        np.testing.assert_array_equal(model.backbone.state_dict()[name].numpy(), tensor.numpy())
    assert models.plain_encoder("acme/tiny").description == "bert 4x16"
    with pytest.raises(UserError, match="--model_type electra does not fit acme/tiny, which is a bert model"):
        models.new_encoder_classifier("acme/tiny", INFO, "electra")
    weights = target / "model_state.pdparams"
    tensors = paddle.load(str(weights))
    paddle.save({name: tensor for name, tensor in tensors.items() if "layers.2.linear1" not in name}, str(weights))
    with pytest.raises(UserError, match=r"^acme/tiny lacks 2 of \d+ tensors \(bert.encoder.layers.2.linear1.weight"):
        models.new_encoder_classifier("acme/tiny", INFO)


def test_bare_hugging_face_encoder_gets_a_new_head(tiny_bert: Path, tmp_path: Path) -> None:
    source = hugging_face(tiny_bert, tmp_path / "hf", prefix="", drop="classifier")
    model = models.new_encoder_classifier(str(source), INFO)
    original = models.load(tiny_bert)
    assert isinstance(original, EncoderClassifier)
    np.testing.assert_array_equal(
        model.backbone.embeddings.word_embeddings.weight.numpy(),
        original.backbone.embeddings.word_embeddings.weight.numpy(),
    )
    np.testing.assert_array_equal(
        model.backbone.encoder.layers[3].linear1.weight.numpy(),
        original.backbone.encoder.layers[3].linear1.weight.numpy(),
    )
    assert logits(model).shape == (2, 3)


def test_a_directory_named_like_a_model_of_paddlenlp(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PaddleNLP takes the relative path for its own model, which has 12 layers."""
    shutil.copytree(tiny_bert, tmp_path / "bert-base-uncased")
    monkeypatch.chdir(tmp_path)
    assert models.new_encoder_classifier("bert-base-uncased", INFO).description == "bert 4x16"
    assert models.load("bert-base-uncased").description == "bert 4x16"


def test_missing_tensors_are_named(tiny_bert: Path, tmp_path: Path) -> None:
    source = hugging_face(tiny_bert, tmp_path / "hf", drop="layer.2.intermediate")
    with pytest.raises(UserError, match=r"lacks 2 of \d+ tensors \(bert.encoder.layer.2.intermediate.dense.weight"):
        models.load(source)


@pytest.mark.parametrize("by_torch", [False, True])
def test_layers_that_the_configuration_does_not_name_are_told(
    by_torch: bool, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    hugging_face(tiny_bert, source) if by_torch else shutil.copytree(tiny_bert, source)
    assert (models.load(source).num_layers, caplog.messages) == (4, [])
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert models.load(source).num_layers == 3
    assert "holds 4 layers, its configuration names 3: those above are left out" in caplog.text


def test_directory_of_old_paddlenlp(tiny_bert: Path, tmp_path: Path) -> None:
    """model_config.json with init_args, as PaddleNLP wrote it before 2.5."""
    old = tmp_path / "old"
    shutil.copytree(tiny_bert, old)
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").unlink()
    inner = {
        name: config[name]
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
        )
    }
    inner |= {"type_vocab_size": 16, "init_class": "BertModel", "hidden_act": "gelu", "pad_token_id": 0}
    (old / "model_config.json").write_text(
        json.dumps({"init_args": [inner], "num_classes": 2, "init_class": "BertForSequenceClassification"})
    )
    np.testing.assert_allclose(logits(models.load(old)), logits(models.load(tiny_bert)), atol=1e-6)


def test_student_of_chosen_layers(tiny_bert: Path) -> None:
    whole = models.new_encoder_classifier(str(tiny_bert), INFO)
    student = models.new_encoder_classifier(str(tiny_bert), INFO, layers=[1, 3], dropout=0.0)
    assert (student.num_layers, student.description) == (2, "bert 2x16")
    assert student.backbone.encoder.layers[0].dropout1.p == 0.0
    for own, original in ((0, 1), (1, 3)):
        pairs = zip(
            student.backbone.encoder.layers[own].parameters(),
            whole.backbone.encoder.layers[original].parameters(),
            strict=True,
        )
        for mine, theirs in pairs:
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    with pytest.raises(UserError, match="layers 0 to 3, so there is no layer 4"):
        models.new_encoder_classifier(str(tiny_bert), INFO, layers=[1, 4])


def test_bert_weights_as_a_tinybert(tiny_bert: Path) -> None:
    student = models.new_encoder_classifier(str(tiny_bert), INFO, "tinybert")
    assert student.description == "tinybert 4x16"
    original = models.load(tiny_bert)
    assert isinstance(original, EncoderClassifier)
    np.testing.assert_array_equal(
        student.backbone.encoder.layers[2].linear2.weight.numpy(),
        original.backbone.encoder.layers[2].linear2.weight.numpy(),
    )


def test_what_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--max_seq_length 4 leaves no room for text: choose at least 5"):
        models.new_encoder_classifier(str(tiny_bert), TaskInfo("mnli", INFO.labels, is_pair=True, max_seq_length=4))
    with pytest.raises(UserError, match=r"no directory .*gone"):
        models.load(tmp_path / "gone")
    with pytest.raises(UserError, match="is not a model directory: it has no config.json"):
        models.load(tmp_path)
    with pytest.raises(UserError, match=r"no directory \./gone: expected a local model directory"):
        models.identify("./gone")
    long = TaskInfo("mnli", INFO.labels, is_pair=True, max_seq_length=513)
    with pytest.raises(UserError, match="513 is beyond the 512 positions"):
        models.new_encoder_classifier(str(tiny_bert), long)
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bert, broken)
    weights = broken / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model_state.pdparams is damaged or cut short"):
        models.load(broken)
    weights.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        models.load(broken)
    (broken / "config.json").write_text('{"model_type": "gpt"}')
    with pytest.raises(UserError, match="holds a gpt model; supported are tinybert, distilbert, roberta"):
        models.load(broken)
    (broken / "config.json").write_text('{"model_type": ')
    with pytest.raises(UserError, match=r"config.json is not valid JSON"):
        models.load(broken)
    (broken / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json holds no JSON object"):
        models.load(broken)
    (tmp_path / "seed-1").mkdir()
    with pytest.raises(
        UserError, match=r"it holds a run for each of several seeds: give one of them, such as .*seed-1$"
    ):
        models.load(tmp_path)
    models.plain_encoder(str(tiny_bert)).save(tmp_path / "seed-1")
    with pytest.raises(UserError, match="seed-1 is an encoder without a head: fine-tune it"):
        models.load(tmp_path / "seed-1")


@pytest.mark.assets("minilm-l6")
def test_the_embedded_encoder_is_no_classifier() -> None:
    with pytest.raises(UserError, match="is an encoder without a head"):
        models.load("minilm-l6")


@pytest.mark.parametrize(("layers", "embeddings"), [(0, False), (0, True), (2, False)])
def test_frozen_parts_learn_nothing(tiny_bert: Path, layers: int, embeddings: bool) -> None:
    model = models.new_encoder_classifier(str(tiny_bert), TaskInfo("sst-2", ("0", "1"), False, 32))
    models.freeze(model, layers, embeddings)
    model(to_batch(model.encode(EXAMPLES, 32).batch([0, 1]))).square().sum().backward()
    moving = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert ("network.bert.embeddings.word_embeddings.weight" in moving) == (not layers and not embeddings)
    for number in range(4):
        assert (f"network.bert.encoder.layers.{number}.linear1.weight" in moving) == (number >= layers)
    assert "network.classifier.weight" in moving


def test_more_layers_than_there_are_cannot_be_frozen(tiny_bert: Path) -> None:
    model = models.new_encoder_classifier(str(tiny_bert), TaskInfo("sst-2", ("0", "1"), False, 32))
    with pytest.raises(UserError, match="--freeze_layers 5: the encoder has 4 layers"):
        models.freeze(model, 5, embeddings=False)
