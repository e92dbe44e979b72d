"""The other peer: PyTorch with transformers, in an environment of its own. Prints one JSON line."""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForSequenceClassification


def timed(items: Iterable[Any], work: Callable[[Any], object]) -> list[float]:
    found = []
    for item in items:
        start = time.perf_counter()
        work(item)
        found.append(time.perf_counter() - start)
    return found


def classifier(directory: str, attention: str) -> Any:
    """Without dropout."""
    return AutoModelForSequenceClassification.from_pretrained(
        directory,
        num_labels=2,
        attn_implementation=attention,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def training_step(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each step, by either implementation of attention."""
    random = np.random.default_rng(1)
    ids = torch.from_numpy(random.integers(1000, 20000, (args.batch_size, args.length)))
    labels = torch.zeros(args.batch_size, dtype=torch.long)
    found = {}
    for attention in ("eager", "sdpa"):
        model = classifier(args.student, attention).train()
        optimizer = torch.optim.AdamW(model.parameters(), 5e-5, weight_decay=0.0)

        def step(_: int, model: Any = model, optimizer: Any = optimizer) -> float:
            loss = F.cross_entropy(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        found[attention] = timed(range(args.steps + 2), step)[2:]
    return {"seconds": found}


class BiLSTM(nn.Module):
    """The shape of ours: embeddings, a bidirectional layer, last states, tanh(Linear), Linear."""

    def __init__(self, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.dense, self.classifier = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, 2)

    def forward(self, ids: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.classifier(torch.tanh(self.dense(torch.cat([last[-2], last[-1]], dim=-1))))


def bilstm_epoch(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an epoch over the batches that our side wrote: ids, lengths, labels, one after another."""
    with np.load(args.batches) as file:
        count = int(file["count"])
        shape = tuple(int(number) for number in file["shape"])
        made = [
            tuple(torch.from_numpy(file[f"{name}-{i}"]) for name in ("ids", "lengths", "labels")) for i in range(count)
        ]
    model = BiLSTM(*shape).train()
    optimizer = torch.optim.Adadelta(model.parameters(), 1.0, rho=0.95, eps=1e-6)

    def step(batch: Any) -> float:
        ids, lengths, labels = batch
        loss = F.cross_entropy(model(ids, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    timed(made[:3], step)
    return {"seconds": [sum(timed(made, step))]}


def inference(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a batch of each size."""
    model = BiLSTM(30522, 200, 150) if args.student == "bilstm" else classifier(args.student, "sdpa")
    model.eval()
    found = {}
    for size in (1, 32):
        ids = torch.from_numpy(np.random.default_rng(1).integers(1000, 20000, (size, args.length)))
        second = torch.full((size,), args.length) if args.student == "bilstm" else torch.ones_like(ids)
        with torch.inference_mode():
            taken = timed(range(args.steps + 3), lambda _, ids=ids, second=second: model(ids, second))  # type: ignore[misc]
        found[str(size)] = taken[3:]
    return {"seconds": found}


CLAIMS = {"training-step": training_step, "bilstm-epoch": bilstm_epoch, "inference": inference}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--student")
    parser.add_argument("--batches")
    for name, default in (("--steps", 5), ("--batch_size", 32), ("--length", 64), ("--threads", 2)):
        parser.add_argument(name, type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(CLAIMS[arguments.claim](arguments)))
