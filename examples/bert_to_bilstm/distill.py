#!/usr/bin/env python
"""Distil a BiLSTM from a fine-tuned BERT: alpha * CE + (1 - alpha) * MSE of the logits (arXiv 1903.12136).

The student reads the training text and masked and shortened copies of it, and learns what the teacher answers to each. The
teacher's answers are computed once and read back.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags
from paddledistill.errors import UserError

logger = logging.getLogger("distill")

COPIES = 20  # of each sentence, as in the paper and in PaddleNLP's example
OF_COPIES = ("p_mask", "p_pos", "p_ng", "ngram_range", "whole_word_mask")


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's distill_lstm/bert_distill.py, and ours."""
    parser = cli.Parser(
        __doc__,
        epilog="example: distill.py --task_name movie-reviews --teacher_dir runs/teacher --max_epoch 6 --output_dir runs/distilled",
    )
    teacher = parser.add_argument_group("teacher")
    teacher.add_argument(
        "--teacher_dir",
        "--teacher_path",
        dest="teacher_dir",
        type=lambda text: str(Path(text).parent if text.endswith(".pdparams") and not Path(text).is_dir() else text),
        required=True,
        help="best_model directory or run directory of run_glue.py, or the .pdparams file in one",
    )
    teacher.add_argument(
        "--alpha", type=cli.probability, default=0.0, help="weight of the labels; 0: the teacher's logits alone"
    )
    teacher.add_argument(
        "--logits_loss",
        choices=["mse", "soft"],
        default="mse",
        help="on the teacher's logits: squared error as published, or cross-entropy softened by --T",
    )
    teacher.add_argument("--T", type=cli.positive_float, default=1.0, help="temperature of the soft cross-entropy")
    augmentation = parser.add_argument_group("augmentation")
    augmentation.add_argument(
        "--n_iter",
        type=cli.non_negative_int,
        help=f"copies drawn of each sentence (default: {COPIES}; with --use_aug, whose rows are copies already, 0)",
    )
    augmentation.add_argument(
        "--p_mask", type=cli.probability, default=0.1, help="probability that a wordpiece becomes [MASK] in a copy"
    )
    augmentation.add_argument(
        "--p_pos",
        type=cli.probability,
        default=0.0,
        help="probability that a word gives way to another of the same part of speech (0.1 in the paper)",
    )
    augmentation.add_argument(
        "--p_ng",
        type=cli.probability,
        default=0.25,
        help="probability that a copy is cut to a few words",
    )
    augmentation.add_argument(
        "--ngram_range",
        type=cli.positive_int,
        nargs=2,
        metavar=("FEWEST", "MOST"),
        help="how few: 2 6 (Chinese: 2 10) as in PaddleNLP's example; the paper's are 1 5",
    )
    augmentation.add_argument(
        "--use_aug", action="store_true", help="start from train_aug.tsv of data_augmentation.py instead of train.tsv"
    )
    augmentation.add_argument(
        "--whole_word_mask", action="store_true", help="mask words as a whole, as in the paper, not their wordpieces"
    )
    augmentation.add_argument(
        "--unlabelled",
        type=Path,
        help="more text for the teacher to answer, a sentence a line (pairs: apart by a tab), .gz and directories too",
    )
    flags.add_bilstm_flags(parser)
    flags.add_run_flags(parser, seed=2021, logging_flag="--log_freq", logging_steps=10)
    flags.add_seeds_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """One run, or one for each seed and what they have in common."""
    refuse_what_does_nothing(args)
    if args.ngram_range and args.ngram_range[0] > args.ngram_range[1]:
        raise UserError("--ngram_range: the fewest words come first, for example 1 5")
    if args.p_mask + args.p_pos > 1:
        raise UserError(f"--p_mask {args.p_mask} and --p_pos {args.p_pos} share out the words: give at most 1 together")
    if args.unlabelled and args.alpha:
        raise UserError("--unlabelled text has no labels: give --alpha 0, so that the teacher alone is followed")
    if args.unlabelled and not args.unlabelled.exists():
        raise UserError(f"no text {args.unlabelled}: give --unlabelled a sentence a line (pairs: apart by a tab)")
    if args.n_iter is None:
        args.n_iter = 0 if args.use_aug else COPIES
    flags.each_seed(args, distil)


