"""Put trained models of a task side by side: what each gets right, what it keeps of its teacher, its size, its speed, its training.

A model is the run directory of a recipe, or a folder of the runs that --seeds made, whose scores become mean and standard deviation; one
beside several of others, such as the teacher of all seeds, counts once. Give a student the same name alone and distilled, as
NAME=DIRECTORY, and the report tells what the teacher was worth. Scores are those on dev, and on test where it has labels.

The table is printed; report.json has it as data, report.html as a page with curves and the sentences on which the models disagree.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddledistill  # noqa: F401  threads, BLAS and allocator are set before paddle loads
from paddledistill import cli, flags
from paddledistill.errors import UserError

if TYPE_CHECKING:  # neither --help nor an argument error waits for paddle
    from paddledistill.report.compare import System
    from paddledistill.tasks import Example, Task

Named = tuple[str | None, Path]


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "",
        epilog="example: python -m paddledistill.compare --task_name movie-reviews --teacher runs/teacher --distilled "
        "BiLSTM=runs/bilstm --alone BiLSTM=runs/bilstm-alone --output_dir runs/compared",
    )
    parser.prog = "python -m paddledistill.compare"
    models = parser.add_argument_group("models")
    models.add_argument(
        "--teacher", type=named, required=True, metavar="[NAME=]RUN", help="what the others learned from"
    )
    for role, meaning in (("distilled", "students of the teacher"), ("alone", "students without a teacher")):
        models.add_argument(f"--{role}", type=named, nargs="+", default=[], metavar="[NAME=]RUN", help=meaning)
    flags.add_task_flags(parser, limit=False)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output_dir",
        type=cli.directory,
        required=True,
        help="where report.json and report.html go; older ones are replaced",
    )
    output.add_argument("--results", type=cli.new_file, help="also write the rows to this file (a .json)")
    return parser


def named(text: str) -> Named:
    """``NAME=DIRECTORY``, or a directory without a name, for ``type=``."""
    name, found, directory = text.partition("=")
    path = Path(directory if found and not Path(text).is_dir() else text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"must be a run directory, or NAME=DIRECTORY; there is no directory {str(path)!r}"
        )
    return (name if path != Path(text) else None), path


def main(args: argparse.Namespace) -> None:
    """Check, measure seed by seed, write."""
    from paddledistill import runtime
    from paddledistill.report import compare, document, table
    from paddledistill.tasks import get_task
    from paddledistill.training.run_directory import RUN_FILE

    if (Path(args.output_dir) / RUN_FILE).is_file():
        raise UserError(f"{args.output_dir} is a run, which has a page of its own: choose another --output_dir")
    task = get_task(args.task_name, args.data_dir)
    seeds = systems_of_seeds(args, task)
    splits = labelled(task, args.data_dir)
    comparisons = [compare.compare(systems, splits, task) for systems in seeds]
    first = (seeds[0][1:] or seeds[0])[0].run_dir
    second = ' --text_b "and another"' if task.is_pair else ""
    content = document.gather(
        comparisons,
        task,
        title=f"{task.name}: {len(seeds[0])} models side by side",
        question=f"Which of {', '.join(task.labels)} is it?" if task.labels else "What score does it have?",
        sizes={split: len(examples) for split, examples in splits.items()},
        about=runtime.provenance(),
        try_it=f'python -m paddledistill.predict {first} "a sentence"{second}',
    )
    data, page = document.write(content, Path(args.output_dir), args.results)
    print(f"{table.text_table(content['rows'])}\n\nreport: {page} (open it in a browser), {data}")


def systems_of_seeds(args: argparse.Namespace, task: "Task") -> "list[list[System]]":
    """What is compared, seed by seed.

    :raises UserError: for what is no finished run of the task, two models of one name and role, or other numbers of seeds.
    """
    from paddledistill.report.compare import System
    from paddledistill.training.run_directory import INTERMEDIATE

    given = [("teacher", *args.teacher)]
    given += [(role, *one) for role in ("distilled", "alone") for one in getattr(args, role)]
    runs = {(name or own_name(role, path), role): runs_in(path, task) for role, name, path in given}
    if len(runs) < len(given):
        raise UserError("two models have one name and role: give them names, as NAME=DIRECTORY")
    count = max(map(len, runs.values()))
    for (name, _), own in runs.items():
        if len(own) not in (1, count):
            raise UserError(f"{name} has {len(own)} seeds, others {count}: give as many of each, or one")

    def system(name: str, role: str, own: Sequence[Path], seed: int) -> System:
        run = own[seed % len(own)]
        return System(name, role, run, tuple(stage for stage in (run / INTERMEDIATE,) if stage.is_dir()))

    return [[system(name, role, own, seed) for (name, role), own in runs.items()] for seed in range(count)]


def own_name(role: str, path: Path) -> str:
    """What a model without a name is called."""
    return role if role == "teacher" else path.resolve().name


def runs_in(directory: Path, task: "Task") -> list[Path]:
    """The finished run that a directory is, or those of the seeds in it.

    :raises UserError: if it is neither, or they answer another task.
    """
    from paddledistill.files import read_json
    from paddledistill.models import TaskInfo
    from paddledistill.training.run_directory import RUN_FILE, best_model

    seeds = [path.parent for path in directory.glob(f"seed-*/{RUN_FILE}")]
    found = (
        [directory] if (directory / RUN_FILE).is_file() else sorted(seeds, key=lambda run: (len(run.name), run.name))
    )
    if not found:
        raise UserError(f"{directory} is no run directory: give what a recipe got as --output_dir")
    for run in found:
        if read_json(run / RUN_FILE)["status"] != "complete":
            raise UserError(f"the run {run} is unfinished: its command with --resume goes on with it")
        info = TaskInfo.read(best_model(run))
        if info is None or info.name != task.name:
            raise UserError(f"{run} answers {info.name if info else 'no task'}, not {task.name}: leave it out")
    return found


def labelled(task: "Task", data_dir: Path | None) -> "dict[str, list[Example]]":
    """Dev sets, and those test sets that have labels, which are read last."""
    from paddledistill.data.reading import has_split, load_dev_sets, load_split

    found: dict[str, Any] = load_dev_sets(task, data_dir)
    for split in task.held_out_splits:
        if split.startswith("test") and has_split(task, split, data_dir):
            rows = load_split(task, split, data_dir)
            found |= {split: rows} if rows[0].label is not None else {}
    return found


if __name__ == "__main__":
    cli.run(main, build_parser())
