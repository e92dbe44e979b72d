#!/usr/bin/env python
"""Distil a general TinyBERT from an encoder on plain text (arXiv 1909.10351, general distillation): no task, no labels.

The output of the embeddings, hidden states and attention of the student learn the teacher's. The result is an encoder to start
task_distill.py or run_glue.py from. With --mlm_weight or --soft_mlm_weight it also learns to guess masked words, from the text or
from the teacher's own guesses, and can serve data_augmentation.py as masked language model; of a teacher that guesses,
--init_from_layers takes the masked-LM head too.

Text is UTF-8, a paragraph a line, a blank line between articles: a file, a .gz, or a directory of them. It is tokenised once, into a
file that later runs map from disk. Every hundredth article is held out, and the loss on it chooses the best model.
"""

import argparse
import logging
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags
from paddledistill.errors import UserError

logger = logging.getLogger("general_distill")

SHAPE = {"num_hidden_layers": 4, "hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 1200}


def build_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(
        __doc__ or "",
        epilog="example: general_distill.py --corpus wikipedia.txt --init_from_layers 1,2,4,5 --hidden_size 312 --intermediate_size 1200 "
        "--max_steps 2000 --output_dir runs/tinybert-4x312",
    )
    teacher = parser.add_argument_group("teacher")
    teacher.add_argument(
        "--teacher_path",
        default="minilm-l6",
        help="local directory, embedded encoder or PaddleNLP name; with --soft_mlm_weight a BERT with a masked-LM head",
    )
    teacher.add_argument(
        "--teacher_model_type", type=flags.model_type, help="its family (default: what the model says)"
    )
    student = parser.add_argument_group("student (of the teacher's family and vocabulary)")
    student.add_argument(
        "--init_from_layers", type=cli.int_list, help="start from these layers of the teacher, from 0, e.g. 1,3,5"
    )
    meanings = (
        "depth of a student with new weights",
        "its width; layers of the teacher that are wider keep the dimensions that weigh most",
        "its attention heads",
        "width of its feed-forward layers",
    )
    for (name, default), meaning in zip(SHAPE.items(), meanings, strict=True):
        of_layers = "" if name == "num_hidden_layers" else ", with --init_from_layers the teacher's"
        student.add_argument(f"--{name}", type=cli.positive_int, help=f"{meaning} (default: {default}{of_layers})")
    student.add_argument("--dropout", type=cli.probability, default=0.0, help="in the student")
    flags.add_text_flags(parser, max_seq_length=128, held_out_rows=256)
    terms = parser.add_argument_group("losses")
    flags.add_matching_flags(terms)
    parser.set_defaults(layer_map="uniform")  # fits any depths
    terms.add_argument(
        "--mlm_weight", type=cli.non_negative_float, default=0.0, help="of guessing masked words of the text"
    )
    terms.add_argument(
        "--soft_mlm_weight",
        type=cli.non_negative_float,
        default=0.0,
        help="of guessing them as the teacher does, both softened by --T",
    )
    terms.add_argument("--T", type=cli.positive_float, default=1.0, help="temperature of --soft_mlm_weight")
    flags.add_adamw_flags(flags.add_optimization_flags(parser, batch_size=32, learning_rate=3e-4, epochs=1))
    flags.add_run_flags(parser, seed=42)
    return parser


def main(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import models, runtime
    from paddledistill.data.packed_text import packed
    from paddledistill.data.plain_text import digest_text
    from paddledistill.data.reading import digest_examples, held_out_rows
    from paddledistill.distill import objectives
    from paddledistill.distill.layer_maps import check_weights
    from paddledistill.distill.projections import fit_projections
    from paddledistill.distill.teacher import targets
    from paddledistill.training import loop
    from paddledistill.training.evaluation import mean_losses
    from paddledistill.training.run_directory import RunDirectory

    learns_words = args.mlm_weight + args.soft_mlm_weight > 0
    take_shape(args)
    if not args.soft_mlm_weight:
        flags.refuse(
            build_parser(), args, ["T"], "{flag} softens what --soft_mlm_weight weighs, and that is 0: leave it out"
        )
    if not learns_words:
        check_weights(args.layer_map, args.embedding_weight, args.hidden_weight, args.attention_weight)
    inputs = {"teacher": models.identify(args.teacher_path), "corpus": digest_text(args.corpus)}
    guarded = held_out_rows(args.data_dir)
    inputs["guarded rows"] = digest_examples(guarded)

    run = RunDirectory.claim(args.output_dir, vars(args), inputs, args.resume, args.overwrite)
    if run.is_complete:
        logger.info("already done: %s", run.path)
        return
    runtime.start(args.device, args.seed, args.amp)
    teacher = read_teacher(args)
    student = new_student(args, teacher, learns_words)
    weights = objectives.Weights(args.embedding_weight, args.hidden_weight, args.attention_weight)
    shared = args.projection == "shared"
    layers = objectives.matched(student, teacher, args.layer_map, args.attention_by, weights, shared)
    text = packed(args.corpus, teacher.tokenizer, guarded)
    train_set, held_out = rows_of(args, text, teacher, learns_words)
    fit_projections(student, teacher, layers, train_set)

    words = objectives.Words(args.mlm_weight, args.soft_mlm_weight, args.T)
    answers = targets(teacher, words.asked_of(teacher, layers), train_set, args.num_train_epochs)
    if learns_words:
        objective = objectives.general(student, teacher, layers, answers, weights, words)
    else:
        objective = objectives.intermediate(student, teacher, layers, answers, weights)
    result = loop.train(
        student,
        objective,
        train_set,
        run,
        flags.adamw(args, args.learning_rate),
        flags.plan(args, "loss"),
        lambda: mean_losses(objective, student, held_out),
    )
    run.finish(result, rows=len(train_set))


def take_shape(args: argparse.Namespace) -> None:
    """Fill in the shape of a student with new weights wherever the command line says nothing.

    :raises UserError: for a depth beside --init_from_layers, which has its own.
    """
    if args.init_from_layers and args.num_hidden_layers:
        raise UserError("--num_hidden_layers is for a student with new weights: leave it or --init_from_layers out")
    if not args.init_from_layers:
        vars(args).update({name: default for name, default in SHAPE.items() if getattr(args, name) is None})


def read_teacher(args: argparse.Namespace) -> Any:
    """An encoder, with its masked-LM head where that is asked for."""
    from paddledistill import models
    from paddledistill.models.masked_lm import masked_lm

    if args.soft_mlm_weight:
        teacher: Any = masked_lm(args.teacher_path)
    else:
        teacher = models.plain_encoder(args.teacher_path, args.teacher_model_type)
    models.check_length(teacher, args.teacher_path, args.max_seq_length)
    return teacher


def new_student(args: argparse.Namespace, teacher: Any, learns_words: bool) -> Any:
    """Layers of the teacher, narrowed if so asked, and its masked-LM head, or new weights; with a new head where it lacks one and is to
    learn words."""
    from paddledistill import models
    from paddledistill.models.masked_lm import MaskedLM, with_new_head

    if args.init_from_layers:
        student = models.keep_layers(teacher, args.init_from_layers, args.dropout)
        # XLNet calls some of these by other names, and is not narrowed.
        own: dict[str, Any] = {name: getattr(student.config, name, None) for name in list(SHAPE)[1:]}
        shape = {name: getattr(args, name) or size for name, size in own.items()}
        if shape != own:
            student = models.narrowed(student, *shape.values())
    else:
        student = models.new_plain_encoder(
            teacher,
            args.num_hidden_layers,
            args.hidden_size,
            args.num_attention_heads,
            args.intermediate_size,
            args.dropout,
        )
    return with_new_head(student) if learns_words and not isinstance(student, MaskedLM) else student


def rows_of(args: argparse.Namespace, text: Any, teacher: Any, learns_words: bool) -> tuple[Any, Any]:
    """Rows to train on and held-out ones, masked if the student learns words."""
    from paddledistill.data.masked_text import mask_text
    from paddledistill.data.packed_text import pack_rows

    rows: Any = mask_text if learns_words else pack_rows
    given = teacher.tokenizer, args.max_seq_length, args.seed
    return rows(text.train, *given), rows(text.held_out, *given, args.held_out_rows, "held-out text")


if __name__ == "__main__":
    cli.run(main, build_parser())
