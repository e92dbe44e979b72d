#!/usr/bin/env python
"""Store a trained BiLSTM in a third of its bytes: int8 embeddings, float16 for the rest. Tells what that costs on dev."""

import argparse
import logging
import time
from pathlib import Path

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags

logger = logging.getLogger("quantize")


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "",
        epilog="example: quantize.py --model_dir runs/distilled --data_dir glue --output_dir runs/distilled-int8",
    )
    parser.add_argument(
        "--model_dir", type=Path, required=True, help="run of distill.py or small.py, or its best_model"
    )
    parser.add_argument("--data_dir", "--glue_dir", type=Path, help="folder that holds the task's dev set")
    flags.add_output_flags(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Measure, store, load, measure again."""
    from paddledistill import models
    from paddledistill.data.reading import digest_examples, load_dev_sets
    from paddledistill.errors import UserError
    from paddledistill.files import digest, read_json, size_in_megabytes, write_json
    from paddledistill.models.bilstm import is_quantized
    from paddledistill.report.conclusion import conclude
    from paddledistill.tasks import get_task
    from paddledistill.training.evaluation import evaluate
    from paddledistill.training.run_directory import RUN_FILE, Result, RunDirectory, best_model

    started, source = time.perf_counter(), best_model(args.model_dir)
    model = models.load(source)
    if not isinstance(model, models.BiLSTM):
        raise UserError(f"{args.model_dir} is a {model.description}, no BiLSTM: this stores BiLSTMs alone")
    if is_quantized(source):
        raise UserError(f"{args.model_dir} has int8 embeddings already: give the run that it was made of")
    task = get_task(model.info.name, args.data_dir)
    dev = load_dev_sets(task, args.data_dir)
    inputs = {"model": digest(source), "data": digest_examples(*dev.values())}
    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    run.begin()
    before = evaluate(model, {name: model.encode(rows) for name, rows in dev.items()}, task.metrics).metrics
    run.save_model(0, lambda directory: model.save(directory, quantized=True), is_best=True, keep=1)
    smaller = models.load(run.path)
    after = evaluate(smaller, {name: smaller.encode(rows) for name, rows in dev.items()}, task.metrics).metrics
    told = [", ".join(f"{name} {scores[name]:.4f}" for name in scores) for scores in (before, after)]
    target = best_model(run.path)
    write_json(target / "metrics.json", {"step": 0, **after})
    card = source / "README.md"
    (target / "README.md").write_text(
        (card.read_text(encoding="utf-8") if card.is_file() else f"# {model.description} for {task.name}\n")
        + f"\n## int8\n\nEmbeddings as int8, all else as float16, by `{run.content['command']}`: dev {told[1]} (before: {told[0]}).\n",
        encoding="utf-8",
    )
    trained = source.parent / RUN_FILE
    rows = read_json(trained).get("rows", 0) if trained.is_file() else 0
    conclude(run, Result(after, 0, 0, round(time.perf_counter() - started, 1)), rows, dev["dev"], task, None)
    for what, directory, scores in zip(("float32", "int8 and float16"), (source, target), told, strict=True):
        print(f"{what}: {size_in_megabytes(directory):.2f} MB; dev {scores}")


if __name__ == "__main__":
    cli.run(main, build_parser())
