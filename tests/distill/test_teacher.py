"""The teacher's stored logits: right, computed once, and keyed on all that shapes them; its states by an inference engine."""

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import assets, models
from paddledistill.data.tokenization import Tokenizer
from paddledistill.distill import objectives
from paddledistill.distill.layer_maps import layer_map
from paddledistill.distill.teacher import load_teacher, targets, teacher_logits, with_logits
from paddledistill.errors import UserError
from paddledistill.models import BiLSTMConfig, TaskInfo, engine
from paddledistill.tasks import Example, get_task
from paddledistill.training.evaluation import predict
from paddledistill.training.feeding import to_batch

EXAMPLES = [
    Example(text, None, 0) for text in ("a warm and funny story", "dull", "the plot is dull and the jokes are old")
] * 5


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("worth_an_export", [1, 1000])
def test_logits_are_the_teachers_in_the_order_of_the_rows(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, worth_an_export: int
) -> None:
    """With the inference engine and without."""
    monkeypatch.setattr(engine, "WORTH_AN_EXPORT", worth_an_export)
    model = models.load(tiny_bert)
    dataset = model.encode(EXAMPLES, 32)
    found = teacher_logits(model, "digest", dataset)
    np.testing.assert_allclose(found, predict(model, dataset, batch_size=2), atol=1e-5)
    assert not np.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("worth_an_export", [1, 1000])
def test_rows_that_are_not_read_are_not_asked_about(
    tiny_bert: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch, worth_an_export: int
) -> None:
    monkeypatch.setattr(engine, "WORTH_AN_EXPORT", worth_an_export)
    teacher, student = models.load(tiny_bert), models.load(tiny_student)
    dataset, rows = student.encode(EXAMPLES, 32), np.array([1, 4, 11])

    def logits(rows: np.ndarray) -> np.ndarray:
        found = with_logits(dataset, teacher, "digest", EXAMPLES, 32, rows)
        return found.batch(range(len(EXAMPLES)))[objectives.TEACHER_LOGITS]

    expected, part = predict(teacher, teacher.encode(EXAMPLES, 32)), logits(rows)
    np.testing.assert_allclose(part[rows], expected[rows], atol=1e-5)
    assert np.isnan(np.delete(part, rows, axis=0)).all()
    np.testing.assert_allclose(logits(np.arange(len(EXAMPLES))), expected, atol=1e-5)


def test_rows_of_a_text_that_is_stored_are_read_back(tiny_bert: Path) -> None:
    teacher = models.load(tiny_bert)
    dataset = teacher.encode(EXAMPLES, 32)
    whole = np.array(teacher_logits(teacher, "digest", dataset))
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher is asked again"))
    rows = np.array([2, 5])
    np.testing.assert_array_equal(teacher_logits(teacher, "digest", dataset, rows), whole[rows])


def test_they_are_stored_by_teacher_and_text(tiny_bert: Path, tiny_student: Path) -> None:
    model, other = models.load(tiny_bert), models.load(tiny_student)
    asked: list[object] = []
    for one in (model, other):
        one.register_forward_pre_hook(lambda *_: asked.append(1))
    first = np.array(teacher_logits(model, "one", model.encode(EXAMPLES, 32)))
    assert len(asked) == 1
    np.testing.assert_array_equal(teacher_logits(model, "one", model.encode(EXAMPLES, 32)), first)
    assert len(asked) == 1
    teacher_logits(other, "two", model.encode(EXAMPLES, 32))
    teacher_logits(model, "one", model.encode(EXAMPLES, 16))
    teacher_logits(model, "one", model.encode([*EXAMPLES[:-1], Example("old", None, 0)], 32))
    assert len(asked) == 4
    assert len(list((assets.cache_dir() / "logits").iterdir())) == 4


