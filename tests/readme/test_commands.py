"""The GLUE commands of README.rst, run as written on tiny models: only names of models and the number of steps are replaced."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTION = "GLUE, with bert-base-uncased"


def commands(section: str) -> list[list[str]]:
    """The ``python ...`` commands of a section, continued lines joined."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    body = re.split(r"^[^\n]+\n~{5,}$", text.split(f"\n{section}\n", 1)[1], maxsplit=2, flags=re.MULTILINE)[0]
    body = body.split("\n", 1)[1].replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^    (python .+)$", body, flags=re.MULTILINE)]


def test_the_section_holds_every_recipe() -> None:
    scripts = [Path(command[0]).name for command in commands(SECTION)]
    assert set(scripts) == {"run_glue.py", "data_augmentation.py", "task_distill.py", "small.py", "distill.py"}
    assert scripts.count("task_distill.py") == 3


@pytest.mark.slow
def test_glue_commands_run_as_written(
    run_recipe: Callable[..., "subprocess.CompletedProcess[str]"], glue_dir: Path, tmp_path: Path,
    tiny_bert: Path, tiny_tinybert: Path, tiny_masked_lm: Path,
) -> None:  # fmt: skip
    (tmp_path / "glove.840B.300d.txt").write_text("story 0.1 0.2 0.3\nplot 0.1 0.2 0.4\nfilm 0.3 0.2 0.1\n")
    names = {"bert-base-uncased": str(tiny_bert), "tinybert-6l-768d-v2": str(tiny_tinybert)}

    def run(script: str, *flags: str) -> None:
        replaced = [names.get(flag, flag) for flag in flags]
        if script.endswith("data_augmentation.py"):
            replaced = [str(tiny_masked_lm) if flag == str(tiny_bert) else flag for flag in replaced] + ["--N", "2"]
        else:
            replaced += ["--max_steps", "2"]
        if "--glue_dir" not in flags:
            replaced += ["--glue_dir", str(glue_dir)]
        run_recipe(script, *replaced, cwd=tmp_path, check=True)

    found = commands(SECTION)
    mrpc = [flag.replace("SST-2", "MRPC") for flag in found[0]]  # the teacher that one command below asks for
    for command in (mrpc, *found):
        run(*command)
    outputs = [flags[flags.index("--output_dir") + 1] for _, *flags in found if "--output_dir" in flags]
    assert all((tmp_path / output / "best_model" / "model_state.pdparams").is_file() for output in outputs)
    assert (glue_dir / "SST-2" / "train_aug.tsv").is_file()


def glue_recipes() -> list[list[str]]:
    """The commands of benchmark/glue/README.rst that name a single task of bert-base-uncased."""
    text = (ROOT / "benchmark" / "glue" / "README.rst").read_text(encoding="utf-8").replace("\\\n", " ")
    typed = [shlex.split(line)[1:] for line in re.findall(r"^    (python .+)$", text, flags=re.MULTILINE)]
    return [command for command in typed if "bert-base-uncased" in command]


def test_every_task_of_glue_has_a_recipe() -> None:
    named = [command[command.index("--task_name") + 1] for command in glue_recipes()]
    assert named == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]
    assert all(f"./tmp/{name}" in command for name, command in zip(named, glue_recipes(), strict=True))


@pytest.mark.slow
def test_recipes_of_glue_run_as_written(
    run_recipe: Callable[..., "subprocess.CompletedProcess[str]"], glue_dir: Path, tmp_path: Path, tiny_bert: Path
) -> None:
    for script, *flags in glue_recipes():
        replaced = [str(tiny_bert) if flag == "bert-base-uncased" else flag for flag in flags]
        run_recipe(script, *replaced, "--max_steps", 1, "--glue_dir", glue_dir, cwd=tmp_path, check=True)
        model = tmp_path / flags[flags.index("--output_dir") + 1] / "best_model"
        assert (model / "model_state.pdparams").is_file() and (model / "metrics.json").is_file()
