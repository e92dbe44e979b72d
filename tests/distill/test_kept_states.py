"""A teacher's states of all rows, kept in memory: those that it gives, asked for once."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import launch, models, runtime
from paddledistill.data.batching import bucketed_batches
from paddledistill.data.datasets import BertDataset
from paddledistill.distill.kept_states import _padded, _places, _within, check_one_process, keep_states
from paddledistill.distill.layer_maps import Asked
from paddledistill.distill.objectives import Targets, live_targets
from paddledistill.errors import UserError
from paddledistill.models import PlainEncoder
from paddledistill.models.base import Batch
from paddledistill.models.transformer import Captured
from paddledistill.tasks import Example
from paddledistill.training.feeding import to_batch

ASKED = Asked(hidden=(0, 3), scores=(2,), values=(1,))
TEXTS = ("dull", "a warm and funny story", "the plot is dull and the jokes are old")


@pytest.fixture
def teacher(tiny_bert: Path) -> PlainEncoder:
    return models.plain_encoder(str(tiny_bert))


@pytest.fixture
def rows(teacher: PlainEncoder) -> BertDataset:
    return teacher.encode([Example(TEXTS[number % 3], None, 0) for number in range(50)])


def counting(answer: Targets, asked_about: list[int]) -> Targets:
    def targets(batch: Batch) -> Captured:
        asked_about.append(len(batch["input_ids"]))
        return answer(batch)

    return targets


def test_what_is_kept_is_what_the_teacher_answers(teacher: PlainEncoder, rows: BertDataset) -> None:
    live, asked_about = live_targets(teacher, ASKED), list[int]()
    numbered, kept = keep_states(counting(live, asked_about), rows, np.arange(len(rows)))
    _, again = keep_states(live, rows, np.arange(len(rows)))  # by a run that goes on
    assert sum(asked_about) == len(rows)
    for epoch in range(2):
        for batch_rows in bucketed_batches(numbered.lengths, 8, 1, epoch):
            batch = to_batch(numbered.batch(batch_rows))
            found, expected = kept(batch), live(batch)
            np.testing.assert_array_equal(again(batch).scores[2].numpy(), found.scores[2].numpy())
            mask = batch["attention_mask"].numpy()
            pairs = (mask[:, :, None] * mask[:, None])[:, None]
            for kind, tokens in (("hidden", mask[:, :, None]), ("scores", pairs), ("values", mask[:, :, None])):
                own, theirs = getattr(found, kind), getattr(expected, kind)
                assert set(own) == set(theirs)
                for number, tensor in theirs.items():
                    assert own[number].dtype == paddle.float32
                    np.testing.assert_allclose(
                        own[number].numpy(), tensor.numpy() * tokens, rtol=2**-11, atol=1e-4, err_msg=f"{kind} {number}"
                    )
    assert sum(asked_about) == len(rows)


def test_rows_that_are_not_read_are_not_asked_about(teacher: PlainEncoder, rows: BertDataset) -> None:
    live, asked_about = live_targets(teacher, ASKED), list[int]()
    numbered, kept = keep_states(counting(live, asked_about), rows, np.array([40, 1, 2]))
    assert sum(asked_about) == 3
    batch = to_batch(numbered.batch([2, 40]))
    np.testing.assert_allclose(kept(batch).values[1].numpy(), live(batch).values[1].numpy() * np.expand_dims(
        batch["attention_mask"].numpy(), 2), rtol=2**-11, atol=1e-4)  # fmt: skip


def test_texts_that_are_no_rows_of_the_set_are_asked_about(teacher: PlainEncoder, rows: BertDataset) -> None:
    live = live_targets(teacher, ASKED)
    _, kept = keep_states(live, rows, np.arange(3))
    batch = to_batch(teacher.encode([Example("another story", None, 0)]).batch([0]))
    np.testing.assert_array_equal(kept(batch).hidden[3].numpy(), live(batch).hidden[3].numpy())


@pytest.mark.parametrize("mask", [[[1, 1, 1, 0], [1, 0, 0, 0]], [[0, 1, 1, 1], [0, 0, 0, 1]]])
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4, 4)])
def test_padding_on_either_side(mask: list[list[int]], shape: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    places = _places({"attention_mask": paddle.to_tensor(mask)})
    parts = [_within(row, place).astype(np.float16) for row, place in zip(whole, places, strict=True)]
    assert [part.shape[-2] for part in parts] == [3, 1]
    tokens = np.array(mask, np.float32)
    there = tokens[:, :, None] if len(shape) == 3 else (tokens[:, :, None] * tokens[:, None])[:, None]
    np.testing.assert_allclose(_padded(parts, places, 4), whole * there, rtol=1e-3)


def test_more_than_half_of_the_memory_is_refused(
    teacher: PlainEncoder, rows: BertDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_about: list[int] = []
    monkeypatch.setattr(runtime, "machine", lambda: {"memory_gb": 1e-5})
    with pytest.raises(
        UserError, match=r"of 50 rows take .* GB, more than half of .*: leave --keep_teacher_states out"
    ):
        keep_states(counting(live_targets(teacher, ASKED), asked_about), rows, np.arange(len(rows)))
    assert asked_about == [50 % 32]  # the longest rows


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_one_process()
    monkeypatch.setenv(launch.WORLD, "2")
    with pytest.raises(UserError, match="is for a run of one process"):
        check_one_process()
