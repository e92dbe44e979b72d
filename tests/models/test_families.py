"""Every family of encoder: read as Hugging Face writes it, with the answers of transformers; fine-tuned, saved, looked into."""

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from paddledistill import flags, models
from paddledistill.distill import objectives
from paddledistill.distill.layer_maps import layer_map
from paddledistill.distill.teacher import targets, teacher_logits
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier, TaskInfo, engine
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

FOREIGN = ("bert", "distilbert", "electra", "ernie", "roberta", "albert", "xlnet")
LENGTH = 60
INFO = TaskInfo("mnli", ("contradiction", "entailment", "neutral"), is_pair=True, max_seq_length=LENGTH)


@pytest.fixture
def hugging_face(fixture_dir: Path, tmp_path: Path) -> Path:
    """Private copies of the directories that transformers wrote."""
    return Path(shutil.copytree(fixture_dir / "huggingface", tmp_path / "huggingface"))


def answers(directory: Path) -> tuple[list[Example], dict[str, list]]:
    content = json.loads((directory / "answers.json").read_text())
    return [Example(a, b) for a, b in content["pairs"]], content


def logits(model: EncoderClassifier, examples: list[Example]) -> np.ndarray:
    model.eval()
    dataset = model.encode(examples, LENGTH)
    return np.asarray(model(to_batch(dataset.batch(range(len(examples))))).numpy())


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_answers_are_those_of_transformers(kind: str, hugging_face: Path) -> None:
    examples, expected = answers(hugging_face / kind)
    model = models.load(hugging_face / kind)
    assert isinstance(model, EncoderClassifier)
    dataset = model.encode(examples, LENGTH)
    assert [dataset.sequences.padded(np.array([row]), 0)[0][0].tolist() for row in range(3)] == expected["ids"]
    np.testing.assert_allclose(logits(model, examples), expected["logits"], atol=2e-5)


def test_norms_as_the_first_berts_name_them(hugging_face: Path) -> None:
    """bert-base-uncased of the Hugging Face hub, for one."""
    examples, expected = answers(hugging_face / "bert")
    path = hugging_face / "bert" / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {
        name.replace(last, old.get(last, last)): tensor
        for name, tensor in load_file(path).items()
        for last in [".".join(name.split(".")[-2:])]
    }
    assert sum(name.endswith((".gamma", ".beta")) for name in tensors) == 14
    save_file(tensors, path, metadata={"format": "pt"})
    np.testing.assert_allclose(logits(models.load(path.parent), examples), expected["logits"], atol=2e-5)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_half_precision(kind: str, hugging_face: Path) -> None:
    examples, _ = answers(hugging_face / "bert")
    path = hugging_face / "bert" / "model.safetensors"
    halves = {name: tensor.astype(np.dtype(kind)) for name, tensor in load_file(path).items()}
    save_file({name: tensor.astype(np.float32) for name, tensor in halves.items()}, path, metadata={"format": "pt"})
    expected = logits(models.load(path.parent), examples)
    save_file(halves, path, metadata={"format": "pt"})
    np.testing.assert_array_equal(logits(models.load(path.parent), examples), expected)


