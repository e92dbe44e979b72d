"""Tokenised examples and the batches cut from them."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from paddledistill.data.datasets import encode_for_bert, encode_for_bilstm
from paddledistill.data.tokenization import Tokenizer
from paddledistill.tasks import Example

SINGLES = [
    Example("the film was good", None, 1),
    Example("\u200b", None, 0),  # nothing is left after cleaning
    Example("the the the the the the the the the", None, 1),
]
PAIRS = [
    Example("the film", "was good , the end", 0.5),
    Example("\u200b", "\x00", 2.0),
    Example("the " * 30, "film " * 30, 1.0),
    Example("the " * 30, "film", 5.0),
    Example("film", "the " * 30, 3.25),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return Tokenizer.from_vocab(tiny_vocab)


class TestBert:
    def test_batch_of_singles(self, tokenizer: Tokenizer):
        dataset = encode_for_bert(SINGLES, tokenizer, 8)
        cls, sep, pad = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
        the, film, was, good = (tokenizer.index[word] for word in ("the", "film", "was", "good"))
        assert len(dataset) == 3
        assert dataset.lengths.tolist() == [6, 2, 8]
        batch = dataset.batch([1, 0])
        assert batch["input_ids"].tolist() == [[cls, sep, pad, pad, pad, pad], [cls, the, film, was, good, sep]]
        assert batch["attention_mask"].tolist() == [[1, 1, 0, 0, 0, 0], [1] * 6]
        assert not batch["token_type_ids"].any()
        assert batch["labels"].tolist() == [0, 1]
        assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
        assert dataset.batch([2])["input_ids"].tolist() == [[cls, *[the] * 6, sep]]

    def test_segments_of_pairs(self, tokenizer: Tokenizer):
        batch = encode_for_bert(PAIRS, tokenizer, 12).batch([0, 1])
        assert batch["token_type_ids"].tolist() == [[0] * 4 + [1] * 6, [0, 0, 1] + [0] * 7]
        assert batch["attention_mask"].sum(1).tolist() == [10, 3]
        assert batch["labels"].dtype == np.float32
        assert batch["labels"].tolist() == [0.5, 2.0]

    @pytest.mark.parametrize("max_seq_length", [5, 6, 7, 12, 33, 128])
    def test_as_paddlenlp(self, tokenizer: Tokenizer, tmp_path: Path, max_seq_length: int):
        """Ids, segments and truncation of pairs, the longer text first."""
        from paddlenlp.transformers import BertTokenizer

        tokenizer.save(tmp_path)
        paddlenlp = BertTokenizer.from_pretrained(str(tmp_path))
        lengths = range(0, 16, 3)
        pairs = [
            *PAIRS,
            *(Example("the " * a + "\u200b", "film " * b + "\u200b", 1.0) for a in lengths for b in lengths),
        ]
        for examples in (SINGLES, pairs):
            dataset = encode_for_bert(examples, tokenizer, max_seq_length)
            for row, example in enumerate(examples):
                with warnings.catch_warnings(action="ignore"):
                    expected = paddlenlp(*example.texts, max_length=max_seq_length, truncation=True)
                batch = dataset.batch([row])
                assert batch["input_ids"].tolist() == [expected["input_ids"]]
                assert batch["token_type_ids"].tolist() == [expected["token_type_ids"]]

    def test_too_short(self, tokenizer: Tokenizer):
        with pytest.raises(ValueError, match="max_seq_length 2 leaves no room"):
            encode_for_bert(SINGLES, tokenizer, 2)
        with pytest.raises(ValueError, match="max_seq_length 4 leaves no room"):
            encode_for_bert(PAIRS, tokenizer, 4)


class TestBilstm:
    def test_singles(self, tokenizer: Tokenizer):
        dataset = encode_for_bilstm(SINGLES, tokenizer, 5)
        the, film, was, good = (tokenizer.index[word] for word in ("the", "film", "was", "good"))
        batch = dataset.batch([0, 1, 2])
        pad, unk = tokenizer.pad_id, tokenizer.unk_id
        assert batch["input_ids"].tolist() == [[the, film, was, good, pad], [unk, pad, pad, pad, pad], [the] * 5]
        assert batch["lengths"].tolist() == [4, 1, 5]
        assert batch.keys() == {"input_ids", "lengths", "labels"}

    def test_pairs(self, tokenizer: Tokenizer):
        dataset = encode_for_bilstm(PAIRS, tokenizer, 10)
        assert dataset.lengths.tolist() == [5, 1, 10, 10, 10]
        batch = dataset.batch([4, 1])
        assert batch["lengths"].tolist() == [1, 1]
        assert batch["lengths_b"].tolist() == [10, 1]
        assert batch["input_ids"].shape == (2, 1)
        assert batch["input_ids_b"][1].tolist() == [tokenizer.unk_id] + [tokenizer.pad_id] * 9

    def test_too_short(self, tokenizer: Tokenizer):
        with pytest.raises(ValueError, match="leaves no room"):
            encode_for_bilstm(SINGLES, tokenizer, 0)


@pytest.mark.parametrize("encode", [encode_for_bert, encode_for_bilstm])
class TestBoth:
    def test_without_labels(self, tokenizer: Tokenizer, encode):
        dataset = encode([Example("the film"), Example("good")], tokenizer, 8)
        assert "labels" not in dataset.batch([0, 1])

    def test_mixtures_are_refused(self, tokenizer: Tokenizer, encode):
        with pytest.raises(ValueError, match="1 of 2 examples have a label"):
            encode([Example("the", None, 1), Example("film")], tokenizer, 8)
        with pytest.raises(ValueError, match="1 of 2 examples are pairs"):
            encode([Example("the", "film"), Example("film")], tokenizer, 8)

    def test_columns(self, tokenizer: Tokenizer, encode):
        dataset = encode(SINGLES, tokenizer, 8)
        logits = np.arange(6, dtype=np.float32).reshape(3, 2)
        wider = dataset.with_column("teacher_logits", logits)
        assert wider.batch([2, 0])["teacher_logits"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
        assert "teacher_logits" not in dataset.batch([0])
        with pytest.raises(ValueError, match="has 2 rows, the dataset 3"):
            dataset.with_column("teacher_logits", logits[:2])

    def test_key_covers_all_that_shapes_it(self, tokenizer: Tokenizer, encode):
        pairs = [Example("the film", "good", 1)]
        datasets = [
            encode(SINGLES, tokenizer, 8),
            encode(SINGLES, tokenizer, 9),
            encode(SINGLES[::-1], tokenizer, 8),
            encode([Example(example.text_a, None, 1) for example in SINGLES], tokenizer, 8),
            encode([Example(example.text_a) for example in SINGLES], tokenizer, 8),
            encode(SINGLES, Tokenizer(tokenizer.vocab, lowercase=False), 8),
            encode(pairs, tokenizer, 8),
            encode([Example("the", "film good", 1)], tokenizer, 8),
        ]
        assert len({dataset.key for dataset in datasets}) == len(datasets)
        assert encode(SINGLES, tokenizer, 8).key == datasets[0].key
        assert encode_for_bert(SINGLES, tokenizer, 8).key != encode_for_bilstm(SINGLES, tokenizer, 8).key

    def test_more_rows_than_a_chunk(self, tokenizer: Tokenizer, encode):
        examples = [Example(" ".join(["the"] * (number % 7 + 1)), None, number % 2) for number in range(20_001)]
        dataset = encode(examples, tokenizer, 16)
        batch = dataset.batch([0, 8191, 8192, 20_000])
        extra = 2 if encode is encode_for_bert else 0
        assert dataset.lengths[[0, 8191, 8192, 20_000]].tolist() == [1 + extra, 2 + extra, 3 + extra, 2 + extra]
        assert batch["labels"].tolist() == [0, 1, 0, 0]
        assert len(dataset) == 20_001

    def test_lean(self, tokenizer: Tokenizer, encode):
        """What stays in memory is a few bytes a token and a row: no Python object for either."""
        examples = [Example("the film was good and the end too", None, 1)] * 20_000
        tracemalloc.start()
        dataset = encode(examples, tokenizer, 64)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 20_000 * (4 * 10 + 8 + 8 + 4) * 1.2
        assert len(dataset) == 20_000

    def test_empty(self, tokenizer: Tokenizer, encode):
        dataset = encode([], tokenizer, 8)
        assert len(dataset) == 0
        assert dataset.batch([])["input_ids"].shape == (0, 0)
