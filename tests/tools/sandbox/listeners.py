"""Sockets of the host that nothing in a sandbox may reach; they count who does."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_LOOPBACK = ("127.0.0.1", "::1", "127.0.0.2")
_REPLY = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
_ATTEMPTS = 50
_COUNTED_WITHIN = 5.0


class Listeners:
    """TCP, UDP and UNIX sockets, served by a thread that counts connections and datagrams.

    Args:
        unix: Path of the UNIX socket to make.
        abstract: Name of the abstract one, without the leading NUL.
    """

    def __init__(self, unix: Path, abstract: str) -> None:
        self.external = external_address()
        self.hits = {"listener": 0, "udp": 0, "unix": 0}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, "stop")
        addresses = [address for address in (*_LOOPBACK, self.external) if _exists(address)]
        self.port, tcp = _bind_all(addresses, socket.SOCK_STREAM)
        self.second_port, tcp_too = _bind_all(addresses, socket.SOCK_STREAM)
        self.udp_port, udp = _bind_all(addresses, socket.SOCK_DGRAM)
        path = _unix(str(unix))
        unix.chmod(0o777)
        for kind, sockets in (("listener", tcp + tcp_too), ("udp", udp), ("unix", [path, _unix("\0" + abstract)])):
            for each in sockets:
                each.setblocking(False)
                self._selector.register(each, selectors.EVENT_READ, kind)
        self.addresses = addresses
        self._unix = [str(unix), "\0" + abstract]
        self._thread = threading.Thread(target=self._serve, name="listeners", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._verify()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            with contextlib.suppress(OSError):
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._wake.close()

    def reset(self) -> None:
        """Count anew."""
        self.hits.update(dict.fromkeys(self.hits, 0))

    def _verify(self) -> None:
        """Knock at each door: one that does not count would let everything pass."""
        wanted = {"listener": 0, "udp": 0, "unix": 0}
        for address in self.addresses:
            wanted["listener"] += reachable([address], self.port) + reachable([address], self.second_port)
            with socket.socket(_family(address), socket.SOCK_DGRAM) as sender:
                wanted["udp"] += sender.sendto(b"x", (address, self.udp_port))
        for name in self._unix:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)
                wanted["unix"] += 1
        deadline = time.monotonic() + _COUNTED_WITHIN
        while self.hits != wanted or wanted["listener"] < 2 * len(self.addresses):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the listeners count {self.hits} where there were {wanted}")
            time.sleep(0.001)
        self.reset()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data == "stop":
                    return
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, key.data)

    def _answer(self, ready: socket.socket, kind: str) -> None:
        if kind == "connection":
            data = ready.recv(65536)
            if data.startswith((b"GET ", b"POST ", b"HEAD ", b"PUT ")):
                ready.sendall(_REPLY)
            self._selector.unregister(ready)
            ready.close()
            return
        self.hits[kind] += 1
        if ready.type == socket.SOCK_DGRAM:
            ready.recv(65536)
            return
        connection, _ = ready.accept()
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, "connection")


def external_address() -> str:
    """An IPv4 address of this machine that is not loopback's; 127.0.0.3 where it has none.

    A datagram socket's connect only looks up the route: nothing is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for somewhere in ("192.0.2.1", "198.51.100.1"):  # addresses of documentation (RFC 5737)
            with contextlib.suppress(OSError):
                probe.connect((somewhere, 9))
                return str(probe.getsockname()[0])
    return "127.0.0.3"


def free_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(addresses: Sequence[str], port: int) -> bool:
    """Whether anything listens there."""
    for address in addresses:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 0.2):
            return True
    return False


def _bind_all(addresses: Sequence[str], kind: socket.SocketKind) -> tuple[int, list[socket.socket]]:
    """One port on all the addresses."""
    for _ in range(_ATTEMPTS):
        bound: list[socket.socket] = []
        port = 0
        try:
            for address in addresses:
                one = socket.socket(_family(address), kind)
                bound.append(one)
                one.bind((address, port))
                port = one.getsockname()[1]
                if kind == socket.SOCK_STREAM:
                    one.listen(64)
        except OSError:
            for each in bound:
                each.close()
        else:
            return port, bound
    raise OSError(f"no port was free on all of {', '.join(addresses)}")


def _unix(name: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(name)
    listening.listen(64)
    return listening


def _exists(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(_family(address)) as probe:
        probe.bind((address, 0))
        return True
    return False


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
