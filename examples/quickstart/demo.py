#!/usr/bin/env python
"""The whole job on the embedded movie reviews: teacher, augmented text, TinyBERT and BiLSTM students, one comparison.

Runs the recipe scripts one after another, each in a run directory of its own. A step that is done for the same arguments is
skipped, a killed one goes on where it was: run the same command again.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, recipe

logger = logging.getLogger("demo")

TASK = "movie-reviews"
ENCODER = "--model_name_or_path minilm-l6"
STUDENT = f"{ENCODER} --init_from_layers 1,3,5 --dropout 0"


@dataclass(frozen=True)
class Size:
    """How much of everything a demo takes. ``minutes`` is what it took on 2 cores of an AMD EPYC, a seed.

    ``learning_rate`` is that of fine-tuning and of the prediction stage: fewer steps want a higher one.
    ``draws``: variants of a sentence in train_aug.tsv; ``copies``: masked copies of a sentence for the BiLSTM.
    """

    minutes: int
    sentences: int | None
    learning_rate: float
    teacher_epochs: int
    draws: int
    intermediate_epochs: int
    prediction_epochs: int
    copies: int
    bilstm_epochs: int
    held_out: int | None = None  # sentences of dev, and of test; None is all
    repeats: int = 30  # of each measurement of latency


SIZES = {
    "smoke": Size(2, 64, 1e-4, 1, 1, 1, 1, 1, 1, held_out=100, repeats=3),
    "quick": Size(9, 1500, 1.5e-4, 2, 1, 2, 1, 5, 4),
    "full": Size(27, None, 5e-5, 3, 1, 2, 1, 6, 4),
}


@dataclass(frozen=True)
class Places:
    """Where one seed's models and data are."""

    teacher: Path
    base: Path

    @property
    def data(self) -> Path:
        """The task's TSV files, train_aug.tsv among them."""
        return self.base / "data"

    @property
    def tinybert(self) -> Path:
        """Distilled."""
        return self.base / "tinybert"

    @property
    def tinybert_alone(self) -> Path:
        """Without a teacher."""
        return self.base / "tinybert-alone"

    @property
    def bilstm(self) -> Path:
        """Distilled."""
        return self.base / "bilstm"

    @property
    def bilstm_alone(self) -> Path:
        """Without a teacher."""
        return self.base / "bilstm-alone"


