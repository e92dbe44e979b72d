"""PaddleNLP's models without its rest, and all of it for those who ask."""

import subprocess
import sys

CODE = """
import sys
from paddledistill.models.paddlenlp import paddlenlp_transformers
transformers = paddlenlp_transformers()
print(transformers.BertForSequenceClassification.__name__, "paddlenlp.taskflow" in sys.modules, "paddlenlp.trainer" in sys.modules)
import paddlenlp
print(paddlenlp.__version__, paddlenlp.transformers is transformers, paddlenlp.datasets.load_dataset.__name__)
print("paddlenlp.server" in sys.modules)
print(paddlenlp.Taskflow.__name__, paddlenlp.transformers is transformers, transformers is paddlenlp_transformers())
"""


def test_only_what_models_need_is_imported_until_more_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, timeout=120)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert lines == [
        ["BertForSequenceClassification", "False", "False"],
        ["3.0.0b4", "True", "load_dataset"],
        ["False"],
        ["Taskflow", "True", "True"],
    ]
