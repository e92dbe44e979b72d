"""``python -m paddledistill.predict`` as a user runs it, and its parts."""

import json
import os
import sys
import threading
import time

import numpy as np
import pytest

from paddledistill import cli, models, predict
from paddledistill.errors import UserError
from paddledistill.tasks import Example, get_task
from paddledistill.training.evaluation import predict as predict_logits

TEXTS = ["a good film", "the worst film of the year , so boring that i left early", "funny"]
LABELS = ("negative", "positive")


def _save(directory, source, info):
    import paddle

    paddle.seed(5)
    model = models.new_encoder_classifier(str(source), info)
    directory.mkdir()
    model.save(directory)
    return directory


@pytest.fixture(scope="module")
def single(tmp_path_factory, tiny_bert):
    """A run directory whose best model answers negative or positive."""
    run = tmp_path_factory.mktemp("single")
    _save(run / "best_model_3", tiny_bert, models.TaskInfo("reviews", LABELS, is_pair=False, max_seq_length=32))
    (run / "best_model").symlink_to("best_model_3")
    (run / "run.json").write_text("{}")
    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_bert):
    return _save(tmp_path_factory.mktemp("pair") / "model", tiny_bert, models.TaskInfo.of(get_task("mrpc"), 32))


@pytest.fixture(scope="module")
def scores(tmp_path_factory, tiny_bert):
    return _save(tmp_path_factory.mktemp("scores") / "model", tiny_bert, models.TaskInfo.of(get_task("sts-b"), 32))


def expected(directory, examples):
    model = models.load(directory)
    logits = predict_logits(model, model.encode(examples)).astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True) if model.labels else logits


