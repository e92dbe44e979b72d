#!/usr/bin/env python
"""Measure the memory of a distillation run on a large augmented text: the peak of a process, and how it grows with the steps.

The text is SST-2's own, repeated until there are as many rows as the augmentation gives, each row without some of its words so that
rows differ. ``task_distill.py --use_aug`` runs on it for a few hundred steps, and its resident memory is read each second.
"""

import argparse
import json
import logging
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from paddledistill import cli, progress, runtime
from paddledistill.errors import UserError
from paddledistill.files import atomic_file, read_json, write_json

logger = logging.getLogger("memory")

ROOT = Path(__file__).resolve().parents[2]
CLAIM = "memory"
_DROPPED = 0.15  # of the words of a row


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(
        __doc__ or "", epilog="example: benchmark/speed/memory.py --data_dir glue --teacher_path runs/teacher"
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with SST-2/train.tsv and SST-2/dev.tsv")
    parser.add_argument("--teacher_path", type=Path, required=True, help="a classifier for SST-2: a run of run_glue.py")
    parser.add_argument("--rows", type=cli.positive_int, default=1_400_000, help="rows of text")
    parser.add_argument("--steps", type=cli.positive_int, default=400, help="steps to run")
    parser.add_argument("--work_dir", type=Path, default=Path("runs/memory"), help="where text and run go")
    parser.add_argument(
        "--results", type=cli.new_file, help="also put the row into this file of benchmark/speed/speed.py"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Write the text, run, watch, report."""
    if not (args.data_dir / "SST-2" / "train.tsv").is_file():
        raise UserError(f"no {args.data_dir}/SST-2/train.tsv: --data_dir is a folder of GLUE tasks")
    if not args.teacher_path.is_dir():
        raise UserError(f"no directory {args.teacher_path}: make a teacher with benchmark/glue/run_glue.py")
    # Absolute, since the run has a working directory of its own.
    teacher, work = args.teacher_path.resolve(), args.work_dir.resolve()
    data = large_text(args.data_dir / "SST-2", work / "glue" / "SST-2", args.rows)
    run = work / "run"
    command = [
        sys.executable, str(ROOT / "examples/tinybert/task_distill.py"), "--stage", "intermediate", "--use_aug",
        "--task_name", "SST-2", "--data_dir", str(data.parent), "--model_name_or_path", "minilm-l6", "--init_from_layers", "1,3,5",
        "--teacher_path", str(teacher), "--max_seq_length", "64", "--dropout", "0", "--max_steps", str(args.steps),
        "--logging_steps", "10", "--save_steps", str(10**6), "--output_dir", str(run), "--overwrite",
    ]  # fmt: skip
    samples = watch(command, run)
    row = measured(samples, args.rows, args.steps)
    print(json.dumps(row, indent=2))
    if args.results:
        content: dict[str, Any] = (
            read_json(args.results) if args.results.is_file() else {**runtime.provenance(), "rows": []}
        )
        content["rows"] = [other for other in content["rows"] if other["claim"] != CLAIM] + [row]
        write_json(args.results, content)


def large_text(source: Path, target: Path, rows: int) -> Path:
    """A copy of the task whose ``train_aug.tsv`` has so many rows."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("train.tsv", "dev.tsv"):
        (target / name).write_bytes((source / name).read_bytes())
    header, *lines = (source / "train.tsv").read_text(encoding="utf-8").splitlines()
    generator = random.Random(1)
    with atomic_file(target / "train_aug.tsv") as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write(header + "\n")
        for number in range(rows):
            text, label = lines[number % len(lines)].rsplit("\t", 1)
            kept = [word for word in text.split() if generator.random() > _DROPPED] or ["film"]
            stream.write(f"{' '.join(kept)}\t{label}\n")
    return target


def watch(command: list[str], run: Path) -> list[tuple[int, float]]:
    """(step reached, resident gigabytes) each second of the command's life."""
    samples = []
    with (
        progress.bar("watching", "s", 0) as bar,
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
    ):
        lines: list[str] = []
        assert process.stderr
        reader = threading.Thread(target=lambda stream=process.stderr: lines.extend(stream))
        reader.start()
        while process.poll() is None:
            samples.append((reached(run), resident(process.pid)))
            bar.update()
            time.sleep(1)
        reader.join()
    if process.returncode:
        raise UserError(f"the run ended with {process.returncode}: {(lines or ['no message'])[-1].strip()}")
    return samples


def reached(run: Path) -> int:
    """The last step that the run has logged."""
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0


def resident(pid: int) -> float:
    """Resident memory of a process in units of 10^9 bytes; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e9 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def measured(samples: list[tuple[int, float]], rows: int, steps: int) -> dict[str, Any]:
    """Peak, and the slope of memory over steps after the first hundred, by least squares."""
    later = [(step, size) for step, size in samples if step >= min(100, steps // 2) and size]
    slope = 0.0
    if len({step for step, _ in later}) > 1:
        slope = statistics.linear_regression([step for step, _ in later], [size for _, size in later]).slope
    return {
        "claim": CLAIM,
        "ours": round(max(size for _, size in samples), 3),
        "peer": None,
        "peer_name": None,
        "ratio": None,
        "unit": "GB resident",
        "repeats": 1,
        "floor": None,
        "of_floor": None,
        "megabytes_per_100_steps": round(slope * 100 * 1000, 2),
        "train_rows": rows,
        "steps": steps,
        "command": runtime.typed_command(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    cli.run(main, build_parser())