def test_what_a_killed_command_computed_is_used_by_the_next(tiny_vocab: Path) -> None:
    """165 batches, in two parts; a BiLSTM, since so many rows of an encoder are read by an engine."""
    info = TaskInfo.of(get_task("SST-2"), 32)
    model = models.new_bilstm(BiLSTMConfig(4, 4), Tokenizer.from_vocab(tiny_vocab), info)
    dataset = model.encode(EXAMPLES * 700)
    expected = predict(model, dataset)
    logits = assets.cache_dir() / "logits"
    asked: list[int] = []

    def note(_: object, inputs: tuple[dict[str, paddle.Tensor]]) -> None:
        if len(asked) == die_at:
            raise KeyboardInterrupt
        asked.append(len(inputs[0]["input_ids"]))

    model.register_forward_pre_hook(note)
    die_at = 100
    with pytest.raises(KeyboardInterrupt):
        teacher_logits(model, "digest", dataset)
    kept = sum(len(np.load(part)) for part in logits.glob("*.parts/*.npy"))
    assert 0 < kept < sum(asked)
    assert not list(logits.glob("*.npy"))
    asked, die_at = [], 1000
    np.testing.assert_allclose(teacher_logits(model, "digest", dataset), expected, atol=1e-5)
    assert sum(asked) == len(dataset) - kept
    assert [path.suffix for path in logits.iterdir()] == [".npy"]


SCRIPT = """
import json, sys
from pathlib import Path
from paddledistill import cli, flags, launch

def main(args):
    from paddledistill import models
    from paddledistill.distill.teacher import teacher_logits
    from paddledistill.tasks import Example
    model, asked = models.load(sys.argv[1]), []
    model.register_forward_pre_hook(lambda layer, inputs: asked.append(inputs[0]["attention_mask"].numpy().sum(1).tolist()))
    dataset = model.encode([Example("dull and old " * (1 + number % 9), None, 0) for number in range(300)], 32)
    found = teacher_logits(model, "digest", dataset)
    Path(f"asked-{launch.rank()}.json").write_text(json.dumps({"lengths": asked, "sum": float(abs(found).sum())}))

parser = cli.Parser("a test")
parser.add_argument("model")
flags.add_device_flags(parser)
cli.run(main, parser)
"""


