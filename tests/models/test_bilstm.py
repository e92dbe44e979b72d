"""The BiLSTM student: lengths honoured, no dead parameters, dropout that acts, small on disk, exact round trip."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from paddledistill import models
from paddledistill.data.tokenization import SPECIAL_TOKENS, Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import size_in_megabytes
from paddledistill.models import BiLSTM, BiLSTMConfig, TaskInfo
from paddledistill.models.weights import read_state
from paddledistill.tasks import Example
from paddledistill.training import optimization
from paddledistill.training.feeding import to_batch

SHAPE = BiLSTMConfig(emb_dim=8, hidden_size=6)
SINGLE = TaskInfo("sst-2", ("negative", "positive"), is_pair=False, max_seq_length=32)
PAIR = TaskInfo("sts-b", None, is_pair=True, max_seq_length=32)
SENTENCES = ["a warm and funny story", "dull", "the plot is dull and the jokes are old and long"]


@pytest.fixture
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return Tokenizer.from_vocab(tiny_vocab)


def logits(model: BiLSTM, examples: list[Example], rows: list[int]) -> np.ndarray:
    model.eval()
    return np.asarray(model(to_batch(model.encode(examples).batch(rows))).numpy())


def test_padding_never_changes_an_output(tokenizer: Tokenizer) -> None:
    model = models.new_bilstm(SHAPE, tokenizer, SINGLE)
    examples = [Example(text, None, 0) for text in SENTENCES]
    together = logits(model, examples, [0, 1, 2])
    alone = np.concatenate([logits(model, examples, [row]) for row in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_network_is_that_of_the_paper(tokenizer: Tokenizer) -> None:
    """Embedding, LSTM in both directions, last states, tanh layer, output layer: in numpy, from the formulas."""
    model = models.new_bilstm(SHAPE, tokenizer, SINGLE)
    model.eval()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    ids = tokenizer.ids([SENTENCES[2]])[0]

    def last_state(words: list[int], ending: str) -> np.ndarray:
        hidden = cell = np.zeros(6)
        for word in words:
            gates = (
                weights[f"lstm.weight_ih_l0{ending}"] @ weights["embedding.weight"][word] + weights[f"lstm.bias_ih_l0{ending}"]
                + weights[f"lstm.weight_hh_l0{ending}"] @ hidden + weights[f"lstm.bias_hh_l0{ending}"]
            )  # fmt: skip
            enter, forget, new, leave = np.split(gates, 4)
            cell = cell / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-enter))
            hidden = np.tanh(cell) / (1 + np.exp(-leave))
        return hidden

    vector = np.concatenate([last_state(ids, ""), last_state(ids[::-1], "_reverse")])
    inner = np.tanh(vector @ weights["dense.weight"] + weights["dense.bias"])
    expected = inner @ weights["classifier.weight"] + weights["classifier.bias"]
    np.testing.assert_allclose(logits(model, [Example(SENTENCES[2], None, 0)], [0])[0], expected, atol=1e-5)


def test_pairs_are_siamese(tokenizer: Tokenizer) -> None:
    model = models.new_bilstm(SHAPE, tokenizer, PAIR)
    model.eval()
    vectors: list[paddle.Tensor] = []
    model.dense.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0]))
    logits(model, [Example(SENTENCES[0], SENTENCES[2], 1.0)], [0])
    first, second, total, distance = np.split(vectors[0].numpy()[0], 4)
    np.testing.assert_allclose(total, first + second, atol=1e-6)
    np.testing.assert_allclose(distance, np.abs(first - second), atol=1e-6)
    logits(model, [Example(SENTENCES[2], SENTENCES[0], 1.0)], [0])
    np.testing.assert_allclose(vectors[1].numpy()[0, :12], second, atol=1e-6)


@pytest.mark.parametrize("info", [SINGLE, PAIR])
def test_starts_from_a_file_of_the_original(tokenizer: Tokenizer, tmp_path: Path, info: TaskInfo) -> None:
    """PaddleNLP's script writes its own names, and both of its inner layers."""
    model = models.new_bilstm(SHAPE, tokenizer, info)
    theirs = {"embedding": "embedder", "dense": "fc_1" if info.is_pair else "fc", "classifier": "output_layer"}
    renamed = {".".join([theirs.get(name.split(".")[0], name.split(".")[0]), *name.split(".")[1:]]): tensor
               for name, tensor in model.state_dict().items()}  # fmt: skip
    unused = "fc" if info.is_pair else "fc_1"
    paddle.save({**renamed, f"{unused}.weight": paddle.ones([3, 3])}, str(tmp_path / "step_100.pdparams"))
    again = models.new_bilstm(SHAPE, tokenizer, info, tmp_path / "step_100.pdparams")
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), tensor.numpy())


