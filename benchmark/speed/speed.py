#!/usr/bin/env python
"""Measure what this project says about its speed: each claim against its peers, in turns, in one run on one machine.

Peers: a plain Paddle loop that works as the PaddleNLP examples do, once as installed and once with the environment variables that
this project would choose; PyTorch, in an environment of its own (see benchmark/speed/README.rst). Ours are the recipes themselves.
Each side is a process of its own; a figure is the median over the turns, a ratio that of medians of the same run.
"""

import argparse
import json
import logging
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from paddledistill import cli, runtime
from paddledistill.errors import UserError
from paddledistill.files import read_json, write_json

logger = logging.getLogger("speed")

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("benchmark/speed")
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
_OURS = ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", *_MALLOC)
LAYERS, WIDTH, STUDENT_LAYERS, LENGTH, HIDDEN = 6, 384, 3, 64, 300


@dataclass(frozen=True)
class Size:
    """How much of everything a measurement takes."""

    steps: int  # of ours; the first tenth warms up
    plain_steps: int  # of the loop
    rows: int  # of text for the augmentation and the epoch
    plain_sentences: int  # that the loop augments
    logits_rows: int
    logits_epochs: int


SIZES = {"full": Size(100, 4, 2500, 25, 3000, 5), "smoke": Size(20, 1, 100, 3, 400, 1)}


