"""The commands that make result tables, on tiny models: they choose, repeat, go on where they were, and their rows are whole."""

import json
import re
import shutil
from pathlib import Path

import pytest

FIGURES = "benchmark/glue/figures.py"


@pytest.fixture(scope="module")
def tiny_masked_lm_6(tmp_path_factory: pytest.TempPathFactory, tiny_masked_lm: Path) -> Path:
    """A masked LM of 6 layers: an encoder for teachers, students and the augmentation."""
    import paddle
    from paddlenlp.transformers import BertConfig, BertForMaskedLM

    target = tmp_path_factory.mktemp("tiny_masked_lm_6")
    config = BertConfig.from_pretrained(str(tiny_masked_lm))
    config.num_hidden_layers = 6
    paddle.seed(9)
    BertForMaskedLM(config).save_pretrained(str(target))
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(tiny_masked_lm / name, target)
    return target


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory, fixture_dir: Path) -> Path:
    return Path(shutil.copytree(fixture_dir / "glue", tmp_path_factory.mktemp("data") / "glue"))


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, run_recipe, tiny_masked_lm_6: Path, glue: Path
) -> tuple[list[object], Path, str]:
    """benchmark/glue/figures.py on RTE, one step a run, two seeds: the command, its folder, what it told."""
    target = tmp_path_factory.mktemp("figures")
    command = [
        FIGURES, "--tasks", "RTE", "--data_dir", glue, "--model_name_or_path", tiny_masked_lm_6, "--max_steps", 1, "--max_seeds", 2,
        "--jobs", 2, "--output_dir", target / "runs", "--results", target / "glue.json",
    ]  # fmt: skip
    return command, target, run_recipe(*command, check=True).stderr


@pytest.mark.slow
def test_chooses_repeats_and_writes(run_recipe, made: tuple[list[object], Path, str]) -> None:
    command, target, told = made
    content = json.loads((target / "glue.json").read_text())
    row, tried = content["rows"][0], content["settings"]["rte"]["tried"]
    assert told.count("   python ") == len(tried) + 1  # then the second seed of the best one
    assert [row["role"] for row in content["rows"]] == ["teacher", "published"]
    assert len(row["values"]) == 2
    chosen = content["settings"]["rte"]["chosen"]
    assert row["setting"] == chosen == max(tried, key=tried.get)
    runs = sorted((target / "runs" / "RTE").iterdir())
    assert [run.name for run in runs] == ["1e-4-x4", "3e-5-b16-x10", "5e-5-b16-x6"]
    scores = [100 * json.loads((run / "seed-1" / "run.json").read_text())["metrics"]["accuracy"] for run in runs]
    assert sorted(scores) == pytest.approx(sorted(tried.values()), abs=1e-3)

    others = [run for run in runs if run.name != content["settings"]["rte"]["folder"]]
    shutil.rmtree(others[0] / "seed-1")
    again = run_recipe(*command, check=True)
    assert again.stderr.count("   python ") == 1
    assert json.loads((target / "glue.json").read_text())["rows"][0]["values"] == row["values"]


def test_a_folder_without_the_task_is_refused(run_recipe, tmp_path: Path) -> None:
    done = run_recipe(FIGURES, "--tasks", "RTE", "--data_dir", tmp_path)
    assert done.returncode == 2
    assert "no folder RTE" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_tinybert_with_augmentation(
    run_recipe, made: tuple[list[object], Path, str], tiny_masked_lm_6: Path, glue: Path, tmp_path: Path
) -> None:
    text, results, (_, teachers, _) = tmp_path / "text.txt", tmp_path / "tinybert.json", made
    text.write_text("\n\n".join(f"the story of film {n} was long and good\nit was dull" for n in range(900)))
    command = [
        "examples/tinybert/figures.py", "--tasks", "RTE", "--data_dir", glue, "--max_steps", 1, "--max_seeds", 1, "--ablation", "RTE",
        "--corpus", text,
        "--encoder", tiny_masked_lm_6, "--teachers", teachers / "runs", "--settings", teachers / "glue.json",
        "--output_dir", tmp_path / "runs", "--results", results, "--students", "3x384", "--jobs", 2,
    ]  # fmt: skip
    run_recipe(*command, check=True)
    rows = json.loads(results.read_text())["rows"]
    names = [row["system"].removeprefix("TinyBERT 3x384").strip(" ,") for row in rows]
    ablation = ["general distillation", "attention", "hidden states", "embeddings", "the teacher's logits"]
    without = [f"without {part}" for part in ablation]
    assert names == ["teacher", "", "", "augmented text", *without, "tinybert-6l-768d-v2"]
    assert [row["role"] for row in rows[:3]] == ["teacher", "alone", "distilled"]
    assert rows[1]["train_steps"] == rows[2]["train_steps"] == 2
    told = [re.sub(r"[\d.]+(?= [+e])", "n", row["setting"]) for row in rows[1:4]]  # less than one of each, here
    assert told == ["n epochs, N 0", "n + n epochs, N 0", "n + n epochs, N 5"]
    shared = json.loads(results.read_text())["shared"]
    assert list(shared) == ["general TinyBERT 3x384", "augmented text of RTE"]
    assert all(one["command"].startswith("python ") for one in shared.values())


