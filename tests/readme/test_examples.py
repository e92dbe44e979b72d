"""READMEs of the examples: every command is one that its script understands; some are run on tiny models."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from paddledistill.report.published import FIGURES
from paddledistill.tasks import TASKS, get_task

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    name: (ROOT / "examples" / name / "README.rst").read_text(encoding="utf-8")
    for name in ("tinybert", "bert_to_bilstm")
}
PAGE = PAGES["tinybert"]


def commands(page: str = PAGE) -> list[list[str]]:
    """All that stand on a page, continued lines joined."""
    joined = page.replace("\\\n", " ")
    found = [shlex.split(line)[1:] for line in re.findall(r"^    (python .+)$", joined, flags=re.MULTILINE)]
    return [[f"{flags[1].replace('.', '/')}.py", *flags[2:]] if flags[0] == "-m" else flags for flags in found]


def script(path: str) -> ModuleType:
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str) -> None:
    found = commands(PAGES[page])
    assert len(found) > 6
    for command in found:
        script(command[0]).build_parser().parse_args(command[1:])


def test_published_figures_of_the_bilstm_stand_beside_their_recipes() -> None:
    page = PAGES["bert_to_bilstm"]
    for system in ("BiLSTM", "BiLSTM, distilled"):
        for task, figures in FIGURES[system].items():
            line = re.search(rf"^{TASKS[task].folder} \((.*)\)::$", page, flags=re.MULTILINE)
            assert line and all(f"{figure:.2f}" in line[1] for figure in figures.values())


def test_every_published_task_has_its_recipe_presets_and_figures() -> None:
    recipes = {
        flags[flags.index("--task_name") + 1]: flags
        for path, *flags in commands()
        if "task_distill" in path and "--use_aug" in flags
    }
    assert list(recipes) == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE"]
    for name, flags in recipes.items():
        task = get_task(name)
        assert int(flags[flags.index("--max_seq_length") + 1]) == task.max_seq_length
        assert int(flags[flags.index("--num_train_epochs") + 1]) == task.intermediate_epochs
        for figure in FIGURES["tinybert-6l-768d-v2"].get(TASKS[task.name].name, {}).values():
            assert f"{figure:.2f}" in re.search(rf"^{name} \((.*)\)::$", PAGE, flags=re.MULTILINE)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MRPC", "STS-B"])
def test_recipes_run_as_written(
    run_recipe: Callable[..., "subprocess.CompletedProcess[str]"], glue_dir: Path, tmp_path: Path, name: str,
    tiny_bert: Path, tiny_tinybert: Path, tiny_masked_lm: Path,
) -> None:  # fmt: skip
    (tmp_path / "glove.840B.300d.txt").write_text("story 0.1 0.2 0.3\nplot 0.1 0.2 0.4\nfilm 0.3 0.2 0.1\n")
    glue_dir.rename(tmp_path / "glue")
    run_recipe(
        "benchmark/glue/run_glue.py", "--model_name_or_path", tiny_bert, "--task_name", name, "--glue_dir", "glue", "--max_steps", 1,
        "--output_dir", f"tmp/{name}", cwd=tmp_path, check=True,
    )  # fmt: skip
    names = {"tinybert-6l-768d-v2": str(tiny_tinybert), "bert-base-uncased": str(tiny_masked_lm)}
    for path, *flags in commands():
        if name in flags and "tinybert" in path and ("glove.840B.300d.txt" in flags or "--use_aug" in flags):
            short = ["--N", 1] if "augmentation" in path else ["--max_steps", 1, "--prediction_max_steps", 1]
            run_recipe(path, *(names.get(flag, flag) for flag in flags), *short, cwd=tmp_path, check=True)
    assert (tmp_path / "tmp" / f"TinyBERT6-{name}" / "report.html").is_file()
