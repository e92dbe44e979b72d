"""The made-up data is what the tests take it for: GLUE's official layouts, no leak between splits, deterministic models."""

from pathlib import Path

import numpy as np
import pytest

from paddledistill import tasks
from paddledistill.data import reading

GLUE = [name for name, task in tasks.TASKS.items() if task not in tasks.EMBEDDED]
MNLI = "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 sentence2"
MNLI_DEV = f"{MNLI} label1 label2 label3 label4 label5 gold_label"
STS_B = "index genre filename year old_index source1 source2 sentence1 sentence2"
PAIR = "index sentence1 sentence2"
HEADERS = {
    "SST-2/train.tsv": "sentence label",
    "SST-2/test.tsv": "index sentence",
    "CoLA/test.tsv": "index sentence",
    "MRPC/train.tsv": "\ufeffQuality #1_ID #2_ID #1_String #2_String",
    "MRPC/test.tsv": "index #1_ID #2_ID #1_String #2_String",
    "STS-B/train.tsv": f"{STS_B} score",
    "STS-B/test.tsv": STS_B,
    "QQP/train.tsv": "id qid1 qid2 question1 question2 is_duplicate",
    "QQP/test.tsv": "id question1 question2",
    "MNLI/train.tsv": f"{MNLI} label1 gold_label",
    "MNLI/dev_matched.tsv": MNLI_DEV,
    "MNLI/dev_mismatched.tsv": MNLI_DEV,
    "MNLI/test_matched.tsv": MNLI,
    "QNLI/train.tsv": "index question sentence label",
    "QNLI/test.tsv": "index question sentence",
    "RTE/train.tsv": f"{PAIR} label",
    "RTE/test.tsv": PAIR,
    "WNLI/train.tsv": f"{PAIR} label",
    "WNLI/test.tsv": PAIR,
}


@pytest.mark.parametrize("name", HEADERS)
def test_header_is_the_official_one(glue_dir: Path, name: str):
    first = (glue_dir / name).read_text(encoding="utf-8").splitlines()[0]
    assert first.replace(" ", "_").split("\t") == HEADERS[name].split()


def test_cola_has_no_header(glue_dir: Path):
    for split in ("train", "dev"):
        rows = [line.split("\t") for line in (glue_dir / "CoLA" / f"{split}.tsv").read_text().splitlines()]
        assert {(len(row), row[1], row[2]) for row in rows} == {(4, "1", ""), (4, "0", "*")}


@pytest.mark.parametrize("name", GLUE)
def test_every_split_is_read_and_nothing_leaks(glue_dir: Path, name: str):
    task = tasks.get_task(name)
    train = reading.load_split(task, "train", glue_dir)
    labels = {example.label for example in train}
    assert len(labels) == task.num_labels if task.labels else len(labels) > 2
    assert len(reading.load_training(task, glue_dir)) == len(train) >= 12
    for split in set(task.files) - {"train"}:
        examples = reading.load_split(task, split, glue_dir)
        assert len(examples) >= 12
        assert all((example.label is None) == split.startswith("test") for example in examples)


def test_vocabulary_is_berts_in_small(tiny_vocab: Path):
    pieces = tiny_vocab.read_text(encoding="utf-8").splitlines()
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(pieces)) == len(pieces)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    assert {*letters, *(f"##{letter}" for letter in letters)} <= set(pieces)


def test_tiny_models_differ_and_tell_sentences_apart(tiny_bert: Path, tiny_student: Path):
    import paddle
    from paddlenlp.transformers import BertForSequenceClassification

    ids = paddle.to_tensor([[2, 200, 300, 3], [2, 210, 310, 3]])
    logits = []
    for directory in (tiny_bert, tiny_student):
        model = BertForSequenceClassification.from_pretrained(str(directory))
        model.eval()
        logits.append(model(ids).numpy())
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    for rows in logits:
        assert np.abs(rows[0] - rows[1]).max() > 1e-3
