"""Tokenizers that are not BERT's WordPiece, for teachers of other families: byte-level BPE, SentencePiece.

The work is done by PaddleNLP's own tokenizers, or, where a directory has nothing but a ``tokenizer.json``, by the ``tokenizers``
package; slower than our WordPiece, but a text is tokenised once. ``[MASK]`` in a text is the mask token here, too, whatever its own name.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from paddledistill.data.tokenization import CONFIG_FILE, SPECIAL_TOKENS, VOCABULARY_FILE, Layout, Tokenizer
from paddledistill.errors import UserError

RUST_FILE = "tokenizer.json"
MASK = SPECIAL_TOKENS[-1]


class SubwordFiles(NamedTuple):
    """The file by which a directory shows that its tokenizer is not WordPiece, and PaddleNLP's class that reads it."""

    marker: str
    tokenizer: str


def read_tokenizer(directory: Path, subwords: SubwordFiles | None) -> "Tokenizer | SubwordTokenizer":
    """The tokenizer of a model directory.

    :param subwords: of the model's family.
    :raises UserError: if there is none, or it cannot be read.
    """
    if subwords and (directory / subwords.marker).is_file():
        return SubwordTokenizer.of_paddlenlp(directory, subwords.tokenizer)
    if (directory / VOCABULARY_FILE).is_file() or not (directory / RUST_FILE).is_file():
        if subwords and not (directory / VOCABULARY_FILE).is_file():
            raise UserError(
                f"{directory} has no {subwords.marker}, {VOCABULARY_FILE} or {RUST_FILE}: copy the tokenizer's files beside the weights"
            )
        return Tokenizer.from_directory(directory)
    return _of_rust_file(directory)


class SubwordTokenizer:
    """Texts to ids by another library's tokenizer; what an encoder needs, and no more.

    ``layout``: how its model wants texts joined; ``key``: SHA-256 (hex) of all that shapes the ids.
    """

    def __init__(self, library: Any, layout: Layout, pad_id: int, size: int, key: str, mask: str | None) -> None:
        """Use :func:`read_tokenizer`. :param library: a PaddleNLP tokenizer, or one of ``tokenizers`` and its configuration.
        :param mask: its own name of the mask token, if it has one."""
        self.layout, self.pad_id, self.key = layout, pad_id, key
        self._library, self._size, self._mask = library, size, mask or MASK

    @classmethod
    def of_paddlenlp(cls, source: Path | str, kind: str) -> "SubwordTokenizer":
        """By PaddleNLP's tokenizer class ``kind``, from a directory.

        :raises UserError: if PaddleNLP cannot read it.
        """
        from paddledistill.models.paddlenlp import paddlenlp_transformers

        try:
            original = getattr(paddlenlp_transformers(), kind).from_pretrained(str(source))
        except Exception as error:  # of a dozen kinds, from json to sentencepiece
            raise UserError(
                f"{source}: PaddleNLP's {kind} cannot read the tokenizer there ({type(error).__name__}: {error}): copy its files again"
            ) from error
        return cls.wrapping(original)

    @classmethod
    def wrapping(cls, original: Any) -> "SubwordTokenizer":
        """What :meth:`of_paddlenlp` gives, of a PaddleNLP tokenizer that is there already."""
        ids = original.build_inputs_with_special_tokens([-1], [-2])
        types = original.create_token_type_ids_from_sequences([-1], [-2])
        layout = _layout(ids, [{-1: 0, -2: 1}.get(number) for number in ids], types, original.padding_side == "left")
        vocabulary = original.get_vocab()
        lowercase, mask = original.init_kwargs.get("do_lower_case"), original.mask_token
        total = hashlib.sha256(repr((type(original).__name__, layout, lowercase, mask)).encode())
        total.update(json.dumps(vocabulary, sort_keys=True).encode())
        size = max(vocabulary.values()) + 1
        return cls(original, layout, original.pad_token_id, size, total.hexdigest(), mask)

    def __len__(self) -> int:
        return self._size

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special ones."""
        texts = [text.replace(MASK, self._mask) for text in texts]
        if isinstance(self._library, _Rust):
            found = self._library.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            return [encoding.ids for encoding in found]
        return [self._library.convert_tokens_to_ids(self._library.tokenize(text)) for text in texts]

    def save(self, directory: Path | str) -> None:
        """Write the files that :func:`read_tokenizer` reads."""
        if isinstance(self._library, _Rust):
            for name, content in self._library.files.items():
                (Path(directory) / name).write_bytes(content)
        else:
            self._library.save_pretrained(str(directory))


class _Rust(NamedTuple):
    tokenizer: tokenizers.Tokenizer
    files: dict[str, bytes]


def _of_rust_file(directory: Path) -> Tokenizer | SubwordTokenizer:
    path = directory / RUST_FILE
    files = {name: (directory / name).read_bytes() for name in (RUST_FILE, CONFIG_FILE) if (directory / name).is_file()}
    try:
        content, config = json.loads(files[RUST_FILE]), json.loads(files.get(CONFIG_FILE, b"{}"))
        library = tokenizers.Tokenizer.from_str(files[RUST_FILE].decode())
    except Exception as error:  # tokenizers raises a plain Exception
        raise UserError(f"{path} is damaged or of a newer version ({error}): copy it again") from None
    if content["model"].get("type") == "WordPiece":
        pieces = sorted(content["model"]["vocab"].items(), key=lambda item: item[1])
        lowercase = (content.get("normalizer") or {}).get("lowercase", config.get("do_lower_case", True))
        return Tokenizer([piece for piece, _ in pieces], bool(lowercase))
    library.no_padding()
    library.no_truncation()
    example = library.encode("a", "b")
    # XLNet's classifier reads the last token, so its rows are filled on the left; transformers 5 does not write that down.
    pads_left = config.get("padding_side") == "left" or 2 in example.type_ids
    layout = _layout(example.ids, example.sequence_ids, example.type_ids, pads_left, example.special_tokens_mask)
    pad = library.token_to_id(str(_text_of(config.get("pad_token", "<pad>"))))
    if pad is None:
        raise UserError(f"{path} has no padding token: {CONFIG_FILE} should name it as pad_token")
    mask = _text_of(config.get("mask_token", "<mask>"))
    mask = mask if library.token_to_id(str(mask)) is not None else None
    key = hashlib.sha256(files[RUST_FILE] + repr((layout, mask)).encode()).hexdigest()
    return SubwordTokenizer(_Rust(library, files), layout, pad, library.get_vocab_size(), key, mask)


def _text_of(token: Any) -> Any:
    return token["content"] if isinstance(token, dict) else token


def _layout(
    ids: Sequence[int],
    owners: Sequence[int | None],
    types: Sequence[int],
    pads_left: bool,
    special: Sequence[int] | None = None,
) -> Layout:
    """From a pair that is joined already, and to which of its texts, 0, 1 or none, each id belongs."""
    owners = [None if special and special[at] else owner for at, owner in enumerate(owners)]
    first, second = owners.index(0), owners.index(1)
    end_of_first, end_of_second = len(owners) - owners[::-1].index(0), len(owners) - owners[::-1].index(1)
    return Layout(
        tuple(ids[:first]),
        tuple(ids[end_of_first:second]),
        tuple(ids[end_of_second:]),
        second_segment=types[second] == 1,
        own_segments=sum(kind == 2 for kind in types),
        pads_left=pads_left,
    )
