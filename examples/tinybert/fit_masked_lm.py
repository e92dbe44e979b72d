#!/usr/bin/env python
"""Fit a masked-LM head and a low-rank update to a pre-trained encoder that came without one.

This made the weights that the project ships for minilm-l6. Any general text will do: UTF-8, a paragraph a line, a blank line
between articles. Every hundredth article is held out and measured on; paragraphs that hold a dev or test sentence of a task are
dropped.
"""

import argparse
import logging
import shutil
import time
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags

logger = logging.getLogger("fit_masked_lm")


def build_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(
        __doc__,
        epilog="example: fit_masked_lm.py --corpus wikipedia.txt --max_steps 1000 --weight_decay 0.01 --output_dir runs/masked_lm",
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model_name_or_path", default="minilm-l6", help="local directory or embedded encoder, a bert")
    model.add_argument(
        "--rank", type=cli.positive_int, default=16, help="rank of the change of each matrix of the encoder"
    )
    flags.add_text_flags(parser, max_seq_length=64, held_out_rows=512)
    flags.add_adamw_flags(flags.add_optimization_flags(parser, batch_size=32, learning_rate=3e-3, epochs=1))
    flags.add_run_flags(parser, seed=42)
    result = parser.add_argument_group("result")
    result.add_argument("--weights", type=cli.new_file, help="where to put the update at the end (a .npz of float16)")
    result.add_argument("--results", type=cli.new_file, help="where to put the figures at the end (a .json)")
    return parser


def main(args: argparse.Namespace) -> None:
    """Build, run, report."""
    import numpy as np

    from paddledistill import files, models, parallel, runtime
    from paddledistill.data.masked_text import mask_text
    from paddledistill.data.packed_text import packed
    from paddledistill.data.plain_text import digest_text
    from paddledistill.data.reading import digest_examples, held_out_rows
    from paddledistill.data.tokenization import Tokenizer
    from paddledistill.distill import objectives
    from paddledistill.errors import UserError
    from paddledistill.models import masked_lm as mlm
    from paddledistill.models.weights import read_config
    from paddledistill.training import loop
    from paddledistill.training.evaluation import evaluate_guesses
    from paddledistill.training.run_directory import RunDirectory, best_model, read_metrics

    encoder = mlm.pretrained_directory(args.model_name_or_path)
    positions = read_config(encoder).get("max_position_embeddings", 512)
    if args.max_seq_length > positions:
        raise UserError(f"--max_seq_length {args.max_seq_length} is beyond the {positions} positions of {encoder}")
    inputs = {"encoder": models.identify(args.model_name_or_path), "corpus": digest_text(args.corpus)}
    guarded = held_out_rows(args.data_dir)
    inputs["guarded rows"] = digest_examples(guarded)
    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    runtime.start(args.device, args.seed, args.amp)
    tokenizer = Tokenizer.from_directory(encoder)
    text = packed(args.corpus, tokenizer, guarded)
    rows = mask_text(text.train, tokenizer, args.max_seq_length, args.seed)
    held_out_set = mask_text(text.held_out, tokenizer, args.max_seq_length, args.seed, args.held_out_rows)
    model = mlm.add_update(args.model_name_or_path, args.rank, np.bincount(text.train))
    result = loop.train(
        model,
        objectives.supervised(model),
        rows,
        run,
        flags.adamw(args, args.learning_rate),
        flags.plan(args, "loss"),
        lambda: evaluate_guesses(model, held_out_set),
    )

    if not parallel.is_main():
        run.finish(result, rows=len(rows))
        return
    update = best_model(run.path) / mlm.UPDATE_FILE
    as_loaded = mlm.masked_lm(args.model_name_or_path, update)  # rounded to float16 and merged
    shipped = evaluate_guesses(as_loaded, held_out_set).metrics
    logger.info("held-out articles, as loaded: loss %.3f, accuracy %.1f%%", shipped["loss"], 100 * shipped["accuracy"])
    if args.results:
        curve = [
            {key: line[key] for key in ("step", "loss", "accuracy")}
            for line in read_metrics(run.path)
            if line["kind"] == "eval"
        ]
        size = {"parameters": mlm.trainable(model), "megabytes": round(update.stat().st_size / 1e6, 2)}
        files.write_json(args.results, figures(args, run.content, result.seconds, shipped, curve) | {"update": size})
    if args.weights:
        with files.atomic_file(args.weights) as partial:
            shutil.copyfile(update, partial)
    run.finish(result, rows=len(rows))


def figures(
    args: argparse.Namespace, run: dict[str, Any], seconds: float, shipped: dict[str, float], curve: list[Any]
) -> dict[str, Any]:
    """The result file: one row in the common layout, and the curve of the held-out loss."""
    from paddledistill.report.rows import row_of

    accuracy = round(100 * shipped["accuracy"], 2)
    row = row_of(
        task="masked wordpieces of held-out articles", system=f"{args.model_name_or_path}, rank {args.rank}", role="alone",
        split="dev", metric="accuracy", values=[accuracy], mean=accuracy, minutes=round(seconds / 60, 1), command=run["command"],
    )  # fmt: skip
    about = {key: run[key] for key in ("command", "machine", "versions", "seed", "inputs")}
    loss = round(shipped["loss"], 4)
    return {**about, "date": time.strftime("%Y-%m-%d"), "loss": loss, "rows": [row], "curve": curve}


if __name__ == "__main__":
    cli.run(main, build_parser())
