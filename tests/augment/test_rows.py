"""From candidates to rows of a table."""

import numpy as np

from paddledistill.augment.rows import Candidates, Counts, augmented, jobs
from paddledistill.augment.word_replacement import Sentence
from paddledistill.tasks import Example, LeakGuard

VOCAB = ["[PAD]", "fine", "poor", "movie", "tale"]
SENTENCES = [
    Sentence("Good film", ("good", "film"), ((5,), (6,)), (0, 1), ()),
    Sentence("an unbelievable story", ("an", "unbelievable", "story"), ((7,), (8, 9), (10,)), (2,), (1,)),
]
NEAR = {"unbelievable": ["incredible"]}


def made(*guarded: str) -> tuple[list[list[list[str]]], Counts]:
    candidates = Candidates(
        SENTENCES, [np.array([[1, 2], [-1, 3]], np.int32), np.array([[3, 4]], np.int32)], VOCAB, NEAR
    )
    rows = [["7", "Good film", "x"], ["8", "an unbelievable story", '"']]
    counts = Counts()
    guard = LeakGuard([Example(text) for text in guarded])
    return list(augmented(rows, [1], candidates, 40, 0.5, 0, guard, counts, examples=5)), counts


def test_jobs_go_sentence_by_sentence() -> None:
    assert jobs(SENTENCES) == [(SENTENCES[0], 0), (SENTENCES[0], 1), (SENTENCES[1], 2)]


def test_candidates_of_both_sources() -> None:
    candidates = Candidates(SENTENCES, [np.array([[1, 2], [-1, 3], [3, 4]], np.int32)], VOCAB, NEAR)
    assert candidates.of("Good film") == {0: ["fine", "poor"], 1: ["movie"]}
    assert candidates.of("an unbelievable story") == {2: ["movie", "tale"], 1: ["incredible"]}
    nothing = Candidates(SENTENCES, [np.full((3, 2), -1, np.int32)], VOCAB, {})
    assert nothing.of("an unbelievable story") == {}


def test_original_first_and_other_columns_copied() -> None:
    groups, counts = made()
    assert [group[0] for group in groups] == [["7", "Good film", "x"], ["8", "an unbelievable story", '"']]
    assert {tuple(row[::2]) for row in groups[0]} == {("7", "x")}
    assert {row[1] for row in groups[0][1:]} == {"fine film", "poor film", "good movie", "fine movie", "poor movie"}
    assert {row[1] for row in groups[1][1:]} == {
        "an incredible story", "an unbelievable movie", "an unbelievable tale", "an incredible movie", "an incredible tale",
    }  # fmt: skip
    assert counts.as_dict() == {
        "rows": 2, "variants": 10, "leaking_variants": 0, "replaced_by_masked_lm": 11, "replaced_by_vectors": 3,
    }  # fmt: skip
    assert [original for original, _ in counts.examples] == ["Good film", "an unbelievable story"]


def test_variants_that_leak_are_dropped_and_counted() -> None:
    groups, counts = made("Poor movie!", "incredible tale", "an incredible, movie")
    texts = {row[1] for group in groups for row in group}
    assert "poor movie" not in texts, "equals a held-out row"
    assert "an incredible movie" not in texts
    assert "an incredible tale" in texts, "two words of a held-out row are too few to be one"
    assert counts.leaking_variants == 2 and counts.variants == 8


def test_as_many_examples_as_asked_though_rows_without_variants_lie_between() -> None:
    silent = Sentence(",", (",",), ((4,),), (), ())
    candidates = Candidates([silent, *SENTENCES], [np.array([[1, 2], [-1, 3], [3, 4]], np.int32)], VOCAB, NEAR)
    rows, counts = [[","], ["Good film"], [","], ["an unbelievable story"]] * 10, Counts()
    assert len(list(augmented(rows, [0], candidates, 9, 0.9, 0, LeakGuard([]), counts, examples=20))) == 40
    shown = [text for text, _ in counts.examples]
    assert len(shown) == 20 and shown.count("Good film") == 10