def test_processes_share_a_small_set_and_count_their_own_tokens(tiny_bert: Path, tmp_path: Path) -> None:
    """Of 5 batches, which all were one process's. Those of long rows come first."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(tiny_bert), "--n_cpu", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"asked-{rank}.json").read_text()) for rank in range(2))
    own, other = first["lengths"], second["lengths"]
    assert (len(own), len(other)) == (3, 2)
    assert sum(map(len, own + other)) == 300
    assert [max(batch) for batch in own] == sorted([max(batch) for batch in own], reverse=True)
    assert first["sum"] == second["sum"] > 0
    tokens = sum(map(sum, own))
    assert "teacher logits: 100%" in done.stderr and f"{tokens}/{tokens}" in done.stderr


def test_a_second_command_waits_for_the_first(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = models.load(tiny_bert)
    dataset = model.encode(EXAMPLES, 32)
    begun, may_go_on, asked = threading.Event(), threading.Event(), []

    def slowly(*_: object) -> None:
        asked.append(1)
        begun.set()
        may_go_on.wait(30)

    model.register_forward_pre_hook(slowly)
    with caplog.at_level("INFO"), ThreadPoolExecutor(2) as commands:
        first = commands.submit(teacher_logits, model, "digest", dataset)
        assert begun.wait(30)
        second = commands.submit(teacher_logits, model, "digest", dataset)
        deadline = time.monotonic() + 30
        while "waiting for another command" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
        may_go_on.set()
        np.testing.assert_array_equal(first.result(), second.result())
    assert "waiting for another command" in caplog.text
    assert len(asked) == 1


def test_a_failure_in_the_first_part_leaves_nothing(tiny_bert: Path) -> None:
    model = models.load(tiny_bert)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    model.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        teacher_logits(model, "one", model.encode(EXAMPLES, 32))
    assert list((assets.cache_dir() / "logits").iterdir()) == []


def test_teachers_that_do_not_fit(tiny_bert: Path, tiny_vocab: Path, tmp_path: Path) -> None:
    sst, mnli, sts = get_task("SST-2"), get_task("MNLI"), get_task("STS-B")
    assert load_teacher(str(tiny_bert), sst, 32).training is False
    with pytest.raises(UserError, match=r"answers .*, but mnli has \('contradiction', 'entailment', 'neutral'\)"):
        load_teacher(str(tiny_bert), mnli, 32)
    with pytest.raises(UserError, match="but sts-b has a score"):
        load_teacher(str(tiny_bert), sts, 32)
    own = models.new_bilstm(BiLSTMConfig(4, 4), Tokenizer.from_vocab(tiny_vocab), TaskInfo.of(sst, 32))
    own.save(tmp_path)
    assert load_teacher(str(tmp_path), sst, 32).labels == sst.labels
    with pytest.raises(UserError, match="was fine-tuned for sst-2, not for cola"):
        load_teacher(str(tmp_path), get_task("CoLA"), 32)


def foreign(fixture_dir: Path, kind: str, target: Path, labels: list[str]) -> tuple[str, list[Example], np.ndarray]:
    """A classifier of another tool, what it calls its outputs, texts, and its logits in its own order."""
    directory = Path(shutil.copytree(fixture_dir / "huggingface" / kind, target / "foreign"))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(labels))}))
    answers = json.loads((directory / "answers.json").read_text())
    return str(directory), [Example(a, b, 0) for a, b in answers["pairs"]], np.array(answers["logits"])


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "ernie", "roberta", "albert", "xlnet"])
def test_outputs_of_another_tool_come_in_the_order_of_the_task(kind: str, fixture_dir: Path, tmp_path: Path) -> None:
    path, examples, logits = foreign(fixture_dir, kind, tmp_path, ["ENTAILMENT", "Neutral", "contradiction"])
    teacher = load_teacher(path, get_task("MNLI"), 60)
    assert teacher.labels == get_task("MNLI").labels
    np.testing.assert_allclose(predict(teacher, teacher.encode(examples, 60)), logits[:, [2, 0, 1]], atol=2e-5)
    own = models.load(path)
    dataset = own.encode(examples, 60)
    assert not np.allclose(teacher_logits(own, "d", dataset), teacher_logits(teacher, "d", dataset))


def test_outputs_without_names_are_taken_in_their_order(
    fixture_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, examples, logits = foreign(fixture_dir, "bert", tmp_path, ["LABEL_0", "LABEL_1", "LABEL_2"])
    teacher = load_teacher(path, get_task("MNLI"), 60)
    np.testing.assert_allclose(predict(teacher, teacher.encode(examples, 60)), logits, atol=2e-5)
    assert caplog.messages == [
        f"{path} calls its answers LABEL_0, LABEL_1, LABEL_2, mnli contradiction, entailment, neutral: "
        "these are taken for the same, in this order"
    ]


def test_outputs_of_other_names_are_refused(fixture_dir: Path, tmp_path: Path) -> None:
    path, _, _ = foreign(fixture_dir, "bert", tmp_path, ["negative", "neutral", "positive"])
    with pytest.raises(UserError, match=r"answers \('negative', 'neutral', 'positive'\), but mnli has"):
        load_teacher(path, get_task("MNLI"), 60)


def test_rows_longer_than_a_teacher_reads_are_refused(tiny_bert: Path) -> None:
    """They used to end in a traceback of Paddle's, once the first long row was read."""
    with pytest.raises(
        UserError, match=r"--max_seq_length 513 is beyond the 512 positions of .*: choose a smaller one"
    ):
        load_teacher(str(tiny_bert), get_task("SST-2"), 513)


@pytest.mark.parametrize("name", ["2i+1", "1:4,2:2"])
def test_an_engine_gives_the_states_and_scores_that_the_teacher_gives(tiny_bert: Path, name: str) -> None:
    task = get_task("sst-2")
    model = models.new_encoder_classifier(str(tiny_bert), models.TaskInfo.of(task, 32))
    rows = [Example("a warm and funny story", None, 1), Example("dull and old and long and dull", None, 0)] * 50
    dataset = model.encode(rows)
    layers = layer_map(name, 2, 4)
    answer = targets(model, layers.of_teacher, dataset, epochs=30)
    assert answer is not None
    batch = to_batch(dataset.batch([0, 1, 2]))
    found, live = answer(batch), objectives.live_targets(model, layers.of_teacher)(batch)
    for own, theirs in ((found.hidden, live.hidden), (found.scores, live.scores)):
        assert set(own) == set(theirs)
        for number, tensor in theirs.items():
            np.testing.assert_allclose(own[number].numpy(), tensor.numpy(), atol=1e-5)


def test_few_rows_are_not_worth_an_export(tiny_bert: Path) -> None:
    model = models.new_encoder_classifier(str(tiny_bert), models.TaskInfo.of(get_task("sst-2"), 32))
    dataset = model.encode([Example("a warm story", None, 1)])
    assert targets(model, layer_map("2i+1", 2, 4).of_teacher, dataset, epochs=3) is None
