"""How long a model takes to answer, under conditions that are stated with the figure."""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paddledistill import runtime
from paddledistill.models.base import Classifier
from paddledistill.tasks import Example
from paddledistill.training.evaluation import evaluating
from paddledistill.training.feeding import to_batch

LENGTH, WARM_UP, REPEATS = 32, 3, 30  # tokens a row, passes


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one forward pass for each batch size, and the conditions of the measurement."""

    milliseconds: dict[int, float]
    length: int
    threads: int
    warm_up: int
    repeats: int

    @property
    def conditions(self) -> dict[str, int]:
        """What a table states beside the milliseconds."""
        return {
            "length": self.length,
            "threads": self.threads,
            "warm_up": self.warm_up,
            "repeats": self.repeats,
        }


def latencies(
    models: Mapping[str, Classifier],
    examples: Sequence[Example],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    length: int = LENGTH,
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
    rounds: int = 5,
) -> dict[str, Latency]:
    """Time the forward pass of models in eval mode, from a batch of token ids to logits.

    The batches hold real text, and every row exactly ``length`` tokens: neighbouring sentences are joined until they fill the row, so
    that no model is timed on padding. The models take turns, so that a busy minute of the machine does not fall on one of them.

    :param examples: the text; any number from 1 on.
    :param warm_up: passes that are not counted, for each batch size and turn. :param repeats: passes whose median is taken.
    :param rounds: turns that the repeats are spread over.
    """
    rows = full_rows(examples, max(batch_sizes), length)
    datasets = {name: model.encode(rows, length) for name, model in models.items()}
    medians: dict[str, dict[int, float]] = {name: {} for name in models}
    for size in batch_sizes:
        durations: dict[str, list[float]] = {name: [] for name in models}
        for turn in range(rounds):
            passes = repeats // rounds + (turn < repeats % rounds)
            for name, model in models.items():
                durations[name] += _time(model, datasets[name].batch(np.arange(size)), warm_up, passes)
        for name in models:
            medians[name][size] = round(1000 * statistics.median(durations[name]), 4)
    threads = runtime.machine()["threads"]
    return {name: Latency(medians[name], length, threads, warm_up, repeats) for name in models}


def full_rows(examples: Sequence[Example], count: int, length: int) -> list[Example]:
    """``count`` examples, each long enough to fill ``length`` tokens: the given texts, joined in turn and used again when they run out."""

    def fill(first: int, column: int) -> str:
        words: list[str] = []
        for example in itertools.islice(itertools.cycle(examples), first % len(examples), None):
            words += str(example[column]).split() or ["."]
            if len(words) >= 2 * length:  # a word is a token or more; twice as many leave room for words that vanish
                break
        return " ".join(words)

    is_pair = examples[0].text_b is not None
    return [Example(fill(first, 0), fill(first, 1) if is_pair else None, None) for first in range(count)]


def _time(model: Classifier, arrays: dict[str, NDArray[Any]], warm_up: int, passes: int) -> list[float]:
    """Seconds of each counted pass."""
    batch = to_batch(arrays)
    durations = []
    with evaluating(model):
        for step in range(warm_up + passes):
            start = time.perf_counter()
            model(batch).numpy()  # a copy to numpy waits for the device, so the pass is over when the clock is read
            if step >= warm_up:
                durations.append(time.perf_counter() - start)
    return durations
