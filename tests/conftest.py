"""What all tests share: made-up data, tiny models with fixed weights, real scripts run as a user runs them, no network.

Everything here is small enough to be rebuilt in seconds. Directories handed out by session fixtures are shared: read them,
copy what you want to change.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(__file__).resolve().parent / "fixtures"

RunRecipe = Callable[..., "subprocess.CompletedProcess[str]"]


def _isolate(home: Path) -> None:
    """Turn this process's environment, which the recipes inherit, into one without a network and with caches under ``home``."""
    user_home = os.environ.get("PADDLEDISTILL_HOME")
    wheels = (Path(user_home).expanduser() if user_home else Path.home() / ".cache" / "paddledistill") / "wheels"
    if wheels.is_dir():  # what `make setup` fetched stays in use; everything else that is cached must not be
        os.environ.setdefault("PADDLEDISTILL_ASSETS", str(wheels))
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower() in ("all_proxy", "no_proxy")]:
        del os.environ[name]
    refused = "http://127.0.0.1:9"  # the discard port: nothing listens there
    os.environ |= {
        "PADDLEDISTILL_HOME": str(home / "paddledistill"),
        "PPNLP_HOME": str(home / "paddlenlp"),
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "http_proxy": refused,
        "https_proxy": refused,
        "HTTP_PROXY": refused,
        "HTTPS_PROXY": refused,
        "no_proxy": "localhost,127.0.0.1",
        "MPLBACKEND": "Agg",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }


_HOME = tempfile.TemporaryDirectory(prefix="paddledistill-tests-")
_isolate(Path(_HOME.name))
_ENVIRONMENT = dict(os.environ)  # as a recipe finds it: before importing paddledistill below sets threads and the like


def pytest_configure(config: pytest.Config) -> None:
    """Set threads and the like before any test imports paddle; not where workers run the tests, who would take them for the user's."""
    if not config.getoption("numprocesses", None):
        import paddledistill  # noqa: F401


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip ``@pytest.mark.assets("minilm-l6", ...)`` (no argument: all of them) where the assets have not been fetched."""
    from paddledistill import assets

    for marker in item.iter_markers("assets"):
        missing = [name for name in marker.args or assets.ASSETS if assets.find(name) is None]
        if missing:
            pytest.skip(f"needs the embedded assets {', '.join(missing)}: run `make setup` or set PADDLEDISTILL_ASSETS")


@pytest.fixture(scope="session")
def fixture_dir() -> Path:
    """The committed fixtures themselves: read only."""
    return FIXTURES


@pytest.fixture(scope="session")
def tiny_vocab() -> Path:
    """A vocab.txt of 790 pieces: specials, letters, digits, punctuation, some 400 English words, some Chinese characters."""
    return FIXTURES / "vocab.txt"


@pytest.fixture
def glue_dir(tmp_path: Path) -> Path:
    """A private copy of made-up rows of the nine GLUE tasks in their official layouts, with chnsenticorp beside them."""
    target = tmp_path / "glue"
    shutil.copytree(FIXTURES / "glue", target)
    shutil.copytree(FIXTURES / "chnsenticorp", target / "chnsenticorp")
    return target


def _save_tiny(directory: Path, vocab: Path, kind: str, layers: int, seed: int) -> Path:
    """Save a PaddleNLP model of ``layers`` layers, 16 wide, with 2 heads and weights that the seed decides."""
    import paddle
    from paddlenlp import transformers

    tokenizer = transformers.BertTokenizer(str(vocab), do_lower_case=True)
    shape = {
        "vocab_size": len(tokenizer.vocab),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,  # BERT's 0.02 would leave a model this narrow with the same logits for every sentence
    }
    config_class, model_class = {
        "classifier": (transformers.BertConfig, transformers.BertForSequenceClassification),
        "masked-lm": (transformers.BertConfig, transformers.BertForMaskedLM),
        "tinybert": (transformers.TinyBertConfig, transformers.TinyBertForSequenceClassification),
    }[kind]
    paddle.seed(seed)
    model = model_class(config_class(**shape))
    model.save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))
    return directory


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A BertForSequenceClassification directory: 4 layers x 16, 2 heads, 2 labels, random weights, saved by paddlenlp."""
    return _save_tiny(tmp_path_factory.mktemp("tiny_bert"), tiny_vocab, "classifier", layers=4, seed=1)


@pytest.fixture(scope="session")
def tiny_bert_12(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """As ``tiny_bert``, with 12 layers."""
    return _save_tiny(tmp_path_factory.mktemp("tiny_bert_12"), tiny_vocab, "classifier", layers=12, seed=2)


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """As ``tiny_bert``, with 2 layers."""
    return _save_tiny(tmp_path_factory.mktemp("tiny_student"), tiny_vocab, "classifier", layers=2, seed=3)


@pytest.fixture(scope="session")
def tiny_tinybert(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A TinyBertForSequenceClassification directory: 2 layers x 16, 2 heads, 2 labels, random weights."""
    return _save_tiny(tmp_path_factory.mktemp("tiny_tinybert"), tiny_vocab, "tinybert", layers=2, seed=4)


@pytest.fixture(scope="session")
def tiny_masked_lm(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    """A BertForMaskedLM directory: 2 layers x 16, 2 heads, random weights."""
    return _save_tiny(tmp_path_factory.mktemp("tiny_masked_lm"), tiny_vocab, "masked-lm", layers=2, seed=5)


@pytest.fixture(scope="session")
def run_recipe(tmp_path_factory: pytest.TempPathFactory) -> RunRecipe:
    """Run a script of this repository as a user does, and capture what it prints.

    ``run_recipe("benchmark/glue/run_glue.py", "--task_name", "SST-2", env={"NAME": "value"}, check=True)``; a module is run by
    ``run_recipe("-m", "paddledistill.predict", ...)``. ``check`` fails the test with the output when the exit code is not 0;
    ``timeout`` is in seconds; ``cwd`` is a new empty directory unless given; ``input`` goes to standard input.
    """

    def run(
        script: str,
        *args: object,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        timeout: float = 300,
        cwd: Path | None = None,
        input: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        first = script if script.startswith("-") else str(ROOT / script)
        done = subprocess.run(
            [sys.executable, first, *map(str, args)],
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            env=_ENVIRONMENT | dict(env or {}),
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{script} left with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done

    return run


@pytest.fixture(scope="session")
def kill_recipe() -> Callable[..., None]:
    """Run a script as ``run_recipe`` does, and SIGKILL it as soon as ``is_time``, a function without arguments, says so."""

    def kill(script: str, *args: object, is_time: Callable[[], bool]) -> None:
        command = [sys.executable, str(ROOT / script), *map(str, args)]
        with subprocess.Popen(
            command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 120
            while not is_time() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
        assert process.returncode == -signal.SIGKILL, "it ended by itself, or the time never came"

    return kill
