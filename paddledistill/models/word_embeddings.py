"""Pre-trained embeddings for a BiLSTM: from a file of word vectors, or out of an encoder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paddledistill.data.tokenization import Tokenizer
from paddledistill.errors import UserError
from paddledistill.files import digest, lock
from paddledistill.models import encoder
from paddledistill.models.paddlenlp import paddlenlp_transformers

logger = logging.getLogger(__name__)

_FILES = (".txt", ".gz", ".bin", ".kv", ".vec", ".npz")
_NAMES = ("w2v.", "glove.", "fasttext.")  # PaddleNLP's begin so


def identify(source: str) -> str:
    """What tells one source of embeddings from another: a digest, or an encoder's name of PaddleNLP's.

    :raises UserError: if there is none.
    """
    if _is_file(source):
        return digest(_file(source))
    with _told(source):
        return encoder.identify(source)


def pretrained(source: str, words: list[str], width: int) -> tuple[list[int], NDArray[np.float32]]:
    """Numbers of the ``words`` that ``source`` knows, and an embedding of each, [known, width].

    :param source: a file of word vectors, or an encoder by directory or name, of whose embeddings the principal components are taken.
    :raises UserError: if it cannot be found or read, or its vectors are of another width.
    """
    known, vectors = (_from_file if _is_file(source) else _from_encoder)(source, words, width)
    level = logging.INFO if 2 * len(known) > len(words) else logging.WARNING
    logger.log(level, "word vectors: %d of %d words of the student have one", len(known), len(words))
    return known, vectors


def _is_file(source: str) -> bool:
    return Path(source).is_file() or source.endswith(_FILES) or source.startswith(_NAMES)


def _file(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if source.endswith(_FILES):
        raise UserError(f"no file of word vectors {source}: give GloVe text, a word2vec .bin or a gensim .kv")
    return _of_paddlenlp(source)


def _of_paddlenlp(name: str) -> Path:
    """The archive of word vectors in PaddleNLP's cache, into which Paddle downloads it.

    :raises UserError: for a name that PaddleNLP does not have, or if it cannot be downloaded.
    """
    paddlenlp_transformers()
    from paddlenlp.embeddings import constant, token_embedding

    if name not in constant.EMBEDDING_NAME_LIST:
        raise UserError(f"PaddleNLP has no word vectors {name}: {', '.join(constant.EMBEDDING_NAME_LIST[:3])} are some")
    folder, url = Path(token_embedding.EMBEDDING_HOME), f"{constant.EMBEDDING_URL_ROOT}/{name}.tar.gz"
    path = folder / f"{name}.npz"
    with lock(folder / ".lock", wait=True):
        if not path.is_file():
            try:
                token_embedding.get_path_from_url(url, str(folder))
            except (Exception, SystemExit) as error:  # whatever it raises, the remedy is the same
                told = " ".join(str(error).split())[:200]
                raise UserError(f"cannot download {url} ({told}): get it elsewhere, and unpack it as {path}") from None
    return path


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Say what of, where an encoder cannot be had."""
    try:
        yield
    except UserError as error:
        raise UserError(f"--embedding_name {source} is no file of word vectors, and no encoder: {error}") from None


def _from_file(source: str, words: list[str], width: int) -> tuple[list[int], NDArray[np.float32]]:
    from paddledistill.augment import word_vectors  # gensim takes as long to import as all the rest

    vectors = word_vectors.read(_file(source), set(words))
    if vectors.vector_size != width:
        raise UserError(f"{source} has vectors of {vectors.vector_size} numbers: set --emb_dim to that, not {width}")
    known = [number for number, word in enumerate(words) if word in vectors]
    return known, np.array([vectors[words[number]] for number in known], np.float32).reshape(-1, width)


def _from_encoder(source: str, words: list[str], width: int) -> tuple[list[int], NDArray[np.float32]]:
    with _told(source):
        model = encoder.plain_encoder(source)
    if not isinstance(model.tokenizer, Tokenizer):
        raise UserError(f"{source} has no WordPiece vocabulary: name a BERT, or a file of word vectors")
    table, index = model.backbone.embeddings.word_embeddings.weight.numpy(), model.tokenizer.index
    known = [number for number, word in enumerate(words) if word in index]
    if width > min(table.shape[1], len(known)):
        raise UserError(
            f"{source} has embeddings of {table.shape[1]} numbers, and {len(known)} of the student's words: --emb_dim {width} is more"
        )
    return known, principal_components(table[[index[words[number]] for number in known]], width)


def principal_components(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The first ``count`` of each row, [rows, count]: what of the distances between rows so many numbers can hold.

    :param rows: [rows, width].
    """
    centred = rows - rows.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # the largest last
    found: NDArray[np.float32] = centred @ directions[:, ::-1][:, :count]
    return found
