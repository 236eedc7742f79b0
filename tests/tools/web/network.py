# ruff: noqa: ASYNC109 - the signatures of the library
"""A network that records: names resolve as told, connections are noted, and each gets the same answer."""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore2

PUBLIC = "93.184.215.14"
PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    b"<html><title>Mules</title><body><p>Mules carry loads over the mountains.</p></body></html>"
)


@dataclass
class Network(httpcore2.AsyncNetworkBackend):
    """Where a client thinks it is.

    `answers` holds, for each name, the answers to give, one after another; the last one is repeated.
    """

    reply: bytes = PAGE
    answers: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    connections: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        given = self.answers.get(host, [[PUBLIC]])
        answer = given[min(self.asked.count(host), len(given) - 1)]
        self.asked.append(host)
        return answer

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connections.append((host, port))
        return _Stream(self, [self.reply])

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connections.append((path, 0))
        return _Stream(self, [self.reply])


@dataclass
class _Stream(httpcore2.AsyncNetworkStream):
    network: Network
    chunks: list[bytes]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.network.sent += buffer

    async def aclose(self) -> None:
        pass

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        self.network.names.append(server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        return None