@pytest.mark.slow
@pytest.mark.assets("pos-tagger")
def test_bilstm_with_and_without_a_teacher(
    run_recipe, made: tuple[list[object], Path, str], glue: Path, fixture_dir: Path, tmp_path: Path
) -> None:
    data, results, (_, teachers, _) = tmp_path / "data", tmp_path / "bilstm.json", made
    shutil.copytree(glue, data)
    shutil.copytree(fixture_dir / "chnsenticorp", data / "chnsenticorp")
    run_recipe(
        "examples/bert_to_bilstm/figures.py", "--tasks", "RTE", "chnsenticorp", "--data_dir", data, "--max_steps", 2, "--max_seeds", 1,
        "--teachers", teachers / "runs", "--settings", teachers / "glue.json", "--output_dir", tmp_path / "runs", "--results", results,
        check=True,
    )  # fmt: skip
    rows = json.loads(results.read_text())["rows"]
    assert [(row["task"], row["system"], row["role"]) for row in rows] == [
        ("rte", "teacher", "teacher"),
        ("rte", "BiLSTM", "alone"),
        ("rte", "BiLSTM", "distilled"),
        ("chnsenticorp", "BiLSTM", "alone"),
        ("chnsenticorp", "BiLSTM", "published"),
        ("chnsenticorp", "BiLSTM, distilled", "published"),
    ]
    [glue] = [row for row in json.loads((teachers / "glue.json").read_text())["rows"] if row["role"] == "teacher"]
    assert (rows[0]["values"], rows[0]["setting"]) == (glue["values"], glue["setting"])
    assert re.fullmatch(r"[\d.]+ epochs", rows[1]["setting"])
    assert re.fullmatch(r"10 copies, [\d.]+ epochs", rows[2]["setting"])


def test_what_each_part_is_worth_is_said_in_flags_that_there_are() -> None:
    import importlib.util

    def module(path: str):
        spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[2] / path)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    figures, distill = (module(f"examples/bert_to_bilstm/{name}.py") for name in ("figures", "distill"))
    for flags in figures.VARIANTS.values():
        distill.build_parser().parse_args(
            f"--task_name a --teacher_dir b --output_dir c {figures.SHAPE} {figures.VARIANTS_SHAPE} {flags}".split()
        )
    figures, distill = (module(f"examples/tinybert/{name}.py") for name in ("figures", "task_distill"))
    for flags in figures.ABLATIONS.values():
        distill.build_parser().parse_args(
            f"--model_name_or_path a --task_name b --teacher_path c --output_dir d {flags}".split()
        )


def test_teachers_that_are_not_there(run_recipe, glue: Path, tmp_path: Path) -> None:
    (tmp_path / "glue.json").write_text('{"settings": {"mrpc": {"chosen": "5e-5, 4 epochs"}}, "rows": []}')
    command = [
        "examples/tinybert/figures.py",
        "--tasks",
        "MRPC",
        "--data_dir",
        glue,
        "--corpus",
        tmp_path / "t",
        "--teachers",
        tmp_path,
    ]
    for settings, message in (
        (tmp_path / "none.json", "makes the teachers"),
        (tmp_path / "glue.json", "no teacher of MRPC"),
    ):
        done = run_recipe(*command, "--settings", settings, "--output_dir", tmp_path / "runs")
        assert done.returncode == 2
        assert message in done.stderr.strip().splitlines()[-1]
