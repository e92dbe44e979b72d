"""examples/tinybert/general_distill.py on a tiny teacher and made-up text: shapes, resume, words, and what comes of the result."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paddledistill import models
from paddledistill.models.masked_lm import masked_lm
from paddledistill.training.run_directory import best_model, read_metrics

Run = Callable[..., "subprocess.CompletedProcess[str]"]
GENERAL = "examples/tinybert/general_distill.py"
QUICK = [
    "--max_seq_length",
    24,
    "--batch_size",
    4,
    "--held_out_rows",
    4,
    "--logging_steps",
    2,
    "--save_steps",
    4,
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """200 articles of made-up sentences."""
    words = [
        line
        for line in tiny_vocab.read_text(encoding="utf-8").split()
        if line.isascii() and line.isalpha() and len(line) > 1
    ]
    draw, path = random.Random(1), tmp_path_factory.mktemp("text") / "text.txt"
    articles = ("\n".join(" ".join(draw.choices(words, k=12)) for _ in range(3)) for _ in range(200))
    path.write_text("\n\n".join(articles), encoding="utf-8")
    return path


def test_a_narrower_student_learns_and_resumes(run_recipe: Run, tiny_bert: Path, text: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for name in "ab":
        (corpus / name).mkdir(parents=True)
        shutil.copy(text, corpus / name / "text.txt")
    command = [
        GENERAL, "--teacher_path", tiny_bert, "--corpus", corpus, "--num_hidden_layers", 3, "--hidden_size", 8, "--num_attention_heads", 2,
        "--intermediate_size", 16, "--learning_rate", 3e-3, "--max_steps", 16, *QUICK,
    ]  # fmt: skip
    done = run_recipe(*command, "--output_dir", tmp_path / "whole", check=True)
    assert "student layer <- teacher layer: 1:1, 2:3, 3:4\n" in done.stderr
    held_out = [line["loss"] for line in read_metrics(tmp_path / "whole") if line["kind"] == "eval"]
    assert held_out[-1] < 0.95 * held_out[0]
    names = {name for line in read_metrics(tmp_path / "whole") for name in line}
    assert {"hidden_0", "hidden_1", "hidden_2", "hidden_3", "attention_0", "attention_1", "attention_2"} <= names

    again = run_recipe(*command, "--output_dir", tmp_path / "whole", "--resume", check=True)
    assert "already done" in again.stderr
    (corpus / "a" / "text.txt").write_text("something else")
    other = run_recipe(*command, "--output_dir", tmp_path / "whole", "--resume")
    assert other.returncode == 2 and "corpus was" in other.stderr
    student = models.plain_encoder(str(tmp_path / "whole"))
    assert (student.num_layers, student.config.hidden_size) == (3, 8)
    assert not any("projections" in name for name in student.network.state_dict())
    classifier = models.new_encoder_classifier(str(tmp_path / "whole"), models.TaskInfo("sst-2", ("0", "1"), False, 24))
    np.testing.assert_array_equal(
        classifier.backbone.embeddings.word_embeddings.weight.numpy(),
        student.network.embeddings.word_embeddings.weight.numpy(),
    )


def test_a_narrower_student_starts_from_the_layers_of_the_teacher(
    run_recipe: Run, tiny_bert: Path, text: Path, tmp_path: Path
) -> None:
    """It is nearer to the teacher than one with new weights, before and after."""
    command = [
        GENERAL,
        "--teacher_path",
        tiny_bert,
        "--corpus",
        text,
        "--hidden_size",
        8,
        "--num_attention_heads",
        2,
        "--max_steps",
        4,
        *QUICK,
    ]
    run_recipe(*command, "--init_from_layers", "1,3", "--output_dir", tmp_path / "cut", check=True)
    run_recipe(
        *command, "--num_hidden_layers", 2, "--intermediate_size", 32, "--output_dir", tmp_path / "new", check=True
    )
    cut, new = (
        next(line for line in read_metrics(tmp_path / name) if line["kind"] == "eval") for name in ("cut", "new")
    )
    assert cut["hidden_0"] < 0.8 * new["hidden_0"]
    student = models.plain_encoder(str(tmp_path / "cut"))
    shape = (
        student.num_layers,
        student.config.hidden_size,
        student.config.num_attention_heads,
        student.config.intermediate_size,
    )
    assert shape == (2, 8, 2, 32)  # what is not said is the teacher's


@pytest.mark.slow
def test_killed_and_resumed_with_projections(
    run_recipe: Run, kill_recipe: Callable[..., None], tiny_bert: Path, text: Path, tmp_path: Path
) -> None:
    """A real SIGKILL after the first saves: the state to go on from holds the projections too."""
    command = [
        GENERAL, "--teacher_path", tiny_bert, "--corpus", text, "--num_hidden_layers", 2, "--hidden_size", 8, "--num_attention_heads", 2,
        "--intermediate_size", 16, "--max_steps", 60, *QUICK,
    ]  # fmt: skip
    run_recipe(*command, "--output_dir", tmp_path / "whole", check=True)
    killed = tmp_path / "killed"
    kill_recipe(
        *command, "--output_dir", killed, is_time=lambda: any(line["step"] > 10 for line in read_metrics(killed))
    )
    done = run_recipe(*command, "--output_dir", tmp_path / "killed", "--resume", check=True)
    assert "going on at step" in done.stderr
    whole, killed = (models.plain_encoder(str(tmp_path / name)).network.state_dict() for name in ("whole", "killed"))
    for name, tensor in whole.items():
        np.testing.assert_array_equal(killed[name].numpy(), tensor.numpy(), err_msg=name)


def test_layers_of_an_xlnet(run_recipe: Run, fixture_dir: Path, text: Path, tmp_path: Path) -> None:
    """Its attention cannot be had and its shape has other names; a shallower one learns all the same."""
    command = [
        GENERAL, "--teacher_path", fixture_dir / "huggingface" / "xlnet", "--corpus", text, "--layer_map", "last", "--max_steps", 1,
        "--attention_weight", 0, *QUICK, "--output_dir", tmp_path / "run",
    ]  # fmt: skip
    refused = run_recipe(*command, "--hidden_size", 8, "--num_attention_heads", 2)
    assert refused.returncode == 2
    assert "XLNet has no new weights here: take --init_from_layers" in refused.stderr.splitlines()[-1]
    refused = run_recipe(*command, "--init_from_layers", 1, "--intermediate_size", 8)
    assert refused.returncode == 2 and "XLNet cannot be narrowed" in refused.stderr.splitlines()[-1]
    run_recipe(*command, "--init_from_layers", 1, check=True)
    assert models.plain_encoder(str(tmp_path / "run")).num_layers == 1


@pytest.mark.parametrize("soft", [0, 1])
def test_it_learns_words_and_can_augment(
    run_recipe: Run, tiny_masked_lm: Path, text: Path, tmp_path: Path, soft: int
) -> None:
    command = [
        GENERAL, "--teacher_path", tiny_masked_lm, "--corpus", text, "--init_from_layers", 1, "--layer_map", "2i+1", "--mlm_weight", 1,
        "--soft_mlm_weight", soft, "--max_steps", 4, *QUICK,
    ]  # fmt: skip
    run_recipe(*command, "--output_dir", tmp_path / "run", check=True)
    names = {name for line in read_metrics(tmp_path / "run") for name in line}
    assert ("soft_mlm" in names, "mlm" in names) == (bool(soft), True)
    teacher, student = masked_lm(tiny_masked_lm), masked_lm(best_model(tmp_path / "run"))
    assert student.num_layers == 1
    heads = [model.network.state_dict()["cls.predictions.transform.weight"].numpy() for model in (teacher, student)]
    assert np.allclose(*heads, atol=0.01) == bool(soft), "that of a teacher who guesses is where the student starts"
    assert "data_augmentation.py" in (best_model(tmp_path / "run") / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--T", 2, "--mlm_weight", 1], "--T softens what --soft_mlm_weight weighs"),
        (["--layer_map", "last", "--hidden_weight", 0, "--attention_weight", 0], "leaves nothing to compare"),
        (["--num_attention_heads", 3], "3 attention heads do not divide a hidden size of 8"),
        (["--max_seq_length", 600], "--max_seq_length 600 is beyond the 512 positions"),
        (["--max_seq_length", 4], "--max_seq_length 4 leaves no room for two texts in a row: give at least 5"),
        (["--init_from_layers", "1,3"], "--num_hidden_layers is for a student with new weights"),
        (["--corpus", "nowhere"], "no text file nowhere"),
        (["--soft_mlm_weight", 1], "has no masked-LM head"),
    ],
)
def test_what_does_not_fit(
    run_recipe: Run, tiny_bert: Path, text: Path, tmp_path: Path, flags: list[object], message: str
) -> None:
    command = [
        GENERAL, "--teacher_path", tiny_bert, "--corpus", text, "--num_hidden_layers", 2, "--hidden_size", 8, "--num_attention_heads", 2,
        *QUICK, "--output_dir", tmp_path / "run",
    ]  # fmt: skip
    done = run_recipe(*command, *flags)
    assert done.returncode == 2
    assert message in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "run" / "last").exists()
