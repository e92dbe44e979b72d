"""The training recipes as a user runs them, on tiny models: they work together, resume, and refuse what is wrong in one line."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddledistill import models
from paddledistill.errors import UserError
from paddledistill.models import EncoderClassifier
from paddledistill.training.run_directory import best_model, read_metrics

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RUN_GLUE = "benchmark/glue/run_glue.py"
TASK_DISTILL = "examples/tinybert/task_distill.py"
SMALL = "examples/bert_to_bilstm/small.py"
DISTILL = "examples/bert_to_bilstm/distill.py"
QUICK = ["--max_seq_length", "32", "--batch_size", "4", "--save_steps", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory, fixture_dir: Path) -> Path:
    target = tmp_path_factory.mktemp("data") / "glue"
    shutil.copytree(fixture_dir / "glue", target)
    return target


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, run_recipe: Run, tiny_bert: Path, glue: Path) -> Path:
    """A teacher for SST-2, fine-tuned by the real recipe."""
    target = tmp_path_factory.mktemp("runs") / "teacher"
    arguments = [
        "--model_name_or_path",
        tiny_bert,
        "--task_name",
        "SST-2",
        "--glue_dir",
        glue,
        "--num_train_epochs",
        1,
        *QUICK,
    ]
    run_recipe(RUN_GLUE, *arguments, "--output_dir", target, check=True)
    return target


@pytest.fixture
def distillation(tiny_student: Path, teacher: Path, glue: Path) -> list[object]:
    """task_distill.py for SST-2 with this teacher."""
    student = ["--student_model_name_or_path", tiny_student, "--teacher_path", teacher]
    return [TASK_DISTILL, *student, "--task_name", "sst-2", "--glue_dir", glue, *QUICK]


@pytest.fixture
def distil(run_recipe: Run, distillation: list[object]) -> Run:
    return partial(run_recipe, *distillation)


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The error of a command that refused its input: exit code 2 and, last, a single line without a traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "error:" in last
    return last


def has_logged(run: Path, step: int) -> bool:
    return any(line["step"] >= step for line in read_metrics(run))


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = (
        paddle.load(str(best_model(run) / "model_state.pdparams"), return_numpy=True) for run in (first, second)
    )
    for name, tensor in ours.items():
        np.testing.assert_array_equal(theirs[name], tensor, err_msg=name)


def test_both_stages_and_what_they_log(distil: Run, tmp_path: Path) -> None:
    """Without --stage both run; each has its own rate and epochs, and every loss term is logged by itself."""
    flags = [
        "--learning_rate",
        "5e-5",
        "--num_train_epochs",
        "2",
        "--prediction_epochs",
        "1",
        "--warmup_proportion",
        "0",
        "--logging_steps",
        "1",
    ]
    distil(*flags, "--T", "2", "--output_dir", tmp_path / "run", check=True)
    first, second = read_metrics(tmp_path / "run" / "intermediate"), read_metrics(tmp_path / "run")
    assert (first[-1]["step"], second[-1]["step"]) == (12, 6)
    assert (max(line.get("lr", 0) for line in first), max(line.get("lr", 0) for line in second)) == pytest.approx(
        (5e-5, 3e-5)
    )
    assert {"hidden_0", "hidden_1", "hidden_2", "attention_0", "attention_1"} <= set(first[0])
    held_out = {line["step"]: line["loss"] for line in first if line["kind"] == "eval"}
    assert (
        best_model(tmp_path / "run" / "intermediate").name
        == f"best_model_{min(held_out, key=lambda step: held_out[step])}"
    )
    assert list(held_out) == [3, 6, 9, 12]
    assert list(held_out.values()) == sorted(held_out.values(), reverse=True), (
        "it falls from each evaluation to the next"
    )
    assert isinstance(models.load(tmp_path / "run"), EncoderClassifier)


@pytest.mark.slow
def test_kept_states_teach_as_the_teacher_does(distil: Run, tmp_path: Path) -> None:
    def held_out(*flags: str) -> list[float]:
        target = tmp_path / ("kept" if flags else "asked")
        distil("--stage", "intermediate", "--num_train_epochs", "2", *flags, "--output_dir", target, check=True)
        return [line["loss"] for line in read_metrics(target) if line["kind"] == "eval"]

    assert held_out("--keep_teacher_states") == pytest.approx(held_out(), rel=1e-3)


def test_a_narrower_student_with_other_heads(
    run_recipe: Run, tiny_bert: Path, teacher: Path, glue: Path, tmp_path: Path
) -> None:
    """Through projections and value relations; presets are taken and told; a term of weight 0 is not there."""
    student = models.new_plain_encoder(
        models.plain_encoder(str(tiny_bert)), layers=2, width=8, heads=4, intermediate=16
    )
    (tmp_path / "student").mkdir()
    student.save(tmp_path / "student")
    common = [
        "--model_name_or_path", tmp_path / "student", "--task_name", "SST-2", "--glue_dir", glue, "--teacher_path", teacher,
        "--device", "cpu", "--max_steps", 2, "--prediction_max_steps", 2, "--logging_steps", 1, "--save_steps", 2,
    ]  # fmt: skip
    refused = run_recipe(TASK_DISTILL, *common, "--output_dir", tmp_path / "refused")
    assert "--attention_by mean_scores or values" in one_line(refused)
    flags = ["--attention_by", "values", "--projection", "shared", "--embedding_weight", 0, "--label_weight", 0.5]
    done = run_recipe(TASK_DISTILL, *common, *flags, "--output_dir", tmp_path / "run", check=True)
    assert "sst-2: 64 wordpieces, batches of 32, 20 epochs at 5e-05, then 3 at 3e-05" in done.stderr
    first, second = (
        {name for line in read_metrics(path) if line["kind"] == "train" for name in line}
        for path in (tmp_path / "run" / "intermediate", tmp_path / "run")
    )
    assert {"hidden_1", "hidden_2", "attention_0", "attention_1"} <= first
    assert "hidden_0" not in first
    assert {"soft", "supervised"} <= second
    assert models.load(tmp_path / "run").config.hidden_size == 8
    nothing = ["--layer_map", "1:2,2:4", "--hidden_weight", 0, "--attention_weight", 0]
    refused = run_recipe(TASK_DISTILL, *common, *nothing, "--output_dir", tmp_path / "nothing")
    assert "leaves nothing to compare" in one_line(refused)


def test_the_teachers_logits_are_computed_once(
    distil: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Defect 11: the teacher was run again in every epoch. A second run of three epochs reads all of it back."""
    cache = {"PADDLEDISTILL_HOME": str(tmp_path / "cache")}
    first = distil(
        "--stage", "prediction", "--num_train_epochs", "2", "--output_dir", tmp_path / "a", env=cache, check=True
    )
    assert first.stderr.count("teacher logits: 100%") == 1
    assert len(list((tmp_path / "cache" / "logits").iterdir())) == 1
    again = distil(
        "--stage",
        "prediction",
        "--num_train_epochs",
        "3",
        "--seed",
        "7",
        "--output_dir",
        tmp_path / "b",
        env=cache,
        check=True,
    )
    assert "teacher logits of 24 rows read back" in again.stderr
    assert "teacher logits: " not in again.stderr


