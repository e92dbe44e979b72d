"""WordPiece tokenization (Devlin et al., 2019) at the speed of Rust, with the ids of PaddleNLP's BertTokenizer.

PaddleNLP's tokenizer is Python, and parts words a little differently from Hugging Face's (symbols such as "€" stand
alone), so that a checkpoint trained with one gets other ids from the other. Here its rules are a translation table over
characters, built from the same Unicode data; the WordPiece model, where the time goes, is the ``tokenizers`` package's.
As there, the special tokens are recognised when they stand literally in a text: "a [MASK] film" holds a mask.
"""

import hashlib
import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from paddledistill.errors import UserError
from paddledistill.tasks import is_cjk

VOCABULARY_FILE = "vocab.txt"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SEGMENTERS = ("bert", "jieba")
MAX_WORD_LENGTH = 100
_CHUNK = 8192
# Characters that PaddleNLP counts as symbols beside Unicode's own.
_MORE_SYMBOLS = frozenset("\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1")


def read_vocab(path: Path | str) -> list[str]:
    """The tokens of a file, a line each.

    :raises UserError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the vocabulary {path}: {error}") from None


def _stands_alone(character: str) -> bool:
    """Whether PaddleNLP makes this character a word of its own: punctuation and symbols, all ASCII ones among them."""
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character)[0] in "PS" or character in _MORE_SYMBOLS


class _Characters(dict[int, str]):
    """A table for str.translate, filled as characters turn up: after it, words are what stands between spaces."""

    def __init__(self, lowercase: bool) -> None:
        super().__init__()
        self._lowercase = lowercase

    def __missing__(self, code: int) -> str:
        characters = chr(code).lower() if self._lowercase else chr(code)
        cleaned = "".join(map(self._clean, characters))
        if self._lowercase:
            cleaned = "".join(c for c in unicodedata.normalize("NFD", cleaned) if unicodedata.category(c) != "Mn")
        self[code] = "".join(f" {c} " if _stands_alone(c) else c for c in cleaned)
        return self[code]

    @staticmethod
    def _clean(character: str) -> str:
        if character in "\t\n\r" or unicodedata.category(character)[0] == "Z":
            return " "
        if character == "\ufffd" or unicodedata.category(character)[0] == "C":
            return ""
        return f" {character} " if is_cjk(ord(character)) else character


class Layout(NamedTuple):
    """How an encoder wants one text or two: the special ids around and between them, and whose segment each token is of.

    One text is ``before + text + after``. The second text, and what follows it, is of segment 1 if ``second_segment``; the last
    ``own_segments`` tokens are of segment 2. ``pads_left``: shorter rows of a batch are filled on the left.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    second_segment: bool = True
    own_segments: int = 0
    pads_left: bool = False

    def special(self, is_pair: bool) -> int:
        """How many tokens are not the texts'."""
        return len(self.before) + len(self.after) + (len(self.between) if is_pair else 0)


