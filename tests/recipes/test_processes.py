"""The recipes in two processes: the same results as in one, and what becomes of them when a process dies."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill.training.run_directory import read_metrics

ROOT = Path(__file__).resolve().parents[2]
RUN_GLUE = "benchmark/glue/run_glue.py"
TASK_DISTILL = "examples/tinybert/task_distill.py"
DISTILL = "examples/bert_to_bilstm/distill.py"
AUGMENT = "examples/tinybert/data_augmentation.py"
GENERAL = "examples/tinybert/general_distill.py"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def losses(run: Path, name: str = "loss") -> list[float]:
    """Of every logged step and evaluation."""
    return [line[name] for line in read_metrics(run) if name in line]


def fine_tune(model: Path, data: Path, *flags: object) -> list[object]:
    """Without dropout, whose random numbers differ from process to process; rows that do not divide evenly."""
    return [
        "--model_name_or_path", model, "--task_name", "SST-2", "--glue_dir", data, "--max_seq_length", 32, "--dropout", 0,
        "--limit", 21, "--logging_steps", 1, "--save_steps", 3, "--learning_rate", "1e-3", *flags,
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(run_recipe: Run, tiny_bert: Path, glue_dir: Path, tmp_path: Path) -> None:
    """The last batch of an epoch has a single row, so that the second process has none."""
    one, two = tmp_path / "one", tmp_path / "two"
    run_recipe(RUN_GLUE, *fine_tune(tiny_bert, glue_dir, "--batch_size", 10, "--output_dir", one), check=True)
    done = run_recipe(
        RUN_GLUE, *fine_tune(tiny_bert, glue_dir, "--batch_size", 5, "--n_cpu", 2, "--output_dir", two), check=True
    )
    assert "going on with the CPU" not in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("best model:") == 1
    assert len(losses(one)) == 9 + 3
    np.testing.assert_allclose(losses(two), losses(one), atol=1e-5)
    np.testing.assert_allclose(losses(two, "accuracy"), losses(one, "accuracy"))
    first = (tmp_path / "two" / "run.json").read_text()
    assert '"processes": 2' in first


def kill_one_of_two(flags: list[object], run: Path) -> str:
    """Start run_glue.py in two processes and kill the second after the first save; returns what was said."""
    command = [sys.executable, ROOT / RUN_GLUE, *flags, "--n_cpu", 2, "--output_dir", run]
    started = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not (run / "last").exists():
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    signal_to = int(children[1])
    subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(signal_to)], check=True)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 1
    return said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_run_whose_process_died_goes_on_with_any_number(
    run_recipe: Run, tiny_bert: Path, glue_dir: Path, tmp_path: Path
) -> None:
    flags = fine_tune(tiny_bert, glue_dir, "--batch_size", 5, "--num_train_epochs", 20)
    said = kill_one_of_two(flags, tmp_path / "killed")
    assert "process 2 of 2 was killed by SIGKILL" in said and "Traceback" not in said
    shutil.copytree(tmp_path / "killed", tmp_path / "kept", symlinks=True)

    def go_on(name: str, processes: int) -> None:
        run_recipe(RUN_GLUE, *flags, "--n_cpu", processes, "--resume", "--output_dir", tmp_path / name, check=True)

    go_on("whole", 2)  # from the beginning: there is nothing to go on with
    go_on("killed", 2)
    (tmp_path / "killed").rename(tmp_path / "same")
    (tmp_path / "kept").rename(tmp_path / "killed")
    go_on("killed", 1)
    whole, same = (
        paddle.load(str(tmp_path / name / "best_model" / "model_state.pdparams")) for name in ("whole", "same")
    )
    assert all(bool((whole[name] == same[name]).all()) for name in whole)
    assert losses(tmp_path / "same") == losses(tmp_path / "whole")
    np.testing.assert_allclose(losses(tmp_path / "killed")[:20], losses(tmp_path / "whole")[:20], atol=1e-4)
    assert len(losses(tmp_path / "killed")) == len(losses(tmp_path / "whole"))


@pytest.mark.slow
def test_distillation_in_two_processes(
    run_recipe: Run, tiny_bert: Path, tiny_student: Path, glue_dir: Path, tmp_path: Path
) -> None:
    """Both stages of TinyBERT and the BiLSTM; the teacher's logits are shared out and are those that one process computes."""
    teacher = tmp_path / "teacher"
    run_recipe(RUN_GLUE, *fine_tune(tiny_bert, glue_dir, "--max_steps", 2, "--output_dir", teacher), check=True)
    common = [
        "--task_name", "SST-2", "--glue_dir", glue_dir, "--max_seq_length", 32, "--limit", 21, "--save_steps", 3,
    ]  # fmt: skip
    student = ["--student_model_name_or_path", tiny_student, "--teacher_path", teacher, "--dropout", 0]
    bilstm = ["--teacher_dir", teacher, "--vocab_path", teacher / "best_model" / "vocab.txt", "--n_iter", 2]
    for name, flags in {
        "one": ["--batch_size", 10],
        "two": ["--batch_size", 5, "--n_cpu", 2],
    }.items():
        cache = {"PADDLEDISTILL_HOME": str(tmp_path / f"cache-{name}")}
        schedule = ["--num_train_epochs", 2, "--prediction_epochs", 2, "--logging_steps", 1]
        tinybert = [*student, *common, *schedule, *flags, "--output_dir", tmp_path / name]
        run_recipe(TASK_DISTILL, *tinybert, check=True, env=cache)
        small = ["--emb_dim", 8, "--hidden_size", 8, "--max_epoch", 2, "--log_freq", 1]
        run_recipe(
            DISTILL, *bilstm, *common, *small, *flags, "--output_dir", tmp_path / f"lstm-{name}", check=True, env=cache
        )
    for run in ("{}", "{}/intermediate", "lstm-{}"):
        one, two = losses(tmp_path / run.format("one")), losses(tmp_path / run.format("two"))
        tolerance = 1e-4 if run != "{}/intermediate" else 0.3  # a mean over tokens, there of each process's own rows
        assert len(one) == len(two) > 4
        np.testing.assert_allclose(two, one, rtol=tolerance, err_msg=run)
    stored = [
        [np.load(file) for file in sorted((tmp_path / f"cache-{name}" / "logits").glob("*.npy"))]
        for name in ("one", "two")
    ]
    assert len(stored[0]) == 2
    for one, two in zip(*stored, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5)


