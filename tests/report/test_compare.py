"""Figures of a comparison against ones worked out by hand, and the choice of sentences."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paddledistill import models
from paddledistill.errors import UserError
from paddledistill.files import read_json
from paddledistill.report.compare import KINDS, System, baseline, compare, disagreements
from paddledistill.tasks import Example, get_task
from paddledistill.training.evaluation import predict


def test_a_row_for_each_system_split_and_metric(comparison):
    keys = [(row["system"], row["role"], row["split"], row["metric"]) for row in comparison.rows]
    assert keys[:3] == [
        ("teacher", "teacher", "dev", "accuracy"),
        ("teacher", "teacher", "test", "accuracy"),
        ("TinyBERT", "alone", "dev", "accuracy"),
    ]
    assert len(set(keys)) == len(keys) == 10


def test_accuracy_is_that_of_the_saved_model(comparison, systems, splits):
    for system in systems:
        model = models.load(system.run_dir)
        logits = predict(model, model.encode(splits["test"]))
        right = [int(row.argmax()) == example.label for row, example in zip(logits, splits["test"], strict=True)]
        row = next(
            row
            for row in comparison.rows
            if (row["system"], row["role"], row["split"]) == (system.name, system.role, "test")
        )
        assert row["mean"] == pytest.approx(100 * sum(right) / 24, abs=1e-3)
        np.testing.assert_allclose(comparison.logits[system.label], logits, rtol=1e-5, atol=1e-6)


def test_retention_baseline_and_costs(comparison, systems):
    rows = {(row["system"], row["role"]): row for row in comparison.rows if row["split"] == "test"}
    teacher, student = rows["teacher", "teacher"], rows["TinyBERT", "distilled"]
    assert teacher["retention"] == 100.0
    assert student["retention"] == pytest.approx(100 * student["mean"] / teacher["mean"], abs=0.01)
    assert [row["baseline"] for row in rows.values()] == pytest.approx([100 * 16 / 24] * 5, abs=1e-3)
    assert student["parameters"] == models.parameters(models.load(systems[2].run_dir)) < teacher["parameters"]
    files = [path for path in (systems[2].run_dir / "best_model").resolve().rglob("*") if path.is_file()]
    assert student["megabytes"] == pytest.approx(sum(path.stat().st_size for path in files) / 1e6, abs=0.01)
    assert teacher["speed_up"] == 1.0
    assert student["speed_up"] == pytest.approx(teacher["latency_ms"] / student["latency_ms"], rel=0.01)
    assert student["speed_up_batch_32"] == pytest.approx(
        teacher["latency_ms_batch_32"] / student["latency_ms_batch_32"], rel=0.01
    )


def test_time_steps_and_commands_of_all_stages_count(comparison, systems):
    row = next(row for row in comparison.rows if row["role"] == "distilled" and row["system"] == "TinyBERT")
    assert (row["minutes"], row["train_steps"], row["train_rows"]) == (7.0, 7, 100)
    command = read_json(systems[2].run_dir / "run.json")["command"]
    assert row["command"] == command  # both stages are of one command


def test_baseline_of_scores_is_the_constant_answer(tmp_path, systems, tiny_bert):
    import paddle

    task = get_task("sts-b")
    paddle.seed(1)
    model = models.new_encoder_classifier(str(tiny_bert), models.TaskInfo.of(task, 32))
    directory = tmp_path / "run" / "best_model"
    directory.mkdir(parents=True)
    model.save(directory)
    (tmp_path / "run" / "run.json").write_text(
        '{"seconds": 1.0, "steps": 3, "rows": 33, "seed": 1, "command": "c", "arguments": {"batch_size": 32}}'
    )
    examples = [
        Example("a good film", "a great film", 4.5),
        Example("a film", "the weather", 0.5),
        Example("one", "two", 2.0),
    ]
    found = compare(
        [System("teacher", "teacher", tmp_path / "run")], {"dev": examples}, task, length=8, warm_up=0, repeats=1
    )
    assert [(row["metric"], row["baseline"]) for row in found.rows] == [("pearson", 0.0), ("spearman", 0.0)]
    assert {row["setting"] for row in found.rows} == {"1.5 epochs"}  # of 32 rows and one, which are two steps
    assert disagreements(found.examples, found.logits, found.systems)["shown"] == []


def test_the_constant_answer_is_the_best_one_by_each_metric():
    """Of ten pairs four are paraphrases: "none is" has more accuracy, "all are" more F1."""
    examples = [Example("a", "b", number < 4) for number in range(10)]
    found = baseline(get_task("qqp"), examples)
    assert found == {"accuracy": pytest.approx(60), "f1": pytest.approx(100 * 2 * 0.4 / 1.4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda systems: [systems[0], replace(systems[0], name="another")], "at most one system is the teacher"),
        (lambda systems: [*systems, systems[1]], "one label"),
        (lambda systems: [systems[0], replace(systems[1], role="tutor")], "alone or distilled"),
    ],
)
def test_systems_that_cannot_be_compared_are_refused(systems, splits, task, change, message):
    with pytest.raises(ValueError, match=message):
        compare(change(systems), splits, task)


def test_without_a_teacher_nothing_is_kept_of_it(systems, splits, task):
    found = compare([systems[1], systems[3]], splits, task, length=8, warm_up=0, repeats=1)
    assert {(row["retention"], row["speed_up"], row["speed_up_batch_32"]) for row in found.rows} == {(None, None, None)}


def test_unlabelled_or_missing_examples_are_refused(systems, task):
    with pytest.raises(ValueError, match="without a label"):
        compare(systems, {"test": [Example("a", None, None)]}, task)
    with pytest.raises(ValueError, match="must hold examples"):
        compare(systems, {"test": []}, task)


def test_a_missing_run_is_a_user_error(systems, splits, task, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        compare([replace(systems[0], run_dir=tmp_path / "nowhere")], splits, task)


SYSTEMS = [System("teacher", "teacher", Path()), System("S", "alone", Path()), System("S", "distilled", Path())]
PATTERNS = {
    "gained": (1, 0, 1),
    "lost": (1, 1, 0),
    "surpassed": (0, 0, 1),
    "other": (0, 1, 0),
    "all right": (1, 1, 1),
    "all wrong": (0, 0, 0),
}


def _case(copies: int = 6):
    """Examples named after what happens to them, and logits that make it happen (label 1 is right everywhere)."""
    examples, right = [], []
    for number in range(copies):
        for kind, answers in PATTERNS.items():
            examples.append(Example(f"{kind} {number}", None, 1))
            right.append(answers)
    logits = {
        system.label: np.array([[0.0, 2.0] if answers[column] else [2.0, 0.0] for answers in right])
        for column, system in enumerate(SYSTEMS)
    }
    return examples, logits


def test_kinds_of_disagreement():
    examples, logits = _case()
    found = disagreements(examples, logits, SYSTEMS)
    assert found["total"] == 36
    assert {kind["kind"]: kind["count"] for kind in found["kinds"]} == dict.fromkeys(KINDS, 6)
    assert [entry["kind"] for entry in found["shown"]] == ["gained"] * 5 + ["lost"] * 3 + ["surpassed"] * 2
    assert all(entry["text_a"].startswith(entry["kind"]) for entry in found["shown"])
    first = found["shown"][0]
    assert first["label"] == 1
    assert first["probabilities"]["teacher"] == [
        pytest.approx(1 / (1 + np.e**2), abs=1e-4),
        pytest.approx(1 / (1 + np.e**-2), abs=1e-4),
    ]


def test_kinds_with_two_students():
    """Gained: one student alone being wrong is enough. Lost: so is one distilled student.

    The answers are those of the teacher, A and B alone, A and B distilled.
    """
    cases = {
        (1, 0, 1, 1, 1): "gained",
        (1, 0, 0, 1, 0): "lost",
        (0, 0, 0, 0, 1): "surpassed",
        (0, 1, 0, 0, 0): "other",
        (1, 1, 1, 1, 1): None,
    }
    labelled = [System(name, role, Path()) for role in ("alone", "distilled") for name in "AB"]
    systems = [System("teacher", "teacher", Path()), *labelled]
    examples = [Example(str(kind), None, 1) for kind in cases.values()]
    logits = {
        system.label: np.array([[1.0 - case[column], case[column]] for case in cases])
        for column, system in enumerate(systems)
    }
    found = disagreements(examples, logits, systems)
    assert {(entry["text_a"], entry["kind"]) for entry in found["shown"]} == {(kind, kind) for kind in KINDS}


def test_choice_depends_on_the_texts_alone():
    examples, logits = _case()
    order = np.random.default_rng(1).permutation(len(examples))
    shuffled = disagreements(
        [examples[i] for i in order], {name: values[order] for name, values in logits.items()}, SYSTEMS
    )
    assert shuffled["shown"] == disagreements(examples, logits, SYSTEMS)["shown"]


def test_what_one_kind_cannot_fill_goes_to_the_others():
    examples, logits = _case(copies=2)
    found = disagreements(examples, logits, SYSTEMS)
    assert [entry["kind"] for entry in found["shown"]] == ["gained"] * 2 + ["lost"] * 2 + ["surpassed"] * 2 + [
        "other"
    ] * 2


def test_long_texts_are_counted_but_not_shown():
    examples, logits = _case()
    examples = [
        example._replace(text_a=example.text_a + " word" * 60) if example.text_a == "gained 0" else example
        for example in examples
    ]
    found = disagreements(examples, logits, SYSTEMS, shares={"gained": 6})
    assert found["kinds"][0]["count"] == 6
    assert len([entry for entry in found["shown"] if entry["kind"] == "gained"]) == 5
