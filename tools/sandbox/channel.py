"""The server's end of a worker's control socket. The peer is hostile."""

import json
import socket
import struct
from typing import Any

import anyio

from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.tier import Launched

_LENGTHS = struct.Struct("!II")
_PIECE = 1 << 18
HEAD_MOST = 512 << 10
"""Bytes of a frame's JSON. Parsed, JSON can take twenty times its size; what is large travels as bytes beside it."""


class ChannelClosed(SandboxError):
    """The worker is gone."""


class ChannelBroken(SandboxError):
    """The worker sent what is no frame."""


def encode_frame(head: dict[str, Any], body: bytes = b"", *, most: int) -> bytes:
    r"""A frame: the lengths of both parts as 32-bit numbers, a JSON object, bytes.

    Args:
        head: The object.
        body: The bytes.
        most: Most bytes of both parts.

    Returns:
        The frame.

    Raises:
        SandboxError: It is too large.

    Example:
        >>> encode_frame({}, b"a", most=8)
        b'\x00\x00\x00\x02\x00\x00\x00\x01{}a'
    """
    data = json.dumps(head).encode()
    if len(data) > HEAD_MOST or len(data) + len(body) > most:
        raise SandboxError(f"a message of {len(data) + len(body)} bytes is too large; the limit is {most}")
    return _LENGTHS.pack(len(data), len(body)) + data + body


def decode_head(data: bytes) -> dict[str, Any]:
    """Parse a frame's head.

    Args:
        data: The bytes.

    Returns:
        The object.

    Raises:
        ChannelBroken: It is no JSON object.
    """
    try:
        head = json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError: also what is no UTF-8, and numbers of many digits
        raise ChannelBroken("the worker sent something that is not JSON") from error
    if not isinstance(head, dict):
        raise ChannelBroken("the worker sent JSON that is not an object")
    return head


class Channel:
    """Frames to and from a worker. One task at a time may use it.

    Args:
        launched: The worker.
        most: Most bytes of a frame.
    """

    def __init__(self, launched: Launched, most: int) -> None:
        self._socket = launched.control
        self._most = most
        self._arrived = bytearray()
        self._lengths: tuple[int, int] | None = None

    @property
    def hung_up(self) -> bool:
        """Whether the worker's end is closed."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    @property
    def has_unread(self) -> bool:
        """Whether something of the worker's was not read yet."""
        try:
            return bool(self._arrived or self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send a frame.

        Args:
            head: Its JSON object.
            body: Its bytes.

        Raises:
            SandboxError: It is too large.
            ChannelClosed: The worker is gone.
        """
        data = memoryview(encode_frame(head, body, most=self._most))
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise ChannelClosed("the worker is gone") from error

    async def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for a frame. If this is cancelled, what has arrived of it is kept for the next try.

        Returns:
            Its JSON object and its bytes.

        Raises:
            ChannelClosed: The worker is gone.
            ChannelBroken: What it sent is no frame, or too large.
        """
        if self._lengths is None:
            head, body = _LENGTHS.unpack(await self._take(_LENGTHS.size))
            if head > HEAD_MOST or head + body > self._most:
                raise ChannelBroken(f"the worker announced a message of {head + body} bytes")
            self._lengths = head, body
        head, body = self._lengths
        data = await self._take(head + body)
        self._lengths = None
        return decode_head(data[:head]), data[head:]

    async def _take(self, count: int) -> bytes:
        while len(self._arrived) < count:  # memory is taken for what arrives, not for what is announced
            try:
                piece = self._socket.recv(min(count - len(self._arrived), _PIECE))
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError as error:
                raise ChannelClosed("the worker is gone") from error
            if not piece:
                raise ChannelClosed("the worker is gone")
            self._arrived += piece
        data = bytes(self._arrived)
        self._arrived.clear()
        return data
