#!/usr/bin/env python
"""Put the tables of docs/results/*.json into the READMEs, between the lines ``.. results NAME start`` and ``.. results NAME end``."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddledistill import cli
from paddledistill.errors import UserError
from paddledistill.files import atomic_file, read_json
from paddledistill.report.table import rst_table

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("*.rst", "docs/**/*.rst", "examples/**/*.rst", "benchmark/**/*.rst", "pretrained_models/*.rst")
START = re.compile(r"^\.\. results (?P<name>[\w-]+) start$")


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = cli.Parser(__doc__ or "", epilog="example: docs/render_tables.py --check")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if a table is not what its results say"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    return parser


def main(args: argparse.Namespace) -> None:
    """Render every table of every page."""
    stale = []
    for page in sorted({page for place in PLACES for page in args.root.glob(place)}):
        old = page.read_text(encoding="utf-8")
        new = render(old, args.root / "docs" / "results", str(page.relative_to(args.root)))
        if new != old:
            stale.append(str(page.relative_to(args.root)))
            if not args.check:
                with atomic_file(page) as partial:
                    partial.write_text(new, encoding="utf-8")
    if args.check and stale:
        cli_command = Path(__file__).resolve().relative_to(ROOT)
        raise UserError(f"tables differ from docs/results in {', '.join(stale)}: run {cli_command}, or `make tables`")
    print(f"{'checked' if args.check else 'rendered'}; changed: {', '.join(stale) or 'none'}")


def render(text: str, results: Path, page: str) -> str:
    """The page with what stands between its markers replaced by tables.

    :param results: the directory of the NAME.json. :param page: its name, for messages.
    :raises UserError: for a marker without an end, or whose results do not exist.
    """
    lines, done, position = text.splitlines(), [], 0
    while position < len(lines):
        done.append(lines[position])
        start = START.match(lines[position])
        position += 1
        if not start:
            continue
        name = start["name"]
        end = f".. results {name} end"
        if end not in lines[position:]:
            raise UserError(f"{page}:{position}: no line '{end}' follows this marker: add it")
        file = results / f"{name}.json"
        if not file.is_file():
            raise UserError(f"{page}:{position}: there is no docs/results/{name}.json: make it, or remove the marker")
        done += ["", *table(read_json(file)).splitlines(), "", end]
        position = lines.index(end, position) + 1
    return "\n".join(done) + "\n"


def table(content: Mapping[str, Any]) -> str:
    """The rows as a table, then a note, what was made once for several of them, where they were measured and how to repeat it."""
    machine = content["machine"]
    made = (
        f"Measured on {content['date']} on {machine['cpu']}, {machine['threads']} threads, by ``{content['command']}``."
    )
    shared = [
        f"Made once, and no part of the minutes above: {what} in {one['minutes']} minutes by ``{one['command']}``."
        for what, one in content.get("shared", {}).items()
    ]
    timed = content.get("latency")
    more = [f"ms: the median of {timed['repeats']} passes after {timed['warm_up']} to warm up."] if timed else []
    more += [content["note"]] if content.get("note") else []
    return "\n".join([rst_table(content["rows"]), *more, *shared, made])


if __name__ == "__main__":
    cli.run(main, build_parser())
