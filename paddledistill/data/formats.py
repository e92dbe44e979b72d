"""Files of rows in three formats, told by how their name ends: ``.csv``, ``.jsonl``, and tab-separated for all others.

Tab-separated as GLUE has it: quotes are data, a cell holds no tab and no line break. CSV as spreadsheets write it: cells that hold a
comma, a quote or a line break stand in double quotes. JSON Lines: an object a line; the first one's keys are the columns. What a key
holds that no one reads may be anything, or missing in other lines.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from paddledistill.errors import UserError

_HALF = re.compile("[\ud800-\udfff]")  # of a character that UTF-16 writes as two


class Rows(NamedTuple):
    """The cells of a file: column names (None without), how many rows there are, and each row with the number of its line."""

    header: list[str] | None
    total: int
    rows: Iterator[tuple[int, list[str]]]


class Format(Protocol):
    """Reads the rows of a text, and writes them."""

    too_many: str
    """What most likely is wrong with a row of too many cells."""

    def read(self, text: str, path: Path, has_header: bool, wanted: Collection[str | int]) -> Rows:
        """The rows of ``text``, which is not empty; ``path`` is for messages, ``wanted`` are the columns that matter.

        :raises UserError: the text is not of this format.
        """

    def head(self, header: Sequence[str] | None) -> str:
        """What a file begins with."""

    def row(self, cells: Sequence[str], header: Sequence[str] | None) -> str:
        """One row, with its line break.

        :raises ValueError: a cell cannot be written.
        """


class _Tabs:
    too_many = "a tab too many"

    def read(self, text: str, path: Path, has_header: bool, wanted: Collection[str | int]) -> Rows:
        # Only LF parts lines: str.splitlines would also cut at U+2028 and others, which occur inside sentences.
        # A file that was twice made CRLF has lines that end in CR CR LF.
        lines = [line.rstrip("\r") for line in text.split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        header = lines[0].split("\t") if has_header else None
        first = 2 if has_header else 1
        cells = ((number, line.split("\t")) for number, line in enumerate(lines[first - 1 :], first))
        return Rows(header, len(lines) - first + 1, cells)

    def head(self, header: Sequence[str] | None) -> str:
        return "" if header is None else self.row(header, None)

    def row(self, cells: Sequence[str], header: Sequence[str] | None) -> str:
        line = "\t".join(cells)
        if line.count("\t") != len(cells) - 1 or "\n" in line or line.endswith("\r"):
            raise ValueError(f"a cell holds a tab or a line break: {list(cells)!r}")
        return line + "\n"


class _Commas:
    too_many = "a comma too many, or one in a text that is not in double quotes"

    def read(self, text: str, path: Path, has_header: bool, wanted: Collection[str | int]) -> Rows:
        csv.field_size_limit(2**31 - 1)  # Windows takes no more
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        found: list[tuple[int, list[str]]] = []
        begins = 1
        try:
            while (cells := next(reader, None)) is not None:
                if cells:  # a blank line has none
                    found.append((reader.line_num, cells))
                begins = reader.line_num + 1
        except csv.Error as error:  # an open quote is found at the end of the file
            raise UserError(f"{path}:{begins}: {error}: a quote in a cell is doubled, the cell in quotes") from None
        header = found.pop(0)[1] if has_header else None
        return Rows(header, len(found), iter(found))

    def head(self, header: Sequence[str] | None) -> str:
        return "" if header is None else self.row(header, None)

    def row(self, cells: Sequence[str], header: Sequence[str] | None) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        return line.getvalue()


class _JsonLines:
    too_many = "a key too many"

    def read(self, text: str, path: Path, has_header: bool, wanted: Collection[str | int]) -> Rows:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines:
            raise UserError(f"{path}: holds no rows")
        header = list(self._object(lines[0][1], path, lines[0][0]))
        return Rows(header, len(lines), self._rows(lines, header, path, wanted))

    def _rows(
        self, lines: Sequence[tuple[int, str]], header: Sequence[str], path: Path, wanted: Collection[str | int]
    ) -> Iterator[tuple[int, list[str]]]:
        for number, line in lines:
            found = self._object(line, path, number)
            for name in header:
                if name in wanted and name not in found:
                    raise UserError(f"{path}:{number}: {name!r} is not a key of every line: give it to all of them")
            yield number, [_cell(found.get(name), path, number, name, name in wanted) for name in header]

    @staticmethod
    def _object(line: str, path: Path, number: int) -> dict[str, object]:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not JSON ({error}): each line must be an object") from None
        if not isinstance(found, dict):
            raise UserError(
                f'{path}:{number}: {line[:40]!r} is not an object: each line must be one, such as {{"text": ...}}'
            )
        return found

    def head(self, header: Sequence[str] | None) -> str:
        return ""

    def row(self, cells: Sequence[str], header: Sequence[str] | None) -> str:
        return json.dumps(dict(zip(header or (), cells, strict=True)), ensure_ascii=False) + "\n"


def _cell(value: object, path: Path, number: int, name: str, is_wanted: bool) -> str:
    """A value as text: numbers and true, false as JSON writes them, null as nothing, and so all that is not wanted."""
    if isinstance(value, str):
        half = _HALF.search(value) if is_wanted else None
        if half:
            raise UserError(f"{path}:{number}: {name!r} holds {half[0]!a}, half a character: correct or drop the row")
        return value
    if value is None:
        return ""
    if isinstance(value, int | float) or not is_wanted:
        return json.dumps(value, ensure_ascii=False)
    raise UserError(f"{path}:{number}: {name!r} holds {json.dumps(value)[:40]}: it must be a text or a number")


_FORMATS: dict[str, Format] = {".csv": _Commas(), ".jsonl": _JsonLines()}
_TABS = _Tabs()


def of(path: Path) -> Format:
    """The format of a file by its name."""
    return _FORMATS.get(path.suffix.lower(), _TABS)
