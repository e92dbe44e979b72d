#!/usr/bin/env python
"""Write train_aug.tsv beside a task's train.tsv: each row, then variants of it with words replaced (arXiv 1909.10351, section 3.2).

Of each alphabetic word that is no stop word, candidates are gathered: for a word that is one wordpiece, the M words that a masked
language model finds most probable in its place; for a longer one, its M nearest by word vectors. Then N variants of the row are
drawn, each word being replaced with probability p.

Rows keep their other columns, quotes are data, variants that equal or contain a dev or test row are dropped. What was done, with
which arguments and inputs, goes to train_aug.json.
"""

import argparse
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import paddledistill
from paddledistill import cli

CHUNK = 2048  # masked words between two saves: some ten seconds of work
ENGINE_FROM = 2000  # masked words: making an inference engine pays off from here on
EXAMPLES = 5

logger = logging.getLogger("data_augmentation")


def build_parser() -> cli.Parser:
    """Flags and defaults of PaddleNLP's data_augmentation.py, and ours."""
    parser = cli.Parser(
        __doc__, epilog="example: data_augmentation.py --pretrained_bert_model minilm-l6 --task_name movie-reviews --data_dir data"
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--pretrained_bert_model", default="minilm-l6",
        help="the masked language model: minilm-l6 (embedded), a local directory, or a PaddleNLP name (originally bert-base-uncased)",
    )  # fmt: skip
    models.add_argument("--glove_embs", help="GloVe text file of any size, also .gz (default: word2vec trained on the task's text)")
    cli.add_task_flags(parser)
    drawing = parser.add_argument_group("variants")
    drawing.add_argument("--N", type=cli.positive_int, help="variants drawn of each row, less repeats (default: the task's preset)")
    drawing.add_argument("--M", type=cli.positive_int, default=15, help="candidates for each word")
    drawing.add_argument("--p", type=cli.probability, default=0.4, help="probability of a word to be replaced in a variant")
    drawing.add_argument("--seed", type=cli.non_negative_int, default=42, help="decides every draw")
    run = parser.add_argument_group("run")
    run.add_argument("--batch_size", type=cli.positive_int, default=64, help="masked words a forward pass; decides speed, not the result")
    run.add_argument("--resume", action="store_true", help="go on where a killed run stopped; nothing to do if it is complete")
    run.add_argument("--overwrite", action="store_true", help="replace a train_aug.tsv that was made with other arguments or inputs")
    cli.add_device_flags(run)
    return parser