class Tokenizer:
    """Turns text into WordPiece ids. ``vocab`` lists the tokens in the order of their ids. ``segmenter`` parts the words: ``bert``, or
    ``jieba`` for Chinese words in place of characters.

    :raises UserError: the vocabulary lacks one of [PAD], [UNK], [CLS], [SEP], [MASK]; or the segmenter is none of these.
    """

    def __init__(self, vocab: Sequence[str], lowercase: bool = True, segmenter: str = "bert") -> None:
        if segmenter not in SEGMENTERS:
            raise UserError(f"no segmenter {segmenter!r}: it is one of {', '.join(SEGMENTERS)}")
        self.vocab = list(vocab)
        self.lowercase = lowercase
        self.segmenter = segmenter
        self.index = {token: number for number, token in enumerate(self.vocab)}
        missing = [token for token in SPECIAL_TOKENS if token not in self.index]
        if missing:
            raise UserError(f"the vocabulary has no {', '.join(missing)}: give the vocab.txt of a BERT model")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self.index[token] for token in SPECIAL_TOKENS
        )
        self.layout = Layout((self.cls_id,), (self.sep_id,), (self.sep_id,))
        self._characters = _Characters(lowercase)
        self._special = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")
        model = tokenizers.models.WordPiece(
            vocab=self.index,
            unk_token="[UNK]",
            max_input_chars_per_word=MAX_WORD_LENGTH,
            continuing_subword_prefix="##",
        )
        self._wordpiece = tokenizers.Tokenizer(model)
        self._wordpiece.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()

    @classmethod
    def of_words(
        cls, texts: Iterable[str], min_count: int = 1, lowercase: bool = True, segmenter: str = "bert"
    ) -> "Tokenizer":
        """A tokenizer that knows the words that ``texts`` hold at least ``min_count`` times, the most frequent first, and no pieces of
        words: every other word is [UNK].
        """
        parts = cls(SPECIAL_TOKENS, lowercase, segmenter)
        counts = Counter(word for text in texts for word in parts.words(text))
        known = [word for word, count in counts.most_common() if count >= min_count and word not in SPECIAL_TOKENS]
        return cls([*SPECIAL_TOKENS, *known], lowercase, segmenter)

    @classmethod
    def from_vocab(
        cls, vocab: Path | str | Sequence[str], lowercase: bool = True, segmenter: str = "bert"
    ) -> "Tokenizer":
        """From a vocab.txt (a token a line) or a list of tokens.

        :raises UserError: the file cannot be read.
        """
        return cls(read_vocab(vocab) if isinstance(vocab, str | Path) else vocab, lowercase, segmenter)

    @classmethod
    def from_directory(cls, path: Path | str) -> "Tokenizer":
        """From a model directory: vocab.txt, and do_lower_case of tokenizer_config.json (true when it does not say).

        :raises UserError: no vocab.txt, an unreadable configuration, or one that asks for other rules than BERT's.
        """
        directory = Path(path)
        if not (directory / VOCABULARY_FILE).is_file():
            raise UserError(f"{directory} has no {VOCABULARY_FILE}: give the directory of a BERT-like model")
        config = {}
        if (directory / CONFIG_FILE).is_file():
            try:
                config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{directory / CONFIG_FILE} is not JSON ({error}): restore it") from None
            if not isinstance(config, dict):
                raise UserError(f"{directory / CONFIG_FILE} holds no JSON object: restore it")
        lowercase = bool(config.get("do_lower_case", True))
        # None means "as do_lower_case says"; a model that deviates would get other ids than it was trained with.
        if config.get("strip_accents") not in (None, lowercase) or config.get("tokenize_chinese_chars") is False:
            raise UserError(
                f"{directory / CONFIG_FILE}: strip_accents and tokenize_chinese_chars must be BERT's defaults"
            )
        return cls.from_vocab(directory / VOCABULARY_FILE, lowercase, config.get("segmenter", "bert"))

    def __len__(self) -> int:
        return len(self.vocab)

    @property
    def key(self) -> str:
        """SHA-256 (hex) of all that shapes the ids."""
        rules = str(self.lowercase) + ("" if self.segmenter == "bert" else self.segmenter)
        return hashlib.sha256("\n".join([rules, *self.vocab]).encode()).hexdigest()

    def _spaced(self, text: str) -> str:
        """``text`` cleaned, with its words (punctuation, symbols, Chinese characters are words too) apart by spaces."""
        if "[" not in text:
            return self._apart(text)
        parts = self._special.split(text)
        return "".join(f" {part} " if at % 2 else self._apart(part) for at, part in enumerate(parts))

    def _apart(self, text: str) -> str:
        """The same of a text without special tokens."""
        if self.segmenter == "bert":
            return text.translate(self._characters)
        import jieba

        jieba.setLogLevel(logging.WARNING)
        # A known word between spaces stays whole: in a copy of a sentence they stand so, and out of their context jieba would part some.
        parts = (text.lower() if self.lowercase else text).split()
        words = (word for part in parts for word in ([part] if part in self.index else jieba.cut(part)))
        return f" {' '.join(words)} "

    def words(self, text: str) -> list[str]:
        """The words that WordPiece gets to see."""
        return self._spaced(text).split()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without [CLS] and [SEP]; equal to PaddleNLP's BertTokenizer.

        A text without a visible character gives an empty list.
        """
        ids: list[list[int]] = []
        for start in range(0, len(texts), _CHUNK):
            spaced = [self._spaced(text) for text in texts[start : start + _CHUNK]]
            ids += [encoding.ids for encoding in self._wordpiece.encode_batch_fast(spaced, add_special_tokens=False)]
        return ids

    def save(self, directory: Path | str) -> None:
        """Writes vocab.txt and tokenizer_config.json, for :meth:`from_directory` and PaddleNLP's BertTokenizer."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / VOCABULARY_FILE).write_text("".join(f"{token}\n" for token in self.vocab), "utf-8", newline="\n")
        config: dict[str, Any] = {"tokenizer_class": "BertTokenizer", "do_lower_case": self.lowercase}
        if self.segmenter != "bert":
            config["segmenter"] = self.segmenter
        (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    def pruned(self, texts: Iterable[str]) -> "Tokenizer":
        """A tokenizer with the special tokens, every piece that ``texts`` use, and all single ASCII characters, order kept.

        The texts are segmented as before: the longest match at each point is still there, and nothing longer has come.
        For words that come out as [UNK] the pieces before the dead end stay too, or another way through could open.
        """
        words = sorted({word for text in texts for word in self.words(text)})
        used: set[str] = set(SPECIAL_TOKENS)
        for word, ids in zip(words, self.ids(words), strict=True):
            used.update(self.vocab[number] for number in ids)
            if self.unk_id in ids and word not in SPECIAL_TOKENS and len(word) <= MAX_WORD_LENGTH:
                used.update(self._longest_matches(word))
        return Tokenizer(
            [
                token
                for token in self.vocab
                if token in used or (token.isascii() and len(token.removeprefix("##")) == 1)
            ],
            self.lowercase,
            self.segmenter,
        )

    def _longest_matches(self, word: str) -> list[str]:
        """The pieces that greedy longest-match-first finds in ``word`` before it is through or stuck."""
        pieces: list[str] = []
        start = 0
        while start < len(word):
            candidates = (("##" if start else "") + word[start:end] for end in range(len(word), start, -1))
            piece = next((candidate for candidate in candidates if candidate in self.index), None)
            if piece is None:
                break
            pieces.append(piece)
            start += len(piece.removeprefix("##")) if start else len(piece)
        return pieces