@dataclass
class Bench:
    """What all claims need: where things are, how a side is run."""

    data_dir: Path
    work: Path
    torch: Path | None
    glove: Path | None
    size: Size
    rate: float = 0.0  # GFLOP/s of the best library
    tokens: dict[str, float] = field(default_factory=dict)

    @property
    def teacher(self) -> Path:
        """A fine-tuned classifier; how well is nothing to speed."""
        return self.work / "teacher" / "best_model"

    def ours(self, script: str, *flags: object, threads: int | None = None) -> tuple[float, str]:
        """Wall seconds of a recipe or a script of ours, and what it printed."""
        return self._run([sys.executable, script, *flags], {"OMP_NUM_THREADS": str(threads)} if threads else {})

    def plain(self, claim: str, tuned: bool, *flags: object) -> dict[str, Any]:
        """What the plain loop prints."""
        ours = runtime.configure()
        settings = {**ours.kept, **ours.chosen, **_MALLOC} if tuned else {}
        return answer(self._run([sys.executable, HERE / "_plain.py", claim, *flags], settings)[1])

    def pytorch(self, claim: str, *flags: object) -> dict[str, Any]:
        """What PyTorch prints; it gets the setting of malloc that ours has."""
        assert self.torch
        threads = ["--threads", runtime.machine()["cores"]]
        return answer(self._run([self.torch, HERE / "_torch.py", claim, *threads, *flags], _MALLOC)[1])

    def _run(self, command: Sequence[object], settings: Mapping[str, str]) -> tuple[float, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        paths = {"PYTHONPATH": str(ROOT)} if command[0] == sys.executable else {}
        start = time.perf_counter()
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=kept | paths | dict(settings), capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{shlex.join(map(str, command[1:]))} ended with {done.returncode}: {last}")
        return time.perf_counter() - start, done.stdout


def answer(printed: str) -> dict[str, Any]:
    """The JSON object on the last line."""
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found


def steady(run: Path) -> float:
    """Steps a second of a run between its first and its last logged step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    first, *_, last = [line for line in lines if line["kind"] == "train"]
    return float((last["step"] - first["step"]) / (last["seconds"] - first["seconds"]))


def encoder_flop(tokens: float, length: float, layers: int, width: int = WIDTH) -> float:
    """Of a forward pass: per token and layer 2 x 12 width^2 in the six matrices (four of attention, two of four times the width)
    and 2 x 2 x length x width in the products of attention. A step of training takes three times as much."""
    return tokens * layers * (24 * width**2 + 4 * length * width)


def lstm_flop(tokens: float, width: int, hidden: int) -> float:
    """Of a forward pass of a bidirectional layer: two directions, four gates, 2 (width + hidden) x hidden each."""
    return tokens * 2 * 4 * 2 * (width + hidden) * hidden


Sides = dict[str, Callable[[], float]]


@dataclass(frozen=True)
class Claim:
    """One comparison: its sides by name, ``ours`` first, and the floor in the unit of the figures.

    ``rows``: claim -> (side that is ours, side that is the peer, what the peer is).
    """

    unit: str
    sides: Sides
    rows: Mapping[str, tuple[str, str, str]]
    command: str
    floor: float | None = None
    extra: Callable[[], dict[str, Any]] = dict


LOOP, TUNED, PYTORCH = "the loop as installed", "the loop, tuned", "PyTorch"


def per_second(seconds: Sequence[float], per_step: float = 1.0) -> float:
    return per_step / statistics.median(seconds)


def loops(bench: Bench, claim: str, *flags: object, per_step: float = 1.0) -> Sides:
    """The plain loop as installed and tuned, in units a second."""
    given = (*flags, "--steps", bench.size.plain_steps)
    return {
        "loop": lambda: per_second(bench.plain(claim, False, *given)["seconds"], per_step),
        "tuned": lambda: per_second(bench.plain(claim, True, *given)["seconds"], per_step),
    }


def plain_tinybert(bench: Bench) -> list[object]:
    """Models and text of the loop's TinyBERT."""
    text = bench.data_dir / "SST-2/train.tsv"
    return ["--teacher", bench.teacher, "--student", bench.work / "student", "--data", text]


def task_distill(bench: Bench, stage: str, run: str, *flags: object) -> tuple[float, Path]:
    """Run a stage on SST-2; wall seconds and the run directory."""
    target = bench.work / run
    command = [
        "examples/tinybert/task_distill.py", "--stage", stage, "--model_name_or_path", "minilm-l6", "--init_from_layers", "1,3,5",
        "--task_name", "SST-2", "--data_dir", bench.data_dir, "--teacher_path", bench.work / "teacher", "--max_seq_length", LENGTH,
        "--batch_size", 32, "--logging_steps", 5, "--save_steps", 10**6, "--output_dir", target, "--overwrite", *flags,
    ]  # fmt: skip
    return bench.ours(str(command[0]), *command[1:])[0], target


def tinybert_intermediate(bench: Bench) -> Claim:
    """6 to 3 layers, batches of 32; ours without dropout, as its recipe says, and once with the loop's."""
    size = bench.size

    def ours(name: str, *flags: object) -> float:
        return steady(task_distill(bench, "intermediate", name, "--max_steps", size.steps, *flags)[1])

    sides: Sides = {
        "ours": lambda: ours("intermediate", "--dropout", 0),
        "dropout": lambda: ours("intermediate-dropout"),
        **loops(bench, "tinybert-intermediate", *plain_tinybert(bench)),
    }
    tokens = 32 * bench.tokens["bert"]
    flop = encoder_flop(tokens, bench.tokens["bert"], LAYERS) + 3 * encoder_flop(
        tokens, bench.tokens["bert"], STUDENT_LAYERS
    )
    name = "tinybert-intermediate"
    rows = {
        name: ("ours", "loop", LOOP),
        f"{name}-vs-tuned": ("ours", "tuned", TUNED),
        f"{name}-with-dropout": ("dropout", "loop", LOOP),
    }
    return Claim(
        "steps/s", sides, rows, "examples/tinybert/task_distill.py --stage intermediate", bench.rate * 1e9 / flop
    )


def tinybert_prediction(bench: Bench) -> Claim:
    """The teacher's logits computed once and read back; ``-whole-run``: all that a run of some epochs takes, its start included."""
    size = bench.size
    whole: list[float] = []

    def ours() -> float:
        limits = ["--limit", size.logits_rows, "--num_train_epochs", size.logits_epochs, "--dropout", 0]
        clear_logits(bench)
        seconds, run = task_distill(bench, "prediction", "prediction", *limits)
        whole.append(read_json(run / "run.json")["steps"] / seconds)
        return steady(run)

    sides: Sides = {
        "ours": ours,
        "whole": lambda: whole[-1],
        **loops(bench, "tinybert-prediction", *plain_tinybert(bench)),
    }
    tokens = 32 * bench.tokens["bert"]
    floor = bench.rate * 1e9 / (3 * encoder_flop(tokens, bench.tokens["bert"], STUDENT_LAYERS))
    return Claim("steps/s", sides, against_loop("tinybert-prediction"), "examples/tinybert/task_distill.py --stage prediction", floor,
                 lambda: whole_run(size))  # fmt: skip


def bilstm_distillation(bench: Bench) -> Claim:
    """Hidden 300, batches of 128, the teacher's logits computed once and read back."""
    size, vocabulary = bench.size, bench.work / "vocabulary.txt"
    # The recipe keeps the words of its text alone: a part of the text would give a smaller student than the task has.
    bench.ours(str(HERE / "_ours.py"), "vocabulary", "--data_dir", bench.data_dir, "--vocabulary", vocabulary)
    plain = ["--teacher", bench.teacher, "--data", bench.data_dir / "SST-2/train.tsv", "--batch_size", 128]
    whole: list[float] = []

    def ours() -> float:
        target = bench.work / "bilstm"
        clear_logits(bench)
        seconds, _ = bench.ours(
            "examples/bert_to_bilstm/distill.py", "--task_name", "SST-2", "--data_dir", bench.data_dir, "--teacher_dir",
            bench.work / "teacher", "--limit", size.logits_rows, "--n_iter", 5, "--whole_word_mask",
            "--max_epoch", size.logits_epochs, "--batch_size", 128, "--log_freq", 5,
            "--save_steps", 10**6, "--vocab_path", vocabulary, "--output_dir", target, "--overwrite",
        )  # fmt: skip
        whole.append(read_json(target / "run.json")["steps"] / seconds)
        return steady(target)

    sides: Sides = {
        "ours": ours,
        "whole": lambda: whole[-1],
        **loops(bench, "bilstm-distillation", *plain),
    }
    floor = bench.rate * 1e9 / (3 * lstm_flop(128 * (bench.tokens["bert"] - 2), HIDDEN, HIDDEN))
    return Claim("steps/s", sides, against_loop("bilstm-distillation"), "examples/bert_to_bilstm/distill.py", floor,
                 lambda: whole_run(size))  # fmt: skip


def whole_run(size: Size) -> dict[str, Any]:
    return {"whole_run": f"{size.logits_rows} rows, {size.logits_epochs} epochs"}


def against_loop(name: str) -> dict[str, tuple[str, str, str]]:
    return {
        name: ("ours", "loop", LOOP),
        f"{name}-vs-tuned": ("ours", "tuned", TUNED),
        f"{name}-whole-run": ("whole", "loop", LOOP),
    }


def clear_logits(bench: Bench) -> None:
    """Each turn computes them anew: they are part of the whole run."""
    for stored in (bench.work / "home" / "logits").glob("*.npy"):
        stored.unlink()


def augmentation(bench: Bench) -> Claim:
    """Sentences a second, the whole of ours; the candidates of both are compared."""
    size, jobs, model = bench.size, bench.work / "jobs.json", bench.work / "masked-lm"
    bench.ours(str(HERE / "_ours.py"), "plain-model", "--masked_lm", model)
    arguments = ["masked-words", "--data_dir", bench.data_dir, "--jobs", jobs, "--steps", size.plain_sentences]
    mine = answer(bench.ours(str(HERE / "_ours.py"), *arguments)[1])
    compared: list[str] = []

    def plain(tuned: bool) -> float:
        theirs = bench.plain("augmentation", tuned, "--masked_lm", model, "--jobs", jobs)
        compared.append(equal_candidates(mine["candidates"], set(mine["allowed"]), theirs["answers"]))
        return 1 / statistics.mean(theirs["seconds"])

    def ours() -> float:
        shutil.rmtree(bench.work / "home" / "candidates", ignore_errors=True)  # each turn finds them anew
        target = bench.data_dir / "SST-2" / "train_aug.tsv"
        vectors = ["--glove_embs", bench.glove] if bench.glove else []
        seconds, _ = bench.ours(
            "examples/tinybert/data_augmentation.py", "--pretrained_bert_model", "minilm-l6", "--task_name", "SST-2",
            "--data_dir", bench.data_dir, "--limit", size.rows, "--overwrite", *vectors,
        )  # fmt: skip
        target.unlink()
        return size.rows / seconds

    rows = {"augmentation": ("ours", "loop", LOOP), "augmentation-vs-tuned": ("ours", "tuned", TUNED)}
    sides: Sides = {"ours": ours, "loop": lambda: plain(False), "tuned": lambda: plain(True)}
    return Claim("sentences/s", sides, rows, "examples/tinybert/data_augmentation.py", None,
                 lambda: {"candidates_equal": compared[-1]})  # fmt: skip


def equal_candidates(
    ours: Sequence[Sequence[int]], allowed: set[int], theirs: Sequence[tuple[list[int], list[float]]]
) -> str:
    """How many words have the same candidates; two may change places at the cut where their scores differ by less than rounding.

    :raises UserError: if others differ.
    """
    from paddledistill.augment.word_replacement import TOO_CLOSE

    same = 0
    for mine, (ids, scores) in zip(ours, theirs, strict=True):
        ranked = [(number, score) for number, score in zip(ids, scores, strict=True) if number in allowed]
        cut = ranked[len(mine) - 1][1]
        best = {number for number, _ in ranked[: len(mine)]}
        close = {number for number, score in ranked if abs(score - cut) < TOO_CLOSE}
        if (set(mine) ^ best) - close:
            raise UserError(f"the candidates {sorted(mine)} of a word are not those of the loop, {sorted(best)}")
        same += set(mine) == best
    return f"{same} of {len(ours)}"


def long_rows(bench: Bench) -> Path:
    """SST-2's sentences joined to rows of at least 64 wordpieces, as a task of its own."""
    folder = bench.work / "long"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (bench.data_dir / "SST-2/train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts, row = [], []
    for line in lines:
        row.append(line.split("\t")[0])
        if len(" ".join(row).split()) >= LENGTH:
            texts.append(" ".join(row))
            row = []
    count = max(bench.size.steps * 32, 64)
    for split, part in {"train": texts[:count], "dev": texts[-20:]}.items():
        body = "".join(f"{text}\t{number % 2}\n" for number, text in enumerate(part))
        (folder / f"{split}.tsv").write_text(f"sentence\tlabel\n{body}", encoding="utf-8")
    (folder / "task.yaml").write_text(
        'name: long\ntext_columns: [sentence]\nlabel_column: label\nlabels: ["0", "1"]\nmetrics: [accuracy]\n',
        encoding="utf-8",
    )
    return folder


def fine_tuning(
    bench: Bench, name: str, task: str, data: Path, steps: int, processes: int, threads: int | None
) -> float:
    """Rows a second of run_glue.py on the encoder of 6 x 384, 32 rows a process, dropout 0."""
    target = bench.work / name
    bench.ours(
        "benchmark/glue/run_glue.py", "--model_name_or_path", "minilm-l6", "--task_name", task, "--data_dir", data,
        "--max_seq_length", LENGTH, "--batch_size", 32, "--dropout", 0, "--max_steps", max(6, steps // processes),
        "--logging_steps", 2, "--save_steps", 10**6, "--n_cpu", processes, "--output_dir", target, "--overwrite", threads=threads,
    )  # fmt: skip
    return 32 * processes * steady(target)


def training_step(bench: Bench) -> Claim:
    """32 x 64 tokens, 6 layers of 384, dropout 0, in rows a second: ours by one process and by two."""
    data, steps = long_rows(bench), max(6, bench.size.steps // 6)
    sides: Sides = {
        "one": lambda: fine_tuning(bench, "step-one", "long", data, steps, 1, None),
        "two": lambda: fine_tuning(bench, "step-two", "long", data, steps, 2, None),
        **loops(bench, "training-step", "--student", bench.teacher, "--length", LENGTH, per_step=32),
    }
    rows = {"training-step": ("one", "loop", LOOP), "training-step-vs-tuned": ("one", "tuned", TUNED)}
    if bench.torch:
        source = Path(encoder_directory())

        def torch_side() -> float:
            flags = ["--student", source, "--length", LENGTH, "--steps", max(3, bench.size.plain_steps * 2)]
            found = bench.pytorch("training-step", *flags)["seconds"]
            return max(per_second(seconds, 32) for seconds in found.values())

        sides["torch"] = torch_side
        rows |= {
            "training-step-vs-pytorch": ("two", "torch", f"{PYTORCH}, the faster of its attentions"),
            "training-step-vs-pytorch-one-process": ("one", "torch", f"{PYTORCH}, the faster of its attentions"),
        }
    floor = 32 * bench.rate * 1e9 / (3 * encoder_flop(32 * LENGTH, LENGTH, LAYERS))
    return Claim("rows/s", sides, rows, "benchmark/glue/run_glue.py", floor)


def encoder_directory() -> str:
    from paddledistill import assets

    return str(assets.directory("minilm-l6"))


def two_processes(bench: Bench) -> Claim:
    """Two processes of one thread each against one of one thread, and one of two."""
    data, steps = long_rows(bench), max(6, bench.size.steps // 6)
    return _two_processes(bench, "two-processes", "long", data, steps, LENGTH)


def two_processes_short(bench: Bench) -> Claim:
    """The same on SST-2's own rows, which are short."""
    return _two_processes(
        bench, "two-processes-short", "SST-2", bench.data_dir, bench.size.steps // 2, bench.tokens["bert"]
    )


def _two_processes(bench: Bench, name: str, task: str, data: Path, steps: int, length: float) -> Claim:
    sides: Sides = {
        "two": lambda: fine_tuning(bench, f"{name}-a", task, data, steps, 2, None),
        "single": lambda: fine_tuning(bench, f"{name}-b", task, data, steps, 1, 1),
        "threads": lambda: fine_tuning(bench, f"{name}-c", task, data, steps, 1, None),
    }
    rows = {
        name: ("two", "single", "one process, one thread"),
        f"{name}-vs-two-threads": ("two", "threads", "one process, two threads"),
    }
    floor = 32 * bench.rate * 1e9 / (3 * encoder_flop(32 * length, length, LAYERS))
    return Claim("rows/s", sides, rows, "benchmark/glue/run_glue.py --n_cpu 2", floor)


def bilstm_epoch(bench: Bench) -> Claim:
    """The same rows in the same batches; both count the steps of an epoch alone."""
    if not bench.torch:
        raise UserError("bilstm-epoch-vs-pytorch has no other peer")
    target, batches = bench.work / "small", bench.work / "batches.npz"
    rows = bench.size.rows * 4

    def ours() -> float:
        bench.ours(
            "examples/bert_to_bilstm/small.py", "--task_name", "SST-2", "--data_dir", bench.data_dir, "--limit", rows, "--max_epoch", 1,
            "--batch_size", 64, "--log_freq", 2, "--save_steps", 10**6, "--output_dir", target, "--overwrite",
        )  # fmt: skip
        return read_json(target / "run.json")["steps"] / steady(target)

    def theirs() -> float:
        if not batches.is_file():
            flags = ["epoch", "--student", target, "--data_dir", bench.data_dir, "--batches", batches]
            bench.ours(str(HERE / "_ours.py"), *flags)
        return float(bench.pytorch("bilstm-epoch", "--batches", batches)["seconds"][0])

    batches.unlink(missing_ok=True)
    sides: Sides = {"ours": ours, "torch": theirs}
    claim = {"bilstm-epoch-vs-pytorch": ("ours", "torch", f"{PYTORCH}, packed sequences")}
    floor = 3 * lstm_flop(rows * (bench.tokens["bert"] - 2), HIDDEN, HIDDEN) / (bench.rate * 1e9)
    return Claim("s an epoch", sides, claim, "examples/bert_to_bilstm/small.py", floor)


def inference(bench: Bench) -> Claim:
    """Milliseconds of a batch of 1 and of 32, 32 wordpieces: encoders in our engine, the BiLSTM as it is."""
    shapes = {"teacher": bench.teacher, "tinybert": bench.work / "student", "bilstm": "bilstm"}
    source = Path(encoder_directory())
    found: dict[str, dict[str, list[float]]] = {}
    flags = ["--length", 32, "--steps", bench.size.plain_steps * 4]

    def measured(side: str, shape: str, size: str, make: Callable[[], dict[str, Any]]) -> float:
        """A process measures both sizes: run it for the first and keep the other."""
        key = f"{side} {shape}"
        if size == "1":
            found[key] = make()["seconds"]
        return 1000 * statistics.median(found[key][size])

    sides: Sides = {}
    rows: dict[str, tuple[str, str, str]] = {}
    for shape, model in shapes.items():
        own = ["inference", "--student", model, "--teacher", bench.teacher, *flags]
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "ours": lambda own=own: answer(bench.ours(str(HERE / "_ours.py"), *own)[1]),  # type: ignore[misc]
            "loop": lambda model=model: bench.plain("inference", False, "--student", model, *flags),  # type: ignore[misc]
            "tuned": lambda model=model: bench.plain("inference", True, "--student", model, *flags),  # type: ignore[misc]
        }
        if bench.torch and shape != "tinybert":  # PyTorch has the embedded encoder as it comes, not a part of it
            given = source if shape == "teacher" else model
            makers["torch"] = lambda given=given: bench.pytorch("inference", "--student", given, *flags)  # type: ignore[misc]
        for size in ("1", "32"):
            for side, make in makers.items():
                sides[f"{side} {shape} {size}"] = lambda s=side, h=shape, z=size, m=make: measured(s, h, z, m)  # type: ignore[misc]
            for side, what in {"loop": "Paddle as installed", "tuned": "Paddle, tuned", "torch": PYTORCH}.items():
                if side in makers:
                    suffix = {"loop": "", "tuned": "-vs-tuned", "torch": "-vs-pytorch"}[side]
                    names = f"ours {shape} {size}", f"{side} {shape} {size}", what
                    rows[f"inference-{shape}-batch-{size}{suffix}"] = names
    return Claim("ms", sides, rows, "benchmark/speed/speed.py inference", None)


def scaling(bench: Bench) -> Claim:
    """How long a training step of 32 rows takes by depth, width and length, beside the first of them."""
    shapes = [(6, 384, 64), (3, 384, 64), (12, 384, 64), (6, 768, 64), (6, 384, 16), (6, 384, 128)]

    def step(layers: int, width: int, length: int) -> float:
        flags = ["--layers", layers, "--width", width, "--length", length, "--steps", bench.size.plain_steps * 2]
        seconds = answer(bench.ours(str(HERE / "_ours.py"), "scaling", *flags)[1])["seconds"]
        return 1000 * statistics.median(seconds)

    names = {f"{layers}x{width}, {length} tokens": (layers, width, length) for layers, width, length in shapes}
    sides: Sides = {name: lambda shape=shape: step(*shape) for name, shape in names.items()}  # type: ignore[misc]
    base, *others = names
    rows = {f"scaling: {name}": (name, base, base) for name in others}
    return Claim("ms a step", sides, rows, "benchmark/speed/speed.py scaling")


CLAIMS: dict[str, Callable[[Bench], Claim]] = {
    "tinybert-intermediate": tinybert_intermediate,
    "tinybert-prediction": tinybert_prediction,
    "bilstm-distillation": bilstm_distillation,
    "augmentation": augmentation,
    "training-step": training_step,
    "bilstm-epoch-vs-pytorch": bilstm_epoch,
    "two-processes": two_processes,
    "two-processes-short": two_processes_short,
    "inference": inference,
    "scaling": scaling,
}


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "", epilog="example: benchmark/speed/speed.py all --data_dir glue --results docs/results/speed.json"
    )
    parser.add_argument("claims", nargs="+", metavar="CLAIM", help=f"all, or of {', '.join(CLAIMS)}")
    data = parser.add_argument_group("data")
    data.add_argument("--data_dir", type=Path, required=True, help="folder with SST-2/train.tsv and so on")
    data.add_argument("--glove_embs", type=Path, help="vectors for our augmentation (default: it trains its own)")
    data.add_argument("--work_dir", type=Path, default=Path("runs/speed"), help="where models and runs go")
    how = parser.add_argument_group("measuring")
    how.add_argument("--turns", type=cli.positive_int, default=3, help="how often each side is measured")
    how.add_argument("--size", choices=list(SIZES), default="full", help="smoke: does it run?")
    how.add_argument(
        "--torch_python", type=Path, default=Path(".venv-torch/bin/python"), help="Python that has PyTorch"
    )
    how.add_argument("--results", type=cli.new_file, help="also write the rows there; rows of other claims are kept")
    return parser


def main(args: argparse.Namespace) -> None:
    """Every claim, then the table."""
    from paddledistill.report.table import text_table

    names = list(CLAIMS) if args.claims == ["all"] else args.claims
    unknown = [name for name in names if name not in CLAIMS]
    if unknown:
        raise UserError(f"no claim {unknown[0]}: say all, or some of {', '.join(CLAIMS)}")
    if not (args.data_dir / "SST-2" / "train.tsv").is_file():
        raise UserError(f"no {args.data_dir}/SST-2/train.tsv: --data_dir is a folder of GLUE tasks")
    torch = args.torch_python if args.torch_python.is_file() else None
    if torch is None:
        logger.info("no PyTorch at %s: left out (benchmark/speed/README.rst says how to get it)", args.torch_python)
        names = [name for name in names if name != "bilstm-epoch-vs-pytorch"]
    bench = prepared(args, torch)
    old = read_json(args.results) if args.results and args.results.is_file() else {"rows": []}
    rows: list[dict[str, Any]] = old["rows"]
    typed = f"python benchmark/speed/speed.py {' '.join(args.claims)} --data_dir glue --turns {args.turns} --size {args.size}"
    typed += f" --glove_embs {bench.glove.name}" if bench.glove else ""
    for name in names:
        claim = CLAIMS[name](bench)
        fresh = [
            row | {"gflops": round(bench.rate, 1), "measured_by": typed} for row in measure(name, claim, args.turns)
        ]
        place = next((at for at, row in enumerate(rows) if row["claim"] in claim.rows), len(rows))
        kept = [[row for row in part if row["claim"] not in claim.rows] for part in (rows[:place], rows[place:])]
        rows = kept[0] + fresh + kept[1]
        if args.results:
            write_json(args.results, {**head(typed, bench), **old, "rows": rows})
        print(text_table(cast(Any, fresh)), flush=True)


def prepared(args: argparse.Namespace, torch: Path | None) -> Bench:
    """Data and models that all sides read, the length of a row, the best rate of matrix products."""
    from paddledistill import assets
    from paddledistill.data.reading import load_split
    from paddledistill.data.tokenization import Tokenizer
    from paddledistill.tasks import get_task

    work = args.work_dir.resolve()
    glue = work / "glue" / "SST-2"
    glue.mkdir(parents=True, exist_ok=True)
    for split in ("train.tsv", "dev.tsv"):  # a folder of our own: the augmentation writes beside its input
        (glue / split).write_bytes((args.data_dir / "SST-2" / split).read_bytes())
    # A home of its own, so that nothing computed before is read back; the model's wheel is still the user's.
    os.environ["PADDLEDISTILL_ASSETS"] = str(assets.wheel("minilm-l6").parent)
    os.environ["PADDLEDISTILL_HOME"] = str(work / "home")
    torch = torch and torch.absolute()
    glove = args.glove_embs and args.glove_embs.resolve()
    bench = Bench(glue.parent, work, torch, glove, SIZES[args.size])
    examples = load_split(get_task("SST-2"), "train", bench.data_dir)
    ids = Tokenizer.from_directory(Path(encoder_directory())).ids([example.text_a for example in examples])
    bench.tokens["bert"] = statistics.mean(min(len(row) + 2, LENGTH) for row in ids)
    if not bench.teacher.is_dir():
        bench.ours(
            "benchmark/glue/run_glue.py", "--model_name_or_path", "minilm-l6", "--task_name", "SST-2", "--data_dir", bench.data_dir,
            "--limit", 64, "--max_steps", 2, "--max_seq_length", 128, "--output_dir", work / "teacher", "--overwrite",
        )  # fmt: skip
    bench.ours(str(HERE / "_ours.py"), "student", "--student", work / "student")
    bench.rate = max(best_rates(bench).values())
    return bench


def best_rates(bench: Bench) -> dict[str, float]:
    """GFLOP/s of float32 matrix products by library."""
    rates = {
        library: float(bench.ours(str(HERE / "_matmul.py"), library)[1])
        for library in ("numpy", "paddle", "onnxruntime")
    }
    if bench.torch:
        rates["torch"] = float(bench._run([bench.torch, HERE / "_matmul.py", "torch"], {})[1])
    logger.info("matrix products: %s GFLOP/s", ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    return rates


def measure(name: str, claim: Claim, turns: int) -> list[dict[str, Any]]:
    """The rows of a claim: every side in each turn, one after another."""
    values: dict[str, list[float]] = {side: [] for side in claim.sides}
    for turn in range(turns):
        for side, run in claim.sides.items():
            values[side].append(run())
            logger.info("%s, turn %d of %d: %s %.4g %s", name, turn + 1, turns, side, values[side][-1], claim.unit)
    is_rate = claim.unit.endswith("/s")
    rows = []
    for row, (ours, peer, what) in claim.rows.items():
        own, other = statistics.median(values[ours]), statistics.median(values[peer])
        rows.append(
            {
                "claim": row,
                "ours": round(own, 4),
                "peer": round(other, 4),
                "peer_name": what,
                "ratio": round(own / other if is_rate else other / own, 2),
                "unit": claim.unit,
                "repeats": turns,
                "floor": claim.floor and round(claim.floor, 4),
                "of_floor": claim.floor and round(own / claim.floor if is_rate else claim.floor / own, 3),
                "ours_values": [round(value, 4) for value in values[ours]],
                "peer_values": [round(value, 4) for value in values[peer]],
                "command": f"python {claim.command}",
                "date": time.strftime("%Y-%m-%d"),
                **claim.extra(),
            }
        )
    return rows


def head(command: str, bench: Bench) -> dict[str, Any]:
    """Of a new file of results; rows that are measured again later carry a command, a date and a rate of their own."""
    return {**runtime.provenance(command), "gflops": round(bench.rate, 1)}


if __name__ == "__main__":
    cli.run(main, build_parser())
