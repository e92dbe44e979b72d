"""Flags that several recipes share, in groups, and what the parts make of them."""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddledistill import cli, parallel
from paddledistill.errors import UserError

if TYPE_CHECKING:
    from paddledistill.models import BiLSTMConfig
    from paddledistill.training.loop import Plan
    from paddledistill.training.optimization import Optimization

logger = logging.getLogger(__name__)


def add_task_flags(
    parser: argparse.ArgumentParser,
    tasks: str = "any GLUE task, chnsenticorp, movie-reviews, movie-ratings, or the name in DATA_DIR/task.yaml",
    *,
    limit: bool = True,
) -> Any:
    """What to learn and where its data are; ``limit``: and how many rows of them."""
    group = parser.add_argument_group("task and data")
    group.add_argument("--task_name", required=True, help=f"{tasks}; upper or lower case")
    group.add_argument(
        "--data_dir",
        "--glue_dir",
        dest="data_dir",
        type=Path,
        help="folder with the task's files, or with SST-2/, MRPC/, ...; else PaddleNLP's cache or download",
    )
    if limit:
        group.add_argument("--limit", type=cli.positive_int, help="take only so many training sentences (default: all)")
    return group


def add_training_task_flags(parser: argparse.ArgumentParser, *tasks: str) -> Any:
    """The same for what is also evaluated."""
    group = add_task_flags(parser, *tasks)
    group.add_argument(
        "--limit_dev",
        type=cli.positive_int,
        help="evaluate on only so many dev sentences, to try things out (default: all)",
    )
    return group


def add_text_flags(parser: argparse.ArgumentParser, *, max_seq_length: int, held_out_rows: int) -> None:
    """Plain text, and how it is cut into rows."""
    text = parser.add_argument_group("text")
    text.add_argument(
        "--corpus",
        type=Path,
        required=True,
        help="a text file, a .gz, or a directory of .txt and .txt.gz: a paragraph a line, a blank line between articles",
    )
    text.add_argument(
        "--data_dir",
        "--glue_dir",
        dest="data_dir",
        type=Path,
        help="GLUE files whose dev and test sentences must not be in the text",
    )
    text.add_argument(
        "--max_seq_length",
        type=cli.positive_int,
        default=max_seq_length,
        help="tokens a row of text, special ones included",
    )
    text.add_argument(
        "--held_out_rows", type=cli.positive_int, default=held_out_rows, help="rows of held-out articles to measure on"
    )


def add_optimization_flags(
    parser: argparse.ArgumentParser,
    *,
    batch_size: int,
    learning_rate: float | str,
    epochs: int | str,
    epochs_flag: str = "--num_train_epochs",
    rate: str = "highest rate of the schedule",
    max_steps: str = "stop after so many steps",
) -> Any:
    """How weights move and for how long.

    :param learning_rate: its default, or in words what a recipe takes where none is given; so ``epochs``.
    :param rate: what that flag is. :param max_steps: what that one does.
    """
    group = parser.add_argument_group("training")
    group.add_argument(
        "--batch_size",
        type=cli.positive_int,
        default=batch_size,
        help="rows a step, of each process if there are several",
    )
    group.add_argument(
        "--learning_rate",
        "--lr",
        dest="learning_rate",
        type=cli.positive_float,
        **_default(learning_rate, rate),
    )
    group.add_argument(
        epochs_flag,
        dest="num_train_epochs",
        type=cli.positive_int,
        **_default(epochs, "passes over the training text"),
    )
    group.add_argument("--max_steps", type=cli.step_limit, default=-1, help=f"{max_steps}; -1: all epochs")
    group.add_argument(
        "--gradient_accumulation_steps",
        type=cli.positive_int,
        default=1,
        help="batches whose gradients are summed before the weights move: larger steps in the same memory",
    )
    group.add_argument(
        "--max_grad_norm",
        type=cli.positive_float,
        help="clip gradients to this norm, all weights together (default: no clipping)",
    )
    group.add_argument(
        "--amp", choices=["fp16", "bf16"], help="compute matrix products in half precision (GPU only; default: float32)"
    )
    return group


def _default(value: float | str, help: str) -> dict[str, Any]:
    """Of a flag: a number, or words for one that is found later."""
    return (
        {"default": None, "help": f"{help} (default: {value})"}
        if isinstance(value, str)
        else {"default": value, "help": help}
    )


