"""Text to ids and back, with content always encoded as ordinary text."""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType

import tokenizers

from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.tiktoken_vocabulary import byte_alphabet, read_ranks

_ID_LIMIT = 1 << 32
"""Ids are 32-bit numbers; the backend raises OverflowError for others."""

_FILES = ("tokenizer.json", "tokenizer.model", "original/tokenizer.model")
_BYTES = {character: byte for byte, character in byte_alphabet().items()}

_REMEMBERED, _REMEMBERED_LENGTH = 1024, 16_384
"""How many texts' ids are kept, and how long the texts may be."""

_SAMPLED_IDS = 1024
_SAMPLES = (
    "The mule carries 12345 kg over the pass.\n\n",
    'añá 驴 \U0001f434\t{"x": [1, -2.5e3]}',
    "def f(x):\n    return x\n",
)


class Tokenizer:
    """A vocabulary, read so that text which spells a special token stays text.

    Args:
        backend: A tokenizer of the `tokenizers` library. It is switched to encode special tokens as ordinary text.

    Example:
        >>> from arriero.models import DEMO
        >>> tokenizer = Tokenizer.from_folder(DEMO)
        >>> tokenizer.special_id("<|eot_id|>") in tokenizer.encode("<|eot_id|>")
        False
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.encode_special_tokens = True
        self._backend = backend
        self._bytes: dict[int, bytes] = {}
        # A conversation is rendered again and again, and each time most of its messages are the same.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._encoded)
        self.special_ids: Mapping[str, int] = MappingProxyType(
            {token.content: id_ for id_, token in backend.get_added_tokens_decoder().items() if token.special}
        )
        """Special tokens and their ids."""

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Read the tokenizer of a model folder.

        Args:
            folder: The folder. `tokenizer.json` is read, or else Meta's `tokenizer.model`, which may lie under
                `original/`; both give the same ids. It may also be one of those files itself.

        Returns:
            The tokenizer.

        Raises:
            VocabularyMismatch: There is neither, or it cannot be read.
        """
        path = Path(folder)
        if not path.is_dir():
            return cls.from_file(path)
        found = next((path / name for name in _FILES if (path / name).is_file()), None)
        if found is None:
            raise VocabularyMismatch(
                f"no tokenizer in {path}: give a model folder that holds tokenizer.json or tokenizer.model"
            )
        return cls.from_file(found)

    @classmethod
    def from_file(cls, file: str | Path) -> "Tokenizer":
        """Read a `tokenizer.json`, or the `tokenizer.model` that Meta ships with Llama 3 and 4.

        Args:
            file: The file; one whose name ends in `.json` is read as the former.

        Returns:
            The tokenizer.

        Raises:
            VocabularyMismatch: There is no such file, or it is neither.
        """
        path = Path(file)
        if not path.is_file():
            raise VocabularyMismatch(
                f"no tokenizer at {path}: give a tokenizer.json, a tokenizer.model or their folder"
            )
        if path.suffix != ".json":
            return cls(read_ranks(path))
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:  # the Rust side raises bare Exception
            raise VocabularyMismatch(f"{path} is not a readable tokenizer.json: {error}") from error

    def save(self, file: str | Path) -> None:
        """Write it as a `tokenizer.json`, which any library of Hugging Face reads."""
        self._backend.save(str(file))

    @property
    def size(self) -> int:
        """Number of ids, special ones included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def fingerprint(self) -> str:
        """Digest that two vocabularies share if ids mean the same in both.

        It is taken from a sample, which another release of the tokenizers library reads alike: all special tokens,
        the size, ids spread over the vocabulary, and how some text is encoded.
        """
        spread = range(0, self.size, max(1, self.size // _SAMPLED_IDS))
        seen = [
            sorted(self.special_ids.items()),
            self.size,
            [self._backend.id_to_token(id_) for id_ in spread],
            [self.encode(text) for text in _SAMPLES],
        ]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text. Never yields a special id, whatever the text spells."""
        if not text:
            return []
        return list(self._remembered(text)) if len(text) <= _REMEMBERED_LENGTH else self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        # The fast call leaves out the positions of the ids in the text, which take as long as the ids.
        ids: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Ids of ordinary text, each with the position of the character in which its text begins.

        Example:
            >>> from arriero.models import DEMO
            >>> [start for _, start in Tokenizer.from_folder(DEMO).spans("12 mules")]
            [0, 1, 2]
        """
        encoded = self._backend.encode(text, add_special_tokens=False)
        return [(id_, start) for id_, (start, _) in zip(encoded.ids, encoded.offsets, strict=True)]

    def special_id(self, token: str) -> int:
        """Id of one special token.

        Raises:
            VocabularyMismatch: The vocabulary has no such special token.
        """
        if token not in self.special_ids:
            self.require([token])
        return self.special_ids[token]

    def require(self, tokens: Iterable[str]) -> None:
        """Check that all of these are special tokens here, as those of the dialect must be.

        Args:
            tokens: Special tokens.

        Raises:
            VocabularyMismatch: The vocabulary lacks some.

        Example:
            >>> from arriero.models import DEMO
            >>> Tokenizer.from_folder(DEMO).require(["<|eot_id|>", "<|eom_id|>"])
        """
        lacking = [token for token in tokens if token not in self.special_ids]
        if lacking:
            raise VocabularyMismatch(
                f"the vocabulary has no special token {', '.join(lacking)}: use the tokenizer of a model that speaks "
                "this dialect"
            )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelled out; none for ids that it lacks. Bytes not UTF-8 become U+FFFD."""
        try:
            return self._backend.decode(list(ids), skip_special_tokens=False)
        except OverflowError:
            return self._backend.decode([id_ for id_ in ids if 0 <= id_ < _ID_LIMIT], skip_special_tokens=False)

    def stream(self) -> "TextStream":
        """Text of ids that arrive one by one.

        Raises:
            VocabularyMismatch: The tokenizer is not byte-level, as those of Llama 3 and 4 are.
        """
        if not isinstance(self._backend.decoder, tokenizers.decoders.ByteLevel):
            raise VocabularyMismatch(
                "reading ids one by one needs a byte-level tokenizer, as those of Llama 3 and 4 are"
            )
        return TextStream(self)

    def token_bytes(self, id_: int) -> bytes:
        """The bytes that one id of a byte-level vocabulary stands for; none for an id that it lacks."""
        if not 0 <= id_ < _ID_LIMIT:
            return b""
        known = self._bytes.get(id_)
        if known is None:
            added = self._backend.get_added_tokens_decoder().get(id_)
            piece = "" if added is not None else self._backend.id_to_token(id_) or ""
            known = added.content.encode() if added is not None else bytes(_BYTES[character] for character in piece)
            self._bytes[id_] = known
        return known


class TextStream:
    """Text of ids that arrive one by one. A character is given when its last byte is there.

    Args:
        tokenizer: A byte-level tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id_: int) -> str:
        """The text that this id completes. Bytes that can never be UTF-8 become U+FFFD."""
        return self._decoder.decode(self._tokenizer.token_bytes(id_))

    def reset(self) -> None:
        """Forget an unfinished character."""
        self._decoder.reset()
