"""Pages that need no other file and no network, drawn from data alone: of a comparison, of a single model."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paddledistill.progress import duration
from paddledistill.report import table
from paddledistill.report.rows import score
from paddledistill.report.summary import listed

TEMPLATE, RUN_TEMPLATE = "report.html.jinja", "run.html.jinja"


def render(report: Mapping[str, Any]) -> str:
    """Draw the page.

    :param report: what ``document.gather`` returns, or the same read back from ``report.json``.
    """
    from markupsafe import Markup

    from paddledistill.report import plots

    rows = report["rows"]
    metric = report["task"]["metric"]
    last = rows[-1]["split"]
    main = [row for row in rows if row["split"] == last and row["metric"] == metric]
    palette = plots.colours([row["system"] for row in main])
    charts = [
        (title, Markup(plots.accuracy_against_latency(main, key, f"latency-{number}", f"{last} {metric}")))
        for number, (key, title) in enumerate(
            (("latency_ms", "One sentence at a time"), ("latency_ms_batch_32", "32 sentences at a time"))
        )
    ]
    heights = [value for run in report["runs"] for _, value in run["score"]]
    limits = (min(heights) - 1, max(heights) + 1) if heights else (0, 100)
    curves = [
        (title, Markup(plots.training_curves(runs, f"curve-{number}", palette[runs[0]["system"]], metric, limits)))
        for number, (title, runs) in enumerate(by_panel(report["runs"]).items())
    ]
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            main=main,
            splits=list(dict.fromkeys(row["split"] for row in rows)),
            by_system=by_system(rows, metric),
            last=last,
            metric=metric,
            seeds=max(len(row["values"]) for row in main),
            teacher=next(row for row in main if row["role"] == "teacher"),
            headline=headline(main),
            students=students(main),
            chance=standard_error(main, report["sizes"].get(last)),
            colour={name: f"var({plots.VARIABLES[colour]})" for name, colour in palette.items()},
            charts=charts,
            curves=curves,
            answers=answers(report["disagreements"], report["task"]["labels"]),
        )
    )


def render_run(content: Mapping[str, Any]) -> str:
    """Draw the page of a single model.

    :param content: as ``conclusion.write_page`` puts it together.
    """
    from markupsafe import Markup

    from paddledistill.report import plots

    run, analysis, curves = content["run"], content["analysis"], content["curves"]
    drawn = {}
    if curves["loss"] or curves["score"]:
        heights = [value for _, value in curves["score"]]
        limits = (min(heights) - 1, max(heights) + 1) if heights else (0, 100)
        series = {"label": run["model"], "seed": run["seed"], **curves}
        drawn["curve"] = plots.training_curves([series], "curve", plots.SERIES[1], run["metric"], limits)
    if "reliability" in analysis:
        drawn["reliability"] = plots.reliability(analysis["reliability"], "reliability")
    told = ", ".join(f"{name} {100 * value:.1f}" for name, value in content["metrics"].items() if "loss" not in name)
    parts = {name: Markup(svg) for name, svg in drawn.items()}
    return (
        _environment()
        .get_template(RUN_TEMPLATE)
        .render(
            {"run": run, "analysis": analysis, "headline": f"On dev: {told}.", "curve": "", "reliability": "", **parts}
        )
    )


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("paddledistill.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score, "decimal": table.decimal, "count": table.count, "duration": duration}
    return environment


def headline(main: Sequence[Mapping[str, Any]]) -> str:
    """The result in one sentence: of the distilled student that keeps most, or of the teacher where there is none.

    :param main: a row for each system: the metric of interest on the split of interest.
    """
    teacher = next(row for row in main if row["role"] == "teacher")
    distilled = [row for row in main if row["role"] == "distilled"]
    if not distilled:
        return f"The teacher reaches {teacher['mean']:.1f}% {teacher['metric']}."
    best = max(distilled, key=lambda row: row["mean"])
    parts = [
        f"keeps {best['retention']:.1f}% of its teacher's {best['metric']}"
        if best["retention"]
        else f"reaches {best['mean']:.1f}"
    ]
    if best["speed_up"]:
        parts.append(f"answers {best['speed_up']:.1f} times as fast" if best["speed_up"] >= 1.05 else "is no faster")
    smaller = times_smaller(best, teacher)
    if smaller:
        parts.append(f"is {smaller:.1f} times smaller" if smaller >= 1.05 else "is no smaller")
    return f"The distilled {best['system']} {listed(parts)}."


def students(main: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each distilled student its row, the row of the same student alone (or None), what the teacher's help was worth (mean, points of
    100; and in how many of how many seeds it was positive), and how many times smaller it is than the teacher."""
    teacher = next(row for row in main if row["role"] == "teacher")
    found = []
    for row in main:
        if row["role"] != "distilled":
            continue
        alone = next((other for other in main if other["role"] == "alone" and other["system"] == row["system"]), None)
        gain = row["mean"] - alone["mean"] if alone else None
        pairs = _paired(row["values"], alone["values"]) if alone else []
        won = sum(ours > theirs for ours, theirs in pairs)
        smaller = times_smaller(row, teacher)
        found.append({"row": row, "alone": alone, "gain": gain, "won": won, "seeds": len(pairs), "smaller": smaller})
    return found


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[float, float]]:
    """Seed by seed; the one score of a run that is beside several seeds goes with each."""
    count = max(len(ours), len(theirs))
    first, second = ([*values] * (count if len(values) == 1 else 1) for values in (ours, theirs))
    return list(zip(first, second, strict=True))


def times_smaller(row: Mapping[str, Any], teacher: Mapping[str, Any]) -> float | None:
    """The teacher's size on disk over the student's."""
    return teacher["megabytes"] / row["megabytes"] if row["megabytes"] and teacher["megabytes"] else None


def standard_error(main: Sequence[Mapping[str, Any]], examples: int | None) -> float | None:
    """Largest standard error, in points of 100, of the accuracies of ``main``: a test set is a sample. None for other metrics."""
    if not examples or main[0]["metric"] != "accuracy":
        return None
    return max(100 * math.sqrt(p * (1 - p) / examples) for p in (row["mean"] / 100 for row in main))


def by_system(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Rows of one metric grouped by system: ``{"scores": {split: row}, "row": the last split's}``."""
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row["metric"] == metric:
            entry = grouped.setdefault((row["system"], row["role"]), {"scores": {}})
            entry["scores"][row["split"]] = row
            entry["row"] = row
    return list(grouped.values())


def by_panel(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Runs that share a plot: those of one system and stage, whatever their seed."""
    panels: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        title = f"{run['label']}: {run['stage']}" if run["stage"] else run["label"]
        panels.setdefault(title, []).append(run)
    return panels


def answers(disagreements: Mapping[str, Any], labels: Sequence[str] | None) -> list[dict[str, Any]]:
    """The sentences to show: text, true label, and for each system its answer, how sure it is, and whether it is right."""
    names = list(labels or ())
    return [
        {
            "kind": entry["kind"],
            "text_a": entry["text_a"],
            "text_b": entry["text_b"],
            "truth": names[entry["label"]],
            "systems": {
                system: {
                    "answer": names[_largest(numbers)],
                    "probability": max(numbers),
                    "right": _largest(numbers) == entry["label"],
                }
                for system, numbers in entry["probabilities"].items()
            },
        }
        for entry in disagreements["shown"]
    ]


def _largest(numbers: Sequence[float]) -> int:
    return max(range(len(numbers)), key=numbers.__getitem__)