def plan(args: argparse.Namespace, best_metric: str, **changes: Any) -> "Plan":
    """The length of a run by the flags above and those of :func:`add_run_flags`; ``changes`` beat them."""
    from paddledistill.training.loop import Plan

    given = {
        "epochs": args.num_train_epochs,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "best_metric": best_metric,
        "logging_steps": args.logging_steps,
        "save_steps": args.save_steps,
        "max_steps": args.max_steps,
        "amp": args.amp,
        "accumulation": args.gradient_accumulation_steps,
        "save_total_limit": args.save_total_limit,
    }
    return Plan(**{**given, **changes})


def bilstm_optimization(args: argparse.Namespace) -> "Optimization":
    """The BiLSTM's optimizer by its flags."""
    from paddledistill.training.optimization import Optimization

    return Optimization(args.learning_rate, args.optimizer, decay=args.lr_decay, max_grad_norm=args.max_grad_norm)


def bilstm_config(args: argparse.Namespace) -> "BiLSTMConfig":
    """The student's shape by the flags of :func:`add_bilstm_flags`."""
    from paddledistill.models import BiLSTMConfig

    return BiLSTMConfig(
        args.emb_dim, args.hidden_size, args.num_layers, args.dropout_prob, args.init_scale, args.cell, args.read_out, args.combine
    )  # fmt: skip


def adamw(args: argparse.Namespace, learning_rate: float) -> "Optimization":
    """AdamW by the flags below."""
    from paddledistill.training.optimization import Optimization

    return Optimization(
        learning_rate,
        "adamw",
        args.weight_decay,
        args.adam_epsilon,
        args.warmup_steps,
        args.warmup_proportion,
        max_grad_norm=args.max_grad_norm,
    )


def add_adamw_flags(group: Any) -> None:
    """AdamW with linear warm-up and decay, as in PaddleNLP's run_glue.py."""
    group.add_argument(
        "--weight_decay", type=cli.non_negative_float, default=0.0, help="not applied to biases and norms"
    )
    group.add_argument(
        "--warmup_steps", type=cli.non_negative_int, default=0, help="above 0 it beats --warmup_proportion"
    )
    group.add_argument(
        "--warmup_proportion", type=cli.probability, default=0.1, help="share of the steps with a rising rate"
    )
    group.add_argument("--adam_epsilon", type=cli.positive_float, default=1e-6, help="epsilon of AdamW")


def add_bilstm_flags(parser: argparse.ArgumentParser, *, batch_size: int = 64) -> None:
    """The student, its text and its training, as in PaddleNLP's distill_lstm example."""
    data = add_training_task_flags(parser, "sst-2, qqp, chnsenticorp, movie-reviews or any other task")
    data.add_argument(
        "--max_seq_length",
        type=cli.positive_int,
        default=128,
        help="longest sentence, in wordpieces, or in words where the student reads words",
    )
    student = parser.add_argument_group("student")
    student.add_argument("--emb_dim", type=cli.positive_int, default=300, help="width of the word embeddings")
    student.add_argument(
        "--hidden_size", type=cli.positive_int, default=300, help="width of each direction of the LSTM"
    )
    student.add_argument("--num_layers", type=cli.positive_int, default=1, help="layers of the LSTM")
    student.add_argument(
        "--dropout_prob",
        type=cli.probability,
        default=0.0,
        help="on the embeddings, between layers and before the output layer",
    )
    student.add_argument("--cell", choices=["lstm", "gru"], default="lstm", help="what reads the words")
    student.add_argument(
        "--read_out",
        choices=["last", "max", "attention"],
        default="last",
        help="the sentence vector: last states, the largest of all, or a learned mean",
    )
    student.add_argument(
        "--combine",
        choices=["sum", "product"],
        default="sum",
        help="of a pair a, b, beside a, b and |a - b|: a + b as in PaddleNLP's example, or a * b as in the paper",
    )
    student.add_argument(
        "--init_scale",
        type=cli.positive_float,
        default=0.1,
        help="new weights are drawn from -INIT_SCALE to INIT_SCALE",
    )
    student.add_argument(
        "--model_name",
        help="whose wordpieces the student reads, pruned to those its text uses; --vocab_path and --min_count beat it (default: "
        "bert-base-uncased; Chinese: words as by --min_count 1)",
    )
    words = student.add_mutually_exclusive_group()
    words.add_argument(
        "--vocab_path", help="a vocab.txt, or a list of words (Chinese: jieba's), to take as it is instead"
    )
    words.add_argument(
        "--min_count",
        type=cli.positive_int,
        help="read whole words that the text holds at least so often (Chinese: jieba's)",
    )
    start = student.add_mutually_exclusive_group()
    start.add_argument(
        "--embedding_name",
        help="start embeddings from word vectors: GloVe text (.gz too), word2vec .bin, gensim .kv, or PaddleNLP's by name, best with "
        "--min_count; or from the wordpieces of an encoder, by directory or name: principal components of its embeddings",
    )
    start.add_argument(
        "--init_from_ckpt",
        type=cli.weights_file,
        help="weights to start from: a .pdparams file, whose ending may be left out; give --vocab_path with its vocabulary. A .pdopt "
        "beside it starts the optimizer, too",
    )
    training = add_optimization_flags(
        parser,
        batch_size=batch_size,
        learning_rate=1.0,
        epochs=12,
        epochs_flag="--max_epoch",
        rate="rate of every step, unless it decays",
    )
    training.add_argument(
        "--lr_decay",
        action="store_true",
        help="let the rate fall linearly to 0 by the last step, as it does for encoders",
    )
    training.add_argument(
        "--optimizer",
        choices=["adadelta", "adam"],
        default="adadelta",
        help="adadelta wants a rate near 1, adam one near 0.001",
    )
    kept = parser.add_argument_group("kept for the original recipes; the task and the vocabulary say these")
    for name in ("--output_dim", "--padding_idx", "--vocab_size"):
        kept.add_argument(name, type=int, help=argparse.SUPPRESS)