@pytest.fixture
def ernie_m(hugging_face: Path, tmp_path: Path) -> Path:
    """As PaddleNLP saves it: transformers no longer has this family."""
    from paddlenlp.transformers import ErnieMConfig, ErnieMForSequenceClassification, ErnieMTokenizer
    from sentencepiece import SentencePieceProcessor

    directory = tmp_path / "ernie_m"
    directory.mkdir()
    pieces = SentencePieceProcessor(model_file=str(hugging_face / "albert" / "spiece.model"))
    shutil.copy(hugging_face / "albert" / "spiece.model", directory / "sentencepiece.bpe.model")
    known = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    vocabulary = [*special, *(piece for piece in known if piece not in (*special, "<pad>", "<unk>"))]
    (directory / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    tokenizer = ErnieMTokenizer(str(directory / "vocab.txt"), str(directory / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(str(directory))
    paddle.seed(1)
    config = ErnieMConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, initializer_range=0.5, num_labels=3, pad_token_id=1,
    )  # fmt: skip
    ErnieMForSequenceClassification(config).save_pretrained(str(directory))
    return directory


@pytest.fixture
def tinybert(hugging_face: Path, tmp_path: Path) -> Path:
    """As PaddleNLP saves it, of a BERT's weights."""
    (tmp_path / "tinybert").mkdir()
    models.new_encoder_classifier(str(hugging_face / "bert"), INFO, "tinybert").save(tmp_path / "tinybert")
    return tmp_path / "tinybert"


@pytest.fixture(params=[*FOREIGN, "ernie_m", "tinybert"])
def directory(request: pytest.FixtureRequest, hugging_face: Path) -> Path:
    """A directory of each family."""
    return hugging_face / request.param if request.param in FOREIGN else request.getfixturevalue(request.param)


@pytest.fixture
def examples(hugging_face: Path) -> list[Example]:
    pairs, _ = answers(hugging_face / "bert")
    return [Example(row.text_a, row.text_b, label) for label, row in enumerate(pairs)]


def test_fine_tuned_saved_and_loaded(directory: Path, examples: list[Example], tmp_path: Path) -> None:
    paddle.seed(1)
    model = models.new_encoder_classifier(str(directory), INFO, dropout=0.0)
    before = logits(model, examples)
    batch = to_batch(model.encode(examples, LENGTH).batch(range(3)))
    optimizer = paddle.optimizer.Adam(2e-3, parameters=model.parameters())
    objective, losses = objectives.supervised(model), []
    model.train()
    for _ in range(10):
        loss = objective(batch)["supervised"]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.05
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    loaded = models.load(tmp_path / "saved")
    assert isinstance(loaded, EncoderClassifier)
    assert loaded.labels == INFO.labels
    assert np.abs(logits(loaded, examples) - before).max() > 1e-3
    np.testing.assert_array_equal(logits(loaded, examples), logits(model, examples))
    assert loaded.tokenizer.key == model.tokenizer.key


def test_padding_changes_no_answer(directory: Path, examples: list[Example]) -> None:
    model = models.new_encoder_classifier(str(directory), INFO)
    together = logits(model, examples)
    for row, example in enumerate(examples):
        np.testing.assert_allclose(logits(model, [example])[0], together[row], atol=1e-5)


def test_single_texts_and_long_ones(directory: Path) -> None:
    model = models.new_encoder_classifier(str(directory), TaskInfo("sst-2", ("0", "1"), False, 16))
    dataset = model.encode([Example("a warm and funny story " * 20), Example("dull")])
    assert dataset.lengths.tolist()[0] == 16
    special = dataset.sequences.padded(np.array([1]), 0)[0][0].tolist()
    layout, ids = model.tokenizer.layout, model.tokenizer.ids(["dull"])[0]
    assert special == [*layout.before, *ids, *layout.after]
    assert np.isfinite(logits(model, [Example("dull")])).all()


def test_a_mask_in_a_text_is_the_mask_token(directory: Path) -> None:
    """Augmentation writes BERT's [MASK], which RoBERTa and XLNet read as letters. By PaddleNLP's tokenizers and by tokenizer.json."""
    mask = 6 if directory.name == "xlnet" else 4
    for _ in range(2 if (directory / "tokenizer.json").is_file() else 1):
        tokenizer = models.new_encoder_classifier(str(directory), INFO).tokenizer
        masked, whole = tokenizer.ids(["a [MASK] film", "a film"])
        assert masked.count(mask) == 1
        assert len(masked) <= len(whole) + 2, "beside it at most the space before it"
        for name in ("vocab.txt", "vocab.json", "merges.txt", "spiece.model"):
            (directory / name).unlink(missing_ok=True)


def test_hidden_states_are_those_of_the_model(directory: Path, examples: list[Example]) -> None:
    model = models.new_encoder_classifier(str(directory), INFO)
    model.eval()
    batch = to_batch(model.encode(examples, LENGTH).batch(range(3)))
    found = model.capture(batch, hidden=range(4))
    last = model.backbone(**model.inputs(batch))
    last = last[0] if isinstance(last, tuple) else last
    mask = batch["attention_mask"].unsqueeze(-1).astype("float32")
    np.testing.assert_allclose((found.hidden[3] * mask).numpy(), (last * mask).numpy(), atol=1e-5)
    if "output_hidden_states" in inspect.signature(model.backbone.forward).parameters:
        own = model.backbone(**model.inputs(batch), output_hidden_states=True, return_dict=True).hidden_states
        for number in range(4):
            np.testing.assert_allclose((found.hidden[number] * mask).numpy(), (own[number] * mask).numpy(), atol=1e-5)


def test_scores_are_those_of_the_model(directory: Path, examples: list[Example]) -> None:
    model = models.new_encoder_classifier(str(directory), INFO)
    model.eval()
    batch = to_batch(model.encode(examples, LENGTH).batch(range(3)))
    if directory.name == "xlnet":
        with pytest.raises(UserError, match="attention scores of XLNet"):
            model.capture(batch, scores=[0])
        return
    found = model.capture(batch, scores=range(3))
    if directory.name == "distilbert":  # whose PaddleNLP model gives no attentions, but has BERT's layers
        layer = model.backbone.encoder.layers[0]
        state = model.capture(batch, hidden=[0]).hidden[0]
        query = layer.self_attn.q_proj(state).reshape([3, -1, 2, 4]).transpose([0, 2, 1, 3])
        key = layer.self_attn.k_proj(state).reshape([3, -1, 2, 4]).transpose([0, 2, 3, 1])
        np.testing.assert_allclose(found.scores[0].numpy(), ((query @ key) / 2).numpy(), atol=1e-5)
        return
    own = model.backbone(**model.inputs(batch), output_attentions=True, return_dict=True).attentions
    for number in range(3):
        weights = paddle.nn.functional.softmax(found.scores[number] + model.bias(batch))
        np.testing.assert_allclose(weights.numpy(), own[number].numpy(), atol=1e-5)


def test_a_teacher_of_logits_and_of_states(directory: Path, examples: list[Example]) -> None:
    paddle.seed(1)
    teacher = models.new_encoder_classifier(str(directory), INFO)
    dataset = teacher.encode(examples, LENGTH)
    stored = teacher_logits(teacher, f"digest of {directory.name}", dataset)
    np.testing.assert_allclose(stored, logits(teacher, examples), atol=1e-4)
    if directory.name == "xlnet":
        with pytest.raises(UserError, match="attention scores of XLNet cannot be had: take --attention_weight 0"):
            objectives.check_comparable(teacher, teacher, layer_map("last", 3, 3))
    kept = None if directory.name == "albert" else [0, 2]  # whose layers are one
    student = models.new_encoder_classifier(str(directory), INFO, layers=kept, dropout=0.0)
    layers = layer_map("0:0,1:1,2:3", student.num_layers, 3).weighed(1, 1, attention=directory.name != "xlnet")
    terms = objectives.intermediate(student, teacher, layers)(to_batch(dataset.batch(range(3))))
    assert {"hidden_1", "hidden_2"} < set(terms) and all(np.isfinite(float(term)) for term in terms.values())
    assert float(terms["hidden_0"]) == pytest.approx(0, abs=1e-10)  # the same embeddings


def test_an_engine_answers_as_the_model_does(
    directory: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLNet's export ended the process; DistilBERT's and ERNIE-M's, which read no segments, and the inside of ALBERT could not be had."""
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path))
    monkeypatch.setattr(engine, "WORTH_AN_EXPORT", 1)
    model = models.new_encoder_classifier(str(directory), INFO)
    dataset = model.encode(examples, LENGTH)
    batch, layers = dataset.batch(range(3)), layer_map("0:0,2:2,3:3", 3, 3)
    answer, show = engine.quick_forward(model, dataset), targets(model, layers.of_teacher, dataset, epochs=1)
    if directory.name == "xlnet":
        assert answer is show is None
        return
    assert answer and show
    np.testing.assert_allclose(answer(batch), logits(model, examples), atol=1e-5)
    found, own = show(to_batch(batch)), objectives.live_targets(model, layers.of_teacher)(to_batch(batch))
    for theirs, exported in ((own.hidden, found.hidden), (own.scores, found.scores)):
        assert set(theirs) == set(exported)
        for number, tensor in theirs.items():
            np.testing.assert_allclose(exported[number].numpy(), tensor.numpy(), atol=1e-4)


def test_a_narrower_student(directory: Path, examples: list[Example]) -> None:
    """With the dimensions that weigh most; it learns the teacher's states by projections."""
    teacher = models.plain_encoder(str(directory))
    if directory.name in ("albert", "xlnet"):
        with pytest.raises(UserError, match=r"the layers of (Albert|XLNet) cannot be narrowed: start with new weights"):
            models.narrowed(teacher, 4, 2, 16)
        return
    student = models.narrowed(teacher, 4, 2, 16)
    assert student.config.hidden_size == 4
    layers = objectives.matched(student, teacher, "uniform", "scores", objectives.Weights(), shared=False)
    batch = to_batch(teacher.encode(examples, LENGTH).batch(range(3)))
    terms = objectives.intermediate(student, teacher, layers)(batch)
    assert all(np.isfinite(float(term)) for term in terms.values())


def test_layers_that_are_shared_cannot_be_chosen(hugging_face: Path) -> None:
    with pytest.raises(UserError, match="share their weights"):
        models.new_encoder_classifier(str(hugging_face / "albert"), INFO, layers=[0, 1])
    with pytest.raises(UserError, match="share their weights"):
        models.freeze(models.new_encoder_classifier(str(hugging_face / "albert"), INFO), 1, False)


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_directory_with_tokenizer_json_alone(kind: str, hugging_face: Path, tmp_path: Path) -> None:
    for name in ("vocab.txt", "vocab.json", "merges.txt", "spiece.model"):
        (hugging_face / kind / name).unlink(missing_ok=True)
    examples, expected = answers(hugging_face / kind)
    model = models.load(hugging_face / kind)
    np.testing.assert_allclose(logits(model, examples), expected["logits"], atol=2e-5)
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    np.testing.assert_allclose(logits(models.load(tmp_path / "saved"), examples), expected["logits"], atol=2e-5)


def test_names_that_hugging_face_gave_ernie_m(ernie_m: Path, examples: list[Example], tmp_path: Path) -> None:
    expected = logits(models.load(ernie_m), examples)
    state = paddle.load(str(ernie_m / "model_state.pdparams"), return_numpy=True)
    foreign = {}
    for name, tensor in state.items():
        if isinstance(tensor, np.ndarray):
            theirs = name if "out_proj" in name else name.replace("self_attn.", "self_attn.self_attn.")
            is_matrix = tensor.ndim == 2 and "embedding" not in name
            foreign[theirs] = np.ascontiguousarray(tensor.T if is_matrix else tensor)
    save_file(foreign, ernie_m / "model.safetensors", metadata={"format": "pt"})
    (ernie_m / "model_state.pdparams").unlink()
    np.testing.assert_allclose(logits(models.load(ernie_m), examples), expected, atol=1e-6)


def test_missing_tensors_are_named(hugging_face: Path) -> None:
    path = hugging_face / "roberta" / "model.safetensors"
    tensors = load_file(path)
    del tensors["roberta.encoder.layer.1.output.dense.weight"], tensors["classifier.dense.bias"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"lacks 2 of .*\(roberta\.encoder\.layer\.1\.output\.dense\.weight, classifier\.dense\.bias\)"
    ):
        models.load(path.parent)


def test_another_family_than_asked_for(hugging_face: Path) -> None:
    with pytest.raises(UserError, match="--model_type electra does not fit .*, which holds a roberta model"):
        models.new_encoder_classifier(str(hugging_face / "roberta"), INFO, model_type="electra")
    with pytest.raises(UserError, match="--model_type electra does not fit hfl/rbt3, which is a roberta model"):
        models.new_encoder_classifier("hfl/rbt3", INFO, model_type="electra")


def test_a_bert_that_does_not_say_so_as_a_tinybert(hugging_face: Path) -> None:
    path = hugging_face / "bert" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({name: config[name] for name in config if name not in ("model_type", "architectures")}))
    assert models.new_encoder_classifier(str(path.parent), INFO, "tinybert").description == "tinybert 3x8"


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_pooler_that_is_missing_is_told(kind: str, hugging_face: Path, caplog: pytest.LogCaptureFixture) -> None:
    models.new_encoder_classifier(str(hugging_face / kind), INFO)
    assert caplog.messages == []
    path = hugging_face / kind / "model.safetensors"
    tensors = load_file(path)
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    save_file(kept, path, metadata={"format": "pt"})
    models.new_encoder_classifier(str(hugging_face / kind), INFO)
    assert len([message for message in caplog.messages if "has no pooler" in message]) == (len(kept) < len(tensors))


