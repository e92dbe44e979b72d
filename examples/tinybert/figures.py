#!/usr/bin/env python
"""The figures of TinyBERT: teacher, student alone and distilled, on GLUE tasks, over seeds; with augmentation; and an ablation.

Teachers are the runs that benchmark/glue/figures.py left. Two general TinyBERTs are distilled on plain text first. A student alone
starts from the same weights and makes as many updates. Every run is one of a recipe in a directory of its own: those that are done
are skipped, a killed one goes on where it was. Run the same command again.
"""

import argparse
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, recipe

logger = logging.getLogger("figures")

PUBLISHED = ("tinybert-6l-768d-v2",)


@dataclass(frozen=True)
class Student:
    """A general TinyBERT, and how its layers meet those of a teacher of 6."""

    general: str
    layer_map: str


STUDENTS = {
    "3x384": Student("--init_from_layers 1,3,5 --layer_map 2i+1 --max_steps 1500 --learning_rate 2e-4", "2i+1"),
    "4x312": Student(
        "--num_hidden_layers 4 --hidden_size 312 --num_attention_heads 12 --intermediate_size 1200 --layer_map uniform "
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
ABLATION_TASK, ABLATION_STUDENT = "MRPC", "3x384"
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
    cli.add_study_flags(parser, list(STUDIES), "runs/tinybert")
    parser.add_argument("--corpus", type=Path, required=True, help="plain text for the general distillation")
    parser.add_argument("--encoder", default="minilm-l6", help="the teacher of the general distillation")
    parser.add_argument(
        "--students", nargs="+", default=list(STUDENTS), choices=list(STUDENTS), metavar="STUDENT", help="which ones"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """General students, then task by task: train, measure, the table."""
    from paddledistill.report import study
    from paddledistill.tasks import get_task

    study.check_folders(args.tasks, args.data_dir)
    command = "python examples/tinybert/figures.py --data_dir glue --corpus enwiki_sample.txt --results docs/results/tinybert.json"
    results = study.Results(args.results, command)
    for name in args.tasks:
        teacher_of(name, 1, args)  # missing ones are told of before anything slow
    shared: list[partial[Path]] = [partial(general, student, args) for student in args.students]
    shared += [
        partial(augment, name, args) for name in args.tasks if STUDIES[name].draws and ABLATION_STUDENT in args.students
    ]
    list(recipe.side_by_side(lambda make: make(), shared, args.jobs))
    counts = {name: STUDIES[name].seeds for name in args.tasks}
    for name, seeds in study.over_seeds(partial(systems, args), counts, args.seeds, args.jobs):
        rows = study.measure(get_task(name), STUDIES[name].metric, seeds, args.data_dir, PUBLISHED)
        results.put(get_task(name).name, [with_setting(row, name) for row in rows])


def teacher_of(name: str, seed: int, args: argparse.Namespace) -> Path:
    """The teacher's run of a seed."""
    from paddledistill.report import study

    return study.teacher_of(args.settings, args.teachers, name, seed)


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


def systems(args: argparse.Namespace, name: str, seed: int) -> list[Any]:
    """Teacher and students of a seed, trained."""
    from paddledistill.report.compare import System

    found = [System("teacher", "teacher", teacher_of(name, seed, args))]
    for student in args.students:
        source, place = general(student, args), args.output_dir / name / f"seed-{seed}" / student
        start = f"--model_name_or_path {source} --dropout 0"
        distilled = distil(name, student, start, "", seed, place / "distilled", args)
        found += [
            System(f"TinyBERT {student}", "alone", alone(name, start, updates(distilled), seed, place / "alone", args)),
            System(f"TinyBERT {student}", "distilled", distilled, (distilled / "intermediate",)),
        ]
        if STUDIES[name].draws and student == ABLATION_STUDENT:
            augmented = distil(name, student, start, "--use_aug", seed, place / "augmented", args, augment(name, args))
            found.append(
                System(f"TinyBERT {student}, augmented text", "distilled", augmented, (augmented / "intermediate",))
            )
        if (name, student) == (ABLATION_TASK, ABLATION_STUDENT):
            for what, flags in ABLATIONS.items():
                own = start if flags else f"--model_name_or_path {args.encoder} --init_from_layers 1,3,5 --dropout 0"
                run = distil(name, student, own, flags, seed, place / what.replace(" ", "-").replace("'", ""), args)
                found.append(System(f"TinyBERT {student} {what}", "distilled", run, (run / "intermediate",)))
    return found


def distil(
    name: str,
    student: str,
    start: str,
    flags: str,
    seed: int,
    target: Path,
    args: argparse.Namespace,
    data_dir: Path | None = None,
) -> Path:
    """Both stages; on augmented text, which has about ``draws`` times as many rows, with so many times fewer epochs."""
    study = STUDIES[name]
    fewer = 1 + study.draws if data_dir else 1
    return recipe.once(
        f"{name}, TinyBERT {student} {target.name}, seed {seed}",
        f"examples/tinybert/task_distill.py {start} --task_name {name} --layer_map {STUDENTS[student].layer_map} {RATES} "
        f"--num_train_epochs {max(1, study.intermediate_epochs // fewer)} --prediction_epochs {max(1, study.prediction_epochs // fewer)} "
        f"--max_steps {args.max_steps} --prediction_max_steps {args.max_steps} --save_steps {study.save_steps} --seed {seed} {flags}",
        target,
        data_dir=data_dir or args.data_dir,
        teacher_path=teacher_of(name, seed, args),
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


def augment(name: str, args: argparse.Namespace) -> Path:
    """The task's text and its variants, in a folder of our own; returns the folder of tasks."""
    import shutil

    from paddledistill.tasks import folders_named

    folder = args.output_dir / "augmented" / name
    if not folder.is_dir():
        partial = folder.with_name(f".{name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(next(folders_named(args.data_dir, name)), partial)
        partial.chmod(0o755)
        partial.rename(folder)
    recipe.run(
        f"augmented text of {name}",
        f"examples/tinybert/data_augmentation.py --pretrained_bert_model {args.encoder} --task_name {name} "
        f"--N {STUDIES[name].draws} --resume",
        data_dir=folder.parent,
    )
    return folder.parent


def with_setting(row: Any, name: str) -> Any:
    """A row that says how long its system was trained, and on how many variants."""
    study = STUDIES[name]
    fewer = 1 + study.draws if "augmented" in row["system"] else 1
    epochs = f"{max(1, study.intermediate_epochs // fewer)} + {max(1, study.prediction_epochs // fewer)} epochs"
    told = {"distilled": epochs + (f", N {study.draws}" if fewer > 1 else ""), "alone": f"{row['train_steps']} steps"}
    return {**row, "setting": told.get(row["role"])}


if __name__ == "__main__":
    cli.run(main, build_parser())
