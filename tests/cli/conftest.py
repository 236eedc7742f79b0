from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.tools.sandbox import choose
from arriero.tools.sandbox.unsafe import Unsafe


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Arriero = Callable[..., Ran]


@pytest.fixture
def arriero() -> Arriero:
    """Run a command in this process: `arriero("parse", "-", stdin="...")`."""

    def run(*arguments: object, stdin: str | bytes = "") -> Ran:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which no sandbox holds."""
    monkeypatch.setattr(choose, "tiers", lambda: (Unsafe(),))
    choose._kept.cache_clear()
    yield
    choose._kept.cache_clear()


@pytest.fixture
def locked_server() -> Iterator[str]:
    """A server that refuses every key."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error": "Unauthorized"}'
            self.send_response(401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()
