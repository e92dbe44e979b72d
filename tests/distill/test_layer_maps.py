"""Layer maps: presets, explicit pairs, and what is refused."""

import pytest

from paddledistill.distill.layer_maps import check_weights, layer_map
from paddledistill.errors import UserError


def test_2i_plus_1_of_12_and_6_layers() -> None:
    found = layer_map("2i+1", student_layers=6, teacher_layers=12)
    assert found.hidden == ((0, 0), (1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12))
    assert found.attention == ((0, 1), (1, 3), (2, 5), (3, 7), (4, 9), (5, 11))


@pytest.mark.parametrize(("student", "teacher"), [(4, 12), (3, 12), (6, 6)])
def test_2i_plus_1_refuses_other_depths(student: int, teacher: int) -> None:
    """Defect 4: a 4-layer student silently learned from the lower 8 of 12 layers."""
    with pytest.raises(UserError, match=rf"student of {student} layers and a teacher of {teacher}.*uniform"):
        layer_map("2i+1", student, teacher)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [(4, 12, [0, 3, 6, 9, 12]), (4, 6, [0, 2, 3, 5, 6]), (3, 6, [0, 2, 4, 6]), (3, 4, [0, 1, 3, 4])],
)
def test_uniform_rounds_halves_up(student: int, teacher: int, expected: list[int]) -> None:
    found = layer_map("uniform", student, teacher)
    assert [t for _, t in found.hidden] == expected
    assert found.attention == tuple((s - 1, t - 1) for s, t in found.hidden[1:])


def test_last_and_explicit() -> None:
    assert layer_map("last", 3, 6).hidden == ((3, 6),)
    assert layer_map("last", 3, 6).attention == ((2, 5),)
    found = layer_map("0:0,1:4,3:6", 3, 6)
    assert (found.hidden, found.attention) == (((0, 0), (1, 4), (3, 6)), ((0, 3), (2, 5)))


@pytest.mark.parametrize(
    ("spec", "fix"),
    [
        *((spec, "take pairs from 1:1 to 3:6") for spec in ("1:7", "4:6", "0:2")),
        *((spec, "nor pairs like 1:2,2:4") for spec in ("1-2", "", "2i")),
        *((spec, "name each once, as in 1:2,2:4") for spec in ("1:2,1:3", "-1:2")),
    ],
)
def test_what_does_not_fit_is_refused_and_the_fix_named(spec: str, fix: str) -> None:
    with pytest.raises(UserError, match=f"layer.*{fix}"):
        layer_map(spec, 3, 6)


@pytest.mark.parametrize(
    ("spec", "embedding", "hidden", "attention"),
    [("1:2,2:4", 1, 0, 0), ("last", 1, 0, 0), ("0:0", 0, 1, 1), ("uniform", 0, 0, 0)],
)
def test_a_map_whose_weights_leave_nothing_is_refused(
    spec: str, embedding: float, hidden: float, attention: float
) -> None:
    """Such a run used to succeed with a loss of 0."""
    with pytest.raises(UserError, match=f"--layer_map {spec} with .* leaves nothing to compare: raise"):
        check_weights(spec, embedding, hidden, attention)
    check_weights(spec, 1 - embedding, 1 - hidden, 1 - attention)


def test_uniform_refuses_a_shallower_teacher() -> None:
    with pytest.raises(UserError, match="at least as deep .*: take a shallower student, or explicit pairs"):
        layer_map("uniform", 6, 4)
