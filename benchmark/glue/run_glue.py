#!/usr/bin/env python
"""Fine-tune a BERT-like encoder on a GLUE task, on ChnSentiCorp, on the embedded movie reviews or on a task of your own.

The result is a teacher for the recipes in examples/, or, with --init_from_layers, the student that has no teacher.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags, parallel
from paddledistill.errors import UserError

logger = logging.getLogger("run_glue")

MAX_SEQ_LENGTH = 128


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's run_glue.py, and ours."""
    parser = cli.Parser(
        __doc__,
        epilog="example: run_glue.py --model_name_or_path minilm-l6 --task_name movie-reviews --output_dir runs/teacher",
    )
    flags.add_encoder_flags(
        parser, "model", help="local directory, embedded encoder (minilm-l6) or PaddleNLP name (bert-base-uncased)"
    )
    flags.add_training_task_flags(parser).add_argument(
        "--max_seq_length",
        type=cli.positive_int,
        help=f"longest input in wordpieces (default: {MAX_SEQ_LENGTH}; with --do_eval the model's own)",
    )
    training = flags.add_optimization_flags(parser, batch_size=32, learning_rate=1e-4, epochs=3)
    flags.add_adamw_flags(training)
    training.add_argument(
        "--label_smoothing",
        type=cli.probability,
        default=0.0,
        help="share of each label that is spread over all labels",
    )
    training.add_argument(
        "--early_stopping_patience",
        type=cli.positive_int,
        help="stop after so many evaluations in a row without a better model",
    )
    training.add_argument(
        "--freeze_layers",
        type=cli.non_negative_int,
        default=0,
        help="keep the lowest so many layers, and the embeddings, as they are",
    )
    training.add_argument("--freeze_embeddings", action="store_true", help="keep the embeddings as they are")
    flags.add_run_flags(parser, seed=42)
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument(
        "--do_predict",
        action="store_true",
        help="also answer the test files by the best model, for the GLUE server: NAME.tsv, and submission.zip of all there",
    )
    evaluation.add_argument(
        "--predict_dir", type=Path, help="where answers go; one for all tasks (default: OUTPUT_DIR/submission)"
    )
    evaluation.add_argument(
        "--do_eval",
        action="store_true",
        help="train nothing: evaluate --model_name_or_path, a fine-tuned model or a run, into OUTPUT_DIR/evaluation.json and .html, which "
        "--overwrite replaces",
    )
    flags.add_seeds_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """One run, or one for each seed and what they have in common, or an evaluation alone."""
    if args.predict_dir and not args.do_predict:
        raise UserError("--predict_dir is where --do_predict puts its answers: give both, or neither")
    if args.do_eval:
        why = "--do_eval trains nothing, so there is nothing for {flag} to change: leave it out"
        flags.refuse(build_parser(), args, ["seeds", "init_from_layers", "model_type"], why)
        evaluate_only(args)
        return
    args.max_seq_length = args.max_seq_length or MAX_SEQ_LENGTH
    if args.seeds and args.predict_dir:
        raise UserError(
            "--predict_dir is for the answers of one run: leave it out, each seed's go to its own directory"
        )
    flags.each_seed(args, fine_tune)


