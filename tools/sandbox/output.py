"""What a worker prints: read for ever, kept up to a limit."""

import os
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

_PIECE = 1 << 16


@dataclass(slots=True)
class Kept:
    """The beginning and the end of what is read from a pipe, up to a nonce that the worker writes after a call.

    Args:
        descriptor: The pipe, non-blocking.
        limit: Most bytes to keep.
    """

    descriptor: int
    limit: int
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)
    _total: int = 0
    _nonce: bytes = b""
    _seen: anyio.Event = field(default_factory=anyio.Event)
    _window: bytes = b""
    _flowing: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self._flowing.set()

    def begin(self, nonce: bytes) -> None:
        """Forget what was read, and look out for a nonce.

        Args:
            nonce: What ends the call's output.
        """
        self._head.clear()
        self._tail.clear()
        self._total, self._nonce, self._seen, self._window = 0, nonce, anyio.Event(), b""
        self._flowing.set()

    def pause(self) -> None:
        """Forget what was read, and read no more until the next call: who still writes has to wait, at no cost."""
        self.begin(b"")
        self._flowing = anyio.Event()

    @property
    def total(self) -> int:
        """Bytes read since `begin`."""
        return self._total

    async def wait(self) -> None:
        """Wait for the nonce, or for the end of the pipe."""
        await self._seen.wait()

    async def drain(self) -> None:
        """Read until the pipe's end."""
        while True:
            await self._flowing.wait()
            try:
                piece = os.read(self.descriptor, _PIECE)
            except BlockingIOError:
                await anyio.wait_readable(self.descriptor)
                continue  # not before it is known that this is still wanted
            except OSError:
                piece = b""
            if not piece:
                self._seen.set()
                return
            self._take(piece)
            await anyio.lowlevel.checkpoint()  # a flood must not keep others from their turn

    def text(self, most: int) -> tuple[str, bool]:
        """What was kept.

        Args:
            most: Most bytes of it, as UTF-8.

        Returns:
            The text, and whether something was left out.
        """
        self._keep(self._window)
        self._window = b""
        left_out = self._total - len(self._head) - len(self._tail)
        if not left_out:
            return cut_to(bytes(self._head + self._tail), most)
        return cut_to(bytes(self._head), most, bytes(self._tail), left_out)

    def _take(self, piece: bytes) -> None:
        if self._nonce and not self._seen.is_set():
            joined = self._window + piece
            found = joined.find(self._nonce)
            if found < 0:
                keep = min(len(self._nonce) - 1, len(joined))
                self._window = joined[len(joined) - keep :]
                self._keep(joined[: len(joined) - keep])
                return
            self._keep(joined[:found])
            self._window = b""
            self._seen.set()

    def _keep(self, piece: bytes) -> None:
        self._total += len(piece)
        half = self.limit // 2
        room = half - len(self._head)
        self._head += piece[:room]
        rest = piece[room:] if room < len(piece) else b""
        self._tail += rest[-half:]
        if len(self._tail) > half:
            del self._tail[: len(self._tail) - half]


def cut_to(head: bytes, most: int, tail: bytes = b"", left_out: int = 0) -> tuple[str, bool]:
    r"""Text of untrusted bytes that fits into a limit as UTF-8, without its middle if need be.

    Args:
        head: The bytes, or their beginning.
        most: Most bytes of the text, the note on what is left out among them.
        tail: Their end, if there is a gap.
        left_out: Bytes in that gap.

    Returns:
        The text, and whether something was left out.

    Example:
        >>> cut_to(b"a" * 60 + b"z" * 60, 80)
        ('aaaaaaaaaaaaaaaaaaaa\n[... 80 bytes left out ...]\nzzzzzzzzzzzzzzzzzzzz', True)
    """
    whole = (head + tail).decode("utf-8", "replace").encode()  # what is no UTF-8 grows
    if not left_out and len(whole) <= most:
        return whole.decode(), False
    half = max(0, most - 40) // 2
    if tail:
        first, last = head.decode("utf-8", "replace").encode(), tail.decode("utf-8", "replace").encode()
    else:
        first = last = whole
    first, last = first[:half], last[max(0, len(last) - half) :]
    left_out = max(1, len(head) + len(tail) + left_out - len(first) - len(last))
    text = f"{first.decode('utf-8', 'ignore')}\n[... {left_out} bytes left out ...]\n{last.decode('utf-8', 'ignore')}"
    return text, True
