"""The embedded set: parsing, the split, the files that are written from it."""

from pathlib import Path

import pytest

from paddledistill.data import movie_reviews, reading, tables
from paddledistill.errors import UserError
from paddledistill.tasks import TASKS, Example, LeakGuard, normalise

TASK = TASKS["movie-reviews"]


def test_parse_drops_neutral_ratings_and_repetitions():
    data = (
        "id\tsentiment\ttext\r\n1\t2.5\tLovely &amp;  Amazing\r\n2\t0\tneither nor\r\n3\t-0.1\tDull.\r\n"
        "4\t-3\tlovely & amazing!\r\n5\t0.05\tFine\u2028indeed\r\n"
    )
    assert movie_reviews.parse(data.encode()) == [
        Example("Lovely & Amazing", None, 2.5),
        Example("Dull.", None, -0.1),
        Example("Fine indeed", None, 0.05),
    ]


@pytest.mark.parametrize("line", ["1\t2.5", "1\tmuch\ttext", "1\t2.5\ttext\tmore"])
def test_parse_names_the_line(line: str):
    with pytest.raises(UserError, match=":3: expected id, rating and text"):
        movie_reviews.parse(f"id\tsentiment\ttext\n7\t1\tgood\n{line}\n".encode())


def test_assign_does_not_depend_on_the_order_and_leaves_out_what_contains():
    examples = [Example(f"the sentence called {number} here", None, number % 2) for number in range(4000)]
    splits = movie_reviews.assign(examples)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1000, "dev": 1000, "test": 2000}
    assert movie_reviews.assign(examples[::-1]) == splits
    longer = [Example(f"see {splits['test'][0].text_a} {number}", None, 1) for number in range(400)]
    train = movie_reviews.assign(examples + longer)["train"]
    held = movie_reviews.assign(examples + longer)
    guard = LeakGuard([*held["dev"], *held["test"]])
    assert not any(guard.leaks(example.texts) for example in train)
    assert len(train) < 1400


@pytest.mark.assets("movie-reviews")
class TestRealSet:
    def test_counts_and_balance(self):
        splits = movie_reviews.classes()
        assert {name: len(rows) for name, rows in splits.items()} == {"train": 7561, "dev": 1000, "test": 2000}
        for rows in splits.values():
            assert {example.label for example in rows} == {0, 1}
            assert 0.47 < sum(example.label or 0 for example in rows) / len(rows) < 0.53

    def test_is_the_same_for_ever(self):
        """Results in docs/results were measured on this very split."""
        splits = movie_reviews.classes()
        digest = reading.digest_examples(splits["train"], splits["dev"], splits["test"])
        assert digest == "0bc3318536c33b2b1894d3b9aaa5f46c181a0b69bd85debbc03838251de93644"

    def test_ratings_of_the_same_sentences(self, tmp_path: Path):
        ratings, classes = movie_reviews.ratings(), movie_reviews.classes()
        for name, rows in ratings.items():
            assert [row.text_a for row in rows] == [row.text_a for row in classes[name]]
            assert [row.label > 0 for row in rows] == [row.label == 1 for row in classes[name]]
            assert all(isinstance(row.label, float) and -4 <= row.label <= 4 for row in rows)
        assert reading.load_split(TASKS["movie-ratings"], "dev") == ratings["dev"]
        folder = movie_reviews.export(TASKS["movie-ratings"], tmp_path)
        assert reading.read_rows(folder / "dev.tsv", TASKS["movie-ratings"]) == ratings["dev"]

    def test_no_leak(self):
        splits = movie_reviews.classes()
        keys = {name: {normalise(row.text_a).replace(" ", "") for row in rows} for name, rows in splits.items()}
        assert not keys["train"] & keys["dev"]
        assert not keys["train"] & keys["test"]
        assert not keys["dev"] & keys["test"]
        held = [f" {normalise(row.text_a)} " for name in ("dev", "test") for row in splits[name]]
        held = [text for text in held if len(text.split()) >= 3]
        train = "\n".join(f" {normalise(row.text_a)} " for row in splits["train"])
        assert not [text for text in held if text in train]

    def test_export_is_read_back_and_kept(self, tmp_path: Path):
        folder = movie_reviews.export(TASK, tmp_path)
        assert sorted(path.name for path in folder.iterdir()) == ["dev.tsv", "test.tsv", "train.tsv"]
        assert (folder / "train.tsv").read_text(encoding="utf-8").startswith("sentence\tlabel\n")
        for name, rows in movie_reviews.classes().items():
            assert reading.read_rows(folder / f"{name}.tsv", TASK) == rows
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert movie_reviews.export(TASK, tmp_path) == folder
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    def test_needs_no_data_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PADDLEDISTILL_HOME", str(tmp_path / "cache"))
        assert len(reading.load_training(TASK)) == 7561
        assert len(reading.load_training(TASK, tmp_path / "not there yet")) == 7561
        assert list(reading.load_dev_sets(TASK)) == ["dev"]
        assert reading.has_split(TASK, "test")
        assert not reading.has_split(TASK, "train_aug", tmp_path)
        with pytest.raises(UserError, match=r"no train_aug\.tsv"):
            reading.load_training(TASK, tmp_path, augmented=True)

    def test_files_of_another_task_are_not_taken_for_its_own(self, glue_dir: Path):
        assert len(reading.load_split(TASK, "dev", glue_dir / "SST-2")) == 1000

    def test_augmented_rows_beside_the_exported_ones(self, tmp_path: Path):
        path = reading.augmented_file(TASK, tmp_path)
        assert path == tmp_path / "movie-reviews" / "train_aug.tsv"
        tables.write_table(path, tables.Table(["sentence", "label"], [["a row of my own", "1"]]))
        assert reading.load_training(TASK, tmp_path, augmented=True) == [Example("a row of my own", None, 1)]
        assert reading.load_training(TASK, path.parent, augmented=True) == [Example("a row of my own", None, 1)]
