#!/usr/bin/env python
"""Train the BiLSTM student without a teacher: the baseline that distill.py has to beat."""

import argparse
import logging

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags

logger = logging.getLogger("small")


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's distill_lstm/small.py, and ours."""
    parser = cli.Parser(
        __doc__,
        epilog="example: small.py --task_name movie-reviews --max_epoch 10 --dropout_prob 0.4 --output_dir runs/bilstm",
    )
    flags.add_bilstm_flags(parser)
    kept = parser.add_argument_group(
        "kept for the original recipes, whose scripts share their flags; these are of distill.py"
    )
    for name in ("--n_iter", "--alpha", "--teacher_dir"):
        kept.add_argument(name, help=argparse.SUPPRESS)
    kept.add_argument("--whole_word_mask", action="store_true", help=argparse.SUPPRESS)
    flags.add_run_flags(parser, seed=2021, logging_flag="--log_freq", logging_steps=10)
    flags.add_seeds_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """One run, or one for each seed and what they have in common."""
    flags.each_seed(args, train)


def train(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import models, runtime
    from paddledistill.data.reading import digest_examples, load_dev_sets, load_training, texts_of
    from paddledistill.distill import objectives
    from paddledistill.report.conclusion import conclude
    from paddledistill.tasks import get_task
    from paddledistill.training import loop
    from paddledistill.training.evaluation import evaluate
    from paddledistill.training.run_directory import RunDirectory

    task = get_task(args.task_name, args.data_dir)
    examples, dev = (
        load_training(task, args.data_dir, limit=args.limit),
        load_dev_sets(task, args.data_dir, args.limit_dev),
    )
    texts = texts_of(examples)
    tokenizer = models.student_tokenizer(texts, args.model_name, args.vocab_path, args.min_count, task.language)
    inputs = {"data": digest_examples(examples, *dev.values()), "vocabulary": tokenizer.key}
    inputs |= models.identify_start(args.init_from_ckpt, args.embedding_name)

    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    runtime.start(args.device, args.seed, args.amp)
    model = models.new_bilstm(
        flags.bilstm_config(args), tokenizer, models.TaskInfo.of(task, args.max_seq_length), args.init_from_ckpt, args.embedding_name
    )  # fmt: skip
    dev_sets = {name: model.encode(rows) for name, rows in dev.items()}
    result = loop.train(
        model,
        objectives.supervised(model),
        model.encode(examples),
        run,
        flags.bilstm_optimization(args),
        flags.plan(args, task.best_metric),
        lambda: evaluate(model, dev_sets, task.metrics),
        start_from=args.init_from_ckpt,
    )
    conclude(run, result, len(examples), dev["dev"], task, "BiLSTM")


if __name__ == "__main__":
    cli.run(main, build_parser())
