"""Tables of result rows: the same rows give the table in the terminal, in the READMEs and in the report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

from paddledistill.report.rows import Row, SpeedRow, score
from paddledistill.report.summary import summary

NOTHING = "–"  # a hyphen would be a bullet in reStructuredText
_T = TypeVar("_T")


def text_table(rows: Sequence[Row] | Sequence[SpeedRow]) -> str:
    """An aligned plain-text table for the terminal, with what they come to and how to read them below."""
    header, body, below = _content(rows)
    widths = _widths(header, body)
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in body), "", below])


def rst_table(rows: Sequence[Row] | Sequence[SpeedRow]) -> str:
    """A reStructuredText simple table of the same cells, with the same caption."""
    header, body, below = _content(rows)
    header, body = [_rst(cell) for cell in header], [[_rst(cell) for cell in row] for row in body]
    widths = _widths(header, body)
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, _line(header, widths), rule, *(_line(row, widths) for row in body), rule, "", below])


def _content(rows: Sequence[Row] | Sequence[SpeedRow]) -> tuple[list[str], list[list[str]], str]:
    """Header, body and caption of either kind of rows."""
    if rows and "claim" in rows[0]:
        return *speed_cells(cast(Sequence[SpeedRow], rows)), SPEED_CAPTION
    own = cast(Sequence[Row], rows)
    return *cells(own), "\n\n".join(filter(None, [summary(own), caption(own)]))


SPEED_CAPTION = (
    "Medians over turns in which the sides alternated. Ratio: how many times faster than the peer. Floor: what the matrix products "
    "alone would take at the best rate of any installed library; its share that was reached."
)


def speed_cells(rows: Sequence[SpeedRow]) -> tuple[list[str], list[list[str]]]:
    """The header and the body of a table of speed: a line for each claim."""
    header = ["Claim", "Ours", "Peer", "Unit", "Ratio", "Of the floor", "Against"]
    body = [
        [
            row["claim"],
            figure(row["ours"]),
            figure(row["peer"]),
            row["unit"],
            NOTHING if row["ratio"] is None else f"{row['ratio']:.2f}x",
            NOTHING if row["of_floor"] is None else f"{100 * row['of_floor']:.0f} %",
            row["peer_name"] or NOTHING,
        ]
        for row in rows
    ]
    return header, body


def figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def caption(rows: Sequence[Row]) -> str:
    """How to read the table: seeds, units."""
    seeds = sorted({len(row["values"]) for row in rows if row["role"] != "published"}) or [0]
    several = f"{seeds[0]} to {seeds[-1]}" if seeds[0] < seeds[-1] else seeds[-1]
    spread = "one seed" if seeds[-1] < 2 else f"mean ± standard deviation over {several} seeds"
    others = "Published: figures of others, not run here. " if any(row["role"] == "published" for row in rows) else ""
    lengths = sorted({row["latency_tokens"] for row in rows if row["latency_tokens"]})
    tokens = f", of {' or '.join(map(str, lengths))} tokens each" if lengths else ""
    answered = ", without what the teacher answers before it" if any(row["role"] == "distilled" for row in rows) else ""
    gain = "Gain: above a constant answer. " if len({row["task"] for row in rows}) > 1 else ""
    return (
        f"Scores in points of 100, {spread}. {others}{gain}Kept: share of the teacher's score. "
        f"MB: the model directory, in millions of bytes. ms and speed-up: at batch 1 / at batch 32{tokens}. "
        f"Minutes: of training, with its evaluations{answered}."
    )


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The header and the body of the table: a line for each system; columns that no row fills are left out.

    One task has a column for each split and metric. Of several tasks each has its own metric, so that is a column, beside the score.
    """
    tasks = _distinct(row["task"] for row in rows)
    header, body = _cells_of_tasks(rows, tasks) if len(tasks) > 1 else _cells_of_one(rows)
    kept = [index for index in range(len(header)) if not body or any(row[index] not in (NOTHING, "") for row in body)]
    return [header[index] for index in kept], [[row[index] for index in kept] for row in body]


