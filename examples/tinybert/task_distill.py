#!/usr/bin/env python
"""Distil a TinyBERT for a task from a fine-tuned teacher (arXiv 1909.10351, task-specific distillation).

Without --stage both stages run, one after the other:

  intermediate   the output of the embeddings, hidden states and attention scores learn the teacher's;
                 --learning_rate, --num_train_epochs and --max_steps are this stage's; goes to OUTPUT_DIR/intermediate
  prediction     the logits learn the teacher's softened logits, which are computed once and read back;
                 --prediction_learning_rate, --prediction_epochs and --prediction_max_steps are this stage's; goes to OUTPUT_DIR

With --stage, --learning_rate, --num_train_epochs and --max_steps are those of that stage.
"""

import argparse
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags
from paddledistill.errors import UserError

logger = logging.getLogger("task_distill")

# As published with TinyBERT; epochs of the intermediate stage and lengths are the task's (paddledistill/tasks.py).
INTERMEDIATE_RATE, PREDICTION_RATE, PREDICTION_EPOCHS = 5e-5, 3e-5, 3
OF_INTERMEDIATE = (
    *("layer_map", "attention_by", "projection", "keep_teacher_states"),
    *("embedding_weight", "hidden_weight", "attention_weight"),
)
OF_PREDICTION = ("T", "prediction_weight", "label_weight")


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's task_distill.py, and ours."""
    parser = cli.Parser(
        __doc__,
        epilog="example: task_distill.py --student_model_name_or_path minilm-l6 --init_from_layers 1,3,5 --task_name movie-reviews "
        "--teacher_path runs/teacher --output_dir runs/tinybert",
    )
    flags.add_encoder_flags(
        parser, "student", "--student_model_name_or_path",
        help="local directory, run directory of an earlier stage, embedded encoder (minilm-l6) or PaddleNLP name (tinybert-6l-768d-v2)",
    )  # fmt: skip
    teacher = parser.add_argument_group("teacher")
    teacher.add_argument(
        "--teacher_model_type",
        type=flags.model_type,
        help="kept for the original recipes; the directory says it",
    )
    teacher.add_argument("--teacher_path", required=True, help="best_model directory or run directory of run_glue.py")
    data = flags.add_training_task_flags(parser)
    data.add_argument(
        "--max_seq_length", type=cli.positive_int, help="longest input in wordpieces (default: the task's preset)"
    )
    data.add_argument("--use_aug", action="store_true", help="train on train_aug.tsv of data_augmentation.py")
    stages = parser.add_argument_group("stages")
    stage = stages.add_mutually_exclusive_group()
    stage.add_argument("--stage", choices=["both", "intermediate", "prediction"], default="both", help="what to run")
    stage.add_argument(
        "--intermediate_distill",
        dest="stage",
        action="store_const",
        const="intermediate",
        help="the same as --stage intermediate",
    )
    stages.add_argument("--T", type=cli.positive_float, default=1.0, help="temperature of the prediction stage")
    stages.add_argument(
        "--prediction_learning_rate",
        type=cli.positive_float,
        default=PREDICTION_RATE,
        help="of the prediction stage, when both run",
    )
    stages.add_argument(
        "--prediction_epochs",
        type=cli.positive_int,
        default=PREDICTION_EPOCHS,
        help="of the prediction stage, when both run",
    )
    stages.add_argument(
        "--prediction_max_steps",
        type=cli.step_limit,
        default=-1,
        help="of the prediction stage, when both run; -1: all epochs",
    )
    stages.add_argument(
        "--keep_teacher_states",
        action="store_true",
        help="ask the teacher about each row once, before the intermediate stage, and keep its states and scores in memory, in half "
        "precision: quicker from the second epoch on; how many GB is told",
    )
    terms = parser.add_argument_group("losses")
    flags.add_matching_flags(terms)
    terms.add_argument(
        "--prediction_weight", type=cli.non_negative_float, default=1.0, help="of the loss on the teacher's logits"
    )
    terms.add_argument(
        "--label_weight",
        type=cli.non_negative_float,
        default=0.0,
        help="of a loss on the labels, in the prediction stage",
    )
    training = flags.add_optimization_flags(
        parser,
        batch_size=32,
        learning_rate=f"{INTERMEDIATE_RATE:g}, with --stage prediction {PREDICTION_RATE:g}",
        epochs=f"the task's preset, with --stage prediction {PREDICTION_EPOCHS}",
        max_steps="stop after so many steps; where both stages run, the intermediate one alone",
    )
    flags.add_adamw_flags(training)
    flags.add_run_flags(parser, seed=42)
    flags.add_seeds_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """One run, or one for each seed and what they have in common."""
    refuse_what_does_nothing(args)
    flags.each_seed(args, distil)


