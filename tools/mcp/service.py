"""What an MCP server made of a registry answers."""

import json
import math
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio

from arriero.prompts.messages import ToolCall
from arriero.tools.artifacts import Artifact
from arriero.tools.context import Progress, ThreadLeft, ToolContext
from arriero.tools.declared import Tool
from arriero.tools.mcp.contents import artifact_id, as_block, as_contents, as_link
from arriero.tools.registry import Registry, ToolResult
from arriero.tools.values import shorten

if TYPE_CHECKING:
    import mcp_types
    from mcp.server import Server, ServerRequestContext

_MAX_KNOWN = 10_000  # artifacts that clients may still read
_MAX_FILES = 1 << 19  # bytes sent along with a result: the SDK's client refuses events of more than 1 MiB, in base64
_MAX_PROGRESS = 32
_ANSWER_WITHIN = 600.0  # seconds
_SHOWN_ARGUMENTS = 2_000
_APPROVAL = "approval"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Run it"}},
    "required": ["approve"],
}


@dataclass(slots=True)
class _Asking:
    """How the client that sent the present call can be asked, and what it said."""

    context: "ServerRequestContext[Any, Any]"
    answered: bool | None = None
    question: str = ""


_asking: ContextVar[_Asking] = ContextVar("asking")


async def approve_by_client(call: ToolCall, tool: Tool, context: ToolContext) -> bool:
    """Ask the user of the MCP client that sent a call, by elicitation: the `approve` of a registry to be served.

    Args:
        call: The call.
        tool: Its tool.
        context: Holds the question, when one comes up in the middle of the call.

    Returns:
        Whether they agreed. Outside of a served call, and for clients that cannot ask, nobody did.
    """
    asking = _asking.get(None)
    if asking is None or not _can_ask(asking.context):
        return False
    arguments = shorten(json.dumps(dict(call.arguments), ensure_ascii=False), _SHOWN_ARGUMENTS)
    question = context.question or f"Run the tool {tool.name} with the arguments {arguments}?"
    if asking.answered is not None and not context.question:
        return asking.answered
    if asking.context.session.can_send_request:
        with anyio.move_on_after(_ANSWER_WITHIN):
            answer = await asking.context.session.elicit_form(question, _SCHEMA, asking.context.request_id)
            return answer.action == "accept" and (answer.content or {}).get("approve") is True
        return False
    if not context.question:  # since 2026-07-28 the call ends with the question and is sent again with the answer
        asking.question = question
    return False


def _can_ask(context: "ServerRequestContext[Any, Any]") -> bool:
    capabilities = context.session.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