def test_a_vocabulary_that_is_much_too_small_is_told(hugging_face: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = hugging_face / "bert" / "vocab.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:400]))
    models.new_encoder_classifier(str(path.parent), INFO)
    assert caplog.messages == [
        f"{path.parent}: the vocabulary has only 400 entries for 790 embeddings: is it another model's?"
    ]


@pytest.mark.parametrize(
    "changes",
    [{"num_attention_heads": 3}, {"hidden_act": "nothing"}, {"id2label": {"a": "x"}}, {"id2label": ["x", "y"]}],
)
def test_a_configuration_that_describes_no_model(changes: dict[str, object], hugging_face: Path) -> None:
    path = hugging_face / "bert" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"the configuration of .*bert describes no model \(\w+Error: .*\): copy"):
        models.load(path.parent)


def test_positions_before_the_first_token_are_not_counted(hugging_face: Path) -> None:
    with pytest.raises(UserError, match="max_seq_length 63 is beyond the 62 positions"):
        models.new_encoder_classifier(str(hugging_face / "roberta"), TaskInfo("sst-2", ("0", "1"), False, 63))


def test_a_tokenizer_that_is_not_there(hugging_face: Path) -> None:
    for name in ("spiece.model", "tokenizer.json"):
        (hugging_face / "xlnet" / name).unlink()
    with pytest.raises(UserError, match=r"has no spiece\.model, vocab\.txt or tokenizer\.json"):
        models.load(hugging_face / "xlnet")


def test_a_damaged_tokenizer(hugging_face: Path) -> None:
    (hugging_face / "albert" / "spiece.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="AlbertEnglishTokenizer cannot read the tokenizer"):
        models.load(hugging_face / "albert")


def test_the_flag_knows_every_family() -> None:
    assert sorted(flags.MODEL_TYPES) == sorted(models.FAMILIES)
    assert flags.model_type("ERNIE-M") == "ernie_m"
