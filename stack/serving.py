"""A server process over a stack. Needs the extra `serve`."""

import socket
from collections.abc import Callable

from arriero.prompts.errors import ArrieroError
from arriero.stack.stack import Opening

_LOOPBACK = ("127.", "::1", "localhost")


class CannotServe(ArrieroError):
    """The server cannot start: its packages are not installed, or its address cannot be used."""


async def serve_stack(opening: Opening, host: str, port: int, *, announce: Callable[[str], None]) -> None:
    """Open a stack and serve it until the process is told to stop.

    Each chat completion is a session of its own in the stack's log, unless that is in memory.

    Args:
        opening: The stack.
        host: Address to listen at.
        port: Port to listen at; 0 for a free one.
        announce: Told in one line where the server is, once it listens.

    Raises:
        CannotServe: The extra `serve` is not installed, or the address is taken or not this machine's.
        ArrieroError: The stack cannot be opened.
    """
    try:
        import uvicorn

        from arriero.stack.server import create_app
    except ImportError as error:
        raise CannotServe(f"serving needs the extra 'serve' ({error}): pip install 'arriero[serve]'") from error
    with _listen(host, port) as listener:
        async with opening as stack:
            where, bound = listener.getsockname()[:2]
            announce(f"{stack.engine.model} at http://{f'[{where}]' if ':' in where else where}:{bound}/v1")
            if not host.startswith(_LOOPBACK):
                announce(f"{host} can be reached from other machines, and the server asks nobody for a key")
            config = uvicorn.Config(create_app(stack), log_level="warning")
            await uvicorn.Server(config).serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotServe(f"cannot listen at {host} port {port} ({error}): give another --host or --port") from error