def build_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--size",
        choices=list(SIZES),
        default="quick",
        help="smoke: is everything installed? quick: some of the text, about 9 minutes on 2 cores; full: all of it, about 27",
    )
    parser.add_argument("--seeds", type=cli.int_list, default=[1], help="one run of everything for each, e.g. 1,2,3")
    parser.add_argument(
        "--output_dir", type=Path, help="where students and the report go (default: runs/demo, or runs/demo-full)"
    )
    parser.add_argument(
        "--teacher_dir", type=Path, help="where teachers go (default: pretrained_models/movie-reviews, or ...-full)"
    )
    parser.add_argument(
        "--results", type=cli.new_file, help="also write the rows to this file, such as docs/results/demo.json"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Every step of every seed, then the report."""
    size = SIZES[args.size]
    suffix = "" if args.size == "quick" else f"-{args.size}"
    output = args.output_dir or Path("runs") / f"demo{suffix}"
    teachers = args.teacher_dir or Path("pretrained_models") / f"{TASK}{suffix}"
    is_new, started = not output.exists(), time.perf_counter()
    logger.info("the whole demo takes about %d minutes on 2 cores", size.minutes * len(args.seeds))
    places = []
    for seed in args.seeds:
        teacher = teachers if seed == 1 else teachers.with_name(f"{teachers.name}-seed-{seed}")
        places.append(Places(teacher, output / f"seed-{seed}"))
        run_seed(places[-1], seed, size)
    report(places, output, args, size, time.perf_counter() - started if is_new else None)


def run_seed(at: Places, seed: int, size: Size) -> None:
    """Teacher, augmentation, and the students with and without a teacher."""
    task = f"--task_name {TASK} --max_seq_length 64 --seed {seed} --resume --logging_steps 20"
    task += f" --limit_dev {size.held_out}" if size.held_out else ""
    limit = f"--limit {size.sentences}" if size.sentences else ""
    recipe.run(
        "the teacher",
        f"benchmark/glue/run_glue.py {ENCODER} {task} {limit} --save_steps 150 --learning_rate {size.learning_rate} "
        f"--num_train_epochs {size.teacher_epochs}",
        output_dir=at.teacher,
    )
    recipe.run(
        "augmented text",
        f"examples/tinybert/data_augmentation.py --pretrained_bert_model minilm-l6 --task_name {TASK} {limit} --N {size.draws} "
        f"--seed {seed} --resume",
        data_dir=at.data,
    )
    recipe.run(
        "TinyBERT, distilled",
        f"examples/tinybert/task_distill.py {STUDENT} {task} --use_aug --save_steps 250 "
        f"--learning_rate 2e-4 --num_train_epochs {size.intermediate_epochs} "
        f"--prediction_learning_rate {size.learning_rate} --prediction_epochs {size.prediction_epochs}",
        data_dir=at.data,
        teacher_path=at.teacher,
        output_dir=at.tinybert,
    )
    updates = recipe.steps_of(at.tinybert / "intermediate") + recipe.steps_of(at.tinybert)
    recipe.run(
        "TinyBERT without a teacher",
        f"benchmark/glue/run_glue.py {STUDENT} {task} {limit} --save_steps 250 --learning_rate {size.learning_rate} "
        f"--num_train_epochs {updates} --max_steps {updates}",
        output_dir=at.tinybert_alone,
    )
    bilstm = (
        f"{task.replace('--logging_steps', '--log_freq')} {limit} --emb_dim 200 --hidden_size 150 --batch_size 128 "
        "--optimizer adam --lr 0.001"
    )
    recipe.run(
        "BiLSTM, distilled",
        f"examples/bert_to_bilstm/distill.py {bilstm} --dropout_prob 0.2 --whole_word_mask --n_iter {size.copies} "
        f"--max_epoch {size.bilstm_epochs}",
        teacher_dir=at.teacher,
        output_dir=at.bilstm,
    )
    updates = recipe.steps_of(at.bilstm)
    recipe.run(
        "BiLSTM without a teacher",
        f"examples/bert_to_bilstm/small.py {bilstm} --dropout_prob 0.4 --max_epoch {updates} --max_steps {updates}",
        output_dir=at.bilstm_alone,
    )


def report(places: Sequence[Places], output: Path, args: argparse.Namespace, size: Size, seconds: float | None) -> None:
    """Measure all models, print the table, write report.json and report.html, and say how to try one."""
    from paddledistill import runtime
    from paddledistill.data.reading import load_split, spread
    from paddledistill.report import compare, document, table
    from paddledistill.tasks import get_task

    task = get_task(TASK)
    splits = {split: load_split(task, split) for split in ("dev", "test")}
    splits = {split: spread(rows, size.held_out or len(rows)) for split, rows in splits.items()}
    comparisons = [compare.compare(systems(at), splits, task, repeats=size.repeats) for at in places]
    try_it = f'{os.path.relpath(sys.executable)} -m paddledistill.predict {places[0].tinybert} "a film that is worth every minute"'
    train = len(load_split(task, "train"))
    content = document.gather(
        comparisons,
        task,
        title="A small, fast model that keeps what a large one knows",
        question="Is this sentence of a movie review positive or negative?",
        sizes={
            "train": min(size.sentences or train, train),
            **{split: len(examples) for split, examples in splits.items()},
        },
        about=runtime.provenance(f"make demo SIZE={args.size} SEEDS={','.join(map(str, args.seeds))}"),
        try_it=try_it,
        seconds=seconds,
        notes=["The distilled TinyBERT also read the augmented text, whose making is not part of its minutes."],
    )
    data, page = document.write(content, output, args.results)
    print(f"\ntrained on {content['sizes']['train']:,} of {train:,} sentences, tested on {content['sizes']['test']:,}")
    print(f"{table.text_table(content['rows'])}\n\nreport: {page} (open it in a browser), {data}\ntry it: {try_it}")


def systems(at: Places) -> list[Any]:
    """What is compared."""
    from paddledistill.report.compare import System

    return [
        System("teacher", "teacher", at.teacher),
        System("TinyBERT 3x384", "alone", at.tinybert_alone),
        System("TinyBERT 3x384", "distilled", at.tinybert, stages=(at.tinybert / "intermediate",)),
        System("BiLSTM", "alone", at.bilstm_alone),
        System("BiLSTM", "distilled", at.bilstm),
    ]


if __name__ == "__main__":
    cli.run(main, build_parser())
