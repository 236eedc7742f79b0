"""The code interpreter: Python that a model wrote, in a sandbox."""

import contextlib
import logging
import mimetypes
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from arriero.prompts.code_result import format_code_result
from arriero.tools.artifacts import Attachment, ToolOutput
from arriero.tools.context import ToolContext
from arriero.tools.declared import Tool, describe
from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.execution import Execution, FileEntry
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.output import cut_to
from arriero.tools.sandbox.own_loop import OwnLoop
from arriero.tools.sandbox.session import READ_MOST
from arriero.tools.sandbox.unsafe import Unsafe

if TYPE_CHECKING:
    from arriero.tools.sandbox.sessions import NamedSessions
    from arriero.tools.sandbox.tier import Tier

_logger = logging.getLogger(__name__)
_START = 20.0
_UNSAFE = "UNSAFE: this ran without a sandbox, with all rights of the agent's user"
_MOST_FILES = 16


def code_interpreter(
    *,
    timeout: float = 20.0,
    limits: Limits | None = None,
    tier: "Tier | None" = None,
    allow_unsafe: bool = False,
    python: str | None = None,
    output: int = 8_000,
    attach: int = 8 << 20,
    idle: float = 900.0,
    sessions: int = 32,
    warm: int = 1,
) -> Tool:
    r"""A tool that runs Python code in a sandbox and gives what it printed, in Meta's form.

    Variables and files live from call to call of one session (`ToolContext.session`); outside of a session each
    call starts afresh. The value of a last expression is shown as at Python's prompt. Open matplotlib figures and
    the files that the code wrote come back as attachments.

    The first use in a process tries which kind of sandbox holds on this machine, by running code that should not
    succeed in it; this takes about a second. See docs/sandbox.md for the kinds and what each does not stop.

    Args:
        timeout: Seconds of wall time, for each call.
        limits: What a session may use; `wall` is replaced by `timeout`.
        tier: The kind of sandbox; None to try them, the strictest first.
        allow_unsafe: Go on without any sandbox where none holds. This is logged and said in every result.
        python: An interpreter with the packages that code may import; None for the one that runs this.
        output: Most bytes of each of standard output and standard error that the model reads.
        attach: Most bytes of files, in sum, that a call's result carries; the others can be fetched.
        idle: Seconds after which an unused session is closed.
        sessions: Sessions to keep; then the one unused for longest is closed.
        warm: Workers that wait, ready, for a new session.

    Returns:
        The tool, a built-in of the Llama format.

    Raises:
        NoSandbox: No sandbox holds on this machine, and `allow_unsafe` is not set; the message says what
            each kind lacks.

    Example:
        >>> import anyio
        >>> anyio.run(code_interpreter().invoke, {"code": "6 * 7"})
        'completed\n[stdout]42\n[/stdout]'
    """
    interpreter = CodeInterpreter(
        timeout=timeout,
        limits=limits,
        tier=tier,
        allow_unsafe=allow_unsafe,
        python=python,
        output=output,
        attach=attach,
        idle=idle,
        sessions=sessions,
        warm=warm,
    )
    return interpreter.tool()


