#!/usr/bin/env python
"""Fine-tune an encoder on GLUE tasks, several seeds each, and put the dev figures beside the published ones.

Each task has up to four settings. The first seed tries them all, the best one on dev is kept, and the other seeds run with it: the
figures are those of a setting chosen on the set that they are measured on. Every run is one of run_glue.py in a directory of its own;
those that are done are skipped and a killed one goes on where it was: run the same command again.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags, recipe
from paddledistill.files import read_json

logger = logging.getLogger("figures")

PUBLISHED = ("MiniLM-L6-H384", "bert-base-uncased")
NOTES = {
    "minilm-l6": "minilm-l6 is all-MiniLM-L6-v2: a MiniLM-L6 trained further on a billion sentence pairs, NLI and Quora among them. "
    "It is not the model of the published MiniLM row."
}


@dataclass(frozen=True)
class Setting:
    """What is tried."""

    learning_rate: float
    epochs: int
    batch_size: int = 32
    max_grad_norm: float | None = None

    def __str__(self) -> str:
        rate = f"{self.learning_rate:.0e}".replace("e-0", "e-")
        batch = [f"batch {self.batch_size}"] if self.batch_size != 32 else []
        clip = [f"clip {self.max_grad_norm:g}"] if self.max_grad_norm else []
        return ", ".join([rate, *batch, *clip, f"{self.epochs} epochs"])

    @property
    def folder(self) -> str:
        """Where its runs are kept: ``5e-5-b16-c1-x3``."""
        rate, *more, _ = str(self).split(", ")
        return "-".join([rate, *(part[0] + part.split()[1] for part in more), f"x{self.epochs}"])


@dataclass(frozen=True)
class Study:
    """A task, the metric that stands for it, and what is tried. ``save_steps``: about two evaluations an epoch, at 32 rows a step."""

    metric: str
    save_steps: int
    settings: tuple[Setting, ...]
    seeds: int = 5


# From the shortest to the longest.
STUDIES = {
    "WNLI": Study("accuracy", 10, (Setting(5e-5, 3), Setting(1e-4, 5))),
    "MRPC": Study("f1", 57, (Setting(5e-5, 4), Setting(1e-4, 4), Setting(2e-4, 4), Setting(5e-5, 6, 16))),
    "CoLA": Study(
        "matthews", 134, (Setting(1e-4, 5), Setting(2e-4, 5), Setting(5e-5, 10), Setting(1e-4, 5, max_grad_norm=1))
    ),
    "STS-B": Study("spearman", 90, (Setting(5e-5, 4), Setting(1e-4, 4), Setting(1e-4, 4, 16), Setting(1e-4, 8))),
    "RTE": Study("accuracy", 39, (Setting(1e-4, 4), Setting(5e-5, 6, 16), Setting(3e-5, 10, 16))),
    "SST-2": Study("accuracy", 500, (Setting(5e-5, 2), Setting(3e-5, 2), Setting(1e-4, 2)), seeds=2),
}


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "", epilog="example: benchmark/glue/figures.py --data_dir glue --results docs/results/glue.json"
    )
    flags.add_study_flags(parser, list(STUDIES), "runs/glue", teachers=False)
    parser.add_argument("--model_name_or_path", default="minilm-l6", help="the encoder")
    return parser


def main(args: argparse.Namespace) -> None:
    """Choose for every task, then repeat and measure task by task; the table after each."""
    from paddledistill.report import study
    from paddledistill.report.compare import System
    from paddledistill.tasks import get_task

    study.check_folders(args.tasks, args.data_dir)
    results = study.Results(
        args.results, encoder=args.model_name_or_path, settings={}, note=NOTES.get(args.model_name_or_path)
    )

    tried = scores(args)
    chosen = {name: max(of_task, key=of_task.__getitem__) for name, of_task in tried.items()}

    def teacher(name: str, seed: int) -> list[System]:
        encoder = Path(args.model_name_or_path).name
        return [System(encoder, "teacher", run(name, chosen[name], seed, args))]

    for name, seeds in study.over_seeds(
        teacher, {name: STUDIES[name].seeds for name in args.tasks}, args.max_seeds, args.jobs
    ):
        task = get_task(name)
        rows = study.measure(task, STUDIES[name].metric, seeds, args.data_dir, PUBLISHED)
        rows[0]["setting"] = str(chosen[name])
        results.content["settings"][task.name] = {
            "tried": {str(setting): round(points, 4) for setting, points in tried[name].items()},
            "chosen": str(chosen[name]),
            "folder": chosen[name].folder,
        }
        results.put(rows)


def scores(args: argparse.Namespace) -> dict[str, dict[Setting, float]]:
    """What each setting of each task comes to on dev with the first seed, in points of 100."""

    def score(trial: tuple[str, Setting]) -> float:
        done = read_json(run(*trial, 1, args) / "run.json")
        return 100 * float(done["metrics"][STUDIES[trial[0]].metric])

    trials = [(name, setting) for name in args.tasks for setting in STUDIES[name].settings]
    points = dict(zip(trials, recipe.side_by_side(score, trials, args.jobs), strict=True))
    return {name: {setting: points[name, setting] for setting in STUDIES[name].settings} for name in args.tasks}


def run(name: str, setting: Setting, seed: int, args: argparse.Namespace) -> Path:
    """Fine-tune once."""
    save_steps = STUDIES[name].save_steps * 32 // setting.batch_size
    clip = f" --max_grad_norm {setting.max_grad_norm}" if setting.max_grad_norm else ""
    return recipe.once(
        f"{name}, {setting}, seed {seed}",
        f"benchmark/glue/run_glue.py --model_name_or_path {args.model_name_or_path} --task_name {name} --max_seq_length 128 "
        f"--batch_size {setting.batch_size} --learning_rate {setting.learning_rate} --num_train_epochs {setting.epochs} "
        f"--max_steps {args.max_steps} --save_steps {save_steps} --seed {seed}{clip}",
        args.output_dir / name / setting.folder / f"seed-{seed}",
        data_dir=args.data_dir,
    )


if __name__ == "__main__":
    cli.run(main, build_parser())
