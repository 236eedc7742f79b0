"""Token ids that only grow: four bytes each, and as JSON without writing the old ones again."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Self, overload

import pydantic_core


class TokenIds(Sequence[int]):
    """A transcript's ids.

    An engine sends all of them with every request. Their JSON text grows with them, so a request of a long
    conversation costs as much as one of a short one; `rest` gives its memory back when no request is near.

    Args:
        ids: The first ids.

    Example:
        >>> ids = TokenIds([128000, 9906])
        >>> ids += (128009,)
        >>> ids.json()
        b'[128000,9906,128009]'
        >>> ids == [128000, 9906, 128009]
        True
    """

    __slots__ = ("_ids", "_text", "_written")

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._ids = array("I", ids)
        self._text = bytearray()
        self._written = 0

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._ids[index] if isinstance(index, int) else self._ids[index].tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __iadd__(self, ids: Iterable[int]) -> Self:
        self._ids.extend(ids)
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TokenIds):
            return self._ids == other._ids
        if isinstance(other, list | tuple):
            return len(other) == len(self._ids) and self._ids.tolist() == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TokenIds({self._ids.tolist()!r})"

    def truncate(self, length: int) -> None:
        """Take back what came after the first ids.

        Args:
            length: How many ids stay.
        """
        if length < len(self._ids):
            del self._ids[length:]
            self.rest()

    def json(self) -> bytes:
        """All ids as JSON."""
        if self._written < len(self._ids):
            new = pydantic_core.to_json(self._ids[self._written :].tolist())[1:-1]
            if self._written:
                self._text += b","
            self._text += new
            self._written = len(self._ids)
        return bytes(b"[" + self._text + b"]")

    def rest(self) -> None:
        """Forget the JSON text, which is made again when it is wanted."""
        self._text, self._written = bytearray(), 0