def refuse_what_does_nothing(args: argparse.Namespace) -> None:
    """:raises UserError: for flags of a stage that does not run, or of a loss that has no weight."""
    refuse = partial(flags.refuse, build_parser(), args)
    if args.stage != "both":
        is_prediction = args.stage == "prediction"
        for name, here in (
            ("learning_rate", "learning_rate"),
            ("epochs", "num_train_epochs"),
            ("max_steps", "max_steps"),
        ):
            remedy = f"with --stage prediction give --{here}" if is_prediction else "leave it out"
            refuse([f"prediction_{name}"], f"{{flag}} is for a run of both stages: {remedy}")
    if args.stage == "prediction":
        refuse(OF_INTERMEDIATE, "{flag} is for the intermediate stage, which does not run: leave it out")
    elif args.stage == "intermediate":
        refuse(OF_PREDICTION, "{flag} is for the prediction stage, which does not run: leave it out")
    if not args.prediction_weight:
        refuse(["T"], "{flag} softens the teacher's logits, and --prediction_weight is 0: leave one of them out")


def distil(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import models, runtime
    from paddledistill.data.reading import digest_examples, load_dev_sets, load_training
    from paddledistill.distill import objectives
    from paddledistill.distill.kept_states import check_one_process
    from paddledistill.distill.teacher import load_teacher, with_logits
    from paddledistill.files import digest
    from paddledistill.report.conclusion import conclude
    from paddledistill.tasks import get_task
    from paddledistill.training import loop
    from paddledistill.training.evaluation import evaluate
    from paddledistill.training.run_directory import INTERMEDIATE, RunDirectory, best_model

    if args.keep_teacher_states:
        check_one_process()
    task = get_task(args.task_name, args.data_dir)
    take_presets(args, task)
    warn_of_a_stage_done(args)
    inputs = {"student": models.identify(args.model_name_or_path), "teacher": digest(best_model(args.teacher_path))}
    examples = load_training(task, args.data_dir, augmented=args.use_aug, limit=args.limit)
    dev = load_dev_sets(task, args.data_dir, args.limit_dev)
    inputs["data"] = digest_examples(examples, *dev.values())

    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    runtime.start(args.device, args.seed, args.amp)
    info = models.TaskInfo.of(task, args.max_seq_length)
    teacher = load_teacher(args.teacher_path, task, args.max_seq_length)
    student = models.new_encoder_classifier(
        args.model_name_or_path, info, args.model_type, args.init_from_layers, args.dropout
    )
    weights = objectives.Weights(args.embedding_weight, args.hidden_weight, args.attention_weight)
    if args.stage != "prediction":
        shared = args.projection == "shared"
        layers = objectives.matched(student, teacher, args.layer_map, args.attention_by, weights, shared)
    train_set = student.encode(examples)
    dev_sets = {name: student.encode(rows) for name, rows in dev.items()}

    if args.stage != "prediction":
        first = run
        if args.stage == "both":
            first = RunDirectory.claim(run.path / INTERMEDIATE, vars(args), inputs, True, args.overwrite)
        run.begin()
        if not first.is_complete:
            first.begin()  # before what is slow: killed there, the stage left by a run that is overwritten must be gone
            learn_states(args, first, student, teacher, layers, weights, train_set, dev_sets["dev"])
        runtime.seed_everything(args.seed)  # the new head must not depend on whether the first stage ran just now
        student = models.new_encoder_classifier(str(first.path), info, dropout=args.dropout)

    if args.stage != "intermediate":
        rate, plan = prediction_plan(args, task)
        if args.prediction_weight:
            read = loop.rows_read(train_set, run, plan)
            train_set = with_logits(train_set, teacher, inputs["teacher"], examples, args.max_seq_length, read)
        result = loop.train(
            student,
            objectives.prediction(student, args.T, args.prediction_weight, args.label_weight),
            train_set,
            run,
            flags.adamw(args, rate),
            plan,
            lambda: evaluate(student, dev_sets, task.metrics),
        )
        # Of some of an encoder's layers nothing is published.
        published = None if args.init_from_layers else args.model_name_or_path
        conclude(run, result, len(examples), dev["dev"], task, published)


def learn_states(
    args: argparse.Namespace,
    run: Any,
    student: Any,
    teacher: Any,
    layers: Any,
    weights: Any,
    train_set: Any,
    dev_set: Any,
) -> None:
    """The intermediate stage; what the teacher shows is forgotten after it."""
    from paddledistill.distill import objectives
    from paddledistill.distill.kept_states import keep_states
    from paddledistill.distill.projections import fit_projections
    from paddledistill.distill.teacher import targets
    from paddledistill.training import loop
    from paddledistill.training.evaluation import mean_losses

    student.info = replace(student.info, is_trained=False)
    student.next_step = (
        "Its answers are untrained. Go on: `task_distill.py --stage prediction --model_name_or_path DIRECTORY ...`"
    )
    fit_projections(student, teacher, layers, train_set)
    plan, times_asked = flags.plan(args, "loss"), 1 if args.keep_teacher_states else args.num_train_epochs
    answers = targets(teacher, layers.of_teacher, train_set, times_asked)
    if args.keep_teacher_states:
        answers = answers or objectives.live_targets(teacher, layers.of_teacher)
        train_set, answers = keep_states(answers, train_set, loop.rows_read(train_set, run, plan))
    objective = objectives.intermediate(student, teacher, layers, answers, weights)
    result = loop.train(
        student,
        objective,
        train_set,
        run,
        flags.adamw(args, args.learning_rate),
        plan,
        lambda: mean_losses(objective, student, dev_set),
    )
    run.finish(result, rows=len(train_set))


def prediction_plan(args: argparse.Namespace, task: Any) -> tuple[float, Any]:
    """Rate and length of the prediction stage, by flags of its own where the other runs before it."""
    if args.stage != "both":
        return args.learning_rate, flags.plan(args, task.best_metric)
    length = {"epochs": args.prediction_epochs, "max_steps": args.prediction_max_steps}
    return args.prediction_learning_rate, flags.plan(args, task.best_metric, **length)


def take_presets(args: argparse.Namespace, task: Any) -> None:
    """Fill in what was published for the task wherever the command line says nothing, and tell all of it.

    :raises UserError: if nothing is left to learn from, or what is softened is no distribution.
    """
    from paddledistill.distill.layer_maps import check_weights

    is_prediction = args.stage == "prediction"
    args.max_seq_length = args.max_seq_length or task.max_seq_length
    args.num_train_epochs = args.num_train_epochs or (PREDICTION_EPOCHS if is_prediction else task.intermediate_epochs)
    args.learning_rate = args.learning_rate or (PREDICTION_RATE if is_prediction else INTERMEDIATE_RATE)
    first = f"{args.num_train_epochs} epochs at {args.learning_rate:g}"
    then = f", then {args.prediction_epochs} at {args.prediction_learning_rate:g}" if args.stage == "both" else ""
    logger.info("%s: %d wordpieces, batches of %d, %s", task.name, args.max_seq_length, args.batch_size, first + then)
    if not is_prediction:
        check_weights(args.layer_map, args.embedding_weight, args.hidden_weight, args.attention_weight)
    if args.stage != "intermediate" and not args.prediction_weight + args.label_weight:
        raise UserError("--prediction_weight and --label_weight are both 0: one of them must be above it")
    if task.is_regression and args.T != 1:
        raise UserError(f"--T softens the answers to classes, and {task.name} has scores: leave it out")


def warn_of_a_stage_done(args: argparse.Namespace) -> None:
    """PaddleNLP's second command names no stage, and means the prediction stage alone."""
    from paddledistill.files import read_json
    from paddledistill.training.run_directory import RUN_FILE, best_model

    if args.stage != "both" or not Path(args.model_name_or_path).is_dir():
        return
    record = best_model(args.model_name_or_path).parent / RUN_FILE
    if record.is_file() and read_json(record).get("arguments", {}).get("stage") == "intermediate":
        logger.warning(
            "%s has been through the intermediate stage, which is run again, then the prediction stage: --stage prediction runs that alone",
            args.model_name_or_path,
        )


if __name__ == "__main__":
    cli.run(main, build_parser())
