"""Errors in OpenAI's shape. What happened inside goes to the server's own log, never to the client."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.stack.errors import ContextTooLong, EngineInterrupted, EngineRejected, EngineUnavailable
from arriero.stack.shields import UnknownShield

_log = logging.getLogger(__name__)


class UnknownModel(ArrieroError):
    """A client asked for a model that is not served."""


def describe(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body for an error.

    Args:
        error: What was raised.

    Returns:
        The HTTP status, and the body in OpenAI's shape.
    """
    status, kind, code, message = _outline(error)
    if status >= 500:
        _log.error("request failed: %s", error, exc_info=error)
    return status, body(message, kind, code)


def _outline(error: Exception) -> tuple[int, str, str | None, str]:
    refused = "invalid_request_error"
    match error:
        case ContextTooLong():
            return 400, refused, "context_length_exceeded", str(error)
        case InvalidMessage():
            return 400, refused, "invalid_message", str(error)
        case UnknownModel():
            return 404, refused, "model_not_found", str(error)
        case UnknownShield():
            return 404, refused, "shield_not_found", str(error)
        case EngineUnavailable():
            return 503, "api_error", "engine_unavailable", "the model server cannot be reached; try again later"
        case EngineInterrupted():
            return 502, "api_error", "engine_interrupted", "the model server broke off in the middle; send it again"
        case EngineRejected():
            return 502, "api_error", "engine_rejected", "the model server refused; the operator's log says why"
        case _:
            return 500, "api_error", None, "the server failed; the operator's log says why"


def body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error body in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def install(app: FastAPI) -> None:
    """Make an app answer every error in OpenAI's shape."""

    @app.exception_handler(Exception)
    @app.exception_handler(ArrieroError)
    async def on_error(_: Request, error: Exception) -> JSONResponse:
        status, content = describe(error)
        return JSONResponse(content, status)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = _path(first)
        return JSONResponse(body(_complaint(first, param), "invalid_request_error", "invalid_value", param), 400)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(body(message, "invalid_request_error"), error.status_code, headers=error.headers)


def _path(problem: Mapping[str, Any]) -> str | None:
    path = ".".join(str(part) for part in problem["loc"] if part != "body")
    return path or None


def _complaint(problem: Mapping[str, Any], param: str | None) -> str:
    """Field and rule, without the value: it may be part of a prompt."""
    if problem["type"] == "extra_forbidden":
        return f"parameter {param!r} is not supported by this server: leave it out"
    if problem["type"] == "json_invalid":
        return "the body is not valid JSON"
    return f"{param or 'body'}: {problem['msg']}"
