"""Running text as rows for masked language modelling (Devlin et al., arXiv 1810.04805, section 3.1 and appendix A)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paddledistill.data.packed_text import PackedText, pack_rows
from paddledistill.data.tokenization import Tokenizer

MASKED_SHARE = 0.15


@dataclass(frozen=True, repr=False)
class MaskedText(PackedText):
    """Rows of running text, 15% of whose wordpieces are to be guessed. Made by :func:`mask_text`.

    Of the pieces to guess 80% become ``[MASK]``, 10% another piece, 10% stay. Which ones is decided by ``seed`` and the row's number
    alone.
    """

    vocab: Sequence[str]

    @cached_property
    def _ordinary(self) -> NDArray[np.int64]:
        """Ids that may stand in for another: all but special and unused ones."""
        return np.array(
            [number for number, piece in enumerate(self.vocab) if not piece.startswith("[") or piece == "["]
        )

    def _inputs(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Rows as a batch.

        :returns: ``input_ids``, ``token_type_ids``, ``attention_mask``, each int64 [rows, length]; ``positions`` of the
            pieces to guess, counted through the flattened rows, and the pieces themselves as ``labels``, both
            int64 [guesses].
        """
        made = [self._masked(int(row)) for row in rows]
        columns = np.concatenate([chosen + number * self.length for number, (_, _, chosen, _) in enumerate(made)])
        return {
            "input_ids": np.stack([ids for ids, _, _, _ in made]),
            "token_type_ids": np.stack([segments for _, segments, _, _ in made]),
            "attention_mask": np.ones((len(made), self.length), np.int64),
            "positions": columns,
            "labels": np.concatenate([labels for _, _, _, labels in made]),
        }

    def _masked(self, index: int) -> tuple[NDArray[np.int64], ...]:
        """Ids with the guesses masked, segment numbers, columns of the guesses, what was there."""
        random = np.random.default_rng((self.seed, index))
        ids, segments, columns = self.row(index, random)
        chosen = np.sort(random.choice(columns, max(1, round(MASKED_SHARE * len(columns))), replace=False))
        labels = ids[chosen]
        fate = random.random(len(chosen))
        others = random.choice(self._ordinary, len(chosen))
        mask = self.vocab.index("[MASK]")
        ids[chosen] = np.where(fate < 0.8, mask, np.where(fate < 0.9, others, labels))
        return ids, segments, chosen, labels


def mask_text(
    stream: NDArray[np.int32],
    tokenizer: Tokenizer,
    length: int,
    seed: int,
    limit: int | None = None,
    what: str = "text",
) -> MaskedText:
    """Rows for masked language modelling from running text; all is as in :func:`pack_rows`."""
    rows = pack_rows(stream, tokenizer, length, seed, limit, what)
    return MaskedText(**vars(rows), vocab=tokenizer.vocab)