@pytest.fixture
def ask(capsys):
    """The command in this process: (exit code, standard output, standard error)."""

    def run(*args: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.run(predict.main, predict.build_parser(), [str(arg) for arg in args])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run


def test_text_on_the_command_line(single, ask):
    code, output, _ = ask(single, *TEXTS)
    lines = [line.split("\t") for line in output.splitlines()]
    assert code == 0
    assert [line[2] for line in lines] == TEXTS
    for line, numbers in zip(lines, expected(single, [Example(text) for text in TEXTS]), strict=True):
        assert line[0] == LABELS[numbers.argmax()]
        assert line[1] == f"negative={numbers[0]:.4f} positive={numbers[1]:.4f}"


def test_json_from_standard_input(single, run_recipe):
    done = run_recipe(
        "-m",
        "paddledistill.predict",
        single / "best_model",
        "--json",
        "--batch_size",
        "2",
        input="\ufeff" + "\r\n".join(TEXTS) + "\r\n",
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text_a"] for answer in answers] == TEXTS
    for answer, numbers in zip(answers, expected(single, [Example(text) for text in TEXTS]), strict=True):
        assert list(answer["probabilities"]) == list(LABELS)
        assert list(answer["probabilities"].values()) == pytest.approx(numbers.tolist(), abs=1e-5)
        assert answer["label"] == LABELS[numbers.argmax()]


def test_pairs_from_arguments_and_from_a_file_agree(pair, ask, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("a good film\ta great film\nit rains\tthe weather\n")
    apart = ask(pair, "a good film", "it rains", "--text_b", "a great film", "the weather")
    assert apart[0] == 0
    assert apart[1].splitlines()[0].endswith("\ta good film\ta great film")
    assert ask("--file", file, pair)[1] == apart[1]


def test_a_regression_prints_scores(scores, ask):
    score = expected(scores, [Example("a good film", "a great film")])[0, 0]
    assert ask(scores, "a good film\ta great film")[1] == f"{score:.4f}\ta good film\ta great film\n"
    as_json = json.loads(ask(scores, "--json", "a good film", "--text_b", "a great film")[1])
    assert as_json == {"text_a": "a good film", "text_b": "a great film", "score": pytest.approx(score, abs=1e-5)}


def test_flags_may_stand_before_between_and_after():
    parser = predict.build_parser()
    for words in (
        ["--json", "d", "a", "b"],
        ["d", "--json", "a", "b"],
        ["d", "a", "b", "--json"],
        ["d", "a", "--json", "b"],
    ):
        args = parser.parse_args(words)
        assert (args.directory, args.text, args.json) == ("d", ["a", "b"], True)
    assert parser.parse_args(["d", "--json"]).text == []


def test_help_is_quick(run_recipe):
    started = time.perf_counter()
    done = run_recipe("-m", "paddledistill.predict", "--help", check=True)
    assert time.perf_counter() - started < 1
    assert "example:" in done.stdout


def test_bad_input_is_one_line_and_exit_code_2(single, ask, tmp_path):
    empty_line, bytes_ = tmp_path / "lines.txt", tmp_path / "bytes.txt"
    empty_line.write_text("a good film\n\nfunny\n")
    bytes_.write_bytes(b"a good film\n\xff\xfe\n")
    table = tmp_path / "rows.csv"
    table.write_text("sentence,label\na good film,1\n")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (single / "best_model").resolve().iterdir():
        content = file.read_bytes()
        (broken / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".pdparams" else content)
    for args, words in (
        ([tmp_path / "nowhere", "a"], "nowhere: give a best_model directory"),
        ([tmp_path, "a"], "not a model directory"),
        ([broken, "a"], "model_state.pdparams is damaged"),
        ([single, "--file", tmp_path / "no.txt"], "no file"),
        ([single, "--file", table], "is a file of columns, and --file reads a sentence a line"),
        ([single, "a", "--file", empty_line], "not both"),
        ([single, "a", "--max_seq_length", "2"], "--max_seq_length 2 leaves no room for text: choose at least 3"),
        ([single, "a", "--max_seq_length", "4000"], "is beyond the"),
        ([], "required: directory"),
    ):
        code, output, error = ask(*args)
        assert code == 2, args
        assert words in error, args
        assert len(error.splitlines()) == 1, error
        assert output == "", args


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a good film\n\nfunny\n", "lines.txt:2 is empty"), (b"a good film\n\xff\xfe\n", "lines.txt:2: not UTF-8")],
)
def test_what_comes_before_a_faulty_line_is_answered(single, ask, tmp_path, content, message):
    (tmp_path / "lines.txt").write_bytes(content)
    code, output, error = ask(single, "--file", tmp_path / "lines.txt")
    assert code == 2
    assert [line.split("\t")[-1] for line in output.splitlines()] == ["a good film"]
    assert message in error and len(error.splitlines()) == 1


def test_in_a_session_a_faulty_line_is_told_and_the_next_one_read(tmp_path, capsys):
    (tmp_path / "typed.txt").write_bytes(b"a good film\n\nfunny\n")
    texts = list(predict.from_lines(tmp_path / "typed.txt", is_pair=False, goes_on=True))
    assert [text.text_a for text in texts] == ["a good film", "funny"]
    assert "typed.txt:2 is empty" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
def test_a_pipe_is_a_file(single, ask, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("a good film\n"))
    writer.start()
    code, output, _ = ask(single, "--file", tmp_path / "pipe")
    writer.join()
    assert (code, output.count("a good film")) == (0, 1)


@pytest.mark.parametrize(
    ("texts", "second", "is_pair", "message"),
    [
        (["good", "  "], None, False, "text 2 is empty"),
        (["good"], None, True, "text 1 holds 1 sentence, but the model answers pairs"),
        (["good"], ["bad"], False, "text 1 holds 2 sentences, but the model answers single sentences"),
        (["good\t"], None, True, "sentence 2 of the pair is empty"),
    ],
)
def test_sentences_that_do_not_fit_the_model(texts, second, is_pair, message):
    with pytest.raises(UserError, match=message):
        list(predict.from_arguments(texts, second, is_pair))


def test_text_b_needs_as_many(single):
    with pytest.raises(UserError, match="2 texts for 1 sentences"):
        predict.main(predict.build_parser().parse_args([str(single), "a", "--text_b", "b", "c"]))


def test_a_stream_is_answered_chunk_by_chunk_in_order(single):
    model = models.load(single)
    read = 0

    def stream():
        nonlocal read
        for number in range(10):
            read += 1
            yield predict.Text("good " * (10 - number) + "film", None, str(number))

    answers = predict.answer(model, stream(), batch_size=2, chunk=3)
    next(answers)
    assert read == 3
    assert [text.source for text, _ in answers] == [str(number) for number in range(1, 10)]


def test_length_and_batch_size_do_not_change_an_answer(single):
    model = models.load(single)
    texts = [predict.Text(text, None, "") for text in TEXTS]
    one, many = (
        [numbers for _, numbers in predict.answer(model, texts, batch_size=size, chunk=size)] for size in (1, 3)
    )
    np.testing.assert_allclose(one, many, atol=1e-5)
