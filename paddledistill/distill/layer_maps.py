"""Which layer of the student learns which layer of the teacher."""

from dataclasses import dataclass

from paddledistill.errors import UserError

PRESETS = ("2i+1", "uniform", "last")


@dataclass(frozen=True)
class LayerMap:
    """Pairs (student, teacher).

    ``hidden`` counts states: 0 is the output of the embeddings, i that of layer i. ``attention`` counts layers from 0.
    """

    hidden: tuple[tuple[int, int], ...]
    attention: tuple[tuple[int, int], ...]

    @property
    def teacher_hidden(self) -> tuple[int, ...]:
        """Numbers of the teacher's states that are compared."""
        return tuple(teacher for _, teacher in self.hidden)

    @property
    def teacher_attention(self) -> tuple[int, ...]:
        """Numbers of the teacher's layers whose attention scores are compared."""
        return tuple(teacher for _, teacher in self.attention)


def layer_map(spec: str, student_layers: int, teacher_layers: int) -> LayerMap:
    """Build a map from a preset or from explicit pairs.

    ``2i+1``: hidden state i learns 2i and attention i learns 2i+1 (TinyBERT; the student is half as deep as the teacher).
    ``uniform``: layer i of M, counted from 1, learns layer round(i * N / M). ``last``: the last layer only.
    Explicit pairs ``1:2,2:4`` are layers counted from 1, student first; ``0:0`` is the output of the embeddings.

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
            raise UserError(f"layer map uniform needs a teacher at least as deep as the student, here {depths}")
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
                f"layer pair {wrong[0][0]}:{wrong[0][1]} does not fit {depths} (layers count from 1; 0:0 are the embeddings)"
            )
    return LayerMap(tuple(pairs), tuple((s - 1, t - 1) for s, t in pairs if s))


def _explicit(spec: str) -> list[tuple[int, int]]:
    try:
        pairs = [(int(student), int(teacher)) for student, teacher in (pair.split(":") for pair in spec.split(","))]
    except ValueError:
        raise UserError(
            f"layer map {spec!r} is neither one of {', '.join(PRESETS)} nor pairs like 1:2,2:4,3:6"
        ) from None
    if min(number for pair in pairs for number in pair) < 0 or len({student for student, _ in pairs}) < len(pairs):
        raise UserError(f"layer map {spec!r} has a negative number, or a student layer twice")
    return pairs
