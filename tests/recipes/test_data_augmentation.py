"""The augmentation recipe: the real script on a tiny random masked language model and made-up rows."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paddledistill.data import reading
from paddledistill.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/tinybert/data_augmentation.py"
TEXT_COLUMNS = {"CoLA": [3], "MRPC": [3, 4], "STS-B": [7, 8]}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def augment(run_recipe: Run, tiny_masked_lm: Path, glue_dir: Path) -> Run:
    """Run the script on SST-2 of ``glue_dir`` unless told otherwise."""

    def run(
        *args: object, task: str = "SST-2", model: Path = tiny_masked_lm, **options: object
    ) -> "subprocess.CompletedProcess[str]":
        return run_recipe(
            SCRIPT, "--pretrained_bert_model", model, "--glue_dir", glue_dir, "--task_name", task, *args, **options
        )

    return run


def lines(path: Path) -> list[str]:
    """Lines as bytes have them: only LF parts them."""
    text = path.read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def groups(path: Path, originals: list[str]) -> list[list[str]]:
    """The augmented lines, a list a row, each starting with the row as it is in the training file."""
    found: list[list[str]] = []
    waiting = list(originals)
    for line in lines(path):
        if waiting and line == waiting[0]:
            found.append([waiting.pop(0)])
        else:
            found[-1].append(line)
    assert not waiting, "every row of the training file is there, in its order"
    return found


@pytest.mark.parametrize("name", TEXT_COLUMNS)
def test_rows_of_glue_tasks(augment: Run, glue_dir: Path, name: str) -> None:
    """Original row first, other columns copied, quotes verbatim, header and BOM kept, LF, and --N honoured (defect 7)."""
    train, target = glue_dir / name / "train.tsv", glue_dir / name / "train_aug.tsv"
    done = augment("--N", 4, "--device", "gpu", task=name.lower(), check=True)
    assert "no GPU" in done.stderr
    given = lines(train)
    header, given = ([], given) if name == "CoLA" else (given[:1], given[1:])
    assert lines(target)[: len(header)] == header
    report = json.loads(target.with_suffix(".json").read_text())
    assert report["counts"]["leaking_rows"] == 0, "the fixtures leak nothing"
    rows = groups(target, header + given)[len(header) :]
    assert sum(map(len, rows)) > 2.5 * len(given)
    assert len(report["examples"]) == min(20, sum(len(group) > 1 for group in rows)) > 10
    for original, *variants in rows:
        assert len(variants) <= 4
        assert len(set(variants)) == len(variants)
        for variant in variants:
            cells, own = variant.split("\t"), original.split("\t")
            assert len(cells) == len(own)
            differing = [column for column, (a, b) in enumerate(zip(cells, own, strict=True)) if a != b]
            assert set(differing) <= set(TEXT_COLUMNS[name]) and differing
    assert not list(target.parent.glob(".*")), "no work files are left"


def test_written_where_training_reads_it(augment: Run, glue_dir: Path) -> None:
    """Defect 8 of the originals: written in Glue/SST-2/, read from Glue/sst-2/. And LF is written where CRLF was read (defect 7)."""
    train = (glue_dir / "SST-2").rename(glue_dir / "sst-2") / "train.tsv"
    train.write_bytes(train.read_bytes().replace(b"\n", b"\r\n"))
    augment("--N", 2, task="SST-2", check=True)
    assert b"\r" not in (glue_dir / "sst-2" / "train_aug.tsv").read_bytes()
    assert not (glue_dir / "SST-2").exists() or (glue_dir / "SST-2").samefile(glue_dir / "sst-2")
    for name in ("sst-2", "SST-2", "sst2"):
        task = get_task(name, glue_dir)
        assert len(reading.load_training(task, glue_dir, augmented=True)) > len(reading.load_training(task, glue_dir))


def test_glove_limit_and_report(augment: Run, glue_dir: Path, tmp_path: Path) -> None:
    """The original's --glove_embs; a report with counts, hit rate, examples and what it was made from."""
    sst = glue_dir / "SST-2"
    (sst / "train.tsv").write_text(
        "sentence\tlabel\n" + "the unbelievable film is good\t1\n" * 4 + "an incomprehensible story\t0\n" * 4
    )
    glove = tmp_path / "glove.txt"
    glove.write_text("unbelievable 1 0\nincredible 0.9 0.1\nthe 0.95 0\n-- 1 0\nterrible -1 0\n")
    done = augment("--glove_embs", glove, "--N", 30, "--M", 1, "--limit", 4, check=True)
    report = json.loads((sst / "train_aug.json").read_text())
    rows = lines(sst / "train_aug.tsv")[1:]
    texts = [row.split("\t")[0] for row in rows]
    assert any("incredible" in text for text in texts), "the nearest word that is no stop word and no punctuation"
    assert not any("terrible" in text or "--" in text for text in texts)
    assert report["counts"]["rows"] == 4
    assert report["counts"]["words_of_several_pieces"] == 2 and report["counts"]["with_a_vector"] == 1
    assert report["counts"]["variants"] == len(rows) - 4
    assert report["counts"]["replaced_by_vectors"] == sum("incredible" in text for text in texts)
    assert report["arguments"]["N"] == 30 and report["arguments"]["glove_embs"] == str(glove)
    assert set(report["inputs"]) == {"train", "dev", "test", "glove_embs", "pretrained_bert_model"}
    assert report["machine"]["cores"] and report["versions"]["python"]
    assert "50.0% of them have a word vector" in done.stderr
    assert "masked words to predict: about" in done.stderr
    assert "-> " in done.stderr, "examples to read"