def refuse_what_does_nothing(args: argparse.Namespace) -> None:
    """:raises UserError: for flags of copies where none are drawn, and of the teacher's logits where they do not count."""
    refuse = partial(flags.refuse, build_parser(), args)
    if args.use_aug and args.n_iter is None:
        refuse(OF_COPIES, "{flag} is for copies, and --use_aug draws none itself: give --n_iter, or leave it out")
    if args.alpha == 1:
        refuse(
            ["logits_loss"], "{flag} is of the teacher's logits, and --alpha 1 follows the labels alone: leave one out"
        )
    if args.logits_loss != "soft":
        refuse(["T"], "{flag} softens cross-entropy: give --logits_loss soft, or leave it out")


def distil(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import models, runtime
    from paddledistill.augment.bilstm import Augmentation, augmented
    from paddledistill.augment.tagging import tagger
    from paddledistill.data.plain_text import load_unlabelled
    from paddledistill.data.reading import digest_examples, held_out_guard, load_dev_sets, load_training, texts_of
    from paddledistill.distill import objectives
    from paddledistill.distill.teacher import load_teacher, with_logits
    from paddledistill.files import digest
    from paddledistill.report.conclusion import conclude
    from paddledistill.tasks import get_task
    from paddledistill.training import loop
    from paddledistill.training.evaluation import evaluate
    from paddledistill.training.run_directory import RunDirectory, best_model

    task = get_task(args.task_name, args.data_dir)
    if task.is_regression and args.logits_loss == "soft":
        raise UserError(f"--logits_loss soft is for classes, and {task.name} has scores: leave it out")
    inputs = {"teacher": digest(best_model(args.teacher_dir))}
    examples = load_training(task, args.data_dir, augmented=args.use_aug, limit=args.limit)
    if args.unlabelled:
        examples = [row._replace(label=None) for row in examples] + load_unlabelled(
            task, args.unlabelled, args.data_dir
        )
    dev = load_dev_sets(task, args.data_dir, args.limit_dev)
    inputs["data"], texts = digest_examples(examples, *dev.values()), texts_of(examples)
    tokenizer = models.student_tokenizer(texts, args.model_name, args.vocab_path, args.min_count, task.language)
    inputs["vocabulary"] = tokenizer.key
    inputs |= models.identify_start(args.init_from_ckpt, args.embedding_name)

    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    runtime.start(args.device, args.seed, args.amp)
    student = models.new_bilstm(
        flags.bilstm_config(args), tokenizer, models.TaskInfo.of(task, args.max_seq_length), args.init_from_ckpt, args.embedding_name
    )  # fmt: skip
    teacher = load_teacher(args.teacher_dir, task, args.max_seq_length)
    fewest, most = args.ngram_range or (2, 6 if task.language == "en" else 10)
    augmentation = Augmentation(args.n_iter, args.p_mask, args.p_pos, args.p_ng, (fewest, most), args.whole_word_mask)
    guard = held_out_guard(task, args.data_dir)
    copies = augmented(examples, tokenizer, augmentation, args.seed, guard, tagger(task.language))
    logger.info("%d sentences and copies from %d", len(copies), len(examples))
    train_set, plan = student.encode(copies), flags.plan(args, task.best_metric)
    if args.alpha < 1:
        read = loop.rows_read(train_set, run, plan)
        train_set = with_logits(train_set, teacher, inputs["teacher"], copies, args.max_seq_length, read)
    dev_sets = {name: student.encode(rows) for name, rows in dev.items()}
    result = loop.train(
        student,
        objectives.prediction(student, args.T if args.logits_loss == "soft" else None, 1 - args.alpha, args.alpha),
        train_set,
        run,
        flags.bilstm_optimization(args),
        plan,
        lambda: evaluate(student, dev_sets, task.metrics),
        start_from=args.init_from_ckpt,
    )
    conclude(run, result, len(copies), dev["dev"], task, "BiLSTM, distilled")


if __name__ == "__main__":
    cli.run(main, build_parser())