def add_matching_flags(group: Any) -> None:
    """What a student learns of the inside of its teacher."""
    from paddledistill.distill.layer_maps import COMPARED

    group.add_argument(
        "--layer_map",
        default="2i+1",
        help="which layer learns which: 2i+1, uniform, last, or pairs like 1:2,2:4,3:6 (student:teacher, from 1; 0:0 embeddings)",
    )
    group.add_argument(
        "--attention_by",
        choices=COMPARED,
        default="scores",
        help="what of attention is compared: scores of each head, their mean over heads, or relations of values (MiniLM); the last two "
        "also where numbers of heads differ",
    )
    group.add_argument(
        "--projection",
        choices=["per_layer", "shared"],
        default="per_layer",
        help="where the student is narrower: a learned map to the teacher's width for each layer, or one for all",
    )
    for term in ("embedding", "hidden", "attention"):
        group.add_argument(
            f"--{term}_weight", type=cli.non_negative_float, default=1.0, help=f"of the {term} loss; 0 leaves it out"
        )


def add_study_flags(
    parser: argparse.ArgumentParser, tasks: Sequence[str], output_dir: str, teachers: bool = True
) -> None:
    """What the commands that make result tables have in common.

    :param teachers: whether they start from those of benchmark/glue/figures.py.
    """
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=tasks,
        choices=tasks,
        metavar="TASK",
        help="which ones",
    )
    parser.add_argument(
        "--data_dir", type=Path, required=True, help="folder with a folder of each task: SST-2/train.tsv and so on"
    )
    if teachers:
        parser.add_argument(
            "--teachers", type=Path, default=Path("runs/glue"), help="output of benchmark/glue/figures.py"
        )
        parser.add_argument(
            "--settings",
            type=Path,
            default=Path("docs/results/glue.json"),
            help="its results: which runs were chosen",
        )
    parser.add_argument("--output_dir", type=Path, default=Path(output_dir), help="where the runs go")
    parser.add_argument(
        "--results", type=cli.new_file, help="also write the rows there; those of other tasks and systems are kept"
    )
    parser.add_argument(
        "--jobs",
        type=cli.positive_int,
        default=1,
        help="so many runs at a time, which share the cores and write logs beside their folders",
    )
    trial = parser.add_argument_group("to try it out")
    trial.add_argument("--max_steps", type=cli.step_limit, default=-1, help="cut every run short")
    trial.add_argument("--max_seeds", type=cli.positive_int, help="at most so many seeds a task")


MODEL_TYPES = ("bert", "roberta", "ernie", "ernie_m", "albert", "electra", "distilbert", "xlnet", "tinybert")


def model_type(text: str) -> str:
    """A family of encoders, for ``type=``; ``ernie-m`` and ``ernie_m`` are one."""
    name = text.lower().replace("-", "_")
    if name not in MODEL_TYPES:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(MODEL_TYPES)}, got {text!r}")
    return name