@pytest.mark.slow
def test_general_distillation_in_two_processes(run_recipe: Run, tiny_bert: Path, tmp_path: Path) -> None:
    """Its rows are full, so a mean over the tokens of each process is one over all of them."""
    text, corpus = "the plot of this film is a story that we have seen", tmp_path / "text.txt"
    corpus.write_text("\n\n".join(f"{text} {number} times before" for number in range(300)))
    for name, flags in {"one": ["--batch_size", 8], "two": ["--batch_size", 4, "--n_cpu", 2]}.items():
        run_recipe(
            GENERAL, "--teacher_path", tiny_bert, "--corpus", corpus, "--init_from_layers", "1,3", "--max_seq_length", 24, "--max_steps", 4,
            "--held_out_rows", 4, "--logging_steps", 1, "--save_steps", 2, *flags, "--output_dir", tmp_path / name, check=True,
        )  # fmt: skip
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 4 + 2
    np.testing.assert_allclose(two, one, rtol=1e-4)


@pytest.mark.slow
def test_augmentation_in_two_processes_writes_the_same_file(
    run_recipe: Run, tiny_masked_lm: Path, glue_dir: Path, tmp_path: Path
) -> None:
    """The masked words are shared out in chunks: with a chunk of a few words each process has some."""
    script = tmp_path / "data_augmentation.py"
    text = (ROOT / AUGMENT).read_text(encoding="utf-8")
    assert "\nCHUNK = 2048" in text
    script.write_text(text.replace("\nCHUNK = 2048", "\nCHUNK = 16"), encoding="utf-8")
    found = []
    for count in (1, 2):
        flags = [
            "--pretrained_bert_model", tiny_masked_lm, "--task_name", "MRPC", "--glue_dir", glue_dir, "--N", 3,
            "--n_cpu", count, "--overwrite",
        ]  # fmt: skip
        cache = {"PADDLEDISTILL_HOME": str(tmp_path / f"cache-{count}")}  # the second finds nothing of the first
        run_recipe(str(script), *flags, env=cache, check=True)
        found.append((glue_dir / "MRPC" / "train_aug.tsv").read_bytes())
    assert found[0] == found[1]


@pytest.mark.slow
def test_it_runs_under_paddles_own_launcher(run_recipe: Run, tiny_bert: Path, glue_dir: Path, tmp_path: Path) -> None:
    for name, launcher in (
        ("theirs", ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--backend", "gloo", "--log_dir", tmp_path / "log"]),
        ("ours", []),
    ):  # fmt: skip
        flags = fine_tune(tiny_bert, glue_dir, "--batch_size", 5, "--output_dir", tmp_path / name)
        if launcher:
            run_recipe(*launcher, ROOT / RUN_GLUE, *flags, check=True)
        else:
            run_recipe(RUN_GLUE, *flags, "--n_cpu", 2, check=True)
    assert losses(tmp_path / "theirs") == losses(tmp_path / "ours")
