"""Files that PyTorch 2.13 wrote, in its format of today and in that of before 1.6, read without it."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from paddledistill.errors import UserError
from paddledistill.models.weights import read_state

FORMATS = ("zip.bin", "before_1.6.bin")


def directory(fixture_dir: Path, name: str, target: Path) -> Path:
    shutil.copy(fixture_dir / "torch" / name, target / "pytorch_model.bin")
    return target


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_are_those_that_were_written(name: str, fixture_dir: Path, tmp_path: Path) -> None:
    state = read_state(directory(fixture_dir, name, tmp_path), ["bert"], lambda tensors: tensors)
    numbers = np.arange(24, dtype=np.float32)
    expected = {
        "embeddings.LayerNorm.weight": numbers[:3],
        "embeddings.LayerNorm.bias": numbers[20:],
        "turned": numbers[4:10].reshape(2, 3).T,
        "half": numbers[:4],
        "bfloat16": numbers[:4],
        "position_ids": np.arange(4)[None],
        "classifier.weight": numbers.reshape(2, 12),
    }
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        np.testing.assert_array_equal(state[key], tensor, err_msg=key)
        assert state[key].dtype == tensor.dtype


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_short(name: str, fixture_dir: Path, tmp_path: Path) -> None:
    path = directory(fixture_dir, name, tmp_path) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"pytorch_model\.bin is damaged or cut short"):
        read_state(tmp_path, ["bert"], lambda tensors: tensors)


def test_nothing_else_is_unpickled(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Path("/")))
    with pytest.raises(UserError, match=r"pytorch_model\.bin holds a pathlib\.PosixPath: only a dict of tensors"):
        read_state(tmp_path, ["bert"], lambda tensors: tensors)