def test_words_of_other_text_get_vectors_too(augment: Run, glue_dir: Path, tmp_path: Path) -> None:
    """--vector_corpus: a word that the task's text holds too rarely for word2vec is learned from plain text beside it."""
    sst = glue_dir / "SST-2"
    (sst / "train.tsv").write_text("sentence\tlabel\nthe unbelievable film\t1\na story\t0\n")
    text = "".join(f"an unbelievable story of the film {number}\n\n" for number in range(30))
    for part in ("a", "b"):
        (tmp_path / "corpus" / part).mkdir(parents=True)
        (tmp_path / "corpus" / part / "text.txt").write_text(text)
    without = augment("--N", 2, check=True)
    assert "0.0% of them have a word vector" in without.stderr
    augment("--N", 2, "--vector_corpus", tmp_path / "corpus", "--overwrite", check=True)
    report = json.loads((sst / "train_aug.json").read_text())
    assert report["counts"]["with_a_vector"] == report["counts"]["words_of_several_pieces"] == 1
    part_a = tmp_path / "corpus" / "a" / "text.txt"
    part_a.write_text(f"another {text}")
    changed = augment("--N", 2, "--vector_corpus", tmp_path / "corpus", "--resume")
    assert "made with other vector_corpus" in changed.stderr, "whichever file of this name it is"
    both = augment("--vector_corpus", tmp_path / "corpus", "--glove_embs", part_a, "--overwrite")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr.strip().splitlines()[-1]


def test_paragraphs_with_a_dev_row_train_no_vectors(augment: Run, glue_dir: Path, tmp_path: Path) -> None:
    dev = lines(glue_dir / "SST-2" / "dev.tsv")[1].split("\t")[0]
    (glue_dir / "SST-2" / "train.tsv").write_text("sentence\tlabel\nthe unbelievable film\t1\na story\t0\n")
    (tmp_path / "text.txt").write_text("".join(f"the unbelievable {dev} , number {number}\n" for number in range(30)))
    done = augment("--N", 2, "--vector_corpus", tmp_path / "text.txt", check=True)
    assert "0.0% of them have a word vector" in done.stderr


def test_a_run_is_known_by_its_best_model(augment: Run, tiny_masked_lm: Path, tmp_path: Path) -> None:
    """What else lies in a run directory neither makes another model of it, nor its candidates anew."""
    run = tmp_path / "run"
    shutil.copytree(tiny_masked_lm, run / "best_model")
    augment("--N", 2, model=run, check=True)
    (run / "metrics.jsonl").write_text("{}\n")
    assert "already done" in augment("--N", 2, "--resume", model=run, check=True).stderr


def test_hostile_text_survives(augment: Run, glue_dir: Path) -> None:
    """Rows whose text could break a TSV writer stay as they are, byte for byte."""
    texts = [
        '"good film', '""', "it's '' good \"\" film", "good\u2028film\u2029bad", "good\u0085story", "  good   film  ",
        "good\u00a0film\u200b",
        "good\rfilm", "[MASK] good [SEP] film [UNK]", "## good #film", "好 电 影 good", "İstanbul ﬁlm ½ 🙂 good",
        "\ufeffgood film", "\\t\\n good \\",
        "good film" + " the" * 700 + " bad film", "x" * 300, "e\u0301 good \u202e film", ", . !",
    ]  # fmt: skip
    train = glue_dir / "SST-2" / "train.tsv"
    train.write_bytes(
        ("sentence\tlabel\n" + "".join(f"{text}\t{index % 2}\n" for index, text in enumerate(texts))).encode()
    )
    augment("--N", 3, check=True)
    found = groups(glue_dir / "SST-2" / "train_aug.tsv", lines(train))[1:]
    for index, (original, *variants) in enumerate(found):
        assert original == f"{texts[index]}\t{index % 2}"
        assert all(variant.endswith(f"\t{index % 2}") and variant.count("\t") == 1 for variant in variants)
        assert len(variants) <= 3
    assert len(found[-1]) == 1, "nothing to replace in punctuation"
    assert any(len(group) == 4 for group in found)
    read = reading.load_training(get_task("sst-2"), glue_dir, augmented=True)
    assert len(read) == sum(map(len, found)), "the loader sees every row"


