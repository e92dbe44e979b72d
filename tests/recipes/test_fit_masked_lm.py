"""The real examples/tinybert/fit_masked_lm.py on a tiny encoder and made-up text."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SCRIPT = "examples/tinybert/fit_masked_lm.py"


@pytest.fixture
def corpus(tmp_path: Path, tiny_vocab: Path) -> Path:
    """150 articles of sentences over the words of the tiny vocabulary."""
    words = [
        word
        for word in tiny_vocab.read_text(encoding="utf-8").split()
        if word.isascii() and word.isalpha() and len(word) > 2
    ]
    random = np.random.default_rng(0)
    articles = ["\n".join(" ".join(random.choice(words, 20)) for _ in range(3)) for _ in range(150)]
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(articles), encoding="utf-8")
    return path


def flags(tiny_bert: Path, corpus: Path, output: Path, *more: object) -> list[object]:
    """Six steps of four rows."""
    small = [
        "--rank",
        2,
        "--max_seq_length",
        16,
        "--batch_size",
        4,
        "--held_out_rows",
        6,
        "--save_steps",
        2,
        "--logging_steps",
        2,
    ]
    return [
        "--model_name_or_path",
        tiny_bert,
        "--corpus",
        corpus,
        "--output_dir",
        output,
        "--max_steps",
        6,
        *small,
        *more,
    ]


def test_it_fits_saves_and_reports(run_recipe: Callable, tiny_bert: Path, corpus: Path, tmp_path: Path) -> None:
    weights, results = tmp_path / "weights.npz", tmp_path / "results" / "masked_lm.json"
    more = ["--weights", weights, "--results", results, "--learning_rate", 0.01]
    run_recipe(SCRIPT, *flags(tiny_bert, corpus, tmp_path / "run", *more), check=True)
    update = np.load(weights)
    assert update["bert.encoder.layers.3.linear2.down"].shape == (32, 2)
    content = json.loads(results.read_text())
    assert [point["step"] for point in content["curve"]] == [2, 4, 6]
    assert content["loss"] == pytest.approx(min(point["loss"] for point in content["curve"]), abs=0.01)
    assert (tmp_path / "run" / "best_model" / "masked_lm.npz").is_file()
    again = run_recipe(SCRIPT, *flags(tiny_bert, corpus, tmp_path / "run", *more, "--resume"), check=True)
    assert "already done" in again.stderr


def test_text_that_holds_a_dev_sentence_is_dropped(
    run_recipe: Callable, tiny_bert: Path, corpus: Path, glue_dir: Path, tmp_path: Path
) -> None:
    """Of an encoder with more embeddings than words, as those are whose number is rounded up."""
    encoder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    *words, _ = (encoder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (encoder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    sentence = (glue_dir / "SST-2" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    corpus.write_text(
        corpus.read_text(encoding="utf-8") + f"\n\nSomeone said: {sentence} And left.\n", encoding="utf-8"
    )
    done = run_recipe(SCRIPT, *flags(encoder, corpus, tmp_path / "run", "--glue_dir", glue_dir), check=True)
    assert "1 dropped because they hold" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--corpus": "none.txt"}, "no text file none.txt"),
        ({"--model_name_or_path": "no-such-encoder"}, "no-such-encoder"),
        ({"--max_seq_length": 600}, "600 is beyond the 512 positions"),
        ({"--weights": "."}, "argument --weights: must be the path of a file"),
    ],
)
def test_bad_input_ends_in_one_line(
    change: dict[str, object], message: str, run_recipe: Callable, tiny_bert: Path, corpus: Path, tmp_path: Path
) -> None:
    given = flags(tiny_bert, corpus, tmp_path / "run", "--weights", tmp_path / "weights.npz")
    for flag, value in change.items():
        given[given.index(flag) + 1] = value
    done = run_recipe(SCRIPT, *given)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