class CodeInterpreter:
    """What is behind `code_interpreter`: also gives the files of its sessions.

    It keeps a thread with an event loop, where sessions live on between the loops of its callers.

    Args:
        timeout: See `code_interpreter`.
        limits: See `code_interpreter`.
        tier: See `code_interpreter`.
        allow_unsafe: See `code_interpreter`.
        python: See `code_interpreter`.
        output: See `code_interpreter`.
        attach: See `code_interpreter`.
        idle: See `code_interpreter`.
        sessions: See `code_interpreter`.
        warm: See `code_interpreter`.

    Raises:
        NoSandbox: See `code_interpreter`.

    Example:
        >>> import anyio
        >>> async def sizes() -> list[int]:
        ...     interpreter = CodeInterpreter()
        ...     await interpreter.upload("alice", "a.csv", b"1,2,3")
        ...     alice, code = ToolContext(session="alice"), "open('b.txt', 'w').write('mule')"
        ...     await interpreter.tool().invoke({"code": code}, alice)
        ...     found = [file.size for file in await interpreter.listing("alice")]
        ...     await interpreter.aclose()
        ...     return found
        >>> anyio.run(sizes)
        [5, 4]
    """

    def __init__(
        self,
        *,
        timeout: float = 20.0,
        limits: Limits | None = None,
        tier: "Tier | None" = None,
        allow_unsafe: bool = False,
        python: str | None = None,
        output: int = 8_000,
        attach: int = 8 << 20,
        idle: float = 900.0,
        sessions: int = 32,
        warm: int = 1,
    ) -> None:
        self._limits = replace(limits or Limits(), wall=timeout)
        self._output = output
        self._attach = attach
        held = tier if tier is not None else _hold(allow_unsafe, python)
        self._loop = OwnLoop(partial(_service, held, self._limits, python, warm, idle, sessions))
        weakref.finalize(self, self._loop.stop)
        self._unsafe = isinstance(held, Unsafe)
        if self._unsafe and tier is not None:  # else choosing it has said so
            _logger.warning("the code interpreter runs code without a sandbox, with all rights of this user")

    def tool(self) -> Tool:
        """The tool.

        Returns:
            It; closing it closes this.
        """

        async def code_interpreter(context: ToolContext, code: str) -> ToolOutput:
            """Run Python code. Variables and files stay for the next call.

            Args:
                context: The call's.
                code: The code. Print what you need to know.
            """
            return await self._call(context.session, code)

        # more than the limit itself, so that the sandbox's own report wins
        return describe(
            code_interpreter,
            timeout=self._limits.wall + _START,
            builtin="code_interpreter",
            close=self.aclose,
        )

    async def upload(self, session: str, path: str, data: bytes) -> None:
        """Put a file into a session's workspace.

        Args:
            session: The session's name.
            path: Where, below the workspace.
            data: What it is to hold.

        Raises:
            SandboxError: It cannot be written.
        """
        await self._loop.run(_upload, session, path, data)

    async def listing(self, session: str) -> tuple[FileEntry, ...]:
        """Files of a session.

        Args:
            session: The session's name.

        Returns:
            The files by path.

        Raises:
            SandboxError: They cannot be told.
        """
        return await self._loop.run(_listing, session)

    async def read(self, session: str, path: str, *, most: int = READ_MOST) -> bytes:
        """Fetch a file of a session.

        Args:
            session: The session's name.
            path: As the listing shows it.
            most: Most bytes to take into memory, whatever the listing said of its size.

        Returns:
            The bytes.

        Raises:
            SandboxError: It cannot be read, or is larger than `most`.
        """
        return await self._loop.run(_read, session, path, most)

    async def aclose(self) -> None:
        """Close all sessions and end the thread. A later call starts it again."""
        import anyio.to_thread

        await anyio.to_thread.run_sync(self._loop.stop)

    async def _call(self, session: str, code: str) -> ToolOutput:
        execution, files = await self._loop.run(_run, session, code, self._attach)
        error = f"killed: {execution.reason}" if execution.status == "killed" else None
        return ToolOutput(self._text(execution), (*execution.figures, *files), error)

    def _text(self, execution: Execution) -> str:
        value = "" if execution.value is None else f"{execution.value}\n"
        stdout, _ = cut_to(_joined(execution.stdout, value).encode(), self._output)
        stderr, _ = cut_to(_joined(execution.stderr, execution.error or "").encode(), self._output)
        text = format_code_result(failed=execution.status != "completed", stdout=stdout, stderr=stderr)
        parts = [text]
        if execution.files:
            shown = "".join(f"{file.path} ({file.size} bytes)\n" for file in execution.files[:_MOST_FILES])
            more = len(execution.files) - _MOST_FILES
            parts.append(f"[files]{shown}{f'and {more} more' if more > 0 else ''}[/files]")
        if hidden := _hidden(stdout + stderr):
            parts.append(f"[note]the output has {hidden} characters that cannot be seen[/note]")
        if execution.state_lost:
            parts.append("[note]variables and files of earlier calls are gone: a new process has been started[/note]")
        if self._unsafe:
            parts.append(f"[note]{_UNSAFE}[/note]")
        return "\n".join(parts)


def _joined(first: str, second: str) -> str:
    return f"{first}\n{second}" if first and second and not first.endswith("\n") else first + second


def _hidden(text: str) -> int:
    """Control characters, bidirectional overrides, invisible tags and the like."""
    shown = text.replace("\n", "").replace("\t", "")
    return 0 if shown.isprintable() else sum(not character.isprintable() for character in shown)


def _hold(allow_unsafe: bool, python: str | None) -> "Tier":
    """The best tier that holds here, or none if that is allowed."""
    from concurrent.futures import ThreadPoolExecutor

    import anyio

    from arriero.tools.sandbox.choose import choose_tier

    with ThreadPoolExecutor(1) as pool:  # the caller may be in an event loop
        return pool.submit(anyio.run, partial(choose_tier, python=python, allow_unsafe=allow_unsafe)).result().tier


@asynccontextmanager
async def _service(
    tier: "Tier", limits: Limits, python: str | None, warm: int, idle: float, sessions: int
) -> AsyncIterator["NamedSessions"]:
    import anyio

    from arriero.tools.sandbox.pool import Sandbox
    from arriero.tools.sandbox.sessions import NamedSessions

    async with Sandbox(tier, limits=limits, warm=warm, python=python) as sandbox, anyio.create_task_group() as group:
        named = NamedSessions(sandbox, idle=idle, most=sessions)
        group.start_soon(named.close_idle)
        try:
            yield named
        finally:
            group.cancel_scope.cancel()


async def _run(named: "NamedSessions", name: str, code: str, attach: int) -> tuple[Execution, list[Attachment]]:
    async with named.use(name) as session:
        execution = await session.run(code)
        files = []
        for file in execution.files[:_MOST_FILES]:
            if file.size <= attach:
                with contextlib.suppress(SandboxError):  # gone again, or unreadable: it is listed all the same
                    data = await session.read(file.path, most=attach)  # its size may be a lie
                    attach -= len(data)
                    media_type = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
                    files.append(Attachment(file.path, media_type, data))
        return execution, files


async def _upload(named: "NamedSessions", name: str, path: str, data: bytes) -> None:
    async with named.use(name) as session:
        await session.upload(path, data)


async def _listing(named: "NamedSessions", name: str) -> tuple[FileEntry, ...]:
    async with named.use(name) as session:
        return await session.listing()


async def _read(named: "NamedSessions", name: str, path: str, most: int) -> bytes:
    async with named.use(name) as session:
        return await session.read(path, most=most)