@pytest.mark.parametrize("info", [SINGLE, PAIR])
def test_the_optimizer_of_the_original_goes_on(tokenizer: Tokenizer, tmp_path: Path, info: TaskInfo) -> None:
    """A .pdparams and a .pdopt that PaddleNLP's example has saved: the next step is the one that it would have made."""

    class Theirs(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embedder = nn.Embedding(len(tokenizer.vocab), 8, padding_idx=tokenizer.pad_id)
            self.lstm = nn.LSTM(8, 6, direction="bidirectional")
            self.fc, self.fc_1 = nn.Linear(12, 6), nn.Linear(48, 6)
            self.output_layer = nn.Linear(6, info.num_outputs)

        def forward(self, batch: dict[str, paddle.Tensor]) -> paddle.Tensor:
            ours = models.new_bilstm(SHAPE, tokenizer, info)
            ours.embedding, ours.lstm, ours.classifier = self.embedder, self.lstm, self.output_layer
            ours.dense = self.fc_1 if info.is_pair else self.fc
            return ours(batch)

    examples = [Example(text, text if info.is_pair else None, 0) for text in SENTENCES]
    theirs, goal = Theirs(), paddle.rand([3, info.num_outputs])
    batch = to_batch(models.new_bilstm(SHAPE, tokenizer, info).encode(examples).batch(np.arange(3)))

    def step(model: nn.Layer, optimizer: paddle.optimizer.Optimizer) -> None:
        ((model(batch) - goal) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()

    adam = paddle.optimizer.Adam(0.01, parameters=theirs.parameters())
    for _ in range(3):
        step(theirs, adam)
    paddle.save(theirs.state_dict(), str(tmp_path / "step_3.pdparams"))
    paddle.save(adam.state_dict(), str(tmp_path / "step_3.pdopt"))
    model = models.new_bilstm(SHAPE, tokenizer, info, tmp_path / "step_3.pdparams")
    own = optimization.build(optimization.Optimization(0.01, "adam"), model)
    optimization.restore_file(own, model, tmp_path / "step_3.pdopt")
    step(theirs, adam)
    step(model, own)
    for name, tensor in model.renamed(theirs.state_dict()).items():
        if name in model.state_dict():
            np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy(), err_msg=name)


def test_starts_from_weights_of_the_same_words_alone(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Whole or as quantize.py stores them; what a list of words lacks of special tokens is new."""
    model = models.new_bilstm(SHAPE, tokenizer, SINGLE)
    model.save(tmp_path, quantized=True)
    again = models.new_bilstm(SHAPE, tokenizer, SINGLE, tmp_path / "model_state.pdparams")
    np.testing.assert_allclose(again.embedding.weight.numpy(), model.embedding.weight.numpy(), atol=0.1 / 127)
    assert {str(weight.dtype) for weight in again.parameters()} == {"paddle.float32"}
    with pytest.raises(UserError, match=r"embeddings of 790 words and the student reads \d+: give --vocab_path with"):
        models.new_bilstm(SHAPE, tokenizer.pruned(SENTENCES), SINGLE, tmp_path / "model_state.pdparams")
    more = Tokenizer([*tokenizer.vocab[5:], *tokenizer.vocab[:5]])
    state = model.state_dict()
    state["embedding.weight"] = state["embedding.weight"][:785]
    paddle.save(state, str(tmp_path / "words.pdparams"))
    table = models.new_bilstm(SHAPE, more, SINGLE, tmp_path / "words.pdparams").embedding.weight.numpy()
    np.testing.assert_array_equal(table[:785], state["embedding.weight"].numpy())


SHAPES = [
    SHAPE,
    *(BiLSTMConfig(8, 6, cell=cell, read_out=out) for cell in ("lstm", "gru") for out in ("max", "attention")),
]


@pytest.mark.parametrize("shape", [*SHAPES, BiLSTMConfig(8, 6, cell="gru")])
def test_other_cells_and_read_outs_see_no_padding_and_come_back(
    tokenizer: Tokenizer, shape: BiLSTMConfig, tmp_path: Path
) -> None:
    paddle.seed(1)
    model = models.new_bilstm(shape, tokenizer, SINGLE)
    examples = [Example(text, None, 0) for text in SENTENCES]
    together = logits(model, examples, [0, 1, 2])
    alone = np.concatenate([logits(model, examples, [row]) for row in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert isinstance(loaded, BiLSTM) and loaded.config == shape
    np.testing.assert_array_equal(logits(loaded, examples, [0, 1, 2]), together)


@pytest.mark.parametrize("read_out", ["max", "attention"])
def test_read_outs_in_numpy(tokenizer: Tokenizer, read_out: str) -> None:
    model = models.new_bilstm(BiLSTMConfig(8, 6, read_out=read_out), tokenizer, SINGLE)
    model.eval()
    ids = paddle.to_tensor(tokenizer.ids([SENTENCES[2]]))
    states = model.lstm(model.embedding(ids))[0].numpy()[0]
    if read_out == "max":
        expected = states.max(0)
    else:
        scores = np.tanh(states) @ model.attention.weight.numpy()
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = (weights * states).sum(0)
    found = model._sentence(ids, paddle.to_tensor([ids.shape[1]])).numpy()[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_largest_states_have_the_gradient_of_max(tokenizer: Tokenizer) -> None:
    model = models.new_bilstm(BiLSTMConfig(8, 6, read_out="max"), tokenizer, SINGLE)
    batch = to_batch(model.encode([Example(text, None, 0) for text in SENTENCES]).batch(range(len(SENTENCES))))
    states = paddle.uniform([len(SENTENCES), batch["input_ids"].shape[1], 12], min=-2.0, max=-1.0)
    states.stop_gradient = False
    model.lstm.register_forward_post_hook(lambda *_: (states, None))
    found = model._sentence(batch["input_ids"], batch["lengths"])
    inside = np.arange(states.shape[1]) < batch["lengths"].numpy()[:, None]
    real = np.where(inside[:, :, None], states.numpy(), -np.inf)
    np.testing.assert_array_equal(found.numpy(), real.max(1))
    weights = paddle.randn(found.shape)
    (found * weights).sum().backward()
    np.testing.assert_array_equal(states.grad.numpy(), (real == real.max(1, keepdims=True)) * weights.numpy()[:, None])


def test_a_pair_by_its_product(tokenizer: Tokenizer) -> None:
    """[a, b, a * b, |a - b|], as section 3.1 of the paper has it."""
    model = models.new_bilstm(BiLSTMConfig(8, 6, combine="product"), tokenizer, PAIR)
    vectors: list[paddle.Tensor] = []
    model.dense.register_forward_pre_hook(lambda _, inputs: vectors.append(inputs[0]))
    logits(model, [Example(SENTENCES[0], SENTENCES[2], 1.0)], [0])
    first, second, third, _ = np.split(vectors[0].numpy()[0], 4)
    np.testing.assert_allclose(third, first * second, atol=1e-6)


def test_names_that_are_none(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="read_out must be one of last, max, attention, not 'mean'"):
        BiLSTMConfig(read_out="mean")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("info", [SINGLE, PAIR])
def test_no_parameter_is_dead(tokenizer: Tokenizer, info: TaskInfo, shape: BiLSTMConfig) -> None:
    model = models.new_bilstm(shape, tokenizer, info)
    examples = [Example(text, SENTENCES[0] if info.is_pair else None, 1) for text in SENTENCES]
    model(to_batch(model.encode(examples).batch([0, 1, 2]))).square().sum().backward()
    assert [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum()
    ] == []


def test_dropout_acts_with_one_layer(tokenizer: Tokenizer) -> None:
    """Defect 12: --dropout_prob did nothing with one layer."""
    model = models.new_bilstm(BiLSTMConfig(8, 6, num_layers=1, dropout_prob=0.5), tokenizer, SINGLE)
    batch = to_batch(model.encode([Example(SENTENCES[2], None, 0)]).batch([0]))
    model.train()
    assert len({tuple(model(batch).numpy()[0].tolist()) for _ in range(4)}) > 1
    model.eval()
    assert len({tuple(model(batch).numpy()[0].tolist()) for _ in range(2)}) == 1


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = models.new_bilstm(BiLSTMConfig(8, 6, num_layers=2), tokenizer, SINGLE)
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert isinstance(loaded, BiLSTM)
    assert (loaded.labels, loaded.config, loaded.description) == (SINGLE.labels, model.config, "BiLSTM 2x6")
    examples = [Example(text, None, 0) for text in SENTENCES]
    np.testing.assert_array_equal(logits(loaded, examples, [0, 1, 2]), logits(model, examples, [0, 1, 2]))
    again = models.new_bilstm(BiLSTMConfig(8, 6, num_layers=2), tokenizer, SINGLE, tmp_path / "model_state.pdparams")
    np.testing.assert_array_equal(logits(again, examples, [0, 1, 2]), logits(model, examples, [0, 1, 2]))


@pytest.mark.parametrize("info", [SINGLE, PAIR])
def test_quantized_answers_are_close_and_take_a_third_of_the_bytes(
    tokenizer: Tokenizer, tmp_path: Path, info: TaskInfo
) -> None:
    model = models.new_bilstm(BiLSTMConfig(64, 32), tokenizer, info)
    texts = [Example(text, text[::-1] if info.is_pair else None, 0) for text in SENTENCES]
    model.save(tmp_path / "whole")
    model.save(tmp_path / "small", quantized=True)
    again = models.load(tmp_path / "small")
    assert {str(tensor.dtype) for tensor in again.state_dict().values()} == {"paddle.float32"}
    table, own = (one.state_dict()["embedding.weight"].numpy() for one in (model, again))
    assert (np.abs(table - own).max(axis=1) <= np.abs(table).max(axis=1) / 254 + 1e-7).all(), (
        "half a step of each row's scale"
    )
    np.testing.assert_allclose(logits(again, texts, [0, 1, 2]), logits(model, texts, [0, 1, 2]), atol=5e-3)
    whole, small = ((tmp_path / name / "model_state.pdparams").stat().st_size for name in ("whole", "small"))
    assert small < whole / 2.5


def test_the_size_that_is_promised(tmp_path: Path) -> None:
    """A student of SST-2: 11.6 thousand wordpieces, embeddings 200 wide, 150 units a direction: 12 MB, quantised 4."""
    words = Tokenizer([*SPECIAL_TOKENS, *(f"word{number}" for number in range(11_600))])
    for quantized, most in ((False, 12), (True, 4)):
        (tmp_path / str(quantized)).mkdir()
        models.new_bilstm(BiLSTMConfig(200, 150, read_out="attention"), words, SINGLE).save(
            tmp_path / str(quantized), quantized
        )
        assert most / 2 < size_in_megabytes(tmp_path / str(quantized)) < most


def test_each_weight_is_stored_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Paddle's state of an LSTM has all of them twice."""
    model = models.new_bilstm(SHAPE, tokenizer, SINGLE)
    model.save(tmp_path)
    stored = read_state(tmp_path, (), lambda state: state)
    assert sum(weight.size for weight in stored.values()) == models.parameters(model)


def test_chinese_is_read_as_words_unless_asked_otherwise(tiny_vocab: Path, tmp_path: Path, tiny_bert: Path) -> None:
    """By bert-base-uncased's wordpieces two of three tokens of ChnSentiCorp's dev set are [UNK]."""
    texts = ["酒店很干净", "酒店很远"]
    by_default = models.student_tokenizer(texts, language="zh")
    assert by_default.segmenter == "jieba"
    assert by_default.vocab[5:] == ["酒店", "很", "干净", "远"]
    assert models.student_tokenizer(texts, str(tiny_bert), language="zh").segmenter == "bert"
    by_default.save(tmp_path)
    words = models.student_tokenizer(texts, vocab_path=str(tmp_path / "vocab.txt"), language="zh")
    (tmp_path / "senta.txt").write_text("[PAD]\n[UNK]\n酒店\n很\n", encoding="utf-8")
    theirs = models.student_tokenizer(texts, "bert-wwm-ext-chinese", str(tmp_path / "senta.txt"), language="zh")
    assert theirs.vocab == ["[PAD]", "[UNK]", "酒店", "很", "[CLS]", "[SEP]", "[MASK]"], (
        "PaddleNLP's file of words is read, too"
    )
    assert theirs.ids(["酒店很[MASK]干净"]) == [[2, 3, 6, 1]]
    assert (words.key, models.student_tokenizer(texts, vocab_path=str(tiny_vocab), language="zh").segmenter) == (
        by_default.key,
        "bert",
    )


def test_a_vocabulary_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """With its case; a plain list of words gets the special tokens that it lacks."""
    cased = Tokenizer([*SPECIAL_TOKENS, "Film", "good"], lowercase=False)
    cased.save(tmp_path)
    assert models.student_tokenizer([], vocab_path=str(tmp_path / "vocab.txt")).ids(["good Film"]) == [[6, 5]]
    (tmp_path / "words.txt").write_text("film\ngood\n")
    words = models.student_tokenizer([], vocab_path=str(tmp_path / "words.txt"))
    assert words.vocab == ["film", "good", *SPECIAL_TOKENS]
    assert words.ids(["Good film [MASK] none"]) == [[1, 0, words.index["[MASK]"], words.index["[UNK]"]]]


def test_pruned_student_is_smaller_than_its_teacher(tokenizer: Tokenizer, tiny_bert_12: Path, tmp_path: Path) -> None:
    """Defect 12: the distilled BiLSTM was bigger than its teacher, because of its word table."""
    pruned = tokenizer.pruned(SENTENCES)
    models.new_bilstm(SHAPE, pruned, SINGLE).save(tmp_path)
    assert len(pruned.vocab) < len(tokenizer.vocab)
    assert size_in_megabytes(tmp_path) < size_in_megabytes(tiny_bert_12) / 4


def test_broken_directories(tokenizer: Tokenizer, tmp_path: Path) -> None:
    models.new_bilstm(SHAPE, tokenizer, SINGLE).save(tmp_path)
    weights = tmp_path / "model_state.pdparams"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"model_state.pdparams is damaged or cut short"):
        models.load(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "task.json").unlink()
    with pytest.raises(UserError, match=r"no task.json"):
        models.load(tmp_path)
    with pytest.raises(UserError, match=r"no file .*nothing.pdparams"):
        models.new_bilstm(SHAPE, tokenizer, SINGLE, tmp_path / "nothing.pdparams")


def test_embeddings_start_from_word_vectors(tmp_path: Path) -> None:
    tokenizer = Tokenizer.of_words(["the film is good", "the film is bad"])
    (tmp_path / "glove.txt").write_text("film 1 2 3\nother 4 5 6\ngood 7 8 9\n")

    def table(embeddings: str | None) -> np.ndarray:
        paddle.seed(1)
        return models.new_bilstm(BiLSTMConfig(3, 4), tokenizer, SINGLE, embeddings=embeddings).embedding.weight.numpy()

    before, after = table(None), table(str(tmp_path / "glove.txt"))
    np.testing.assert_array_equal(after[tokenizer.index["film"]], [1, 2, 3])
    np.testing.assert_array_equal(after[tokenizer.index["good"]], [7, 8, 9])
    others = [number for number, word in enumerate(tokenizer.vocab) if word not in ("film", "good")]
    np.testing.assert_array_equal(after[others], before[others])
