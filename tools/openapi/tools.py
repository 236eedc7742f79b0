"""Tools from an OpenAPI document, and the calls that they make."""

import json
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio

from arriero.tools.artifacts import Attachment, ToolOutput
from arriero.tools.context import ToolContext
from arriero.tools.declared import Tool
from arriero.tools.errors import ToolDefinitionError, ToolError, ToolUnavailable
from arriero.tools.json_schema import schema_check
from arriero.tools.openapi.credentials import Credentials, Proof, proof_of
from arriero.tools.openapi.document import RawOperation, read_document, server_address
from arriero.tools.openapi.operation import Operation, read_operation
from arriero.tools.web.download import (
    ACCEPTED_ENCODINGS,
    TRY_AGAIN,
    BodyLimits,
    network_errors_in_words,
    read_body,
    status_text,
)
from arriero.tools.web.guard import BlockedAddress, NetworkPolicy, guarded_client

if TYPE_CHECKING:
    import httpx2

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, section 9.2.1
_IDEMPOTENT = _SAFE | {"PUT", "DELETE"}  # section 9.2.2
_SHOWN_PROBLEM = 1000
_LIMITS = BodyLimits(compressed=4 << 20, decompressed=8 << 20)
_JSON_TYPE = re.compile(r"[\w.-]+/(?:[\w.+-]+\+)?json")
_TEXT_TYPE = re.compile(r"text/.+|[\w.-]+/(?:[\w.+-]+\+)?(?:xml|yaml|x-yaml|javascript|x-ndjson)")


def openapi_tools(
    document: Mapping[str, Any] | str | Path,
    *,
    operations: Iterable[str] | None = None,
    base_url: str | None = None,
    auth: Credentials | None = None,
    policy: NetworkPolicy | None = None,
    approved: Iterable[str] = (),
    prefix: str = "",
    timeout: float = 30.0,
    limits: BodyLimits = _LIMITS,
    verify: ssl.SSLContext | None = None,
) -> list[Tool]:
    """Make a tool of each operation of an OpenAPI 3.0 or 3.1 document.

    The server and the credentials are configuration: a model neither sees nor changes them, and no value that it
    writes leaves its place in the request. Arguments are checked by the document's schemas. GET, HEAD and OPTIONS run
    freely; every other operation needs approval. Redirects are not followed.

    Args:
        document: The document's object, or the path of a JSON or YAML file.
        operations: Which to offer, by `operationId` or as `"GET /path"`. None offers all.
        base_url: Address of the server; None takes the document's first one.
        auth: How requests prove who they are from.
        policy: What may be reached. None allows the server's host and port and nothing else, be it private or not.
        approved: Those other operations that need nobody's approval; written as in `operations`.
        prefix: Stands before each tool's name, where two documents have the same names.
        timeout: Seconds for one call.
        limits: How large a response may be.
        verify: TLS settings; None for the system's authorities.

    Returns:
        The tools, in the document's order.

    Raises:
        ToolDefinitionError: The document cannot be read, an operation does not exist, or one cannot be expressed as a
            tool (such as one that uploads files, or whose schema contains itself); says which and what to do.

    Example:
        >>> document = {
        ...     "openapi": "3.1.0",
        ...     "servers": [{"url": "https://api.example.com/v1"}],
        ...     "paths": {"/mules/{name}": {"get": {
        ...         "operationId": "get_mule",
        ...         "summary": "Find a mule.",
        ...         "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        ...     }}},
        ... }
        >>> [tool] = openapi_tools(document)
        >>> tool.name, tool.description, tool.sensitive, list(tool.parameters["properties"])
        ('get_mule', 'Find a mule.', False, ['name'])
    """
    read, home = read_document(document)
    server = server_address(read, base_url, home)
    proof = proof_of(auth)
    hidden = frozenset(
        [("header", name.lower()) for name in proof.headers]
        + [("query", name.lower()) for name in proof.query]
        + [("cookie", name.lower()) for name in proof.cookies]
    )
    raws = list(read.operations())
    chosen = _chosen(raws, operations, "operations")
    unattended = {id(raw) for raw in _chosen(raws, approved, "approved")}
    caller = _Caller(server, proof, policy or NetworkPolicy.only(server), timeout, limits, verify)
    try:
        host = caller.policy.check_url(server).host
    except BlockedAddress as error:
        raise ToolDefinitionError(f"the policy does not let the API's server be reached: {error}") from error
    tools: dict[str, Tool] = {}
    for raw in chosen:
        name = _free_name(prefix + _name(raw), tools)
        operation = read_operation(read, raw, name, hidden)
        needs_approval = operation.method not in _SAFE and id(raw) not in unattended
        tools[name] = caller.tool(operation, host, sensitive=needs_approval)
    return list(tools.values())


