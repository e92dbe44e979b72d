"""What only a GPU can do; skipped where there is none."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paddledistill import runtime
from paddledistill.training.feeding import prepared, to_batch
from paddledistill.training.run_directory import read_metrics

Run = Callable[..., "subprocess.CompletedProcess[str]"]

needs_gpus = pytest.mark.skipif("not __import__('paddledistill').runtime.gpus()", reason="no GPU that Paddle can use")


@pytest.fixture
def fine_tune(run_recipe: Run, tiny_bert: Path, glue_dir: Path, tmp_path: Path) -> Callable[..., list[float]]:
    """Losses of the logged steps of run_glue.py on a GPU."""

    def run(name: str, *flags: object) -> list[float]:
        common = [
            "--task_name",
            "SST-2",
            "--glue_dir",
            glue_dir,
            "--max_seq_length",
            32,
            "--dropout",
            0,
            "--logging_steps",
            1,
        ]
        run_recipe(
            "benchmark/glue/run_glue.py", "--model_name_or_path", tiny_bert, *common, "--device", "gpu", *flags,
            "--output_dir", tmp_path / name, check=True,
        )  # fmt: skip
        return [line["loss"] for line in read_metrics(tmp_path / name) if line["kind"] == "train"]

    return run


@needs_gpus
@pytest.mark.slow
@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_half_precision_learns_about_the_same(fine_tune: Callable[..., list[float]], amp: str) -> None:
    whole, half = fine_tune("whole", "--batch_size", 8), fine_tune("half", "--batch_size", 8, "--amp", amp)
    assert half != whole
    np.testing.assert_allclose(half, whole, atol=0.05)


@needs_gpus
@pytest.mark.slow
def test_two_gpus_learn_what_one_learns(fine_tune: Callable[..., list[float]]) -> None:
    if len(runtime.gpus()) < 2:
        pytest.skip("one GPU only")
    np.testing.assert_allclose(
        fine_tune("two", "--batch_size", 4, "--n_gpu", 2), fine_tune("one", "--batch_size", 8), atol=1e-3
    )


@needs_gpus
def test_batches_are_made_ahead_and_arrive_whole() -> None:
    runtime.set_device("gpu")
    try:
        made = prepared(lambda number: to_batch({"x": np.full(4, number)}), range(7))
        found = [(number, batch["x"]) for number, batch in made]
        assert [number for number, _ in found] == list(range(7))
        assert all(tensor.place.is_gpu_place() and (tensor.numpy() == number).all() for number, tensor in found)
    finally:
        runtime.set_device("cpu")