@pytest.mark.slow
def test_stages_one_at_a_time(distil: Run, run_recipe: Run, teacher: Path, glue: Path, tmp_path: Path) -> None:
    """The two commands of the original documents: --intermediate_distill, then prediction from what it saved."""
    distil("--intermediate_distill", "--num_train_epochs", "1", "--output_dir", tmp_path / "first", check=True)
    assert not (tmp_path / "first" / "intermediate").exists()
    common = [
        "--model_name_or_path",
        tmp_path / "first",
        "--task_name",
        "SST-2",
        "--glue_dir",
        glue,
        "--teacher_path",
        best_model(teacher),
        *QUICK,
    ]
    run_recipe(
        TASK_DISTILL,
        *common,
        "--stage",
        "prediction",
        "--num_train_epochs",
        1,
        "--output_dir",
        tmp_path / "second",
        check=True,
    )
    assert (tmp_path / "second" / "best_model" / "model_state.pdparams").is_file()
    models.load(tmp_path / "second")
    with pytest.raises(UserError, match="intermediate stage alone, so its answers are untrained"):
        models.load(tmp_path / "first")


def test_a_student_of_the_first_stage_without_a_stage(distil: Run, tiny_student: Path, tmp_path: Path) -> None:
    """PaddleNLP's second command: it means the prediction stage, so a line says what runs and what to type."""
    shutil.copytree(tiny_student, tmp_path / "first" / "best_model")
    (tmp_path / "first" / "run.json").write_text('{"arguments": {"stage": "intermediate"}}')
    flags = ["--teacher_path", tmp_path / "gone", "--output_dir", tmp_path / "second"]
    for path, given in (("first/best_model", []), ("first", ["--stage", "prediction"])):
        done = distil("--model_name_or_path", tmp_path / path, *given, *flags)
        assert "gone" in one_line(done)
        assert ("--stage prediction runs that alone" in done.stderr) == (not given)


