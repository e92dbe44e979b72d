"""Ask a trained model: ``python -m paddledistill.predict DIRECTORY "a sentence"``.

The directory is all that is needed: it holds weights, vocabulary, labels and the longest input. Answers come in the order of the
input, a line each: the answer, the probability of every label (not for a score), the text, separated by tabs; or JSON.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from paddledistill import cli
from paddledistill.errors import UserError

if TYPE_CHECKING:
    from paddledistill.models import Classifier

_BATCHES_A_CHUNK = (
    8  # read before they are answered: enough to put similar lengths together, little enough for any file
)


class Text(NamedTuple):
    """A sentence, or two, and where it came from, for error messages."""

    text_a: str
    text_b: str | None
    source: str


class _Parser(cli.Parser):
    """Takes sentences before, between and after the flags, which argparse does not do by itself."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        return self.parse_intermixed_args(args, namespace)


def build_parser() -> cli.Parser:
    """Flags of the command."""
    parser = _Parser(
        "Answer with a trained model, for sentences given as arguments, in a file, or on standard input.",
        epilog='example: python -m paddledistill.predict runs/demo/seed-1/tinybert "a gorgeous, witty, seductive movie"',
    )
    parser.prog = "python -m paddledistill.predict"
    parser.add_argument("directory", help="best_model directory or run directory")
    parser.add_argument("text", nargs="*", help="sentences; none: --file, or standard input")
    source = parser.add_argument_group("input")
    source.add_argument("--text_b", nargs="+", metavar="TEXT", help="second sentences of pairs, one for each text")
    source.add_argument(
        "--file", type=Path, help="UTF-8 text, a sentence a line; pairs separated by a tab; - is standard input"
    )
    source.add_argument(
        "--max_seq_length", type=cli.positive_int, help="longest input in wordpieces (default: as trained)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="a JSON object a line")
    running = parser.add_argument_group("running")
    running.add_argument("--batch_size", type=cli.positive_int, default=64, help="sentences answered at once")
    running.add_argument(
        "--device", choices=["cpu", "gpu"], default="cpu", help="gpu falls back to the cpu where there is none"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Read, answer, print."""
    if args.text and args.file:
        raise UserError("give sentences as arguments or --file, not both")
    if args.text_b and len(args.text_b) != len(args.text):
        raise UserError(f"--text_b has {len(args.text_b)} texts for {len(args.text)} sentences: pairs need as many")
    if not Path(args.directory).is_dir():
        raise UserError(f"no directory {args.directory}: give a best_model directory or a run directory")
    if args.file and str(args.file) != "-" and (not args.file.exists() or args.file.is_dir()):
        raise UserError(f"no file {args.file}: give a text file with a sentence a line, or - for standard input")
    if args.file and args.file.suffix.lower() in (".csv", ".jsonl"):
        raise UserError(
            f"{args.file} is a file of columns, and --file reads a sentence a line: "
            "`run_glue.py --do_eval --do_predict` answers the files of a task"
        )

    from paddledistill import models, runtime

    runtime.set_device(args.device)
    model = models.load(args.directory)
    if args.max_seq_length and isinstance(model, models.EncoderModel):
        models.check_length(model, args.directory, args.max_seq_length, model.is_pair)
    show = as_json if args.json else as_line
    interactive = not args.text and (args.file is None or str(args.file) == "-") and sys.stdin.isatty()
    if interactive:
        print("a sentence a line; Ctrl-D ends", file=sys.stderr)
    is_pair = model.is_pair
    texts = (
        from_arguments(args.text, args.text_b, is_pair) if args.text else from_lines(args.file, is_pair, interactive)
    )
    chunk = 1 if interactive else _BATCHES_A_CHUNK * args.batch_size
    for text, numbers in answer(
        model, texts, batch_size=args.batch_size, max_seq_length=args.max_seq_length, chunk=chunk
    ):
        print(show(text, numbers, model.labels), flush=interactive)


def answer(
    model: "Classifier",
    texts: Iterable[Text],
    *,
    batch_size: int = 64,
    max_seq_length: int | None = None,
    chunk: int = 512,
) -> Iterator[tuple[Text, list[float]]]:
    """Each text with the probabilities of the labels in their order, or with its score, in the order of the texts.

    :param chunk: texts that are read before the first of them is answered; memory does not grow beyond that.
    """
    from scipy.special import softmax

    from paddledistill.tasks import Example
    from paddledistill.training.evaluation import predict

    remaining, fault = iter(texts), None
    while not fault:
        members: list[Text] = []
        try:
            members.extend(itertools.islice(remaining, chunk))
        except UserError as error:  # after what came before it has been answered
            fault = error
        if not members:
            break
        dataset = model.encode([Example(text.text_a, text.text_b, None) for text in members], max_seq_length)
        logits = predict(model, dataset, batch_size)
        numbers = logits if model.labels is None else softmax(logits, axis=1)
        yield from zip(members, numbers.tolist(), strict=True)
    if fault:
        raise fault


def from_arguments(texts: Sequence[str], second: Sequence[str] | None, is_pair: bool) -> Iterator[Text]:
    """Sentences of the command line, the second ones given apart or after a tab.

    :raises UserError: for an empty sentence, or when the model wants pairs and gets single sentences, or the reverse.
    """
    for number, text in enumerate(texts, start=1):
        columns = [text, second[number - 1]] if second else text.split("\t")
        yield _text(columns, is_pair, f"text {number}")


def from_lines(path: Path | None, is_pair: bool, goes_on: bool = False) -> Iterator[Text]:
    """Sentences of a file, a line each; None or ``-`` reads standard input. The end of a line may be LF or CRLF.

    :param goes_on: tell what is wrong with a line, and read the next one.
    :raises UserError: as ``from_arguments``, and for bytes that are not UTF-8; the message names file and line.
    """
    is_stdin = path is None or str(path) == "-"
    name = "standard input" if is_stdin else str(path)
    with os.fdopen(os.dup(0), "rb") if path is None or is_stdin else path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise UserError(f"{name}:{number}: not UTF-8 text: save the file as UTF-8") from None
            try:
                found = _text(text.split("\t"), is_pair, f"{name}:{number}")
            except UserError as error:
                if not goes_on:
                    raise
                print(error, file=sys.stderr)
                continue
            yield found


def as_line(text: Text, numbers: Sequence[float], labels: Sequence[str] | None) -> str:
    """The answer, the probabilities and the text, separated by tabs."""
    words = text.text_a if text.text_b is None else f"{text.text_a}\t{text.text_b}"
    if labels is None:
        return f"{numbers[0]:.4f}\t{words}"
    probabilities = " ".join(f"{label}={number:.4f}" for label, number in zip(labels, numbers, strict=True))
    return f"{_best(numbers, labels)}\t{probabilities}\t{words}"


def as_json(text: Text, numbers: Sequence[float], labels: Sequence[str] | None) -> str:
    """``{"text_a", ("text_b",) "label", "probabilities": {label: number}}``, or ``"score"`` in place of the last two."""
    content: dict[str, Any] = {"text_a": text.text_a} | ({} if text.text_b is None else {"text_b": text.text_b})
    if labels is None:
        content["score"] = numbers[0]
    else:
        content |= {"label": _best(numbers, labels), "probabilities": dict(zip(labels, numbers, strict=True))}
    return json.dumps(content, ensure_ascii=False)


def _best(numbers: Sequence[float], labels: Sequence[str]) -> str:
    return labels[max(range(len(numbers)), key=numbers.__getitem__)]


def _text(columns: Sequence[str], is_pair: bool, source: str) -> Text:
    columns = [column.strip() for column in columns]
    wanted = 2 if is_pair else 1
    if not any(columns):
        raise UserError(f"{source} is empty: give a sentence, or remove the line")
    if len(columns) != wanted:
        kind = "pairs of sentences separated by a tab (or --text_b)" if is_pair else "single sentences"
        raise UserError(
            f"{source} holds {len(columns)} sentence{'s' * (len(columns) > 1)}, but the model answers {kind}"
        )
    if not all(columns):
        raise UserError(f"{source}: sentence {columns.index('') + 1} of the pair is empty")
    return Text(columns[0], columns[1] if is_pair else None, source)


if __name__ == "__main__":
    cli.run(main, build_parser())
