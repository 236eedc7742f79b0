"""A FastAPI application on the loopback, and what requests it got."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Cookie, FastAPI, File, Form, Header, HTTPException, Path, Query, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse, RedirectResponse
from pydantic import BaseModel, Field

KEY = "canary-key-41/+x"


class Coat(StrEnum):
    bay = "bay"
    grey = "grey"


class Load(BaseModel):
    goods: str
    kilos: float = Field(gt=0, le=150, description="Weight of the load.")


class Mule(BaseModel):
    name: str
    coat: Coat = Coat.bay
    age: int | None = None
    loads: list[Load] = []


class Node(BaseModel):
    name: str
    children: list["Node"] = []


@dataclass
class Heard:
    """Requests that came, as the server got them."""

    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]


def application(heard: Heard) -> FastAPI:
    app = FastAPI(title="Mules", version="1")

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        heard.requests.append(
            {
                "method": request.method,
                "path": request.scope["raw_path"].decode(),
                "query": request.scope["query_string"].decode(),
                "headers": dict(request.headers),
            }
        )
        return await call_next(request)

    @app.get("/mules", operation_id="list_mules", summary="List mules.")
    async def list_mules(
        limit: Annotated[int, Query(ge=1, le=100, description="Most mules.")] = 10,
        coats: Annotated[list[Coat] | None, Query()] = None,
        trace: Annotated[str | None, Header(alias="X-Trace")] = None,
        theme: Annotated[str | None, Cookie()] = None,
    ) -> dict[str, Any]:
        return {"limit": limit, "coats": coats, "trace": trace, "theme": theme}

    @app.get("/mules/{name}", operation_id="get_mule")
    async def get_mule(name: Annotated[str, Path(description="The mule's name.")]) -> Mule:
        """Find a mule."""
        if name == "nobody":
            raise HTTPException(404, f"no mule is named {name}")
        return Mule(name=name, age=7)

    @app.post("/mules", operation_id="create_mule", status_code=201)
    async def create_mule(mule: Mule) -> Mule:
        return mule

    @app.delete("/mules/{name}", operation_id="delete_mule", status_code=204)
    async def delete_mule(name: str) -> None:
        return None

    @app.get("/mules/{name}/delete", operation_id="never_by_path")
    async def never(name: str) -> str:
        raise AssertionError("a value of a path parameter reached another operation")

    @app.post("/form", operation_id="send_form")
    async def send_form(user: Annotated[str, Form()], ages: Annotated[list[int], Form()]) -> dict[str, Any]:
        return {"user": user, "ages": ages}

    @app.post("/upload", operation_id="upload")
    async def upload(file: Annotated[UploadFile, File()]) -> str:
        return "no"

    @app.post("/tree", operation_id="plant")
    async def plant(node: Node) -> str:
        return "no"

    @app.get("/text", operation_id="text")
    async def text() -> PlainTextResponse:
        return PlainTextResponse("Mules eat hay, señor.")

    @app.get("/picture", operation_id="picture")
    async def picture() -> Response:
        return Response(b"\x89PNG...", media_type="image/png")

    @app.head("/mules", operation_id="head_mules")
    async def head_mules() -> Response:
        return Response(headers={"X-Count": "2"})

    @app.get("/broken", operation_id="broken")
    async def broken() -> Response:
        return Response(b"{not json", media_type="application/json")

    @app.get("/large", operation_id="large")
    async def large() -> Response:
        return Response(b"x" * 5_000_000, media_type="text/plain")

    @app.get("/moved", operation_id="moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("http://169.254.169.254/")

    @app.get("/busy", operation_id="busy")
    async def busy() -> Response:
        return Response(b"later\n\nplease", status_code=503)

    @app.get("/slow", operation_id="slow")
    def slow() -> str:
        time.sleep(1.0)
        return "late"

    @app.get("/echo", operation_id="echo")
    async def echo(request: Request) -> dict[str, Any]:
        return {"headers": dict(request.headers), "query": str(request.url)}

    @app.get("/refuse", operation_id="refuse")
    async def refuse(request: Request) -> Response:
        return Response(f"bad key in {dict(request.headers)} {request.url}", status_code=401)

    @app.put("/json", operation_id="put_json")
    async def put_json(value: Annotated[Any, Body()]) -> Any:
        return {"got": value}

    return app


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an application, served by a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
