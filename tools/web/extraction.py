"""Text of pages and PDFs, read in child processes.

Parsers of HTML and PDF are large, partly in C, and meet hostile input here: some of it makes them run for ever or eat
all memory, and one day some of it will make them do worse. So they run in a process of their own, with an empty
environment, limits on time and memory, and no network where the kernel allows that. What it answers is JSON of
bounded size. A warm process takes a document in a few milliseconds; the first page needs about half a second more.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio.to_thread

from arriero.tools.errors import ToolDefinitionError, ToolError

_WORKER = Path(__file__).with_name("extraction_worker.py")
_MOST_WORKERS = 2
_KEPT_WORKERS = 1

Kind = Literal["html", "pdf", "text"]
"""What a document is read as."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a page.

    Args:
        text: Its words; empty where there are none.
        url: Absolute http(s) address. It was not checked against any policy.
    """

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a page or file says.

    Args:
        title: Its title in one line; empty where it has none.
        text: Its text, without what a reader does not see.
        links: Its links, those of the main part first.
        cut: Whether there was more text than the limits allow.
    """

    title: str
    text: str
    links: tuple[Link, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionLimits:
    """How much one document may take.

    Args:
        seconds: Time by the clock.
        processor: Seconds of processor time, rounded up.
        memory: Bytes of address space of the process.
        chars: Most characters of text to keep.
    """

    seconds: float = 10.0
    processor: float = 8.0
    memory: int = 1 << 30
    chars: int = 1_000_000


class _Crashed(Exception):
    """The child process ended or stopped making sense."""


class Extraction:
    """Reads documents in child processes, at most two at once, one of which is kept warm.

    Args:
        limits: What one document may take.

    Raises:
        ToolDefinitionError: The parsers are not installed.
    """

    def __init__(self, limits: ExtractionLimits | None = None) -> None:
        from importlib.util import find_spec

        missing = [name for name in ("trafilatura", "lxml_html_clean", "pypdf") if find_spec(name) is None]
        if missing:
            raise ToolDefinitionError(
                f"reading pages needs the extra 'web': pip install 'arriero[web]' ({', '.join(missing)} is missing)"
            )
        self._limits = limits or ExtractionLimits()
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._closed = False
        self._slots = threading.BoundedSemaphore(_MOST_WORKERS)

    @property
    def seconds(self) -> float:
        """How long reading one document may take."""
        return self._limits.seconds

    async def read(self, kind: Kind, body: bytes, *, charset: str, url: str) -> Document:
        """Read a document.

        Args:
            kind: What it is.
            body: The document.
            charset: Encoding that the server declares; empty when it declares none.
            url: Where it is from, to which relative links are relative.

        Returns:
            What it says.

        Raises:
            ToolError: It cannot be read, or not within the limits.
        """
        job = {"kind": kind, "charset": charset[:40], "url": url}
        answer = await anyio.to_thread.run_sync(self._read, job, body, abandon_on_cancel=True)
        if "error" in answer:
            raise ToolError(str(answer["error"])[:300])
        try:
            links = tuple(Link(str(text), str(address)) for text, address in answer["links"])
            return Document(str(answer["title"]), str(answer["text"]), links, bool(answer["cut"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError("the document cannot be read: its reader gave no sensible answer") from error

    def warm(self, kind: Kind) -> None:
        """Start a process, if none is waiting, and let it load what it needs; does not wait until it is ready.

        Args:
            kind: What it will probably have to read.
        """
        with self._lock:
            if not self._idle and not self._closed:
                self._idle.append(_Child())
            if self._idle:
                self._idle[-1].prepare(kind)

    def close(self) -> None:
        """End the processes that wait; those at work end with their document."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()

    def _read(self, job: dict[str, Any], body: bytes) -> Mapping[str, Any]:
        # a thread's work, bounded by itself: the caller may be gone by the time it ends
        limits = self._limits
        deadline = time.monotonic() + limits.seconds
        max_answer = 12 * limits.chars + 1_000_000  # JSON writes one character in up to 12 bytes
        job |= {"max_chars": limits.chars, "memory": limits.memory, "max_answer": max_answer}
        job |= {"cpu": limits.processor}  # ends the fork alone, before the wall time ends it all
        if not self._slots.acquire(timeout=limits.seconds):
            raise ToolError("too many documents are being read; try again")
        try:
            with self._lock:
                child = self._idle.pop() if self._idle else _Child()
            try:
                answer = child.ask(job, body, deadline, max_answer)
            except BaseException:
                child.kill()
                raise
            with self._lock:
                keep = len(self._idle) < _KEPT_WORKERS and not self._closed
                if keep:
                    self._idle.append(child)
            if not keep:
                child.kill()
            return answer
        except TimeoutError as error:
            raise ToolError(f"the document takes longer than {limits.seconds:g} s to read") from error
        except _Crashed as error:
            raise ToolError("the document cannot be read: it crashed its reader") from error
        finally:
            self._slots.release()


class _Child:
    """One process and its two pipes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", str(_WORKER), os.pathsep.join(filter(os.path.isabs, sys.path))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},  # none of ours, which may hold keys
            cwd="/",
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise _Crashed
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)

    def prepare(self, kind: Kind) -> None:
        head = json.dumps({"kind": kind, "prepare": True}).encode()
        with contextlib.suppress(OSError):  # the next job will tell
            os.write(self._input, len(head).to_bytes(4, "big") + head + bytes(4))

    def ask(self, job: Mapping[str, Any], body: bytes, deadline: float, max_answer: int) -> Mapping[str, Any]:
        head = json.dumps(job).encode()
        for part in (len(head).to_bytes(4, "big") + head + len(body).to_bytes(4, "big"), body):
            self._write(part, deadline)
        size = int.from_bytes(self._read_exactly(4, deadline), "big")
        if size > max_answer:
            raise _Crashed
        try:
            answer = json.loads(self._read_exactly(size, deadline))
        except (ValueError, RecursionError) as error:
            raise _Crashed from error
        if not isinstance(answer, dict):
            raise _Crashed
        return answer

    def _write(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait((), (self._input,), deadline)
            try:
                view = view[os.write(self._input, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise _Crashed from error

    def _read_exactly(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            self._wait((self._output,), (), deadline)
            try:
                chunk = os.read(self._output, min(size - len(found), 1 << 20))
            except BlockingIOError:
                continue
            if not chunk:
                raise _Crashed
            found += chunk
        return bytes(found)

    @staticmethod
    def _wait(reading: tuple[int, ...], writing: tuple[int, ...], deadline: float) -> None:
        poll = select.poll()  # not select(), which knows no descriptor above 1023
        for descriptor in reading:
            poll.register(descriptor, select.POLLIN)
        for descriptor in writing:
            poll.register(descriptor, select.POLLOUT)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its forks as well
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
