"""Our side where no recipe does just what is measured: inference, the words of the augmentation, the batches of an epoch. Prints JSON."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paddledistill import assets, models, runtime
from paddledistill.augment import word_replacement
from paddledistill.data.batching import bucketed_batches
from paddledistill.data.reading import load_split, load_training, texts_of
from paddledistill.data.tokenization import Tokenizer
from paddledistill.distill import objectives
from paddledistill.models.base import TaskInfo
from paddledistill.models.bilstm import BiLSTMConfig
from paddledistill.models.engine import Engine
from paddledistill.models.masked_lm import masked_lm
from paddledistill.models.paddlenlp import paddlenlp_transformers
from paddledistill.tasks import get_task
from paddledistill.training.evaluation import evaluating
from paddledistill.training.feeding import to_batch
from paddledistill.training.optimization import Optimization, build

CANDIDATES = 15
INFO = TaskInfo("sst-2", ("0", "1"), is_pair=False, max_seq_length=64)


def seconds_of(work: Callable[[], object], count: int) -> list[float]:
    """Of each of ``count`` calls after three that warm up."""
    found = []
    for _ in range(count + 3):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found[3:]


def inference(args: argparse.Namespace) -> dict[str, Any]:
    """An encoder answers in the inference engine; the BiLSTM in the dynamic graph."""
    found = {}
    for size in (1, 32):
        ids = np.random.default_rng(1).integers(1000, 20000, (size, args.length))
        if args.student == "bilstm":
            tokenizer = Tokenizer.from_directory(Path(args.teacher))
            lstm = models.new_bilstm(BiLSTMConfig(200, 150), tokenizer, INFO)
            batch = {"input_ids": ids, "lengths": np.full(size, args.length)}
            with evaluating(lstm):
                found[str(size)] = seconds_of(lambda lstm=lstm, batch=batch: lstm(to_batch(batch)).numpy(), args.steps)  # type: ignore[misc]
        else:
            batch = {"input_ids": ids, "token_type_ids": 0 * ids, "attention_mask": 0 * ids + 1}
            engine = Engine(models.load(args.student), batch)
            if engine.kind == "paddle":
                raise SystemExit("the inference engine could not be made")
            found[str(size)] = seconds_of(lambda engine=engine, batch=batch: engine.run(batch), args.steps)  # type: ignore[misc]
    return {"seconds": found}


def masked_words(args: argparse.Namespace) -> dict[str, Any]:
    """The words of some sentences: as inputs for the peer, written to ``--jobs``, and our candidates for them."""
    model = masked_lm("minilm-l6")
    texts = [example.text_a for example in load_split(get_task("SST-2"), "train", args.data_dir)[: args.steps]]
    sentences = word_replacement.split(texts, model.tokenizer)
    inputs = [
        [
            word_replacement.masked_input(sentence, word, model.tokenizer, model.max_seq_length)
            for word in sentence.masked
        ]
        for sentence in sentences
    ]
    jobs = [
        [(item.ids, [int(at >= item.second) for at in range(len(item.ids))], item.position) for item in row]
        for row in inputs
    ]
    Path(args.jobs).write_text(json.dumps(jobs), encoding="utf-8")
    model.accelerate()
    asked = [(sentence, word) for sentence in sentences for word in sentence.masked]
    chosen = word_replacement.predict(model, asked, CANDIDATES, 32)
    allowed = [number for number, piece in enumerate(model.tokenizer.vocab) if word_replacement.is_replaceable(piece)]
    return {"candidates": chosen.tolist(), "allowed": allowed}


def plain_model(args: argparse.Namespace) -> dict[str, Any]:
    """The embedded masked language model as a PaddleNLP directory, for the peer."""
    target = Path(args.masked_lm)
    target.mkdir(parents=True, exist_ok=True)
    model = masked_lm("minilm-l6")
    model.save(target)
    return {}


def vocabulary(args: argparse.Namespace) -> dict[str, Any]:
    """The wordpieces of all training text, which the recipe of the BiLSTM would keep."""
    texts = texts_of(load_training(get_task("SST-2"), args.data_dir))
    kept = Tokenizer.from_directory(assets.directory("minilm-l6")).pruned(texts).vocab
    Path(args.vocabulary).write_text("\n".join(kept) + "\n", encoding="utf-8")
    return {"wordpieces": len(kept)}


def student(args: argparse.Namespace) -> dict[str, Any]:
    """Layers 1, 3 and 5 of the embedded encoder as a PaddleNLP directory, with its dropout."""
    target = Path(args.student)
    target.mkdir(parents=True, exist_ok=True)
    runtime.seed_everything(1)
    models.new_encoder_classifier("minilm-l6", INFO, layers=[1, 3, 5]).save(target)
    return {}


def epoch(args: argparse.Namespace) -> dict[str, Any]:
    """The batches of the run in ``--student``'s first epoch, for PyTorch: the same rows, in the same order, padded the same."""
    model = models.load(args.student)
    run = json.loads((Path(args.student) / "run.json").read_text(encoding="utf-8"))
    examples = load_training(get_task("SST-2"), args.data_dir, limit=run["arguments"]["limit"])
    dataset = model.encode(examples)
    batches = bucketed_batches(dataset.lengths, run["arguments"]["batch_size"], run["seed"], 0)
    arrays: dict[str, Any] = {"count": len(batches), "shape": (len(model.tokenizer), 300, 300)}
    for number, rows in enumerate(batches):
        batch = dataset.batch(rows)
        arrays |= {
            f"ids-{number}": batch["input_ids"],
            f"lengths-{number}": batch["lengths"],
            f"labels-{number}": batch["labels"],
        }
    np.savez(args.batches, **arrays)
    return {"batches": len(batches), "tokens": int(dataset.lengths.sum())}


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of training steps of 32 rows, for an encoder of a given shape with new weights, dropout 0."""
    tokenizer = Tokenizer.from_directory(assets.directory("minilm-l6"))
    transformers = paddlenlp_transformers()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer.vocab), hidden_size=args.width, num_hidden_layers=args.layers, intermediate_size=4 * args.width,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = models.EncoderClassifier(transformers.BertForSequenceClassification(config), tokenizer, INFO)
    optimizer, objective = build(Optimization(1e-5), model), objectives.supervised(model)
    ids = np.random.default_rng(1).integers(1000, 20000, (32, args.length))
    batch = to_batch(
        {"input_ids": ids, "token_type_ids": 0 * ids, "attention_mask": 0 * ids + 1, "labels": 0 * ids[:, 0]}
    )
    model.train()

    def step() -> None:
        loss = objective(batch)["supervised"]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()

    return {"seconds": seconds_of(step, args.steps)}


WORK = {
    "scaling": scaling,
    "inference": inference,
    "masked-words": masked_words,
    "plain-model": plain_model,
    "vocabulary": vocabulary,
    "student": student,
    "epoch": epoch,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=WORK)
    for name in ("--teacher", "--student", "--masked_lm", "--jobs", "--batches", "--vocabulary"):
        parser.add_argument(name)
    parser.add_argument("--data_dir", type=Path)
    for name, default in (("--steps", 5), ("--length", 32), ("--layers", 6), ("--width", 384)):
        parser.add_argument(name, type=int, default=default)
    runtime.load_paddle()
    arguments = parser.parse_args()
    print(json.dumps(WORK[arguments.work](arguments)))
