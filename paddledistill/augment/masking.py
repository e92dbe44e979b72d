"""Masking wordpiece by wordpiece: each is replaced by the mask token with a small probability, as in PaddleNLP's distill_lstm example."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from paddledistill.data.tokenization import SPECIAL_TOKENS

MASK = SPECIAL_TOKENS[-1]


def pieces_hit(
    fate: NDArray[np.float64], counts: NDArray[np.int64], p_mask: float, rng: np.random.Generator
) -> Iterator[tuple[int, list[bool]]]:
    """Words of several pieces of which at least one is masked, and which ones are.

    :param fate: [words], from 0 to 1: that of a word's first piece, masked below ``p_mask``. Those of the others are drawn here.
    :param counts: [words], pieces of each.
    """
    several = np.flatnonzero(counts > 1)
    if not len(several):
        return
    others = counts[several] - 1
    begins = np.cumsum(others) - others
    hit = rng.random(int(others.sum())) < p_mask
    first = fate[several] < p_mask
    for at in np.flatnonzero(first | np.logical_or.reduceat(hit, begins)).tolist():
        rest = hit[begins[at] : begins[at] + others[at]].tolist()
        yield int(several[at]), [bool(first[at]), *rest]


def without(pieces: Sequence[str], hit: Sequence[bool]) -> str:
    """A word with [MASK] in place of the pieces that are ``hit``; what is left between stands apart."""
    parts: list[str] = []
    goes_on = False
    for piece, masked in zip(pieces, hit, strict=True):
        if masked:
            parts.append(MASK)
        elif goes_on:
            parts[-1] += piece
        else:
            parts.append(piece)
        goes_on = not masked
    return " ".join(parts)