def test_held_out_rows_are_not_augmented(augment: Run, glue_dir: Path) -> None:
    sst = glue_dir / "SST-2"
    dev = lines(sst / "dev.tsv")[1].split("\t")[0]
    with (sst / "train.tsv").open("a") as stream:
        stream.write(f"{dev.upper()} !\t1\nand yet {dev} , they say\t0\n")
    done = augment("--N", 2, check=True)
    assert json.loads((sst / "train_aug.json").read_text())["counts"]["leaking_rows"] == 2
    assert "dropped as equal to or containing a dev or test row: 2 rows" in done.stderr
    assert dev.lower() not in (sst / "train_aug.tsv").read_text().lower()


def test_done_is_done_and_nothing_is_replaced_unasked(augment: Run, glue_dir: Path) -> None:
    target = glue_dir / "SST-2" / "train_aug.tsv"
    augment("--N", 2, check=True)
    first = target.read_bytes()

    again = augment("--N", 2, "--resume", "--batch_size", 5, check=True, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "already done" in again.stderr
    assert not {"paddle", "paddlenlp", "gensim"} & {line.split("|")[-1].strip() for line in again.stderr.splitlines()}
    assert target.read_bytes() == first

    for flags, message in (
        (("--N", 2), "is there already: --resume keeps it, --overwrite makes it anew"),
        (("--N", 3), "made with other N: --overwrite replaces it"),
        (("--N", 3, "--resume", "--seed", 1), "made with other N, seed: --overwrite replaces it"),
    ):
        refused = augment(*flags)
        assert refused.returncode == 2
        assert message in refused.stderr and len(refused.stderr.splitlines()) == 1
        assert target.read_bytes() == first

    target.write_bytes(first + b"a row more\t1\n")
    assert "was not made by this command" in augment("--N", 2, "--resume").stderr
    augment("--N", 3, "--resume", "--overwrite", check=True)
    assert json.loads(target.with_suffix(".json").read_text())["arguments"]["N"] == 3
    with (glue_dir / "SST-2" / "train.tsv").open("a") as stream:
        stream.write("one more good film\t1\n")
    assert "made with other train" in augment("--N", 3, "--resume").stderr, (
        "the inputs are looked at, not only the arguments"
    )


@pytest.mark.slow
def test_candidates_serve_runs_that_draw_otherwise(augment: Run, glue_dir: Path, tmp_path: Path) -> None:
    """They depend on neither N nor p nor the seed; trained vectors depend on the seed."""
    target, cache = glue_dir / "SST-2" / "train_aug.tsv", {"PADDLEDISTILL_HOME": str(tmp_path / "cache")}

    def read_back(*flags: object) -> tuple[bool, bool]:
        """Whether the model's candidates were, and whether the vectors' were."""
        done = augment("--overwrite", *flags, env=cache, check=True)
        counts = json.loads(target.with_suffix(".json").read_text())["counts"]
        found = counts["masked_words_read_back"]
        assert found in (0, counts["masked_words"])
        assert ("masked words to predict" in done.stderr) == (found == 0)
        return found > 0, "dimensions" not in done.stderr

    assert read_back("--N", 2) == (False, False)
    assert read_back("--N", 4, "--p", 0.7, "--seed", 7) == (True, False)
    assert read_back("--N", 4) == (True, True)
    assert read_back("--N", 4, "--M", 3) == (False, False)


def many_rows(path: Path, tiny_vocab: Path, rows: int) -> None:
    """A training file of random words of the vocabulary: enough for several saves."""
    words = [
        word for word in tiny_vocab.read_text("utf-8").split() if word.isascii() and word.isalpha() and len(word) > 3
    ]
    rng = random.Random(0)
    path.write_text(
        "sentence\tlabel\n" + "".join(f"{' '.join(rng.choices(words, k=14))}\t{index % 2}\n" for index in range(rows))
    )


def kill_when(command: list[str], ready: Callable[[], bool]) -> None:
    """Start a command and kill it, as ``kill -9`` does, as soon as ``ready`` says so."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_twice_and_resumed_equals_uninterrupted(
    glue_dir: Path, tmp_path: Path, tiny_vocab: Path, tiny_masked_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect 7 of the originals: no resume. Killed while predicting and while writing rows; the other run has other batches."""
    sst = glue_dir / "SST-2"
    many_rows(sst / "train.tsv", tiny_vocab, 900)
    whole = tmp_path / "whole"
    shutil.copytree(glue_dir, whole)
    target, work = sst / "train_aug.tsv", sst / ".train_aug.work"
    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "home"))

    def saved() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("home/candidates/*/candidates-*.npy")}

    flags = ["--pretrained_bert_model", str(tiny_masked_lm), "--task_name", "sst-2", "--N", "20", "--seed", "5"]
    command = [sys.executable, str(ROOT / SCRIPT), *flags, "--resume", "--glue_dir", str(glue_dir)]

    kill_when(command, lambda: len(saved()) >= 2)
    first = saved()
    assert not target.exists()
    kill_when(command, lambda: (work / "train_aug.tsv").exists())
    assert not target.exists(), "nothing half-written takes its place"
    assert first.items() < saved().items(), "not computed again"
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "masked words read back from" in resumed.stderr
    assert not work.exists()

    monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "another"))
    other = [sys.executable, str(ROOT / SCRIPT), *flags, "--batch_size", "37", "--glue_dir", str(whole)]
    subprocess.run(other, capture_output=True, check=True)
    assert target.read_bytes() == (whole / "SST-2" / "train_aug.tsv").read_bytes()
    assert len(groups(target, lines(sst / "train.tsv"))) == 901