def fine_tune(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import models, runtime
    from paddledistill.data.reading import digest_examples, load_dev_sets, load_training
    from paddledistill.distill import objectives
    from paddledistill.report.conclusion import conclude
    from paddledistill.tasks import get_task
    from paddledistill.training import loop
    from paddledistill.training.evaluation import evaluate
    from paddledistill.training.run_directory import RunDirectory

    task = get_task(args.task_name, args.data_dir)
    if args.label_smoothing and task.is_regression:
        raise UserError(f"--label_smoothing is for classes, and {task.name} has scores: leave it out")
    inputs = {"encoder": models.identify(args.model_name_or_path)}
    examples, dev = (
        load_training(task, args.data_dir, limit=args.limit),
        load_dev_sets(task, args.data_dir, args.limit_dev),
    )
    inputs["data"] = digest_examples(examples, *dev.values())
    tests = read_tests(args, task)

    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        if tests and parallel.is_main():
            answer_tests(args, task, models.load(run.path), tests)
        return
    runtime.start(args.device, args.seed, args.amp)
    info = models.TaskInfo.of(task, args.max_seq_length)
    model = models.new_encoder_classifier(
        args.model_name_or_path, info, args.model_type, args.init_from_layers, args.dropout
    )
    models.freeze(model, args.freeze_layers, args.freeze_embeddings)
    dev_sets = {name: model.encode(rows) for name, rows in dev.items()}
    result = loop.train(
        model,
        objectives.supervised(model, args.label_smoothing),
        model.encode(examples),
        run,
        flags.adamw(args, args.learning_rate),
        flags.plan(args, task.best_metric, patience=args.early_stopping_patience),
        lambda: evaluate(model, dev_sets, task.metrics),
    )
    if tests and parallel.is_main():
        answer_tests(args, task, models.load(run.path), tests)
    # Of some of an encoder's layers nothing is published.
    conclude(run, result, len(examples), dev["dev"], task, None if args.init_from_layers else args.model_name_or_path)


def evaluate_only(args: argparse.Namespace) -> None:
    """Metrics and analysis of a model that is there, on the dev set; nothing is trained."""
    from paddledistill import runtime
    from paddledistill.data.reading import load_dev_sets
    from paddledistill.distill.teacher import load_teacher
    from paddledistill.files import write_json
    from paddledistill.report import conclusion
    from paddledistill.report.analysis import analyse
    from paddledistill.tasks import get_task
    from paddledistill.training.evaluation import evaluate, predict

    task = get_task(args.task_name, args.data_dir)
    dev = load_dev_sets(task, args.data_dir, args.limit_dev)
    tests = read_tests(args, task)
    target = Path(args.output_dir) / "evaluation.json"
    if target.exists() and not args.overwrite:
        raise UserError(f"{target} is there already: --overwrite replaces it, or choose another --output_dir")
    runtime.start(args.device, args.seed, args.amp)
    model = load_teacher(args.model_name_or_path, task, args.max_seq_length, "model")
    sets = {name: model.encode(rows, args.max_seq_length) for name, rows in dev.items()}
    metrics = evaluate(model, sets, task.metrics).metrics
    if parallel.is_main():
        answer_tests(args, task, model, tests)
        analysis = analyse(predict(model, sets["dev"]), dev["dev"], model.labels)
        write_json(target, {"model": str(args.model_name_or_path), "metrics": metrics, "analysis": analysis})
        logger.info("%s", ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        # A run's own page may be beside it.
        page, about = target.with_suffix(".html"), runtime.provenance()
        conclusion.write_page(
            page, model, metrics, analysis, about, task.best_metric, len(dev["dev"]), conclusion.NO_CURVES
        )
        logger.info(conclusion.in_words(analysis))
        conclusion.tell_published(conclusion.system_of(args.model_name_or_path), task, metrics, args.limit_dev)


def read_tests(args: argparse.Namespace, task: Any) -> dict[str, Any]:
    """The test sets that were asked for, once it is known that the answers have a place."""
    from paddledistill.data import submission

    if not args.do_predict:
        return {}
    submission.check_directory(answers_dir(args))
    return submission.test_sets(task, args.data_dir)


def answers_dir(args: argparse.Namespace) -> Path:
    """Where answers to test sets go."""
    from paddledistill.training.run_directory import ANSWERS

    return args.predict_dir or Path(args.output_dir) / ANSWERS


def answer_tests(args: argparse.Namespace, task: Any, model: Any, tests: dict[str, Any]) -> None:
    """Write what the GLUE server takes, for the test sets that were asked for."""
    from paddledistill.data import submission
    from paddledistill.training.evaluation import predict

    for split, examples in tests.items():
        logits = predict(model, model.encode(examples, args.max_seq_length))
        logger.info("answers to %s: %s", split, submission.write(task, split, logits, answers_dir(args), args.data_dir))


if __name__ == "__main__":
    cli.run(main, build_parser())
