"""Which layer of the student learns which layer of the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from paddledistill.errors import UserError

PRESETS = ("2i+1", "uniform", "last")
COMPARED = ("scores", "mean_scores", "values")  # of attention


class Asked(TypedDict):
    """What an encoder is to show: numbers of hidden states, of layers whose scores, of layers whose values."""

    hidden: tuple[int, ...]
    scores: tuple[int, ...]
    values: tuple[int, ...]


def with_state(asked: Asked, number: int) -> Asked:
    """The same and a hidden state."""
    return Asked(hidden=(*asked["hidden"], number), scores=asked["scores"], values=asked["values"])


@dataclass(frozen=True)
class LayerMap:
    """Pairs (student, teacher).

    ``hidden`` counts states: 0 is the output of the embeddings, i that of layer i. ``attention`` counts layers from 0; what is
    compared of them is named by ``by``: ``scores``; ``mean_scores``, the mean over heads; or ``values``, MiniLM's value relations.
    """

    hidden: tuple[tuple[int, int], ...]
    attention: tuple[tuple[int, int], ...]
    by: str = "scores"

    @property
    def of_student(self) -> Asked:
        """What the student has to show."""
        return self._asked(0)

    @property
    def of_teacher(self) -> Asked:
        """What the teacher has to show."""
        return self._asked(1)

    def _asked(self, side: int) -> Asked:
        inside = tuple(pair[side] for pair in self.attention)
        is_values = self.by == "values"
        return Asked(
            hidden=tuple(pair[side] for pair in self.hidden),
            scores=() if is_values else inside,
            values=inside if is_values else (),
        )

    def weighed(self, embedding: float, hidden: float, attention: float) -> "LayerMap":
        """Without what counts nothing."""
        kept = tuple(pair for pair in self.hidden if (hidden if pair[0] else embedding) > 0)
        return replace(self, hidden=kept, attention=self.attention if attention > 0 else ())


def layer_map(spec: str, student_layers: int, teacher_layers: int, by: str = "scores") -> LayerMap:
    """Build a map from a preset or from explicit pairs.

    ``2i+1``: hidden state i learns 2i and attention i learns 2i+1 (TinyBERT; the student is half as deep as the teacher).
    ``uniform``: layer i of M, counted from 1, learns layer round(i * N / M). ``last``: the last layer only.
    Explicit pairs ``1:2,2:4`` are layers counted from 1, student first; ``0:0`` is the output of the embeddings.

    :param by: what of attention is compared, of :data:`COMPARED`.
    :raises UserError: if the map does not fit the depths.
    """
    depths = f"a student of {student_layers} layers and a teacher of {teacher_layers}"
    if spec == "2i+1":
        if 2 * student_layers != teacher_layers:
            raise UserError(
                f"layer map 2i+1 needs a teacher twice as deep as the student, here {depths}: take --layer_map uniform or explicit pairs"
            )
        pairs = [(i, 2 * i) for i in range(student_layers + 1)]
    elif spec == "uniform":
        if student_layers > teacher_layers:
            raise UserError(
                f"layer map uniform needs a teacher at least as deep as the student, here {depths}: take a shallower student, "
                "or explicit pairs like 1:1,2:2"
            )
        # floor(x + 1/2): Python's round() would take halves to the even neighbour
        pairs = [(0, 0)] + [
            (i, (2 * i * teacher_layers + student_layers) // (2 * student_layers)) for i in range(1, student_layers + 1)
        ]
    elif spec == "last":
        pairs = [(student_layers, teacher_layers)]
    else:
        pairs = _explicit(spec)
        wrong = [(s, t) for s, t in pairs if s > student_layers or t > teacher_layers or (s == 0) != (t == 0)]
        if wrong:
            raise UserError(
                f"layer pair {wrong[0][0]}:{wrong[0][1]} does not fit {depths}: take pairs from 1:1 to {student_layers}:{teacher_layers}, "
                "and 0:0 for the embeddings"
            )
    return _of_pairs(pairs, by)


def check_weights(spec: str, embedding: float, hidden: float, attention: float) -> None:
    """Whether a map compares anything that counts, which shows before any model is read.

    :raises UserError: if it does not, or is none.
    """
    some = {"2i+1": [(0, 0), (1, 2)], "uniform": [(0, 0), (1, 1)], "last": [(1, 1)]}
    left = _of_pairs(some.get(spec) or _explicit(spec)).weighed(embedding, hidden, attention)
    if not left.hidden and not left.attention:
        raise UserError(
            f"--layer_map {spec} with --embedding_weight {embedding:g}, --hidden_weight {hidden:g} and --attention_weight {attention:g} "
            "leaves nothing to compare: raise the weight of what the map names (0:0 are the embeddings)"
        )


def _of_pairs(pairs: Sequence[tuple[int, int]], by: str = "scores") -> LayerMap:
    return LayerMap(tuple(pairs), tuple((s - 1, t - 1) for s, t in pairs if s), by)


def _explicit(spec: str) -> list[tuple[int, int]]:
    try:
        pairs = [(int(student), int(teacher)) for student, teacher in (pair.split(":") for pair in spec.split(","))]
    except ValueError:
        raise UserError(
            f"layer map {spec!r} is neither one of {', '.join(PRESETS)} nor pairs like 1:2,2:4,3:6"
        ) from None
    if min(number for pair in pairs for number in pair) < 0 or len({student for student, _ in pairs}) < len(pairs):
        raise UserError(
            f"layer map {spec!r} has a negative number, or a student layer twice: name each once, as in 1:2,2:4"
        )
    return pairs