def _chosen(raws: Sequence[RawOperation], wanted: Iterable[str] | None, option: str) -> list[RawOperation]:
    if wanted is None:
        return list(raws)
    if isinstance(wanted, str):
        raise ToolDefinitionError(f"openapi_tools: {option} is one text; give a list")
    known: dict[str, RawOperation] = {}
    for raw in raws:
        known[raw.label] = raw
        if raw.content.get("operationId"):
            known[str(raw.content["operationId"])] = raw
    names = list(wanted)
    for name in names:
        if name not in known:
            there = ", ".join(str(raw.content.get("operationId") or raw.label) for raw in raws[:30])
            raise ToolDefinitionError(f"openapi_tools: {option} names {name!r}, and the document has {there}")
    picked = {id(known[name]) for name in names}
    return [raw for raw in raws if id(raw) in picked]


def _name(raw: RawOperation) -> str:
    text = str(raw.content.get("operationId") or f"{raw.method.lower()}{raw.path}")
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "_", text)).strip("_") or raw.method.lower()


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    name = name[:64]
    number = 2
    free = name
    while free in taken:
        free = f"{name[:60]}_{number}"
        number += 1
    return free


@dataclass(frozen=True, slots=True)
class _Caller:
    """Sends the requests of one document's operations."""

    server: str
    proof: Proof = field(repr=False)
    policy: NetworkPolicy
    timeout: float
    limits: BodyLimits
    verify: ssl.SSLContext | None

    def tool(self, operation: Operation, source: str, *, sensitive: bool) -> Tool:
        check = schema_check(operation.schema, name=operation.name)

        async def handler(arguments: Mapping[str, Any], context: ToolContext) -> object:
            return await self._call(operation, check(arguments))

        return Tool(
            name=operation.name,
            description=operation.description,
            parameters=operation.schema,
            handler=handler,
            check=_as_text(check),
            timeout=self.timeout + 5,  # the inner deadline comes first and says more
            idempotent=operation.method in _IDEMPOTENT,
            sensitive=sensitive,
            source=source,
        )

    async def _call(self, operation: Operation, values: Mapping[str, Any]) -> object:
        parts = operation.request(values, self.proof.cookies)
        headers = {"Accept": "application/json, text/*;q=0.9, */*;q=0.1", "Accept-Encoding": ACCEPTED_ENCODINGS}
        headers |= {**parts.headers, **self.proof.headers}
        headers |= {"Cookie": parts.cookies} if parts.cookies else {}
        headers |= {"Content-Type": parts.body_type} if parts.body_type else {}
        client = guarded_client(
            self.policy,
            timeout=self.timeout,
            verify=self.verify,
            secret_query=urlencode(self.proof.query),
            max_connections=1,
        )
        with network_errors_in_words(self.timeout), anyio.fail_after(self.timeout):
            async with client:
                request = client.stream(operation.method, self.server + parts.path, headers=headers, content=parts.body)
                async with request as response:
                    body = b"" if operation.method == "HEAD" else await read_body(response, self.limits)
        return self._value(operation, response, self.proof.hide(body))

    def _value(self, operation: Operation, response: "httpx2.Response", body: bytes) -> object:
        status = status_text(response.status_code)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.has_redirect_location:
            raise ToolError(f"the server answered {status}: it redirects, which is not followed")
        if not response.is_success:
            said = " ".join(body[: 4 * _SHOWN_PROBLEM].decode("utf-8", "replace").split())[:_SHOWN_PROBLEM]
            kind = ToolUnavailable if response.status_code in TRY_AGAIN else ToolError
            raise kind(f"the server answered {status}{': ' + said if said else ''}")
        if not body:
            return f"done: {status}"
        if _JSON_TYPE.fullmatch(media_type):
            try:
                return json.loads(body)
            except (ValueError, RecursionError) as error:
                raise ToolError(f"the server answered {status}, but its body is no JSON") from error
        if not media_type or _TEXT_TYPE.fullmatch(media_type):
            return body.decode(_charset(response), "replace")
        name = f"{operation.name}.{re.sub(r'[^a-z0-9]', '', media_type.rpartition('/')[2])[:10] or 'bin'}"
        note = f"a file: {media_type[:60]}, {len(body):,} bytes"
        return ToolOutput(note, (Attachment(name, media_type[:100], body),))


def _as_text(check: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Mapping[str, Any]], str]:
    return lambda arguments: json.dumps(check(arguments), sort_keys=True)


def _charset(response: "httpx2.Response") -> str:
    charset = response.charset_encoding or "utf-8"
    return (
        charset if re.fullmatch(r"(?i)utf-?8|utf-?16|iso-8859-\d+|windows-125\d|us-ascii|ascii", charset) else "utf-8"
    )