@pytest.mark.slow
def test_regression_is_learned_from_the_teachers_scores(
    run_recipe: Run, tiny_bert: Path, tiny_student: Path, glue: Path, tmp_path: Path
) -> None:
    """Defect 3, by the real scripts: STS-B's prediction loss was 0 at every step."""
    common = ["--task_name", "STS-B", "--glue_dir", glue, *QUICK, "--logging_steps", "1", "--num_train_epochs", "1"]
    run_recipe(RUN_GLUE, "--model_name_or_path", tiny_bert, *common, "--output_dir", tmp_path / "teacher", check=True)
    run_recipe(
        TASK_DISTILL, "--model_name_or_path", tiny_student, *common, "--teacher_path", tmp_path / "teacher", "--stage", "prediction",
        "--output_dir", tmp_path / "student", check=True,
    )  # fmt: skip
    lines = [line for line in read_metrics(tmp_path / "student") if line["kind"] == "train"]
    assert all(line["loss"] > 0 for line in lines)
    assert {"pearson", "spearman"} <= set(read_metrics(tmp_path / "student")[-1])


@pytest.mark.slow
def test_mnli_best_is_chosen_on_matched(run_recipe: Run, tiny_bert: Path, glue: Path, tmp_path: Path) -> None:
    """Defect 9: MNLI's best was chosen on the wrong set after the first mismatched evaluation."""
    run_recipe(
        RUN_GLUE, "--model_name_or_path", tiny_bert, "--task_name", "MNLI", "--glue_dir", glue, *QUICK, "--save_steps", 1,
        "--num_train_epochs", 2, "--learning_rate", "3e-3", "--output_dir", tmp_path / "run", check=True,
    )  # fmt: skip
    lines = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "eval"]
    assert all({"accuracy", "dev_mismatched/accuracy"} <= set(line) for line in lines)
    best = max(lines, key=lambda line: (line["accuracy"], -line["step"]))
    assert best_model(tmp_path / "run").name == f"best_model_{best['step']}"


