"""The server of the labelling page. Needs the extra `serve`."""

import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic
from anyio import CancelScope, get_cancelled_exc_class, move_on_after

from arriero.evals.errors import EvalError
from arriero.evals.human.importing import LONGEST_NOTE, name_problem
from arriero.evals.human.labelling import Labelling
from arriero.prompts.errors import ArrieroError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PAGE = Path(__file__).parent / "page"
_FILES = {"": ("label.html", "text/html"), "label.js": ("label.js", "text/javascript")}
_FILES |= {"label.css": ("label.css", "text/css")}
_LOCAL = ("127.0.0.1", "localhost")
_LONGEST_BODY = 8 * LONGEST_NOTE
_PATIENCE = 10.0
"""Seconds that a body may take to arrive; it comes from this machine."""
_DIGITS = 10
_DECISIVE = (b"host", b"origin", b"content-type", b"content-length", b"sec-fetch-site", b"sec-fetch-mode")
_HEADERS = {
    # Nothing but this server's own files; no markup from strings; in nobody's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class CannotLabel(EvalError):
    """The page cannot be served: its packages are not installed, its port is taken, or there is nothing to label."""


@dataclass(frozen=True, slots=True)
class _Said:
    value: Literal[0, 1] | None
    note: str = ""


async def serve_labelling(
    labelling: Labelling,
    annotators: Sequence[str],
    *,
    port: int = 0,
    announce: Callable[[str, str], None],
    visit: Callable[[str], object] | None = None,
) -> None:
    """Serve the page until everybody has finished, or the process is told to stop.

    It listens on 127.0.0.1 only. Each person has an address of their own, which nobody can guess, and sees their own
    labels only. Requests that a page of another origin makes are refused.

    Args:
        labelling: What is labelled.
        annotators: Who labels.
        port: Port to listen on; 0 for a free one.
        announce: Told each person's name and address, once the server listens.
        visit: Opens an address, which works once, in a browser; told the first person's. None to open nothing.

    Raises:
        CannotLabel: The extra `serve` is not installed, the port is taken, there is nothing to label, or a name
            cannot be used.

    Example:
        >>> import anyio
        >>> nothing = Labelling("mules", (), Path("labels.jsonl"))
        >>> anyio.run(lambda: serve_labelling(nothing, ("ana",), announce=print))
        Traceback (most recent call last):
        arriero.evals.human.server.CannotLabel: there are no items to label
    """
    _check(labelling, annotators)
    try:
        import uvicorn

        pages = Pages(labelling, annotators)
        app = pages.app()
    except ImportError as error:
        raise CannotLabel(f"the page needs the extra 'serve' ({error}): pip install 'arriero[serve]'") from error
    with _listen(port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        pages.when_finished = partial(setattr, server, "should_exit", True)
        at = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for annotator in annotators:
            announce(annotator, f"{at}{pages.path(annotator)}")
        if visit is not None:
            visit(f"{at}{pages.once(annotators[0])}")
        try:
            await server.serve(sockets=[listener])
        except get_cancelled_exc_class():
            with CancelScope(shield=True):  # it does not close its connections by itself then; that takes 2 s at most
                await server.shutdown()
            raise


class Pages:
    """The pages of some annotators, as an ASGI application.

    Args:
        labelling: What is labelled.
        annotators: Who labels.
    """

    def __init__(self, labelling: Labelling, annotators: Sequence[str]) -> None:
        self._labelling = labelling
        self._annotators = {secrets.token_urlsafe(): name for name in annotators}
        self._once: dict[str, str] = {}
        self._finished: set[str] = set()
        self.when_finished: Callable[[], object] = lambda: None

    def path(self, annotator: str) -> str:
        """Path of a person's page.

        Args:
            annotator: Who.
        """
        return next(f"/{token}/" for token, name in self._annotators.items() if name == annotator)

    def once(self, annotator: str) -> str:
        """A path that leads to a person's page one time: other users see what a browser is started with.

        Args:
            annotator: Who.
        """
        key = secrets.token_urlsafe()
        self._once[key] = self.path(annotator)
        return f"/open/{key}"

    def app(self) -> "ASGIApp":
        """The application, with its gate."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [Route("/open/{key}", self._opened)]
        routes += [Route(f"/{{token}}/{path}", self._answered(partial(_file, name))) for path, name in _FILES.items()]
        routes += [
            Route("/{token}/state", self._answered(self._state)),
            Route("/{token}/items/{at}", self._answered(self._item)),
            Route("/{token}/labels/{at}", self._answered(self._label), methods=["PUT", "DELETE"]),
            Route("/{token}/finish", self._answered(self._finish), methods=["POST"]),
        ]
        return _Gate(Starlette(routes=routes))

    def _answered(self, answer: "_Answer") -> "Callable[[Request], Awaitable[Response]]":
        """Only for those who know a token; what goes wrong becomes an error that the page shows."""
        from anyio import to_thread
        from starlette.responses import JSONResponse

        async def respond(request: "Request") -> "Response":
            annotator = self._annotators.get(request.path_params["token"])
            if annotator is None:
                return JSONResponse({"error": "there is no such page"}, 404)
            with move_on_after(_PATIENCE) as patience:
                body = await request.body()
            if patience.cancelled_caught:
                return JSONResponse({"error": "not saved: the label did not arrive"}, 408)
            try:
                return await to_thread.run_sync(answer, annotator, request, body)
            except pydantic.ValidationError:
                return JSONResponse({"error": "not saved: that is no label"}, 422)
            except ArrieroError as error:
                return JSONResponse({"error": f"not saved: {error}"}, 500)

        return respond

    async def _opened(self, request: "Request") -> "Response":
        from starlette.responses import JSONResponse, RedirectResponse

        path = self._once.pop(request.path_params["key"], None)
        if path is None:
            return JSONResponse({"error": "this address worked once: use the one that the command printed"}, 404)
        return RedirectResponse(path, 303)

    def _state(self, annotator: str, request: "Request", body: bytes) -> "Response":
        from starlette.responses import JSONResponse

        others = [name for name in self._annotators.values() if name != annotator]
        return JSONResponse(self._labelling.state(annotator, others))

    def _item(self, annotator: str, request: "Request", body: bytes) -> "Response":
        from starlette.responses import JSONResponse

        at = self._position(request)
        if at is None:
            return JSONResponse({"error": "there is no such item"}, 404)
        return JSONResponse(self._labelling.shown(at))

    def _label(self, annotator: str, request: "Request", body: bytes) -> "Response":
        from starlette.responses import JSONResponse

        at = self._position(request)
        if at is None:
            return JSONResponse({"error": "there is no such item"}, 404)
        if request.method == "DELETE":
            self._labelling.withdraw(at, annotator, time.time())
            return JSONResponse({})
        said = pydantic.TypeAdapter(_Said).validate_json(body)
        if len(said.note) > LONGEST_NOTE:
            return JSONResponse({"error": f"not saved: the note has more than {LONGEST_NOTE:,} letters"}, 422)
        self._labelling.say(at, annotator, said.value, said.note, time.time())
        return JSONResponse({})

    def _position(self, request: "Request") -> int | None:
        """Position of the item that a path names; None where there is no such item."""
        digits = str(request.path_params["at"])
        known = digits.isascii() and digits.isdecimal() and len(digits) < _DIGITS
        return at if known and (at := int(digits)) < len(self._labelling.items) else None

    def _finish(self, annotator: str, request: "Request", body: bytes) -> "Response":
        from starlette.responses import JSONResponse

        self._finished.add(annotator)
        if self._finished == set(self._annotators.values()):
            self.when_finished()
        return JSONResponse({})


_Answer = Callable[[str, "Request", bytes], "Response"]


def _file(name: tuple[str, str], annotator: str, request: "Request", body: bytes) -> "Response":
    from starlette.responses import Response

    return Response((_PAGE / name[0]).read_bytes(), media_type=name[1])


class _Gate:
    """Lets in what this machine's own pages ask for, and nothing that a page from elsewhere makes a browser send.

    A name that leads to 127.0.0.1 is refused unless it is this machine's (DNS rebinding). What changes something must
    come from a page of this very origin, as JSON, which a form of another page cannot send.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        problem = _refusal(scope)
        if problem is None:
            await self._app(scope, receive, sealed)
        else:
            await JSONResponse({"error": problem}, 403)(scope, receive, sealed)


def _refusal(scope: "Scope") -> str | None:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    names = [name for name, _ in scope["headers"]]
    if any(names.count(name) > 1 for name in _DECISIVE):
        return "a header is there twice"
    host = headers.get(b"host", b"").decode("latin-1")
    name, colon, port = host.partition(":")
    if name not in _LOCAL or (colon and not port.isdecimal()):
        return "this page is reached as 127.0.0.1 or localhost only"
    reads = scope["method"] in ("GET", "HEAD")
    followed = reads and headers.get(b"sec-fetch-mode") == b"navigate"  # a link to this page, wherever it stands
    if not followed and headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        return "another page asked for this"
    if reads:
        return None
    if headers.get(b"origin", b"").decode("latin-1") != f"http://{host}":
        return "only the page itself can change labels"
    if headers.get(b"content-type", b"").partition(b";")[0].strip() != b"application/json":
        return "send JSON"
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) > _LONGEST_BODY:
        return f"send at most {_LONGEST_BODY} bytes, and say how many"
    return None


def _check(labelling: Labelling, annotators: Sequence[str]) -> None:
    if not labelling.items:
        raise CannotLabel("there are no items to label")
    if not annotators or len(set(annotators)) < len(annotators):
        raise CannotLabel("annotators: name each person who labels, once")
    for name in annotators:
        if problem := name_problem(name):
            raise CannotLabel(f"annotator: the name {problem}")


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise CannotLabel(f"cannot listen on 127.0.0.1 port {port} ({error}): give another --port") from error