@dataclass(slots=True)
class ToolService:
    """What an MCP server made of a registry does.

    Args:
        registry: The tools.
        sensitive: Whether tools that need approval are offered.
    """

    registry: Registry
    sensitive: bool
    known: OrderedDict[str, Artifact] = field(default_factory=OrderedDict)

    def build(self, name: str) -> "Server[Any]":
        """The server, without a transport."""
        from mcp.server import Server

        from arriero import __version__

        return Server(
            name,
            version=__version__,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_read_resource=self.read_resource,
        )

    async def list_tools(
        self, context: "ServerRequestContext[Any, Any]", params: "mcp_types.PaginatedRequestParams | None"
    ) -> "mcp_types.ListToolsResult":
        """Answer `tools/list`."""
        import mcp_types

        offered = (self._offered(name) for name in self.registry.names)
        return mcp_types.ListToolsResult(tools=[_declared(tool) for tool in offered if tool])

    async def call_tool(
        self, context: "ServerRequestContext[Any, Any]", params: "mcp_types.CallToolRequestParams"
    ) -> "mcp_types.CallToolResult | mcp_types.InputRequiredResult":
        """Answer `tools/call`."""
        import mcp_types
        from mcp.shared.exceptions import MCPError

        tool = self._offered(params.name)
        if tool is None:
            raise MCPError(mcp_types.INVALID_PARAMS, f"there is no tool {params.name[:64]!r}")
        asking = _Asking(context, answered=_answer(params))
        token = _asking.set(asking)
        try:
            result = await self._run(context, ToolCall(tool.name, params.arguments or {}))
        finally:
            _asking.reset(token)
        if asking.question and asking.answered is None:
            form = mcp_types.ElicitRequestFormParams(message=asking.question, requested_schema=_SCHEMA)
            return mcp_types.InputRequiredResult(input_requests={_APPROVAL: mcp_types.ElicitRequest(params=form)})
        return await self._result(result)

    async def list_resources(
        self, context: "ServerRequestContext[Any, Any]", params: "mcp_types.PaginatedRequestParams | None"
    ) -> "mcp_types.ListResourcesResult":
        """Answer `resources/list`: nothing, as a file is told to the client whose call made it and to no other."""
        import mcp_types

        return mcp_types.ListResourcesResult(resources=[])

    async def read_resource(
        self, context: "ServerRequestContext[Any, Any]", params: "mcp_types.ReadResourceRequestParams"
    ) -> "mcp_types.ReadResourceResult":
        """Answer `resources/read` for a file that a call gave."""
        import mcp_types
        from mcp.shared.exceptions import MCPError

        artifact = self.known.get(artifact_id(params.uri))
        if artifact is None:
            raise MCPError(mcp_types.INVALID_PARAMS, f"there is no resource {params.uri[:200]!r}")
        data = await self.registry.artifacts.get(artifact.id)
        return mcp_types.ReadResourceResult(contents=[as_contents(artifact, data)])

    def _offered(self, name: str) -> Tool | None:
        tool = self.registry.get(name)
        return tool if tool and tool.name == name and (self.sensitive or not tool.sensitive) else None

    async def _run(self, context: "ServerRequestContext[Any, Any]", call: ToolCall) -> ToolResult:
        send, receive = anyio.create_memory_object_stream[Progress](_MAX_PROGRESS)

        def report(said: Progress | ThreadLeft) -> None:
            if isinstance(said, Progress):
                try:
                    send.send_nowait(said)
                except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
                    return  # the client reads too slowly: it misses a step of the progress, not the result

        async def forward() -> None:
            steps = 0.0
            async with receive:
                async for said in receive:
                    more = said.done is not None and said.done > steps
                    steps = said.done if said.done is not None and more else math.nextafter(steps, math.inf)
                    await context.session.report_progress(steps, said.total, said.message or None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            with send:
                result = await self.registry.call(call, ToolContext(session=_session(context), report=report))
        return result

    async def _result(self, result: ToolResult) -> "mcp_types.CallToolResult":
        import mcp_types

        content = result.content
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        blocks: list[mcp_types.ContentBlock] = [mcp_types.TextContent(type="text", text=text)]
        room = _MAX_FILES
        for artifact in result.artifacts:
            self.known[artifact.id] = artifact
            self.known.move_to_end(artifact.id)
            if artifact.size > room:
                blocks.append(as_link(artifact))
                continue
            room -= artifact.size
            blocks.append(as_block(artifact, await self.registry.artifacts.get(artifact.id)))
        while len(self.known) > _MAX_KNOWN:
            self.known.popitem(last=False)
        return mcp_types.CallToolResult(
            content=blocks,
            structured_content=content if isinstance(content, dict) else None,
            is_error=result.error is not None,
        )


def _declared(tool: Tool) -> "mcp_types.Tool":
    import mcp_types

    hints = mcp_types.ToolAnnotations(
        read_only_hint=tool.pure or None,
        idempotent_hint=tool.idempotent or None,
        destructive_hint=True if tool.sensitive else None,
    )
    schema = {"type": "object", **tool.parameters}
    return mcp_types.Tool(name=tool.name, description=tool.description, input_schema=schema, annotations=hints)


def _answer(params: "mcp_types.CallToolRequestParams") -> bool | None:
    import mcp_types

    answer = (params.input_responses or {}).get(_APPROVAL)
    if not isinstance(answer, mcp_types.ElicitResult):
        return None
    return answer.action == "accept" and (answer.content or {}).get("approve") is True


def _session(context: "ServerRequestContext[Any, Any]") -> str:
    """What keeps the state of one client from another's.

    Over the standard streams there is one client. Over HTTP the protocol has had no sessions since 2026-07-28: then
    each call has one of its own.
    """
    if context.request is None:
        return "mcp"
    given = context.request.headers.get("mcp-session-id") if context.protocol_version < "2026" else None
    return f"mcp-{given or uuid4().hex}"
