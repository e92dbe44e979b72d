"""The speed benchmarks: the real commands on little data, and what they compute from their measurements."""

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from paddledistill.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SPEED, MEMORY = "benchmark/speed/speed.py", "benchmark/speed/memory.py"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def module(path: str) -> ModuleType:
    name = f"tested_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec and spec.loader
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


speed, memory = module(SPEED), module(MEMORY)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """200 made-up rows in the layout of SST-2."""
    words = (ROOT / "tests/fixtures/vocab.txt").read_text(encoding="utf-8").split()[150:500]
    generator = random.Random(1)
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    for split, count in (("train", 200), ("dev", 20)):
        rows = [
            f"{' '.join(generator.choices(words, k=generator.randint(3, 20)))}\t{number % 2}" for number in range(count)
        ]
        (folder / f"{split}.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder.parent


@pytest.mark.slow
@pytest.mark.assets("minilm-l6")
def test_a_claim_is_measured_against_both_loops(run_recipe: Run, data: Path, tmp_path: Path) -> None:
    results = tmp_path / "speed.json"
    kept = {"claim": "memory", "ours": 1.0, "peer": None}
    results.write_text(json.dumps({"rows": [kept, {"claim": "tinybert-intermediate", "ours": 0.0}]}), encoding="utf-8")
    done = run_recipe(
        SPEED, "tinybert-intermediate", "--data_dir", data, "--size", "smoke", "--turns", 1, "--work_dir", tmp_path / "work",
        "--torch_python", tmp_path / "none", "--results", results, check=True,
    )  # fmt: skip
    assert "no PyTorch at" in done.stderr
    content = json.loads(results.read_text())
    assert {"command", "machine", "versions", "date", "gflops", "rows"} <= set(content)
    assert content["rows"][0] == kept
    rows = {row["claim"]: row for row in content["rows"][1:]}
    assert list(rows) == [f"tinybert-intermediate{suffix}" for suffix in ("", "-vs-tuned", "-with-dropout")]
    for row in rows.values():
        assert row["ratio"] == pytest.approx(row["ours"] / row["peer"], rel=0.02) and row["ratio"] > 1
        assert 0 < row["of_floor"] < 1 and row["unit"] == "steps/s"
        assert row["claim"] in done.stdout
    assert rows["tinybert-intermediate"]["peer_name"] == "the loop as installed"


@pytest.mark.slow
@pytest.mark.assets("minilm-l6")
def test_memory_of_a_run_is_watched(run_recipe: Run, data: Path, tmp_path: Path) -> None:
    common = ["--model_name_or_path", "minilm-l6", "--task_name", "SST-2", "--data_dir", data, "--max_seq_length", 64]
    teacher = tmp_path / "teacher"
    run_recipe("benchmark/glue/run_glue.py", *common, "--max_steps", 1, "--output_dir", teacher, check=True)
    done = run_recipe(
        MEMORY, "--data_dir", "glue", "--teacher_path", "teacher", "--rows", 300, "--steps", 20, "--work_dir", "work",
        "--results", "speed.json", check=True, cwd=tmp_path,
    )  # fmt: skip
    row = json.loads(done.stdout)
    assert row["command"].endswith(
        "memory.py --data_dir glue --teacher_path teacher --rows 300 --steps 20 --work_dir work --results speed.json"
    )
    assert 0.2 < row["ours"] < 4
    assert json.loads((tmp_path / "speed.json").read_text())["rows"] == [row]
    lines = (tmp_path / "work" / "glue" / "SST-2" / "train_aug.tsv").read_text().splitlines()
    assert len(lines) == 301 and len(set(lines)) > 280


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("no-such-claim", "--data_dir", "{data}"), "no claim no-such-claim"),
        (("all", "--data_dir", "{data}/none"), "none/SST-2/train.tsv"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    run_recipe: Run, data: Path, flags: tuple[str, ...], message: str
) -> None:
    done = run_recipe(SPEED, *(flag.format(data=data) for flag in flags))
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_work_of_a_step_is_counted() -> None:
    """By hand, for one token of one layer: query, key, value and output 4 x 4 x 4, two of 4 x 16; scores and context of 3 tokens."""
    assert speed.encoder_flop(tokens=1, length=3, layers=1, width=4) == 2 * (4 * 16 + 2 * 64) + 2 * 2 * 3 * 4
    assert speed.encoder_flop(10, 3, 2, 4) == 20 * speed.encoder_flop(1, 3, 1, 4)
    assert speed.lstm_flop(tokens=5, width=3, hidden=2) == 5 * 2 * (2 * 4 * (3 + 2) * 2)


def test_the_steady_rate_is_that_between_the_logged_steps(tmp_path: Path) -> None:
    lines = [
        {"kind": "train", "step": 5, "seconds": 9.0},
        {"kind": "train", "step": 10, "seconds": 10.0},
        {"kind": "train", "step": 15, "seconds": 11.0},
        {"kind": "eval", "step": 15, "seconds": 20.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert speed.steady(tmp_path) == 5.0


@pytest.mark.parametrize(("unit", "ratio", "of_floor"), [("steps/s", 4.0, 0.5), ("ms", 0.25, 2.0)])
def test_rows_hold_medians_and_how_many_times_faster(unit: str, ratio: float, of_floor: float) -> None:
    turns = {"ours": iter([7.0, 9.0, 8.0]), "peer": iter([2.0, 1.0, 9.0])}
    claim = speed.Claim(
        unit,
        {name: values.__next__ for name, values in turns.items()},
        {"fast": ("ours", "peer", "a loop")},
        "x.py",
        16.0,
    )
    (row,) = speed.measure("fast", claim, 3)
    assert (row["ours"], row["peer"], row["ratio"], row["of_floor"]) == (8.0, 2.0, ratio, of_floor)
    assert (row["ours_values"], row["repeats"], row["peer_name"]) == ([7.0, 9.0, 8.0], 3, "a loop")


def test_candidates_may_differ_only_where_rounding_decides() -> None:
    theirs = [([3, 9, 5, 7], [4.0, 3.0, 2.0, 2.0 - 1e-5])]
    assert speed.equal_candidates([[3, 5]], {3, 5, 7}, theirs) == "1 of 1"
    assert speed.equal_candidates([[3, 7]], {3, 5, 7}, theirs) == "0 of 1"  # 5 and 7 are as good
    with pytest.raises(UserError, match="not those of the loop"):
        speed.equal_candidates([[5, 7]], {3, 5, 7}, theirs)


def test_growth_is_the_slope_after_the_first_hundred_steps() -> None:
    samples = [(0, 0.5), (50, 1.0), *((step, 2.0 + step / 100_000) for step in range(100, 400, 50)), (400, 0.0)]
    row = memory.measured(samples, rows=10, steps=400)
    assert row["ours"] == pytest.approx(2.004, abs=1e-3)
    assert row["megabytes_per_100_steps"] == pytest.approx(1.0)
