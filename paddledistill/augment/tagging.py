"""Parts of speech: nltk's averaged perceptron with its own data or the embedded weights (Penn Treebank tags), and jieba's dictionary
for Chinese."""

import io
import logging
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from paddledistill import assets, progress
from paddledistill.errors import UserError

Tagger = Callable[[Sequence[Sequence[str]]], list[list[str]]]
ASSET = "pos-tagger"
MEMBER = "textblob_aptagger/trontagger-0.1.0.pickle"

logger = logging.getLogger(__name__)


def tagger(language: str) -> Tagger:
    """From sentences as lists of words to the tag of each word.

    :param language: ``en`` or ``zh``.
    :raises UserError: if the embedded weights cannot be had or are not what they should be.
    """
    return _tag_chinese if language == "zh" else _tag_english


def _tag_english(sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    perceptron, tags = _perceptron(), []
    with progress.bar("parts of speech", "sentence", len(sentences)) as bar:
        for words in sentences:
            tags.append([tag for _, tag in perceptron.tag(list(words))])
            bar.update()
    return tags


def _tag_chinese(sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    """The tag that jieba's dictionary gives most often to each word, whatever its neighbours."""
    import jieba.posseg

    words = jieba.posseg.dt
    words.initialize()
    known = words.word_tag_tab
    return [[known.get(word) or _tag_of_unknown_chinese(word) for word in sentence] for sentence in sentences]


@cache
def _tag_of_unknown_chinese(word: str) -> str:
    """That of its last part: a number, Latin letters, a word of several; ``x`` for punctuation alone, which replaces no word."""
    import jieba.posseg

    if not any(map(str.isalnum, word)):
        return "x"
    return str(list(jieba.posseg.cut(word))[-1].flag)


@cache
def _perceptron() -> Any:
    from nltk.tag.perceptron import PerceptronTagger

    try:
        return PerceptronTagger()
    except LookupError:  # nltk's data are not on this machine
        logger.info("parts of speech by the embedded weights (%s)", ASSET)
    found = PerceptronTagger(load=False)
    found.model.weights, found.tagdict, found.classes = _read_weights(assets.read(ASSET, MEMBER))
    found.model.classes = found.classes
    return found


def _read_weights(data: bytes) -> tuple[dict[str, dict[str, float]], dict[str, str], set[str]]:
    """Weights, tags of frequent words, all tags.

    :raises UserError: if the file is not what it should be.
    """
    try:
        weights, tags_of_words, tags = _OnlySets(io.BytesIO(data)).load()
        return dict(weights), dict(tags_of_words), set(tags)
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the weights of the tagger are damaged ({error}): remove the cached asset {ASSET}") from None


class _OnlySets(pickle.Unpickler):
    """Reads what the file holds, dictionaries, lists, texts, numbers and sets, and builds nothing else, whatever a file asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("__builtin__", "set"), ("builtins", "set")):
            return set
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
