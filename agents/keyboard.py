"""What somebody types, or a pipe brings, line by line."""

import importlib
import os
import sys
from collections import deque
from contextlib import suppress

import anyio

from arriero.prompts.errors import InvalidMessage

_PIECE = 65536


class Keyboard:
    """Standard input, line by line. On a terminal lines can be edited, and be typed while something else runs."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdin.isatty()
        self._early: deque[str] = deque()
        self._begun = ""
        if self.is_terminal:
            with suppress(ImportError):
                importlib.import_module("readline")  # importing it gives `input` editing and a history

    def read(self, prompt: str) -> str:
        """Wait for the next line.

        Args:
            prompt: What a terminal shows before it.

        Returns:
            The line.

        Raises:
            EOFError: There are no more.
            InvalidMessage: What comes is no text.
        """
        if self._early:
            return self._early.popleft()
        return self._next(prompt)

    def reply(self, prompt: str) -> str:
        """Wait for the reply to a question. On a terminal what was typed before the question was there is none.

        Args:
            prompt: What a terminal shows before it.

        Returns:
            The line.

        Raises:
            EOFError: There are no more.
            InvalidMessage: What comes is no text.
        """
        if self.is_terminal:
            with suppress(ImportError):
                termios = importlib.import_module("termios")
                termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        return self._next(prompt)

    def _next(self, prompt: str) -> str:
        if self.is_terminal:
            if sys.stdout.isatty():
                return input(prompt)
            sys.stderr.write(prompt)  # what is written elsewhere is not for people
            sys.stderr.flush()
            return input()
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise InvalidMessage(f"standard input is not text: {error}") from error
        if not line:
            raise EOFError
        return line

    def put_back(self, line: str) -> None:
        """Have a line read again, before others."""
        self._early.append(line)

    async def next_line(self) -> str:
        """Wait for a line that is typed on the terminal while something else runs.

        Returns:
            The line.

        Raises:
            EOFError: The terminal gives no more.
        """
        while "\n" not in self._begun:
            await anyio.wait_readable(sys.stdin.fileno())
            # Python's own buffer is left alone: `input` reads from the terminal too.
            piece = os.read(sys.stdin.fileno(), _PIECE)
            if not piece:
                raise EOFError
            self._begun += piece.decode(errors="replace")
        line, _, self._begun = self._begun.partition("\n")
        return line
