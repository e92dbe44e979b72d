"""Plots as inline SVG: no pixels, no external file, colours taken from the page so that they fit light and dark mode."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# matplotlib wants real colours; each of these stands for a CSS variable of the page and is replaced by it in the SVG.
INK, FAINT, LINE, PAPER = "#010203", "#010204", "#010205", "#010206"
SERIES = ("#020101", "#020102", "#020103", "#020104", "#020105", "#020106")
VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line", PAPER: "--paper"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: small, sharp, readable by machines
    "svg.hashsalt": "paddledistill",  # the same data give the same file
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
}


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each distinct name, in order of appearance; they repeat when they run out."""
    return {name: SERIES[number % len(SERIES)] for number, name in enumerate(dict.fromkeys(names))}


def accuracy_against_latency(rows: Sequence[Mapping[str, Any]], latency: str, name: str, metric: str) -> str:
    """Score against latency (log scale), a mark for each system: full when it learnt from or is the teacher, hollow when it learnt alone.

    :param rows: one for each system, with ``system``, ``role``, ``mean``, ``std`` and ``latency``. :param latency: the key of the latency.
    :param name: unique within the page. :param metric: label of the vertical axis.
    """
    points = [row for row in rows if row[latency]]
    palette = colours([row["system"] for row in points])
    with rc_context(_STYLE):
        figure = Figure(figsize=(5.0, 3.7), layout="constrained")
        axes = figure.add_subplot()
        low, high = _limits(
            [row["mean"] - (row["std"] or 0) for row in points] + [row["mean"] + (row["std"] or 0) for row in points]
        )
        fastest, slowest = min(row[latency] for row in points), max(row[latency] for row in points)
        margin = max((slowest / fastest) ** 0.2, 1.35)
        axes.set(ylim=(low, high), xlim=(fastest / margin, slowest * margin), xscale="log")
        axes.set_xlabel("milliseconds (log scale)")
        axes.set_ylabel(metric)
        _milliseconds(axes)
        _arrows(axes, points, latency, palette)
        for row in points:
            colour = palette[row["system"]]
            axes.errorbar(
                row[latency],
                row["mean"],
                yerr=row["std"],
                fmt="o",
                markersize=8,
                color=colour,
                markerfacecolor=PAPER if row["role"] == "alone" else colour,
                markeredgewidth=1.8,
                capsize=3,
                zorder=3,
            )
        middle = math.sqrt(fastest * slowest)
        for row, height in zip(points, _spread([row["mean"] for row in points], (high - low) * 0.07), strict=True):
            left = row[latency] > middle
            axes.annotate(
                f"{_label(row)} {row['mean']:.1f}",
                (row[latency], height),
                xytext=(-9 if left else 9, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
            )
        words = "; ".join(f"{_label(row)}: {row['mean']:.1f} at {row[latency]:.3g} ms" for row in points)
        return _svg(figure, name, f"{metric} against latency. {words}")


def training_curves(
    runs: Sequence[Mapping[str, Any]], name: str, colour: str, metric: str, limits: tuple[float, float]
) -> str:
    """The loss above the dev score, by training step, a line for each seed.

    :param runs: of one system and stage, with ``label``, ``seed``, ``loss`` and ``score``: lists of [step, value].
    :param limits: of the score's axis, the same in all plots that are to be compared.
    """
    scored = any(run["score"] for run in runs)
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 3.3 if scored else 1.9), layout="constrained")
        grid = figure.subplots(2 if scored else 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, key, title in zip(grid, ("loss", "score"), ("training loss", f"dev {metric}"), strict=False):
            for number, run in enumerate(runs):
                line = {"color": colour, "linewidth": 1.5, "alpha": 1 if number == 0 else 0.55}
                if run[key]:
                    axes.plot(
                        *zip(*run[key], strict=True),
                        **line,
                        marker="o" if key == "score" or len(run[key]) < 12 else None,
                        markersize=3,
                    )
            axes.set_title(title, fontsize=9, color=FAINT)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if scored:
            grid[-1].set_ylim(*limits)
        grid[-1].set_xlabel("step")
        return _svg(figure, name, _describe(runs, metric))


def reliability(bins: Sequence[Mapping[str, Any]], name: str) -> str:
    """Share of right answers against the mean confidence of each bin; the larger the mark, the more rows.

    :param bins: ``confidence`` and ``accuracy`` from 0 to 1, and ``rows``. :param name: unique within the page.
    """
    rows = sum(one["rows"] for one in bins)
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.9, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle="--")
        confidence, accuracy = ([100 * one[key] for one in bins] for key in ("confidence", "accuracy"))
        axes.plot(confidence, accuracy, color=SERIES[1], linewidth=1.2)
        axes.scatter(
            confidence, accuracy, s=[20 + 300 * one["rows"] / rows for one in bins], color=SERIES[1], alpha=0.8
        )
        axes.set(xlim=(max(0, min(confidence) - 5), 102), ylim=(-2, 104))
        axes.set_xlabel("confidence, %")
        axes.set_ylabel("right answers, %")
        told = "; ".join(
            f"{one['rows']} answers of confidence {100 * one['confidence']:.0f} %: {100 * one['accuracy']:.0f} % right"
            for one in bins
        )
        return _svg(figure, name, f"Right answers against confidence. {told}")


def _describe(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    words = []
    for run in runs:
        parts = []
        if run["loss"]:
            parts.append(f"the training loss goes from {run['loss'][0][1]:.3g} to {run['loss'][-1][1]:.3g}")
        if run["score"]:
            best = max(value for _, value in run["score"])
            parts.append(f"dev {metric} is at best {best:.1f} and ends at {run['score'][-1][1]:.1f}")
        words.append(f"{run['label']}, seed {run['seed']}: " + (", ".join(parts) or "nothing was logged"))
    return ". ".join(words)


def _arrows(axes: Axes, points: Sequence[Mapping[str, Any]], latency: str, palette: Mapping[str, str]) -> None:
    """From each student alone to the same student distilled."""
    alone = {row["system"]: row for row in points if row["role"] == "alone"}
    for row in points:
        start = alone.get(row["system"])
        if row["role"] == "distilled" and start:
            style = {"arrowstyle": "-|>", "color": palette[row["system"]], "shrinkA": 6, "shrinkB": 6, "linewidth": 1.2}
            axes.annotate("", (row[latency], row["mean"]), (start[latency], start["mean"]), arrowprops=style, zorder=2)


def _label(row: Mapping[str, Any]) -> str:
    return row["system"] if row["system"] == row["role"] else f"{row['system']} {row['role']}"


def _milliseconds(axes: Axes) -> None:
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Room above and below the points, at least two points of 100 high."""
    low, high = min(values), max(values)
    room = max(0.15 * (high - low), 1.0)
    return low - room, min(high + room, max(100.5, high + 0.1))


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, pushed apart from below so that labels at least ``gap`` apart do not cover each other."""
    placed = list(heights)
    previous = -math.inf
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        placed[index] = previous = max(heights[index], previous + gap)
    return placed


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``svg`` element: no ids that another plot of the page has, no addresses, a description for who cannot see it."""
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    text = re.sub(r"(font: (?:\w+ )*?[\d.]+px )[^;\"]*", r"\1system-ui, sans-serif", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    view_box = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg {view_box.group() if view_box else ""} role="img" aria-label="{escape(description, quote=True)}">'
    return re.sub(r"\s*\n\s*", "\n", opening + text[text.index(">") + 1 :]).strip()
