"""A program on a terminal of its own."""

import os
import pty
import select
import time
from collections.abc import Sequence

PATIENCE = 8.0
"""Seconds after which a key is taken to be lost. A second Ctrl-C would end the program harder than the first."""


class Terminal:
    """A program that believes a person is watching.

    Args:
        command: The program and its arguments.
        width: Columns of the terminal.
    """

    def __init__(self, command: Sequence[str], width: int = 80) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**os.environ, "COLUMNS": str(width)})
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come: {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self, key: str, seconds: float = 180.0) -> int:
        """Press a key until the program ends: right after a prompt appears, a key may come too early to be seen."""
        deadline = time.monotonic() + seconds
        self.type(key)
        while True:
            assert time.monotonic() < deadline, f"it did not end: {self.seen!r}"
            if not select.select([self.fd], [], [], PATIENCE)[0]:
                self.type(key)
                continue
            try:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:  # the other side of the terminal is closed
                os.close(self.fd)
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