_COSTS = ["Kept %", "Parameters", "MB", "ms", "Speed-up", "Minutes"]


def _cells_of_one(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    columns = _distinct((row["split"], row["metric"]) for row in rows)
    header = ["System", "Role", *(f"{split} {metric}" for split, metric in columns), "Setting", *_COSTS]
    body = []
    baselines = {(row["split"], row["metric"]): row["baseline"] for row in rows if row["baseline"] is not None}
    if baselines:
        scores = [decimal(baselines.get(column)) for column in columns]
        body.append(["constant answer", NOTHING, *scores, *[NOTHING] * (1 + len(_COSTS))])
    for system, role in _distinct((row["system"], row["role"]) for row in rows):
        own = {(row["split"], row["metric"]): row for row in rows if (row["system"], row["role"]) == (system, role)}
        scores = [score(own[column]) if column in own else NOTHING for column in columns]
        main = _main_row(own, columns[-1][0])
        body.append([system, role, *scores, main.get("setting") or NOTHING, *_costs(main)])
    return header, body


def _cells_of_tasks(rows: Sequence[Row], tasks: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The first line of a task is what a constant answer is worth."""
    header = ["Task", "Metric", "System", "Role", "Score", "Gain", "Setting", *_COSTS]
    body = []
    for task in tasks:
        of_task = [row for row in rows if row["task"] == task]
        for split, metric in _distinct((row["split"], row["metric"]) for row in of_task):
            own = [row for row in of_task if (row["split"], row["metric"]) == (split, metric)]
            what = [task, f"{split} {metric}"]
            for baseline in _distinct(row["baseline"] for row in own if row["baseline"] is not None):
                constant = [decimal(baseline), *[NOTHING] * (2 + len(_COSTS))]
                body.append([*what, "constant answer", NOTHING, *constant])
            body += [
                [*what, row["system"], row["role"], score(row), _gain(row), row.get("setting") or NOTHING, *_costs(row)]
                for row in own
            ]
    return header, body


def decimal(value: float | None, suffix: str = "") -> str:
    """One decimal, two below 1, or a dash."""
    if value is None:
        return NOTHING
    return f"{value:.2f}{suffix}" if 0 < abs(value) < 0.995 else f"{value:.1f}{suffix}"


def count(value: float | None) -> str:
    """``22.7 M``, ``870 k`` or ``512``."""
    if value is None:
        return NOTHING
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f}"


def both(first: float | None, second: float | None, suffix: str = "") -> str:
    """Two figures in one cell: batch 1 / batch 32."""
    if first is None and second is None:
        return NOTHING
    return f"{decimal(first, suffix)} / {decimal(second, suffix)}"


def _main_row(own: Mapping[tuple[str, str], Row], split: str) -> Row:
    """The row whose retention stands for the system: the first metric of the last split."""
    return next((row for (row_split, _), row in own.items() if row_split == split), next(iter(own.values())))


def _costs(row: Row) -> list[str]:
    beside_teacher = row["role"] != "teacher"  # whose own share is all and whose speed-up is none
    return [
        decimal(row["retention"] if beside_teacher else None),
        count(row["parameters"]),
        decimal(row["megabytes"]),
        both(row["latency_ms"], row["latency_ms_batch_32"]),
        both(row["speed_up"], row["speed_up_batch_32"], "x") if beside_teacher else NOTHING,
        decimal(row["minutes"]),
    ]


def _gain(row: Row) -> str:
    """How far above a constant answer."""
    return NOTHING if row["baseline"] is None else f"{row['mean'] - row['baseline']:+.1f}"


def _rst(cell: str) -> str:
    """Text that reStructuredText must not take for markup."""
    return "".join("\\" + character if character in "*`|_\\" else character for character in cell)


def _widths(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[column]) for row in (header, *body)) for column in range(len(header))]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _distinct(items: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(items))
