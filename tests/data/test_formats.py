"""CSV, JSON Lines and tabs: read, written back, and what is refused."""

import csv
import io
import json
from pathlib import Path

import pytest

from paddledistill.data import formats, reading, tables
from paddledistill.errors import UserError
from paddledistill.tasks import Example, get_task

HARD = ['a "quoted" word, and a comma', "a tab\tand\na line break", "naïve – 中文 \u2028 end", " spaces around "]


def own_task(directory: Path, kind: str, more: str = "") -> None:
    (directory / "task.yaml").write_text(
        "text_columns: [text]\nlabel_column: mood\nlabels: [sad, glad]\n"
        f"files: {{train: train{kind}, dev: dev{kind}}}\n{more}"
    )


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_what_was_written_is_read(kind: str, tmp_path: Path) -> None:
    own_task(tmp_path, kind)
    table = tables.Table(["mood", "text"], [["glad", text] for text in HARD])
    tables.write_table(tmp_path / f"train{kind}", table)
    task = get_task("moods", tmp_path)
    assert tables.read_table(tmp_path / f"train{kind}", task) == table
    assert reading.load_split(task, "train", tmp_path) == [Example(text, None, 1) for text in HARD]


def test_csv_is_what_the_csv_module_writes(tmp_path: Path) -> None:
    own_task(tmp_path, ".csv")
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "mood"], *([text, "sad"] for text in HARD)])  # with CRLF
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "train.csv").read_bytes())  # as spreadsheets do
    rows = reading.load_split(get_task("moods", tmp_path), "train", tmp_path)
    assert rows == [Example(text, None, 0) for text in HARD]
    assert formats.of(Path("a.csv")).row(HARD, None) == _by_csv_module(HARD)


def _by_csv_module(cells: list[str]) -> str:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerow(cells)
    return target.getvalue()


def test_json_lines_hold_texts_and_numbers_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "text_columns: [a, b]\nlabel_column: score\nregression: true\nfiles: {train: t.jsonl, dev: d.jsonl}\n"
    )
    lines = [{"a": "x", "b": "1.0", "score": 2.5}, {"score": 3, "b": "z", "a": "y"}]
    (tmp_path / "t.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    assert reading.load_split(get_task("own", tmp_path), "train", tmp_path) == [
        Example("x", "1.0", 2.5),
        Example("y", "z", 3.0),
    ]


def test_other_keys_of_json_lines_hold_anything(tmp_path: Path) -> None:
    own_task(tmp_path, ".jsonl")
    lines = [{"text": "a", "mood": "sad", "tags": ["x"]}, {"text": "b", "mood": "glad", "note": None}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = get_task("moods", tmp_path)
    assert reading.load_split(task, "train", tmp_path) == [Example("a", None, 0), Example("b", None, 1)]
    assert tables.read_table(tmp_path / "train.jsonl", task).rows == [["a", "sad", '["x"]'], ["b", "glad", ""]]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (".csv", 'text,mood\n"no end,sad\n\nfine,sad\n', r"train\.csv:2: unexpected end of data"),
        (".csv", "text,mood\nfine,sad\nfine\n", r"train\.csv:3: 1 columns instead of 2: a column is missing"),
        (
            ".csv",
            "text,mood\nso, so,sad\n",
            r"train\.csv:2: 3 columns .*: a comma too many, or one in a text that is not",
        ),
        (".csv", "words,mood\nfine,sad\n", r"train\.csv:1: the header has no column 'text'"),
        (".csv", 'text,mood\n"two\nlines",glum\n', r"train\.csv:3: label 'glum' is not one of sad, glad"),
        (".jsonl", '{"text": "a", "mood": "sad"}\nnothing\n', r"train\.jsonl:2: not JSON"),
        (".jsonl", '["text"]\n', r"train\.jsonl:1: .* is not an object"),
        (
            ".jsonl",
            '{"text": "a", "mood": "sad"}\n{"text": "b"}\n',
            r"train\.jsonl:2: 'mood' is not a key of every line",
        ),
        (".jsonl", '{"text": ["a"], "mood": "sad"}\n', r"train\.jsonl:1: 'text' holds \[\"a\"\]: it must be a text"),
        (".csv", "text\nfine\n", r"no column 'mood': moods needs it; there are text; train and dev sets need labels$"),
        (".csv", "text,mood\nfine,\n", r"train\.csv:2: the label is empty"),
        (".jsonl", '{"text": null, "mood": "sad"}\n', r"train\.jsonl:2?1?: the text in column 'text' is empty"),
        (".jsonl", "\n", r"train\.jsonl: is empty"),
        (".jsonl", "  \n \n", r"train\.jsonl: holds no rows"),
        (
            ".jsonl",
            '{"text": "cut \\ud83d", "mood": "sad"}\n',
            r"train\.jsonl:1: 'text' holds '\\ud83d', half a character",
        ),
    ],
)
def test_faults_name_file_and_line(kind: str, content: str, message: str, tmp_path: Path) -> None:
    own_task(tmp_path, kind)
    (tmp_path / f"train{kind}").write_text(content)
    with pytest.raises(UserError, match=message):
        reading.load_split(get_task("moods", tmp_path), "train", tmp_path)


def test_half_a_character_that_no_one_reads_is_no_fault(tmp_path: Path) -> None:
    own_task(tmp_path, ".jsonl")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "mood": "sad", "source": "cut \\ud83d"}\n')
    assert reading.load_split(get_task("moods", tmp_path), "train", tmp_path) == [Example("a", None, 0)]


def test_kinds_that_do_not_go(tmp_path: Path) -> None:
    own_task(tmp_path, ".xlsx")
    with pytest.raises(UserError, match=r"files must end in \.tsv, \.txt, \.csv, \.jsonl, unlike train\.xlsx"):
        get_task("moods", tmp_path)
    (tmp_path / "task.yaml").write_text(
        "text_columns: [1]\nlabel_column: 0\nlabels: [sad, glad]\nheader: false\nfiles: {train: t.jsonl, dev: d.jsonl}\n"
    )
    with pytest.raises(UserError, match=r"`header: false` does not go with \.jsonl"):
        get_task("moods", tmp_path)


def test_tabs_hold_no_tab() -> None:
    with pytest.raises(ValueError, match="tab or a line break"):
        formats.of(Path("a.tsv")).row(["a\tb"], None)
