"""Plain text: files of paragraphs and articles, and sentences without labels."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from paddledistill import files
from paddledistill.data.reading import held_out_guard
from paddledistill.errors import UserError
from paddledistill.tasks import Example, Task


def text_files(corpus: Path) -> list[Path]:
    """The files of a corpus: itself, or, of a directory, all that end in .txt or .txt.gz, in the order of their names.

    :raises UserError: if there are none.
    """
    if corpus.is_dir():
        found = sorted(path for path in corpus.rglob("*") if path.name.endswith((".txt", ".txt.gz")) and path.is_file())
        if not found:
            raise UserError(f"{corpus} holds no .txt or .txt.gz file")
        return found
    if not corpus.is_file():
        raise UserError(f"no text file {corpus}: give plain text, a paragraph a line, a blank line between articles")
    return [corpus]


def digest_text(corpus: Path) -> str:
    """SHA-256 (hex) of the files of a corpus in their order; what they are called does not count.

    :raises UserError: if there are none.
    """
    return hashlib.sha256("".join(map(files.digest, text_files(corpus))).encode()).hexdigest()


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8")


def read_articles(corpus: Path) -> Iterator[list[str]]:
    """Articles of a corpus as lists of paragraphs: a paragraph a line, a blank line after each article.

    :raises UserError: if a file is missing, not UTF-8 or damaged, or all are empty.
    """
    found = False
    for path in text_files(corpus):
        paragraphs: list[str] = []
        try:
            with _open(path) as lines:
                for line in lines:
                    if line.strip():
                        paragraphs.append(line.strip())
                    elif paragraphs:
                        found = True
                        yield paragraphs
                        paragraphs = []
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error.reason}): convert it") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path} is no whole gzip file ({error}): copy it again") from None
        if paragraphs:
            found = True
            yield paragraphs
    if not found:
        raise UserError(f"{corpus} holds no text")


def load_unlabelled(task: Task, corpus: Path, data_dir: Path | None = None) -> list[Example]:
    """Rows without labels from plain text, a sentence a line; of a task of pairs two sentences a line, apart by a tab.

    Rows that equal or contain a dev or test row of the task are left out.

    :raises UserError: as :func:`read_articles`; a line with one sentence too few or too many; or no row is left.
    """
    sides = len(task.text_columns)
    rows = []
    for line in (line for article in read_articles(corpus) for line in article):
        texts = [text.strip() for text in line.split("\t")]
        if len(texts) != sides or not all(texts):
            raise UserError(
                f"{corpus}: {line[:60]!r} is not {'a sentence' if sides == 1 else 'two sentences apart by a tab'}"
            )
        rows.append(Example(texts[0], texts[1] if sides == 2 else None, None))
    kept = held_out_guard(task, data_dir).filter(rows, str(corpus))
    if not kept:
        raise UserError(f"{corpus}: every line equals or contains a dev or test row of {task.name}")
    return kept
