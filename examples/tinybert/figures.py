#!/usr/bin/env python
"""The figures of TinyBERT: teacher, student alone and distilled, on GLUE tasks, over seeds; with augmentation; and an ablation.

Teachers are the runs that benchmark/glue/figures.py left. Two general TinyBERTs are distilled on plain text first. A student alone
starts from the same weights and makes as many updates. Every run is one of a recipe in a directory of its own: those that are done
are skipped, a killed one goes on where it was. Run the same command again.
"""

import argparse
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags, recipe
from paddledistill.files import read_json
from paddledistill.tasks import folders_named

logger = logging.getLogger("figures")

PUBLISHED = ("tinybert-6l-768d-v2",)
NOTE = "On SST-2 and on augmented text the teacher is asked while the intermediate stage trains, so minutes hold that; elsewhere before it."


@dataclass(frozen=True)
class Student:
    """A general TinyBERT, and how its layers meet those of a teacher of 6."""

    general: str
    layer_map: str


STUDENTS = {
    "3x384": Student("--init_from_layers 1,3,5 --layer_map 2i+1 --max_steps 1500 --learning_rate 2e-4", "2i+1"),
    "4x312": Student(
        "--init_from_layers 1,2,4,5 --hidden_size 312 --num_attention_heads 12 --intermediate_size 1200 --layer_map uniform "
        "--max_steps 3000 --learning_rate 1e-3",
        "uniform",
    ),
}


@dataclass(frozen=True)
class Study:
    """What is done on a task. ``save_steps``: about an evaluation an epoch. ``draws``: variants a row, where there is augmentation."""

    metric: str
    seeds: int
    save_steps: int
    intermediate_epochs: int
    prediction_epochs: int
    draws: int = 0


