#!/usr/bin/env python
"""Write train_aug.tsv beside a task's train.tsv: each row, then variants of it with words replaced (arXiv 1909.10351, section 3.2).

Of each alphabetic word that is no stop word, candidates are gathered: for a word that is one wordpiece, the M words that a masked
language model finds most probable in its place; for a longer one, its M nearest by word vectors. Then N variants of the row are
drawn, each word being replaced with probability p.

Rows keep their other columns (those of .jsonl become texts), quotes are data, variants that equal or contain a dev or test row are
dropped. What was done, with which arguments and inputs, goes to train_aug.json.
"""

import argparse
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import paddledistill
from paddledistill import cli, flags

if TYPE_CHECKING:  # neither --help nor an argument error waits for numpy
    import numpy as np
    from numpy.typing import NDArray

    from paddledistill.augment.rows import Candidates, Counts
    from paddledistill.augment.word_replacement import Sentence
    from paddledistill.data.tables import Table
    from paddledistill.journal import Journal
    from paddledistill.models.masked_lm import MaskedLM
    from paddledistill.tasks import LeakGuard, Task

CHUNK = 2048  # masked words between two saves: some ten seconds of work
ENGINE_FROM = 2000  # masked words: making an inference engine pays off from here on
EXAMPLES = 20

logger = logging.getLogger("data_augmentation")


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's data_augmentation.py, and ours."""
    parser = cli.Parser(
        __doc__,
        epilog="example: data_augmentation.py --pretrained_bert_model minilm-l6 --task_name movie-reviews --data_dir data",
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--pretrained_bert_model", default="minilm-l6",
        help="the masked language model: minilm-l6 (embedded), a local directory, or a PaddleNLP name (originally bert-base-uncased)",
    )  # fmt: skip
    models.add_argument(
        "--glove_embs",
        type=Path,
        help="GloVe text file of any size, also .gz; word2vec .bin; gensim .kv (default: word2vec trained on the task's text)",
    )
    models.add_argument(
        "--vector_corpus",
        type=Path,
        help="plain text to train word2vec on beside the task's: a file, a .gz, or a directory of .txt and .txt.gz",
    )
    flags.add_task_flags(parser)
    drawing = parser.add_argument_group("variants")
    drawing.add_argument(
        "--N", type=cli.positive_int, help="variants drawn of each row, less repeats (default: the task's preset)"
    )
    drawing.add_argument("--M", type=cli.positive_int, default=15, help="candidates for each word")
    drawing.add_argument(
        "--p", type=cli.probability, default=0.4, help="probability that a word is replaced in a variant"
    )
    drawing.add_argument("--seed", type=cli.non_negative_int, default=42, help="decides every draw")
    run = parser.add_argument_group("run")
    run.add_argument(
        "--batch_size",
        type=cli.positive_int,
        default=32,
        help="masked words a forward pass; the result depends neither on it nor on the number of processes: close calls are settled alone",
    )
    run.add_argument(
        "--resume", action="store_true", help="go on where a killed run stopped; nothing to do if it is complete"
    )
    run.add_argument(
        "--overwrite", action="store_true", help="replace a train_aug.tsv that was made with other arguments or inputs"
    )
    flags.add_device_flags(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill.data import reading
    from paddledistill.tasks import get_task

    start = time.monotonic()
    task = get_task(args.task_name, args.data_dir)
    train, target = reading.task_file(task, "train", args.data_dir), reading.augmented_file(task, args.data_dir)
    key = {"arguments": arguments(args, task), "inputs": input_digests(args, task)}
    report_path, work = target.with_suffix(".json"), target.with_name(f".{target.stem}.work")
    if is_done(target, report_path, work, key, args.resume, args.overwrite):
        logger.info("already done: %s", target)
        return
    text = read_text(args, task, train)
    logger.info(
        "%s: %d of %d rows, N %d, M %d, p %g",
        train, len(text.rows), len(text.table.rows), key["arguments"]["N"], args.M, args.p,
    )  # fmt: skip

    from paddledistill import files, parallel, runtime
    from paddledistill.journal import Journal

    runtime.start(args.device, args.seed)
    with Journal(work, key, args.resume) as journal:
        candidates, asked = find_candidates(args, key["inputs"], text)
        if not parallel.is_main():
            return
        counts = write_variants(journal, target, text, candidates, key["arguments"]["N"], args.p, args.seed)
        leaking = len(text.table.rows) - len(text.safe)
        totals = {"leaking_rows": leaking, **asked, **counts.as_dict()}
        seconds = time.monotonic() - start
        about = {"batch_size": args.batch_size, **runtime.provenance()}
        result = {"sha256": files.digest(target), "counts": totals, "examples": counts.examples}
        files.write_json(
            report_path, {**key, **result, "seconds": round(seconds, 1), "resumed": journal.resumed, **about}
        )
        journal.remove()
    say_what_was_done(target, counts, leaking, seconds)


def arguments(args: argparse.Namespace, task: "Task") -> dict[str, Any]:
    """The arguments that shape the result, as JSON."""
    shapes = ("pretrained_bert_model", "glove_embs", "vector_corpus", "M", "p", "seed", "limit")
    given = {name: getattr(args, name) for name in shapes}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    return {"task_name": task.name, "N": args.N or task.augmentation_draws, **plain}


class Text(NamedTuple):
    """A training file: its table, which columns hold text, the rows that are no dev or test row, and those of them to augment."""

    table: "Table"
    columns: tuple[int, ...]
    guard: "LeakGuard"
    safe: list[list[str]]
    rows: list[list[str]]

    def of(self, rows: Iterable[list[str]]) -> dict[str, None]:
        """The texts of rows, each once."""
        return dict.fromkeys(row[column] for row in rows for column in self.columns)


def read_text(args: argparse.Namespace, task: "Task", train: Path) -> Text:
    """What to augment.

    :raises UserError: for a fault of the file; or there is nothing.
    """
    from paddledistill.data import reading, tables
    from paddledistill.errors import UserError

    reading.load_split(task, "train", args.data_dir)  # for its checks: columns, labels, empty texts
    table = tables.read_table(train, task)
    columns = tables.find_columns(table.header, len(table.header or table.rows[0]), task, train).texts
    guard = reading.held_out_guard(task, args.data_dir)
    safe = [row for row in table.rows if not guard.leaks([row[column] for column in columns])]
    if not safe:
        raise UserError(f"every row of {train} equals or contains a dev or test row: nothing to augment")
    return Text(table, columns, guard, safe, reading.spread(safe, args.limit or len(safe)))


def find_candidates(
    args: argparse.Namespace, inputs: dict[str, str], text: Text
) -> "tuple[Candidates, dict[str, int]]":
    """What each word of the text can be replaced by, and for how many words of each kind that was asked.

    It depends on neither N nor p nor, but for trained vectors, the seed, and stays in the cache for runs with others.
    """
    from paddledistill import assets
    from paddledistill.augment.rows import Candidates
    from paddledistill.augment.word_replacement import split
    from paddledistill.journal import Journal
    from paddledistill.models.masked_lm import masked_lm

    model = masked_lm(args.pretrained_bert_model)
    sentences = split(text.of(text.rows), model.tokenizer)
    total = hashlib.sha256(repr((args.pretrained_bert_model, args.M, CHUNK, inputs)).encode())
    for sentence in sentences:
        total.update(repr(sentence).encode())
    key = total.hexdigest()
    with Journal(assets.cache_dir() / "candidates" / key[:32], key, resume=True, wait=True) as kept:
        near, several = neighbours(args, kept, sentences, lambda: map(model.tokenizer.words, vector_text(args, text)))
        ids, masked = masked_candidates(args, kept, sentences, model)
    return Candidates(sentences, ids, model.tokenizer.vocab, near), masked | several


def vector_text(args: argparse.Namespace, text: Text) -> dict[str, None]:
    """What to train word vectors on when no file is given: all of the training text, whatever the limit, since it is rare words that
    they are needed for, and --vector_corpus without what a dev or test row is in."""
    from paddledistill.data.plain_text import read_articles

    corpus = text.of(text.safe)
    if args.vector_corpus:
        more = (paragraph for article in read_articles(args.vector_corpus) for paragraph in article)
        corpus |= dict.fromkeys(paragraph for paragraph in more if not text.guard.leaks((paragraph,)))
    return corpus


def write_variants(
    journal: "Journal", target: Path, text: Text, candidates: "Candidates", n: int, p: float, seed: int
) -> "Counts":
    """Write each row and its variants to ``target``; returns what became of them."""
    from paddledistill import progress
    from paddledistill.augment.rows import Counts, augmented
    from paddledistill.data import formats

    counts, form, header = Counts(), formats.of(target), text.table.header
    groups = augmented(text.rows, text.columns, candidates, n, p, seed, text.guard, counts, EXAMPLES)
    with journal.text(target) as file, progress.bar("rows", "row", len(text.rows)) as bar:
        file.write("\ufeff" * text.table.bom + form.head(header))
        for group in groups:
            file.writelines(form.row(row, header) for row in group)
            bar.update()
    return counts


def say_what_was_done(target: Path, counts: "Counts", leaking_rows: int, seconds: float) -> None:
    """The report in lines to read."""
    from paddledistill import progress

    by_model, by_vectors = counts.replaced_by_masked_lm, counts.replaced_by_vectors
    shares = share(by_model, by_model + by_vectors), share(by_vectors, by_model + by_vectors)
    logger.info(
        "%d words replaced, by the masked language model %.1f%%, by word vectors %.1f%%", by_model + by_vectors, *shares
    )
    if leaking_rows or counts.leaking_variants:
        dropped = leaking_rows, counts.leaking_variants
        logger.info("dropped as equal to or containing a dev or test row: %d rows, %d variants", *dropped)
    for original, variant in counts.examples:
        logger.info("  %s\n    -> %s", original, variant)
    logger.info("%s: %d rows and %d variants in %s", target, counts.rows, counts.variants, progress.duration(seconds))


def neighbours(
    args: argparse.Namespace, kept: "Journal", sentences: "list[Sentence]", corpus: Callable[[], Iterable[list[str]]]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The nearest words of words of several pieces, and how many there are and have any.

    :param corpus: gives what to train word vectors on, where that is needed.
    """
    from paddledistill.augment import word_replacement, word_vectors

    words = [sentence.words[word] for sentence in sentences for word in sentence.distant]

    def search() -> dict[str, list[str]]:
        vectors = word_vectors.read(args.glove_embs) if args.glove_embs else word_vectors.train(corpus(), args.seed)
        return word_vectors.neighbours(vectors, dict.fromkeys(words), args.M, word_replacement.is_replaceable)

    near = kept.json("neighbours.json" if args.glove_embs else f"neighbours-{args.seed}.json", search)
    hits, different = sum(word in near for word in words), len(set(words))
    logger.info(
        "%d words of several wordpieces (%d different): %.1f%% of them have a word vector, %.1f%% of the different ones",
        len(words), different, share(hits, len(words)), share(len(near), different),
    )  # fmt: skip
    return near, {"words_of_several_pieces": len(words), "with_a_vector": hits}


def masked_candidates(
    args: argparse.Namespace, kept: "Journal", sentences: "list[Sentence]", model: "MaskedLM"
) -> "tuple[list[NDArray[np.int32]], dict[str, int]]":
    """The masked language model's candidates, saved every ``CHUNK`` words, and how many words it was asked about, by whichever run."""
    from paddledistill import parallel, progress
    from paddledistill.augment.rows import jobs
    from paddledistill.augment.word_replacement import predict

    asked = jobs(sentences)
    chunks = {f"candidates-{first:09d}.npy": asked[first : first + CHUNK] for first in range(0, len(asked), CHUNK)}
    left = [name for name in chunks if not kept.has(name)]
    missing, own = ([job for name in names for job in chunks[name]] for names in (left, parallel.mine(left)))
    done = len(asked) - len(missing)
    if done:
        logger.info("%d of %d masked words read back from %s", done, len(asked), kept.directory)
    if own:
        # Not by what is missing: a resumed run uses what the killed one used, down to the last bit.
        if len(asked) >= ENGINE_FROM:
            model.accelerate()
        sample = own[:: max(1, len(own) // 64)]
        predict(model, sample[:8], args.M, 8)  # the first pass is slower than those that follow
        begin = time.perf_counter()
        predict(model, sample, args.M, 8)  # of so few words, larger batches would be mostly padding
        expected = (time.perf_counter() - begin) * len(own) / len(sample)
        logger.info("%d masked words to predict: about %s here", len(missing), progress.duration(expected))
    with progress.bar("masked words", "word", len(own)) as bar:
        compute = {
            name: partial(predict, model, chunk, args.M, args.batch_size, bar.update) for name, chunk in chunks.items()
        }
        return list(kept.arrays(compute)), {"masked_words": len(asked), "masked_words_read_back": done}


def input_digests(args: argparse.Namespace, task: "Task") -> dict[str, str]:
    """Digests of every file that shapes the result, without loading paddle."""
    from paddledistill import assets, files
    from paddledistill.data import reading
    from paddledistill.data.plain_text import digest_text
    from paddledistill.errors import UserError
    from paddledistill.training.run_directory import best_model

    digests = reading.split_digests(task, args.data_dir)
    if args.glove_embs:
        if not args.glove_embs.is_file():
            raise UserError(f"--glove_embs {args.glove_embs} not found: give a GloVe text file, or leave it out")
        digests["glove_embs"] = files.digest(args.glove_embs)
    if args.vector_corpus:
        if args.glove_embs:
            raise UserError("--glove_embs and --vector_corpus exclude each other: vectors are read, or trained on text")
        digests["vector_corpus"] = digest_text(args.vector_corpus)
    model = args.pretrained_bert_model
    if Path(model).is_dir():
        digests["pretrained_bert_model"] = files.digest(best_model(model))
    elif model in assets.ASSETS:
        digests["pretrained_bert_model"] = assets.ASSETS[model].sha256
        shipped_heads = (Path(paddledistill.__file__).parent / "models").glob("*.npz")
        for update in sorted(shipped_heads):
            digests[update.name] = files.digest(update)
    return digests


def is_done(target: Path, report: Path, work: Path, key: dict[str, Any], resume: bool, overwrite: bool) -> bool:
    """Whether ``target`` is there for these arguments and inputs and may be kept.

    :raises UserError: if it is there and may neither be kept nor replaced.
    """
    from paddledistill import files
    from paddledistill.errors import UserError
    from paddledistill.journal import Journal

    if not target.exists():
        return False
    made: dict[str, Any] = files.read_json(report) if report.is_file() else {}
    same = all(made.get(part) == content for part, content in {**key, "sha256": files.digest(target)}.items())
    if same and resume:
        return True
    if overwrite or (resume and Journal.matches(work, key)):
        return False
    if same:
        raise UserError(f"{target} is there already: --resume keeps it, --overwrite makes it anew")
    differing = [name for part in key for name, value in key[part].items() if made.get(part, {}).get(name) != value]
    how = f"made with other {', '.join(differing)}" if made and differing else "and was not made by this command"
    raise UserError(f"{target} is there already, {how}: --overwrite replaces it")


def share(part: int, whole: int) -> float:
    """Percent."""
    return 100 * part / max(1, whole)


if __name__ == "__main__":
    cli.run(main, build_parser())
