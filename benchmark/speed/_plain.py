"""The peer: a plain Paddle loop that works as the PaddleNLP examples do. Never imports paddledistill.

Tokenises in Python each time a row is read, pads random batches to their longest row, asks the teacher in the dynamic graph for every
batch, keeps dropout on in student and teacher, computes attentions and hidden states in both stages. Prints one JSON line.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddlenlp.transformers import BertForMaskedLM, BertForSequenceClassification, BertTokenizer
from paddlenlp.transformers.distill_utils import to_distill

Row = tuple[str, int]


def sentences(file: Path) -> list[Row]:
    lines = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    rows = [(text, int(label)) for text, label in lines]
    random.Random(1).shuffle(rows)
    return rows


def batches(rows: Sequence[Row], size: int, convert: Callable[[str], list[int]]) -> Iterator[tuple[Any, Any, Any]]:
    """(ids, mask, labels): each row converted when it is read, each batch padded to its longest row."""
    for first in range(0, len(rows) - size, size):
        part = rows[first : first + size]
        ids = [convert(text) for text, _ in part]
        longest = max(map(len, ids))
        padded = np.array([row + [0] * (longest - len(row)) for row in ids])
        lengths = np.array([len(row) for row in ids])
        yield padded, lengths, np.array([label for _, label in part])


def timed(steps: Iterator[Any], work: Callable[[Any], object], count: int) -> list[float]:
    """Seconds of each of ``count`` steps after the first, its batch included."""
    found = []
    for _ in range(count + 1):
        start = time.perf_counter()
        work(next(steps))
        found.append(time.perf_counter() - start)
    return found[1:]


def update(optimizer: Any, loss: Any) -> float:
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    return float(loss)


def soft_cross_entropy(student: Any, teacher: Any) -> Any:
    return -(F.softmax(teacher) * F.log_softmax(student)).sum(-1).mean()


def load(directory: str) -> Any:
    return BertForSequenceClassification.from_pretrained(directory)


def tinybert(args: argparse.Namespace) -> dict[str, Any]:
    """Both stages: ``intermediate`` of hidden states and attention scores, else ``prediction`` of logits."""
    teacher = to_distill(load(args.teacher), return_attentions=True, return_layer_outputs=True)
    student = to_distill(load(args.student), return_attentions=True, return_layer_outputs=True)
    tokenizer = BertTokenizer(str(Path(args.teacher) / "vocab.txt"), do_lower_case=True)
    optimizer = paddle.optimizer.AdamW(5e-5, parameters=student.parameters(), weight_decay=0.0)
    depth = student.bert.config.num_hidden_layers
    zero_masked = lambda scores: paddle.where(scores <= -1e2, paddle.zeros_like(scores), scores)  # noqa: E731

    def step(batch: tuple[Any, Any, Any]) -> float:
        ids = paddle.to_tensor(batch[0])
        logits = student(ids)
        with paddle.no_grad():
            goal = teacher(ids)
        if args.claim == "tinybert-prediction":
            return update(optimizer, soft_cross_entropy(logits, goal))
        own, other = student.outputs, teacher.outputs
        loss = sum(
            F.mse_loss(own.hidden_states[i], other.hidden_states[2 * i].detach()) for i in range(depth + 1)
        ) + sum(
            F.mse_loss(zero_masked(own.attentions[i]), zero_masked(other.attentions[2 * i + 1]).detach())
            for i in range(depth)
        )
        return update(optimizer, loss)

    convert = lambda text: tokenizer(text, max_seq_len=64)["input_ids"]  # noqa: E731
    seconds = timed(batches(sentences(args.data), args.batch_size, convert), step, args.steps)
    return {"seconds": seconds}


class BiLSTM(nn.Layer):
    """As in the distill_lstm example."""

    def __init__(self, vocabulary: int, width: int = 300, hidden: int = 300) -> None:
        super().__init__()
        self.embedder = nn.Embedding(vocabulary, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, direction="bidirectional")
        self.fc, self.output = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, 2)

    def forward(self, ids: Any, lengths: Any) -> Any:
        _, (last, _) = self.lstm(self.embedder(ids), sequence_length=lengths)
        return self.output(F.tanh(self.fc(paddle.concat([last[-2], last[-1]], axis=-1))))


def bilstm(args: argparse.Namespace) -> dict[str, Any]:
    """The teacher reads every batch again."""
    teacher = load(args.teacher)
    teacher.eval()
    tokenizer = BertTokenizer(str(Path(args.teacher) / "vocab.txt"), do_lower_case=True)
    student = BiLSTM(len(tokenizer.vocab))
    optimizer = paddle.optimizer.Adadelta(1.0, epsilon=1e-6, rho=0.95, parameters=student.parameters())

    def step(batch: tuple[Any, Any, Any]) -> float:
        ids, lengths, _ = batch
        with paddle.no_grad():
            goal = teacher(paddle.to_tensor(ids))
        text = np.where(
            ids[:, 1:] == tokenizer.sep_token_id, 0, ids[:, 1:]
        )  # the student reads it without [CLS] and [SEP]
        return update(optimizer, F.mse_loss(student(paddle.to_tensor(text), paddle.to_tensor(lengths - 2)), goal))

    convert = lambda text: tokenizer(text, max_seq_len=128)["input_ids"]  # noqa: E731
    return {"seconds": timed(batches(sentences(args.data), args.batch_size, convert), step, args.steps)}


def training_step(args: argparse.Namespace) -> dict[str, Any]:
    """A step of fine-tuning without dropout, ``--batch_size`` x ``--length`` tokens."""
    model = load(args.student)
    for layer in model.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0
        if isinstance(layer, nn.MultiHeadAttention):
            layer.dropout = 0
    optimizer = paddle.optimizer.AdamW(5e-5, parameters=model.parameters(), weight_decay=0.0)
    ids = paddle.to_tensor(np.random.default_rng(1).integers(1000, 20000, (args.batch_size, args.length)))
    labels = paddle.zeros([args.batch_size], "int64")
    step = lambda _: update(optimizer, F.cross_entropy(model(ids), labels))  # noqa: E731
    return {"seconds": timed(iter(range(args.steps + 1)), step, args.steps)}


def augmentation(args: argparse.Namespace) -> dict[str, Any]:
    """One forward a word, of one row, all positions projected on the vocabulary, the graph of gradients kept.

    ``answers``: what the model says of each word, for comparison: its scores, best first, and their ids.
    """
    model = BertForMaskedLM.from_pretrained(args.masked_lm)
    model.eval()
    jobs = json.loads(Path(args.jobs).read_text(encoding="utf-8"))
    seconds, answers = [], []
    for sentence in jobs:
        start = time.perf_counter()
        for ids, segments, position in sentence:
            scores = model(paddle.to_tensor([ids]), token_type_ids=paddle.to_tensor([segments]))
            scores = scores[0] if isinstance(scores, tuple) else scores
            best = paddle.argsort(scores[0], descending=True)[position, :200]
            answers.append((best.tolist(), scores[0, position].detach()[best].tolist()))
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:], "answers": answers}


def inference(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a batch of each size."""
    model: Any = load(args.student) if args.student != "bilstm" else BiLSTM(30522, 200, 150)
    model.eval()
    found = {}
    for size in (1, 32):
        ids = paddle.to_tensor(np.random.default_rng(1).integers(1000, 20000, (size, args.length)))
        inputs = (ids, paddle.full([size], args.length, "int64")) if args.student == "bilstm" else (ids,)
        with paddle.no_grad():
            taken = timed(iter(range(args.steps + 3)), lambda _, inputs=inputs: model(*inputs).numpy(), args.steps + 2)  # type: ignore[misc]
        found[str(size)] = taken[2:]
    return {"seconds": found}


CLAIMS = {
    "tinybert-intermediate": tinybert,
    "tinybert-prediction": tinybert,
    "bilstm-distillation": bilstm,
    "training-step": training_step,
    "augmentation": augmentation,
    "inference": inference,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claim", choices=CLAIMS)
    for name in ("--teacher", "--student", "--masked_lm", "--jobs"):
        parser.add_argument(name)
    parser.add_argument("--data", type=Path)
    for name, default in (("--steps", 5), ("--batch_size", 32), ("--length", 64)):
        parser.add_argument(name, type=int, default=default)
    arguments = parser.parse_args()
    print(json.dumps(CLAIMS[arguments.claim](arguments)))
