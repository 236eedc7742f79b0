"""The harness's end of a server: requests with deadlines, and what the host sees of it."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.environment import Environment
from sandbox.host_processes import descendants

_SCRIPT = Path(__file__).with_name("server.py")
_START_WITHIN = 60.0
_REQUEST_WITHIN = 15.0
_STOP_WITHIN = 3.0


class ServerLost(Exception):
    """The server does not answer any more: it died or hangs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server.

    Args:
        data: What it says.
        seconds: From the request to the answer.
    """

    data: Mapping[str, Any]
    seconds: float

    @property
    def raised(self) -> str:
        """The exception that came out of the tool; "" if none did."""
        return str(self.data.get("raised", ""))

    @property
    def refused(self) -> bool:
        """Whether that exception is an error of the kind that tools may raise."""
        return bool(self.data.get("expected"))


class ServerProcess:
    """A server in a process of its own.

    Args:
        environment: What surrounds it.
        tier: Name of the tier.
        wall: Wall limit of a call, in seconds.
    """

    def __init__(self, environment: Environment, tier: str, wall: float) -> None:
        here, there = socket.socketpair()
        command = [sys.executable, "-P", str(_SCRIPT), str(there.fileno()), tier, str(wall), environment.key_name]
        with environment.descriptors() as leaked, environment.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment.variables(),
                pass_fds=(there.fileno(), *leaked),
                cwd=environment.home,
                start_new_session=True,
            )
        there.close()
        self._socket = here
        self._unread = b""
        self._log = environment.log
        try:
            self.note = str(self._receive(_START_WITHIN).get("note", ""))
        except ServerLost as error:
            self.stop()
            raise ServerLost(f"{error}; its log ends: {self._log_end()}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, *, within: float = _REQUEST_WITHIN, **arguments: Any) -> Reply:
        """Send a request and wait for its answer.

        Raises:
            ServerLost: None came in time.
        """
        started = time.monotonic()
        try:
            self._socket.settimeout(within)
            self._socket.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except OSError as error:
            raise ServerLost(self._how()) from error
        return Reply(self._receive(within), time.monotonic() - started)

    def upload(self, session: str, path: str, data: bytes) -> Reply:
        return self.ask("upload", session=session, path=path, data=base64.b64encode(data).decode())

    def died(self) -> str:
        """How it ended; "" while it lives."""
        return "" if self._process.poll() is None else self._how()

    def kill(self) -> None:
        """End it at once; `stop` has still to be called."""
        self._process.kill()

    def stop(self) -> None:
        """End it, and whatever it started."""
        left = descendants(self.pid)
        self._socket.close()
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in left:
            if process.runs:
                os.kill(process.pid, signal.SIGKILL)

    def _receive(self, within: float) -> dict[str, Any]:
        deadline = time.monotonic() + within
        parts = [self._unread]
        while b"\n" not in parts[-1]:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError as error:
                raise ServerLost(f"the server did not answer within {within:g} s") from error
            except OSError as error:
                raise ServerLost(self._how()) from error
            if not data:
                raise ServerLost(self._how())
            parts.append(data)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _how(self) -> str:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "the server hung up"
        return f"the server died: {signal.Signals(-status).name if status < 0 else f'exit status {status}'}"

    def _log_end(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-600:]