def test_two_at_once_are_refused(augment: Run, glue_dir: Path) -> None:
    from paddledistill.journal import Journal

    with Journal(glue_dir / "SST-2" / ".train_aug.work", "another", resume=False):
        refused = augment("--N", 1)
    assert refused.returncode == 2
    assert "in use by another command" in refused.stderr.splitlines()[-1]


def test_a_full_disk_leaves_nothing_half_written(
    augment: Run, glue_dir: Path, tiny_masked_lm: Path, run_recipe: Run
) -> None:
    """A limit on the size of files stands in for the disk: the variants do not fit."""
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    flags = [
        "--pretrained_bert_model",
        tiny_masked_lm,
        "--glue_dir",
        glue_dir,
        "--task_name",
        "sst-2",
        "--N",
        30,
        "--M",
        3,
    ]
    done = run_recipe("-c", limited, ROOT / SCRIPT, *flags)
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr.splitlines()[-1]
    assert not (glue_dir / "SST-2" / "train_aug.tsv").exists()
    augment("--N", 30, "--M", 3, "--resume", check=True)
    assert (glue_dir / "SST-2" / "train_aug.tsv").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        (None, ["--p", "1.5"], "a number from 0 to 1"),
        (None, ["--N", "0"], "a whole number of at least 1"),
        (None, ["--seed", "-1"], "a whole number of at least 0"),
        (None, ["--task_name", "SST-3"], "unknown task 'SST-3'"),
        (None, ["--glue_dir", "/nowhere"], "data directory /nowhere does not exist"),
        (None, ["--glove_embs", "/nowhere.txt"], "/nowhere.txt not found"),
        ("sentence\tlabel\ngood\t1\nbad\n", [], "train.tsv:3: 1 columns instead of 2"),
        ("sentence\nlabel\n", [], "has no column 'label'"),
        ("sentence\tlabel\ngood\t2\n", [], "train.tsv:2: label '2' is not one of 0, 1"),
        ("sentence\tlabel\ngood\t1\n \t1\n", [], "train.tsv:3: the text in column 'sentence' is empty"),
    ],
)
def test_bad_input_is_one_line(augment: Run, glue_dir: Path, rows: str | None, flags: list[str], message: str) -> None:
    if rows is not None:
        (glue_dir / "SST-2" / "train.tsv").write_text(rows)
    before = sorted(glue_dir.rglob("*"))
    done = augment(*flags)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(glue_dir.rglob("*")) == before


def test_bad_models_and_vectors_are_one_line(
    augment: Run, glue_dir: Path, tiny_bert: Path, tiny_masked_lm: Path, tmp_path: Path
) -> None:
    """These are found after loading has begun: the last line says what is wrong, and no result is written."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_masked_lm, broken)
    weights = next(path for path in broken.iterdir() if path.suffix in (".pdparams", ".safetensors"))
    weights.write_bytes(weights.read_bytes()[:-500])
    glove = tmp_path / "glove.txt"
    glove.write_text("good 1 2\nbad 1\n")
    for options, flags, message in (
        ({"model": tiny_bert}, [], "no masked-LM head"),
        ({"model": broken}, [], str(broken)),
        ({}, ["--glove_embs", glove], f"{glove}:2: expected a word and 2 numbers"),
    ):
        done = augment(*flags, **options)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert not [path for path in (glue_dir / "SST-2").iterdir() if "aug" in path.name]


def test_help_loads_nothing_heavy(run_recipe: Run) -> None:
    done = run_recipe(SCRIPT, "--help", env={"PYTHONPROFILEIMPORTTIME": "1"}, check=True)
    assert not {"paddle", "paddlenlp", "gensim", "numpy"} & {
        line.split("|")[-1].strip() for line in done.stderr.splitlines()
    }
    assert "--glove_embs" in done.stdout and "models:" in done.stdout
