"""One call of a server's tool, with whatever the server asks on the way."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio

from arriero.tools.context import ToolContext
from arriero.tools.errors import ToolError
from arriero.tools.mcp.declared import clean

if TYPE_CHECKING:
    import mcp_types
    from mcp import Client
    from mcp.shared.dispatcher import ProgressFnT

_MAX_ROUNDS = 10
_MAX_PROGRESS = 300


async def call_tool(
    client: "Client", name: str, arguments: Mapping[str, Any], context: ToolContext
) -> "mcp_types.CallToolResult":
    """Call a tool.

    The SDK's own `call_tool` also checks structured results, with regular expressions that the server chose; here the
    caller checks them at bounded cost.

    Args:
        client: A connected client.
        name: The server's name for the tool.
        arguments: The arguments.
        context: Hears the progress.

    Returns:
        What the server gave.

    Raises:
        MCPError: The server answered with an error, or asked what nobody answers.
        ToolError: It asked without end.
    """
    import mcp_types
    from mcp.client import ClientRequestContext
    from mcp.shared.exceptions import MCPError
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(mcp_types.CallToolResult | mcp_types.InputRequiredResult)
    answers: dict[str, Any] | None = None
    state: str | None = None
    for _ in range(_MAX_ROUNDS):
        params = mcp_types.CallToolRequestParams(
            name=name, arguments=dict(arguments), input_responses=answers, request_state=state
        )
        result = await client.session.send_request(
            mcp_types.CallToolRequest(params=params), adapter, progress_callback=_reporter(context)
        )
        if isinstance(result, mcp_types.CallToolResult):
            return result
        answers, state = {}, result.request_state
        for key, request in (result.input_requests or {}).items():
            meta = request.params.meta if request.params else None
            asked = ClientRequestContext(session=client.session, request_id=key, meta=meta)
            answer = await client.session.dispatch_input_request(asked, request)
            if isinstance(answer, mcp_types.ErrorData):
                raise MCPError.from_error_data(answer)
            answers[key] = answer
        if not answers:
            await anyio.sleep(0.1)  # it wants to be asked again, that is all
    raise ToolError(f"the server asked for more input {_MAX_ROUNDS} times")


def _reporter(context: ToolContext) -> "ProgressFnT":
    async def report(progress: float, total: float | None, message: str | None) -> None:
        context.progress(clean(message or "", _MAX_PROGRESS), done=progress, total=total)

    return report