def add_encoder_flags(parser: argparse.ArgumentParser, group: str, *names: str, **options: Any) -> None:
    """A pre-trained encoder, and what is taken of it.

    :param names: further names of ``--model_name_or_path``. :param options: its help.
    """
    model = parser.add_argument_group(group)
    model.add_argument(
        "--model_type", type=model_type, help=f"family: {', '.join(MODEL_TYPES)} (default: what the model says)"
    )
    model.add_argument("--model_name_or_path", *names, dest="model_name_or_path", required=True, **options)
    model.add_argument(
        "--tokenizer_name_or_path", help="kept for the original recipes; the model's own vocabulary is used"
    )
    model.add_argument(
        "--init_from_layers", type=cli.int_list, help="keep only these layers of the encoder, from 0, e.g. 1,3,5"
    )
    model.add_argument(
        "--dropout", type=cli.probability, help="in the encoder and before its head (default: the model's)"
    )


def add_output_flags(parser: argparse.ArgumentParser) -> Any:
    """Where a run goes; returns the group of flags about it."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--output_dir", type=cli.directory, required=True, help="run directory: logs, last state, best model"
    )
    start = group.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="go on where a killed run stopped; nothing to do if it is complete"
    )
    start.add_argument("--overwrite", action="store_true", help="delete what an earlier run left in --output_dir")
    return group


def add_run_flags(
    parser: argparse.ArgumentParser, *, seed: int, logging_flag: str = "--logging_steps", logging_steps: int = 100
) -> None:
    """Flags of every command that writes a run directory."""
    group = add_output_flags(parser)
    group.add_argument(
        "--seed",
        type=cli.non_negative_int,
        default=seed,
        help="decides all that is drawn at random, such as data order, dropout and new weights",
    )
    group.add_argument(
        logging_flag,
        dest="logging_steps",
        type=cli.positive_int,
        default=logging_steps,
        help="steps between two log lines",
    )
    group.add_argument(
        "--save_steps",
        type=cli.positive_int,
        default=100,
        help="steps between two evaluations, each followed by a save",
    )
    group.add_argument(
        "--save_total_limit",
        type=cli.positive_int,
        default=1,
        help="evaluated models to keep: the best one always, and the latest others as OUTPUT_DIR/model_STEP",
    )
    add_device_flags(parser)


def add_seeds_flag(parser: argparse.ArgumentParser) -> None:
    """Several runs that differ in their seed alone."""
    parser.add_argument_group("several runs").add_argument(
        "--seeds",
        type=cli.int_list,
        help="one run for each, in OUTPUT_DIR/seed-N, then mean and standard deviation, e.g. 1,2,3",
    )


def refuse(parser: cli.Parser, args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """:raises UserError: if one of the flags is not at its default; ``why`` says what is wrong with ``{flag}``."""
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            raise UserError(why.format(flag=f"--{name}"))


def each_seed(args: argparse.Namespace, train: Callable[[argparse.Namespace], None]) -> None:
    """Train once, or, with ``--seeds``, once for each; then tell what the runs have in common.

    :raises UserError: as ``train`` does; if the directory of any seed is taken, before the first one begins.
    """
    if not args.seeds:
        train(args)
        return
    from paddledistill.report.seeds import summarise
    from paddledistill.training.run_directory import RUN_FILE

    runs = [Path(args.output_dir) / f"seed-{seed}" for seed in args.seeds]
    taken = [run for run in runs if (run / RUN_FILE).is_file()]
    if taken and not (args.resume or args.overwrite):
        raise UserError(
            f"output directory {taken[0]} is in use by a run: --resume goes on with it, --overwrite deletes it"
        )
    for seed, run in zip(args.seeds, runs, strict=True):
        logger.info("== seed %d", seed)
        train(argparse.Namespace(**{**vars(args), "seed": seed, "output_dir": str(run)}))
    if parallel.is_main():
        print(summarise(runs, Path(args.output_dir) / "seeds.json"))


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Where to run, and in how many processes."""
    group = parser.add_argument_group("device and processes")
    group.add_argument(
        "--device", choices=["gpu", "cpu"], default="gpu", help="gpu falls back to the cpu where there is none"
    )
    group.add_argument(
        "--n_gpu",
        type=cli.non_negative_int,
        default=1,
        help="processes to start, a GPU each; 0 is the same as --device cpu",
    )
    group.add_argument(
        "--n_cpu",
        type=cli.positive_int,
        default=1,
        help="processes to start on the CPU, sharing its cores; above 1 no GPU is used",
    )