STUDIES = {
    "MRPC": Study("f1", 3, 115, 6, 4, draws=5),
    "STS-B": Study("spearman", 3, 180, 6, 4),
    "CoLA": Study("matthews", 3, 268, 6, 4),
    "RTE": Study("accuracy", 3, 78, 6, 4, draws=5),
    "SST-2": Study("accuracy", 1, 500, 1, 2),
}
RATES = "--learning_rate 2e-4 --prediction_learning_rate 1e-4"
AUGMENTED = "augmented"  # the folder of the tasks whose text has variants
ABLATION_STUDENT = "3x384"
ABLATIONS = {
    "without general distillation": "",
    "without attention": "--attention_weight 0",
    "without hidden states": "--hidden_weight 0",
    "without embeddings": "--embedding_weight 0",
    "without the teacher's logits": "--prediction_weight 0 --label_weight 1",
}


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "",
        epilog="example: examples/tinybert/figures.py --data_dir glue --corpus wikipedia.txt --results docs/results/tinybert.json",
    )
    flags.add_study_flags(parser, list(STUDIES), "runs/tinybert")
    parser.add_argument("--corpus", type=Path, required=True, help="plain text for the general distillation")
    parser.add_argument("--encoder", default="minilm-l6", help="the teacher of the general distillation")
    parser.add_argument(
        "--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS), metavar="STUDENT", help="which ones"
    )
    parser.add_argument(
        "--ablation",
        default="MRPC",
        choices=list(STUDIES),
        metavar="TASK",
        help=f"on which task {ABLATION_STUDENT} is also distilled without one part after another",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """General students, then task by task: train, measure, the table."""
    from paddledistill.report import study
    from paddledistill.tasks import get_task

    study.check_folders(args.tasks, args.data_dir)
    results, teachers = study.Results(args.results, note=NOTE), study.Teachers(args.settings, args.teachers)
    for name in args.tasks:
        teachers.run(name, 1)  # missing ones are told of before anything slow
    if args.ablation not in args.tasks or ABLATION_STUDENT not in args.students:
        logger.info("no ablation: it is made with %s among --students, on the task of --ablation", ABLATION_STUDENT)
    augmented = [name for name in args.tasks if STUDIES[name].draws and ABLATION_STUDENT in args.students]
    shared = [partial(general_cost, student, args) for student in args.students]
    shared += [partial(augment, name, args) for name in augmented]
    for made in recipe.side_by_side(lambda make: make(), shared, args.jobs):
        results.content.setdefault("shared", {}).update(made)
    counts = {name: STUDIES[name].seeds for name in args.tasks}
    for name, seeds in study.over_seeds(partial(systems, args, teachers), counts, args.max_seeds, args.jobs):
        rows = study.measure(get_task(name), STUDIES[name].metric, seeds, args.data_dir, PUBLISHED, teachers.row(name))
        results.put([with_variants(row, name) for row in rows])


def general(student: str, args: argparse.Namespace) -> Path:
    """The general TinyBERT that a student starts from."""
    limit = f"--max_steps {args.max_steps}" if args.max_steps > 0 else ""  # the last of two flags counts
    return recipe.once(
        f"general TinyBERT {student}",
        f"examples/tinybert/general_distill.py --teacher_path {args.encoder} --max_seq_length 64 --batch_size 32 --save_steps 500 "
        f"{STUDENTS[student].general} {limit} --seed 1",
        args.output_dir / "general" / student,
        corpus=args.corpus,
        data_dir=args.data_dir,
    )


def general_cost(student: str, args: argparse.Namespace) -> dict[str, Any]:
    """Make it, and say in what time, by which command: it is no part of the rows of the tasks."""
    made = read_json(general(student, args) / "run.json")
    return {f"general TinyBERT {student}": {"minutes": round(made["seconds"] / 60, 1), "command": made["command"]}}


def systems(args: argparse.Namespace, teachers: Any, name: str, seed: int) -> list[Any]:
    """Teacher and students of a seed, trained."""
    from paddledistill.report.compare import System

    teacher = teachers.run(name, seed)
    found = [System("teacher", "teacher", teacher)]
    for student in args.students:
        place = args.output_dir / name / f"seed-{seed}" / student
        start = f"--model_name_or_path {general(student, args)} --dropout 0"
        train = partial(distil, args, name, student, seed, teacher)
        distilled = train(start, place / "distilled")
        found += [
            System(f"TinyBERT {student}", "alone", alone(name, start, updates(distilled), seed, place / "alone", args)),
            in_two_stages(f"TinyBERT {student}", distilled),
        ]
        if STUDIES[name].draws and student == ABLATION_STUDENT:
            augmented = train(f"{start} --use_aug", place / "augmented", like=distilled)
            found.append(in_two_stages(f"TinyBERT {student}, augmented text", augmented))
        if (name, student) == (args.ablation, ABLATION_STUDENT):
            layers = f"--model_name_or_path {args.encoder} --init_from_layers 1,3,5 --dropout 0"
            for what, flags in ABLATIONS.items():
                run = train(f"{start} {flags}" if flags else layers, place / what.replace(" ", "-").replace("'", ""))
                found.append(in_two_stages(f"TinyBERT {student} {what}", run))
    return found


def in_two_stages(what: str, run: Path) -> Any:
    """A student that was distilled, with the time of both stages."""
    from paddledistill.report.compare import System

    return System(what, "distilled", run, (run / "intermediate",))


def distil(
    args: argparse.Namespace,
    name: str,
    student: str,
    seed: int,
    teacher: Path,
    flags: str,
    target: Path,
    like: Path | None = None,
) -> Path:
    """Both stages.

    :param like: a student of the task's own text; on augmented text, which has several times as many rows, as many updates as it had.
    """
    study = STUDIES[name]
    first, second = (recipe.steps_of(like / "intermediate"), recipe.steps_of(like)) if like else [args.max_steps] * 2
    keep = "--keep_teacher_states" if study.intermediate_epochs > 1 and not like else ""
    return recipe.once(
        f"{name}, TinyBERT {student} {target.name}, seed {seed}",
        f"examples/tinybert/task_distill.py {flags} --task_name {name} --layer_map {STUDENTS[student].layer_map} {keep} {RATES} "
        f"--num_train_epochs {study.intermediate_epochs} --prediction_epochs {study.prediction_epochs} "
        f"--max_steps {first} --prediction_max_steps {second} --save_steps {study.save_steps} --seed {seed}",
        target,
        data_dir=args.output_dir / AUGMENTED if like else args.data_dir,
        teacher_path=teacher,
    )


def alone(name: str, start: str, steps: int, seed: int, target: Path, args: argparse.Namespace) -> Path:
    """The same initial weights, the labels, as many updates."""
    from paddledistill.tasks import get_task

    return recipe.once(
        f"{name}, the student of {target.parent.name} alone, seed {seed}",
        f"benchmark/glue/run_glue.py {start} --task_name {name} --max_seq_length {get_task(name).max_seq_length} "
        f"--learning_rate 1e-4 --num_train_epochs {steps} --max_steps {steps} --save_steps {STUDIES[name].save_steps} --seed {seed}",
        target,
        data_dir=args.data_dir,
    )


def updates(run: Path) -> int:
    """Of both stages."""
    return recipe.steps_of(run / "intermediate") + recipe.steps_of(run)


def augment(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The task's text and its variants, in a folder of our own; returns what they cost, as above."""
    folder = args.output_dir / AUGMENTED / name
    if not folder.is_dir():
        partial = folder.with_name(f".{name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        of_another_run = shutil.ignore_patterns("train_aug*", ".train_aug*")
        shutil.copytree(next(folders_named(args.data_dir, name)), partial, ignore=of_another_run)
        partial.chmod(0o755)
        partial.rename(folder)
    recipe.run(
        f"augmented text of {name}",
        f"examples/tinybert/data_augmentation.py --pretrained_bert_model {args.encoder} --task_name {name} "
        f"--N {STUDIES[name].draws} --resume",
        folder.with_name(f"{name}.log"),
        data_dir=folder.parent,
    )
    made = read_json(folder / "train_aug.json")
    return {f"augmented text of {name}": {"minutes": round(made["seconds"] / 60, 1), "command": made["command"]}}


def with_variants(row: Any, name: str) -> Any:
    """A row that says on how many variants of each sentence its system was trained."""
    if row["role"] not in ("alone", "distilled"):
        return row
    return {**row, "setting": f"{row['setting']}, N {STUDIES[name].draws if 'augmented' in row['system'] else 0}"}


if __name__ == "__main__":
    cli.run(main, build_parser())