def main(args: argparse.Namespace) -> None:
    """Build, run, report."""
    from paddledistill import files
    from paddledistill.data import reading
    from paddledistill.errors import UserError
    from paddledistill.tasks import get_task

    start = time.monotonic()
    data_dir = Path(args.data_dir) if args.data_dir else None
    task = get_task(args.task_name, data_dir)
    train, target = reading.task_file(task, "train", data_dir), reading.augmented_file(task, data_dir)
    n = args.N or task.augmentation_draws
    key = {
        "arguments": {
            "task_name": task.name,
            "pretrained_bert_model": args.pretrained_bert_model,
            "glove_embs": args.glove_embs,
            "N": n,
            "M": args.M,
            "p": args.p,
            "seed": args.seed,
            "limit": args.limit,
        },
        "inputs": input_digests(args, task, train, data_dir),
    }
    report_path, work = target.with_suffix(".json"), target.with_name(f".{target.stem}.work")
    if is_done(target, report_path, work, key, args.resume, args.overwrite):
        logger.info("already done: %s", target)
        return

    reading.load_split(task, "train", data_dir)  # for its checks: columns, labels, empty texts
    table = reading.read_table(train, task)
    columns = reading.find_columns(table.header, len(table.header or table.rows[0]), task, train).texts
    guard = reading.held_out_guard(task, data_dir)
    safe = [row for row in table.rows if not guard.leaks([row[column] for column in columns])]
    if not safe:
        raise UserError(f"every row of {train} equals or contains a dev or test row: nothing to augment")
    rows = reading.spread(safe, args.limit or len(safe))
    leaking = len(table.rows) - len(safe)
    logger.info("%s: %s of %s rows, N %d, M %d, p %g", train, f"{len(rows):,}", f"{len(table.rows):,}", n, args.M, args.p)

    from tqdm import tqdm

    from paddledistill import runtime
    from paddledistill.augment import word_replacement, word_vectors
    from paddledistill.augment.journal import Journal
    from paddledistill.augment.rows import Candidates, Counts, augmented, jobs
    from paddledistill.models.masked_lm import masked_lm

    runtime.start(args.device, args.seed)
    with Journal(work, key, args.resume) as journal:
        model = masked_lm(args.pretrained_bert_model)
        sentences = word_replacement.split(dict.fromkeys(row[column] for row in rows for column in columns), model.tokenizer)
        distant = [sentence.words[word] for sentence in sentences for word in sentence.distant]

        def search() -> dict[str, list[str]]:
            if args.glove_embs:
                vectors = word_vectors.read(Path(args.glove_embs))
            else:  # on all of the training text, whatever the limit: rare words are what it is asked about
                texts = dict.fromkeys(row[column] for row in safe for column in columns)
                vectors = word_vectors.train(map(model.tokenizer.words, texts), args.seed)
            return word_vectors.neighbours(vectors, dict.fromkeys(distant), args.M, word_replacement.is_replaceable)

        near = journal.json("neighbours.json", search)
        hits = sum(word in near for word in distant)
        logger.info(
            "%s words of several wordpieces (%s different): %.1f%% of them have a word vector, %.1f%% of the different ones",
            f"{len(distant):,}", f"{len(set(distant)):,}", share(hits, len(distant)), share(len(near), len(set(distant))),
        )  # fmt: skip

        asked = jobs(sentences)
        chunks = {f"candidates-{first:09d}.npy": asked[first : first + CHUNK] for first in range(0, len(asked), CHUNK)}
        missing = [chunk for name, chunk in chunks.items() if not journal.has(name)]
        todo = sum(map(len, missing))
        if todo < len(asked):
            logger.info("resuming: %s of %s masked words are done", f"{len(asked) - todo:,}", f"{len(asked):,}")
        if todo:
            if len(asked) >= ENGINE_FROM:  # not `todo`: a resumed run uses what the killed one used, down to the last bit
                model.accelerate()
            sample = [job for chunk in missing for job in chunk][:: max(1, todo // 64)]
            word_replacement.predict(model, sample[:8], args.M, args.batch_size)  # the first pass is slower
            begin = time.perf_counter()
            word_replacement.predict(model, sample, args.M, args.batch_size)
            seconds = (time.perf_counter() - begin) * todo / len(sample)
            logger.info("%s masked words to predict: about %s on this machine", f"{todo:,}", in_words(seconds))
        with tqdm(total=len(asked), initial=len(asked) - todo, unit="word", desc="masked words", mininterval=bar_interval()) as bar:
            parts = [
                journal.array(name, partial(word_replacement.predict, model, chunk, args.M, args.batch_size, bar.update))
                for name, chunk in chunks.items()
            ]
        candidates = Candidates(sentences, parts, model.tokenizer.vocab, near)

        counts = Counts()
        made = augmented(rows, columns, candidates, n, args.p, args.seed, guard, counts, EXAMPLES)
        with journal.text(target) as file:
            file.write("\ufeff" * table.bom + ("" if table.header is None else reading.format_row(table.header)))
            for group in tqdm(made, total=len(rows), unit="row", desc="rows", mininterval=bar_interval()):
                file.writelines(map(reading.format_row, group))
        report = {
            **key,
            "sha256": files.digest(target),
            "counts": counts.as_dict()
            | {"leaking_rows": leaking, "masked_words": len(asked), "words_of_several_pieces": len(distant), "with_a_vector": hits},
            "examples": counts.examples,
            "seconds": round(time.monotonic() - start, 1),
            "resumed": journal.resumed,
            "batch_size": args.batch_size,
            "machine": runtime.machine(),
            "versions": runtime.versions(),
        }
        files.write_json(report_path, report)
        journal.remove()

    replaced = counts.replaced_by_masked_lm + counts.replaced_by_vectors
    logger.info("%s words replaced: %.1f%% by the masked language model, %.1f%% by word vectors",
                f"{replaced:,}", share(counts.replaced_by_masked_lm, replaced), share(counts.replaced_by_vectors, replaced))  # fmt: skip
    if leaking or counts.leaking_variants:
        logger.info("dropped as equal to or containing a dev or test row: %d rows, %d variants", leaking, counts.leaking_variants)
    for original, variant in counts.examples:
        logger.info("  %s\n    -> %s", original, variant)
    logger.info("%s: %s rows and %s variants in %s", target, f"{counts.rows:,}", f"{counts.variants:,}", in_words(report["seconds"]))


def input_digests(args: argparse.Namespace, task: Any, train: Path, data_dir: Path | None) -> dict[str, str]:
    """Digests of every file that shapes the result, without loading paddle."""
    from paddledistill import assets, files
    from paddledistill.data import reading
    from paddledistill.errors import UserError

    digests = {"train": files.digest(train)}
    for split in task.held_out_splits:
        if reading.has_split(task, split, data_dir):
            digests[split] = files.digest(reading.task_file(task, split, data_dir))
    if args.glove_embs:
        if not Path(args.glove_embs).is_file():
            raise UserError(f"--glove_embs {args.glove_embs} not found: give a GloVe text file, or leave it out")
        digests["glove_embs"] = files.digest(Path(args.glove_embs))
    model = args.pretrained_bert_model
    if Path(model).is_dir():
        digests["pretrained_bert_model"] = files.digest(Path(model))
    elif model in assets.ASSETS:
        digests["pretrained_bert_model"] = assets.ASSETS[model].sha256
        for update in sorted((Path(paddledistill.__file__).parent / "models").glob("*.npz")):  # masked-LM heads that we ship
            digests[update.name] = files.digest(update)
    return digests


def is_done(target: Path, report: Path, work: Path, key: dict[str, Any], resume: bool, overwrite: bool) -> bool:
    """Whether ``target`` is there for these arguments and inputs and may be kept.

    :raises UserError: if it is there and may neither be kept nor replaced.
    """
    from paddledistill import files
    from paddledistill.augment.journal import Journal
    from paddledistill.errors import UserError

    if not target.exists():
        return False
    made: dict[str, Any] = files.read_json(report) if report.is_file() else {}
    same = all(made.get(part) == content for part, content in key.items()) and made.get("sha256") == files.digest(target)
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


def in_words(seconds: float) -> str:
    """A duration to read."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bar_interval() -> float:
    """Seconds between two states of a progress bar: often on a terminal, rarely in a log file."""
    return 0.2 if sys.stderr.isatty() else 10


if __name__ == "__main__":
    cli.run(main, build_parser())