def test_bilstm_with_and_without_a_teacher(
    run_recipe: Run, teacher: Path, tiny_vocab: Path, glue: Path, tmp_path: Path
) -> None:
    common = ["--task_name", "sst-2", "--glue_dir", glue, *QUICK, "--max_epoch", 2, "--emb_dim", 8, "--hidden_size", 6]
    run_recipe(
        SMALL,
        *common,
        "--vocab_path",
        tiny_vocab,
        "--dropout_prob",
        0.4,
        "--output_dir",
        tmp_path / "alone",
        check=True,
    )
    flags = ["--model_name", teacher, "--teacher_dir", teacher, "--n_iter", 3, "--alpha", 0.5]
    run_recipe(
        DISTILL,
        *common,
        *flags,
        "--optimizer",
        "adam",
        "--lr",
        "0.001",
        "--output_dir",
        tmp_path / "distilled",
        check=True,
    )
    assert {"logits", "supervised"} <= set(
        next(line for line in read_metrics(tmp_path / "distilled") if line["kind"] == "train")
    )
    rows = json.loads((tmp_path / "distilled" / "run.json").read_text())["rows"]
    assert 24 < rows <= 24 * 4
    small = [
        "examples/bert_to_bilstm/quantize.py",
        "--data_dir",
        glue,
        "--output_dir",
        tmp_path / "int8",
        "--model_dir",
    ]
    done = run_recipe(*small, tmp_path / "distilled", check=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["float32", "int8 and float16"]
    made = json.loads((tmp_path / "int8" / "run.json").read_text())
    assert (made["status"], made["rows"], made["steps"]) == ("complete", rows, 0)
    metrics = json.loads((tmp_path / "int8" / "best_model" / "metrics.json").read_text())
    assert metrics["accuracy"] == made["metrics"]["accuracy"] and "analysis" in metrics
    assert "Embeddings as int8" in (tmp_path / "int8" / "best_model" / "README.md").read_text()
    again = [*small[:3], "--output_dir", tmp_path / "twice", "--model_dir", tmp_path / "int8"]
    assert "has int8 embeddings already" in one_line(run_recipe(*again))
    assert "in use by a complete run" in one_line(run_recipe(*small, tmp_path / "distilled"))
    assert "no BiLSTM" in one_line(run_recipe(*small, teacher))
    alone, distilled = models.load(tmp_path / "alone"), models.load(tmp_path / "distilled")
    assert len(distilled.tokenizer.vocab) < len(alone.tokenizer.vocab)


def test_a_bilstm_of_chinese_words_over_seeds(run_recipe: Run, fixture_dir: Path, tmp_path: Path) -> None:
    """Words by jieba, GRUs, another read-out; a run for each seed and what they have in common."""
    done = run_recipe(
        SMALL, "--task_name", "chnsenticorp", "--data_dir", fixture_dir, "--min_count", 1, "--emb_dim", 8, "--hidden_size", 8,
        "--cell", "gru", "--read_out", "attention", "--max_epoch", 1, "--seeds", "1,2", *QUICK, "--output_dir", tmp_path / "out",
        check=True,
    )  # fmt: skip
    assert "best models on dev, seeds 1, 2" in done.stdout
    model = models.load(tmp_path / "out" / "seed-2")
    assert (model.description, model.tokenizer.segmenter) == ("BiGRU 1x8", "jieba")


@pytest.mark.slow
def test_a_bilstm_of_chinese_words_with_a_teacher(
    run_recipe: Run, tiny_bert: Path, fixture_dir: Path, tmp_path: Path
) -> None:
    """With copies by parts of speech; and by the flags of PaddleNLP's README, whose list of words has two special tokens."""
    common = ["--task_name", "chnsenticorp", "--data_dir", fixture_dir, *QUICK]
    teacher = tmp_path / "teacher"
    run_recipe(
        RUN_GLUE,
        "--model_name_or_path",
        tiny_bert,
        *common,
        "--num_train_epochs",
        1,
        "--output_dir",
        teacher,
        check=True,
    )
    small = [*common, "--emb_dim", 8, "--hidden_size", 8, "--max_epoch", 1, "--n_iter", 3]
    flags = ["--min_count", 1, "--p_pos", 0.3, "--teacher_dir", teacher]
    run_recipe(DISTILL, *small, *flags, "--output_dir", tmp_path / "words", check=True)
    model = models.load(tmp_path / "words")
    words = set(model.tokenizer.vocab)
    assert model.tokenizer.segmenter == "jieba" and {"房间", "早餐"} <= words
    (tmp_path / "senta_word_dict.txt").write_text("[PAD]\n[UNK]\n房间\n早餐\n很\n", encoding="utf-8")
    flags = [
        "--vocab_size", 1256608, "--model_name", "bert-wwm-ext-chinese", "--vocab_path", tmp_path / "senta_word_dict.txt",
        "--teacher_path", best_model(teacher) / "model_state.pdparams",
    ]  # fmt: skip
    run_recipe(DISTILL, *small, *flags, "--output_dir", tmp_path / "listed", check=True)
    listed = models.load(tmp_path / "listed").tokenizer
    assert (listed.segmenter, listed.vocab[2:5], len(listed)) == ("jieba", ["房间", "早餐", "很"], 8)


@pytest.mark.slow
def test_a_bilstm_learns_a_teachers_scores(run_recipe: Run, tiny_bert: Path, glue: Path, tmp_path: Path) -> None:
    """STS-B: pairs, one output, squared error of labels and of the teacher's scores."""
    common = ["--task_name", "STS-B", "--glue_dir", glue, *QUICK]
    run_recipe(
        RUN_GLUE, "--model_name_or_path", tiny_bert, *common, "--num_train_epochs", 1, "--output_dir", tmp_path / "teacher", check=True
    )  # fmt: skip
    flags = [
        "--teacher_dir",
        tmp_path / "teacher",
        "--min_count",
        1,
        "--emb_dim",
        8,
        "--hidden_size",
        8,
        "--n_iter",
        3,
        "--alpha",
        0.5,
        "--lr_decay",
        "--embedding_name",
        tmp_path / "teacher",
    ]
    run_recipe(
        DISTILL, *common, *flags, "--max_epoch", 2, "--log_freq", 1, "--output_dir", tmp_path / "student", check=True
    )
    lines = [line for line in read_metrics(tmp_path / "student") if line["kind"] == "train"]
    assert all(line["score"] > 0 and line["supervised"] > 0 for line in lines)
    rates = [line["lr"] for line in lines]
    assert rates == sorted(rates, reverse=True) and rates[0] > len(rates) * rates[-1] * 0.9
    assert {"pearson", "spearman"} <= set(read_metrics(tmp_path / "student")[-1])
    student = models.load(tmp_path / "student")
    assert (student.labels, student.is_pair) == (None, True)


@pytest.mark.assets("pos-tagger")
def test_a_bilstm_by_parts_of_speech(run_recipe: Run, teacher: Path, glue: Path, tmp_path: Path) -> None:
    common = [
        "--task_name",
        "SST-2",
        "--glue_dir",
        glue,
        "--teacher_dir",
        teacher,
        "--emb_dim",
        8,
        "--hidden_size",
        8,
        "--max_epoch",
        1,
    ]
    (tmp_path / "glove.txt").write_text("film " + " 1" * 8 + "\nstory" + " 2" * 8 + "\n")
    flags = [
        "--p_pos",
        0.4,
        "--p_mask",
        0,
        "--n_iter",
        3,
        "--logits_loss",
        "soft",
        "--T",
        2,
        "--embedding_name",
        tmp_path / "glove.txt",
    ]
    done = run_recipe(DISTILL, *common, *flags, "--min_count", 1, *QUICK, "--output_dir", tmp_path / "out", check=True)
    assert "of the student have one" in done.stderr
    assert isinstance(models.load(tmp_path / "out"), models.BiLSTM)
    for wrong, message in (
        (["--min_count", 1, "--vocab_path", "v"], "not allowed with argument"),
        (["--init_from_ckpt", "w", "--embedding_name", "v"], "not allowed with argument"),
        (["--ngram_range", 5, 1], "the fewest words come first"),
        (["--T", 4], "give --logits_loss soft"),
        (["--logits_loss", "soft", "--alpha", 1], "--logits_loss is of the teacher's logits"),
        (["--use_aug", "--p_mask", 0.2], "--p_mask is for copies, and --use_aug draws none itself"),
        (["--p_mask", 0.6, "--p_pos", 0.5], "give at most 1 together"),
        (["--unlabelled", tmp_path / "more.txt", "--alpha", 0.5], "give --alpha 0"),
        (["--unlabelled", tmp_path / "none.txt"], "give --unlabelled a sentence a line"),
    ):
        assert message in one_line(run_recipe(DISTILL, *common, *wrong, *QUICK, "--output_dir", tmp_path / "no"))


@pytest.mark.slow
def test_a_bilstm_learns_from_augmented_text(
    run_recipe: Run, teacher: Path, glue: Path, tiny_masked_lm: Path, tmp_path: Path
) -> None:
    """Whose rows are copies already: none is made of them unless asked for."""
    data = tmp_path / "glue"
    shutil.copytree(glue / "SST-2", data / "SST-2")
    task = ["--task_name", "SST-2", "--data_dir", data]
    run_recipe(
        "examples/tinybert/data_augmentation.py", "--pretrained_bert_model", tiny_masked_lm, "--N", 2, *task, check=True
    )
    rows = len((data / "SST-2" / "train_aug.tsv").read_text().splitlines()) - 1
    assert rows > 24
    flags = [*task, "--teacher_dir", teacher, "--emb_dim", 8, "--hidden_size", 8, "--max_epoch", 1, "--use_aug", *QUICK]
    run_recipe(DISTILL, *flags, "--model_name", teacher, "--output_dir", tmp_path / "run", check=True)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (content["rows"], content["arguments"]["n_iter"]) == (rows, 0)
    dev = data / "SST-2" / "dev.tsv"
    dev.write_text(dev.read_text() + "one more sentence\t1\n")
    stale = run_recipe(DISTILL, *flags, "--model_name", teacher, "--output_dir", tmp_path / "no")
    assert "had another dev file: data_augmentation.py --overwrite makes it anew" in one_line(stale)


def test_a_bilstm_with_more_text_goes_on_from_another_ones_weights(
    run_recipe: Run, teacher: Path, glue: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text("a film without a label\n\nand one more\n")
    flags = [
        "--task_name", "SST-2", "--glue_dir", glue, "--teacher_dir", teacher, "--emb_dim", 8, "--hidden_size", 8, "--max_epoch", 1,
        "--n_iter", 0, "--model_name", teacher, "--unlabelled", tmp_path / "more.txt", *QUICK,
    ]  # fmt: skip
    run_recipe(DISTILL, *flags, "--output_dir", tmp_path / "first", check=True)
    assert json.loads((tmp_path / "first" / "run.json").read_text())["rows"] == 24 + 2
    weights = tmp_path / "first" / "best_model" / "model_state"
    done = run_recipe(DISTILL, *flags, "--init_from_ckpt", weights, "--output_dir", tmp_path / "second", check=True)
    assert "model_state.pdopt: the optimizer starts anew" in done.stderr
    paddle.save(paddle.load(str(weights) + ".pdparams"), str(weights) + ".pdparams", protocol=2)
    again = run_recipe(DISTILL, *flags, "--init_from_ckpt", weights, "--output_dir", tmp_path / "second", "--resume")
    assert "start was" in one_line(again), "weights of that name, but not those"


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(
    run_recipe: Run, kill_recipe: Callable[..., None], tiny_bert: Path, glue: Path, tmp_path: Path
) -> None:
    """The real script, a real SIGKILL."""
    arguments = [
        "--model_name_or_path",
        tiny_bert,
        "--task_name",
        "SST-2",
        "--glue_dir",
        glue,
        *QUICK,
        "--num_train_epochs",
        16,
        "--logging_steps",
        1,
    ]
    run_recipe(RUN_GLUE, *arguments, "--output_dir", tmp_path / "whole", check=True)
    killed = tmp_path / "killed"
    kill_recipe(RUN_GLUE, *arguments, "--output_dir", killed, is_time=lambda: has_logged(killed, 21))
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["status"] == "unfinished"
    done = run_recipe(RUN_GLUE, *arguments, "--output_dir", tmp_path / "killed", "--resume", check=True)
    assert "going on at step" in done.stderr
    assert_same_weights(tmp_path / "whole", killed)
    again = run_recipe(RUN_GLUE, *arguments, "--output_dir", tmp_path / "killed", "--resume", check=True)
    assert "already done" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["intermediate", "prediction"])
def test_a_distillation_killed_in_either_stage_resumes_to_the_same_weights(
    distil: Run, kill_recipe: Callable[..., None], distillation: list[object], tmp_path: Path, stage: str
) -> None:
    """Also where the resumed command keeps the teacher's states no longer, and in place of a run with other flags."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = ["--num_train_epochs", 8, "--prediction_epochs", 8, "--logging_steps", 1, "--keep_teacher_states"]
    distil(*flags, "--output_dir", whole, check=True)
    distil("--stage", "both", "--max_steps", 1, "--prediction_max_steps", 1, "--output_dir", killed, check=True)
    place = killed / "intermediate" if stage == "intermediate" else killed
    kill_recipe(*distillation, *flags, "--overwrite", "--output_dir", killed, is_time=lambda: has_logged(place, 10))
    distil(*flags, "--resume", "--output_dir", killed, check=True)
    for part in ("intermediate", "."):
        assert_same_weights(whole / part, killed / part)


def test_without_a_gpu_the_run_goes_on_with_the_cpu(
    run_recipe: Run, tiny_bert: Path, glue: Path, tmp_path: Path
) -> None:
    if paddle.device.is_compiled_with_cuda():
        pytest.skip("this installation of Paddle can use a GPU")
    flags = [
        "--task_name",
        "RTE",
        "--glue_dir",
        glue,
        "--max_seq_length",
        "32",
        "--max_steps",
        "1",
        "--device",
        "gpu",
        "--n_gpu",
        "1",
    ]
    done = run_recipe(
        RUN_GLUE,
        "--model_type",
        "bert",
        "--model_name_or_path",
        tiny_bert,
        *flags,
        "--output_dir",
        tmp_path / "run",
        check=True,
    )
    assert "going on with the CPU" in done.stderr


# --------------------------------------------------------------------------------------------------------- bad input


def bad_input(recipe: str, tiny_bert: Path, teacher: Path, output: Path) -> list[object]:
    """The flags of a command that works but for what a test then makes wrong."""
    flags: dict[str, list[object]] = {
        RUN_GLUE: ["--model_name_or_path", tiny_bert],
        TASK_DISTILL: ["--model_name_or_path", tiny_bert, "--layer_map", "uniform", "--teacher_path", teacher],
        SMALL: ["--model_name", tiny_bert],
        DISTILL: ["--model_name", tiny_bert, "--teacher_dir", teacher],
    }
    return [*flags[recipe], "--max_steps", 1, "--output_dir", output]


RECIPES = [RUN_GLUE, TASK_DISTILL, SMALL, DISTILL]


@pytest.mark.parametrize("recipe", RECIPES)
def test_bad_data_is_told_in_one_line(
    recipe: str, run_recipe: Run, tiny_bert: Path, teacher: Path, glue_dir: Path, tmp_path: Path
) -> None:
    """A missing folder, a row without its label; what further faults are called is the readers' business, so one recipe shows it."""
    flags = bad_input(recipe, tiny_bert, teacher, tmp_path / "out")
    train = glue_dir / "SST-2" / "train.tsv"
    good = train.read_text()

    def refused(task: str, data: Path, content: str = good) -> str:
        train.write_text(content)
        line = one_line(run_recipe(recipe, *flags, "--task_name", task, "--data_dir", data))
        assert not (tmp_path / "out").exists()
        return line

    assert "nowhere does not exist" in refused("SST-2", tmp_path / "nowhere")
    assert f"{train}:4" in refused("SST-2", glue_dir, "sentence\tlabel\nfine\t1\ndull\t0\nno label here\n")
    if recipe != RUN_GLUE:
        return
    assert "sst-2" in refused("SST-3", glue_dir)
    assert f"{train}:3" in refused("SST-2", glue_dir, "sentence\tlabel\nfine\t1\ndull\t7\n")
    assert f"{train}:2" in refused("SST-2", glue_dir, "sentence\tlabel\n \t1\ndull\t0\n")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_directory_in_use_and_a_broken_teacher(
    recipe: str, run_recipe: Run, tiny_bert: Path, teacher: Path, glue: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    data = ["--task_name", "SST-2", "--data_dir", glue]
    line = one_line(run_recipe(recipe, *bad_input(recipe, tiny_bert, teacher, tmp_path / "mine"), *data))
    assert "in use" in line
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    if recipe == SMALL:
        return
    broken = tmp_path / "broken"
    shutil.copytree(best_model(teacher), broken)
    weights = broken / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:2000])
    encoder = broken if recipe == RUN_GLUE else tiny_bert
    line = one_line(run_recipe(recipe, *bad_input(recipe, encoder, broken, tmp_path / "out"), *data))
    assert "model_state.pdparams is damaged or cut short" in line
    assert not list(tmp_path.glob("out/best_model*"))


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
@pytest.mark.parametrize("recipe", [RUN_GLUE, *(pytest.param(other, marks=pytest.mark.slow) for other in RECIPES[1:])])
def test_a_full_disk_loses_nothing(recipe: str, tiny_bert: Path, teacher: Path, glue: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing the model fails in the middle, as it would there."""
    import resource

    flags = [*bad_input(recipe, tiny_bert, teacher, tmp_path / "out"), "--task_name", "SST-2", "--data_dir", glue]
    done = subprocess.run(
        [sys.executable, recipe, *map(str, flags)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )  # fmt: skip
    line = one_line(done)
    assert "no space left" in line and "--resume" in line
    left = sorted(
        path.name for path in (tmp_path / "out").rglob("*") if "visualdl" not in path.parts and path.name != "visualdl"
    )
    assert [name for name in left if name.endswith((".part", ".pdparams"))] == []
    assert "run.json" in left


def test_flags_that_do_not_fit(
    distil: Run, run_recipe: Run, tiny_bert: Path, teacher: Path, glue: Path, tmp_path: Path
) -> None:
    assert "2i+1 needs a teacher twice as deep" in one_line(
        distil("--init_from_layers", "0", "--output_dir", tmp_path / "a")
    )
    assert "not allowed with" in one_line(
        distil("--stage", "both", "--intermediate_distill", "--output_dir", tmp_path / "a")
    )
    assert "must be a whole number of at least 1, got '0'" in one_line(
        distil("--batch_size", "0", "--output_dir", tmp_path / "a")
    )
    assert "was fine-tuned for sst-2, not for mrpc" in one_line(
        run_recipe(
            DISTILL,
            "--task_name",
            "MRPC",
            "--glue_dir",
            glue,
            "--model_name",
            tiny_bert,
            "--teacher_dir",
            teacher,
            "--output_dir",
            tmp_path / "a",
        )
    )
    assert "no directory" in one_line(distil("--teacher_path", tmp_path / "gone", "--output_dir", tmp_path / "a"))
    assert "with --stage prediction give --num_train_epochs" in one_line(
        distil("--stage", "prediction", "--prediction_epochs", "5", "--output_dir", tmp_path / "a")
    )
    assert "is for a run of both stages: leave it out" in one_line(
        distil("--stage", "intermediate", "--prediction_epochs", "5", "--output_dir", tmp_path / "a")
    )
    for flags, message in (
        (["--stage", "prediction", "--layer_map", "last"], "--layer_map is for the intermediate stage"),
        (["--stage", "prediction", "--keep_teacher_states"], "--keep_teacher_states is for the intermediate stage"),
        (["--stage", "intermediate", "--T", 2], "--T is for the prediction stage"),
        (["--prediction_weight", 0, "--label_weight", 1, "--T", 2], "--T softens the teacher's logits"),
        (["--resume", "--overwrite"], "not allowed with"),
    ):
        assert message in one_line(distil(*flags, "--output_dir", tmp_path / "a"))


def test_seeds_run_one_after_another(run_recipe: Run, tiny_bert: Path, glue: Path, tmp_path: Path) -> None:
    """Each with a data order and a head of its own; a second command finds them done and adds a third."""
    flags = ["--model_name_or_path", tiny_bert, "--task_name", "SST-2", "--glue_dir", glue, *QUICK, "--max_steps", 3]
    flags += ["--seeds", "1,2", "--label_smoothing", 0.1, "--max_grad_norm", 1, "--gradient_accumulation_steps", 2]
    flags += ["--freeze_layers", 1, "--early_stopping_patience", 5, "--output_dir", tmp_path / "runs"]
    flags += ["--learning_rate", 1e-12]  # so that heads stay as they were drawn
    first = run_recipe(RUN_GLUE, *flags, check=True)
    runs = [json.loads((tmp_path / "runs" / f"seed-{seed}" / "run.json").read_text()) for seed in (1, 2)]
    assert [run["seed"] for run in runs] == [1, 2]
    content = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    assert content["metrics"]["accuracy"]["values"] == [100 * run["metrics"]["accuracy"] for run in runs]
    assert first.stdout.splitlines()[0] == "best models on dev, seeds 1, 2"
    losses = [[line["loss"] for line in read_metrics(tmp_path / "runs" / f"seed-{seed}")] for seed in (1, 2)]
    assert losses[0] != losses[1]
    heads = [models.load(tmp_path / "runs" / f"seed-{seed}").network.classifier.weight.numpy() for seed in (1, 2)]
    assert np.abs(heads[0] - heads[1]).max() > 1e-3
    assert "seed-1 is in use by a run: --resume" in one_line(run_recipe(RUN_GLUE, *flags, "--seeds", "3,1"))
    assert not (tmp_path / "runs" / "seed-3").exists(), "told before the first one begins"
    flags += ["--do_predict", "--seeds", "1,2,3", "--resume"]
    assert "leave it out" in one_line(run_recipe(RUN_GLUE, *flags, "--predict_dir", tmp_path / "answers"))
    again = run_recipe(RUN_GLUE, *flags, check=True)
    assert again.stderr.count("already done") == 2
    assert len(list((tmp_path / "runs").glob("seed-*/submission/SST-2.tsv"))) == 3, "of those that were done, too"
    assert again.stdout.splitlines()[0] == "best models on dev, seeds 1, 2, 3"


@pytest.mark.slow
def test_seeds_of_a_distillation(distil: Run, tmp_path: Path) -> None:
    flags = ["--seeds", "1,2", "--max_steps", 1, "--prediction_max_steps", 1, "--output_dir", tmp_path / "runs"]
    done = distil(*flags, check=True)
    assert done.stdout.splitlines()[0] == "best models on dev, seeds 1, 2"
    for seed in (1, 2):
        for part in (".", "intermediate"):
            assert json.loads((tmp_path / "runs" / f"seed-{seed}" / part / "run.json").read_text())["seed"] == seed


def test_label_smoothing_of_scores_is_refused(run_recipe: Run, tiny_bert: Path, glue: Path, tmp_path: Path) -> None:
    flags = ["--model_name_or_path", tiny_bert, "--task_name", "STS-B", "--glue_dir", glue, "--label_smoothing", 0.1]
    assert "--label_smoothing is for classes" in one_line(
        run_recipe(RUN_GLUE, *flags, "--output_dir", tmp_path / "run")
    )


def test_a_run_says_where_its_best_model_errs(teacher: Path, run_recipe: Run, glue: Path, tmp_path: Path) -> None:
    """Beside the metrics of the best model; evaluation alone says the same."""
    metrics = json.loads((best_model(teacher) / "metrics.json").read_text())
    analysis = metrics["analysis"]
    assert sum(map(sum, analysis["confusion"])) == 12 and analysis["labels"] == ["0", "1"]
    right = sum(analysis["confusion"][number][number] for number in range(2))
    assert metrics["accuracy"] == pytest.approx(right / 12)
    assert len(analysis["worst"]) == 12 - right
    flags = ["--do_eval", "--do_predict", "--model_name_or_path", teacher, "--task_name", "SST-2", "--glue_dir", glue]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("of the run")
    done = run_recipe(RUN_GLUE, *flags, "--output_dir", tmp_path / "out", check=True)
    assert (tmp_path / "out" / "report.html").read_text() == "of the run"
    assert "worst errors" in (tmp_path / "out" / "evaluation.html").read_text()
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["analysis"]["confusion"] == analysis["confusion"]
    assert found["metrics"]["accuracy"] == pytest.approx(metrics["accuracy"])
    assert "calibration error" in done.stderr
    answers = (tmp_path / "out" / "submission" / "SST-2.tsv").read_text().splitlines()
    assert answers[0] == "index\tprediction" and len(answers) == 13
    assert (tmp_path / "out" / "submission" / "submission.zip").is_file()
    assert "--overwrite replaces it" in one_line(run_recipe(RUN_GLUE, *flags, "--output_dir", tmp_path / "out"))
    for wrong, message in (
        (["--seeds", "1,2"], "nothing for --seeds to change"),
        (["--init_from_layers", 0], "nothing for --init_from_layers to change"),
        (["--model_type", "bert"], "nothing for --model_type to change"),
        (["--max_seq_length", 513], "is beyond the 512 positions"),
        (["--predict_dir", tmp_path / "out" / "report.html"], "report.html is a file"),
    ):
        assert message in one_line(run_recipe(RUN_GLUE, *flags, *wrong, "--output_dir", tmp_path / "no"))
    flags.remove("--do_predict")
    refused = run_recipe(RUN_GLUE, *flags, "--predict_dir", tmp_path / "answers", "--output_dir", tmp_path / "no")
    assert "--predict_dir is where --do_predict puts its answers" in one_line(refused)
    assert not (tmp_path / "no").exists()
