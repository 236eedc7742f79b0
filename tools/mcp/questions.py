"""What a server asks of its client: refused unless the policy names who answers for the user and for the model."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from arriero.tools.mcp.declared import clean
from arriero.tools.mcp.policy import Elicitation, McpPolicy, Sampling
from arriero.tools.mcp.results import read_blocks

if TYPE_CHECKING:
    import mcp_types
    from mcp.client.session import ClientRequestContext, ElicitationFnT, SamplingFnT

_MAX_QUESTION = 4_000
_MAX_SAMPLED = 100_000
_AT_ONCE = 8

Asked = TypeVar("Asked")
Given = TypeVar("Given")


def elicitation_callback(server: str, policy: McpPolicy) -> "ElicitationFnT | None":
    """What answers a server's questions to the user; None tells the server that nobody does."""
    import mcp_types

    if policy.elicit is None:
        return None
    ask = _some_at_once(policy.elicit)

    async def answer(
        context: "ClientRequestContext", params: "mcp_types.ElicitRequestParams"
    ) -> "mcp_types.ElicitResult | mcp_types.ErrorData":
        form = params if isinstance(params, mcp_types.ElicitRequestFormParams) else None
        given = await ask(
            Elicitation(
                server=server,
                message=clean(params.message, _MAX_QUESTION),
                schema=_plain(form.requested_schema) if form else {},
                url=clean(params.url, _MAX_QUESTION) if isinstance(params, mcp_types.ElicitRequestURLParams) else None,
            )
        )
        if given is None:
            return mcp_types.ElicitResult(action="decline")
        return mcp_types.ElicitResult(action="accept", content=dict(given) if form else None)

    return answer


def sampling_callback(server: str, policy: McpPolicy) -> "SamplingFnT | None":
    """What gives a server text from a model; None tells the server that nobody does."""
    import mcp_types

    if policy.sample is None:
        return None
    sample = _some_at_once(policy.sample)

    async def answer(
        context: "ClientRequestContext", params: "mcp_types.CreateMessageRequestParams"
    ) -> "mcp_types.CreateMessageResult | mcp_types.ErrorData":
        messages = tuple((message.role, _text(message.content)) for message in params.messages)
        system = clean(params.system_prompt or "", _MAX_SAMPLED)
        text = await sample(
            Sampling(server=server, messages=messages, system=system, max_tokens=max(1, params.max_tokens))
        )
        if text is None:
            return mcp_types.ErrorData(code=-1, message="the user declined")  # the specification's code for it
        content = mcp_types.TextContent(type="text", text=text)
        return mcp_types.CreateMessageResult(role="assistant", content=content, model="unnamed", stop_reason="endTurn")

    return answer


def _some_at_once(ask: Callable[[Asked], Awaitable[Given | None]]) -> Callable[[Asked], Awaitable[Given | None]]:
    """Declines for a user, or a model that costs money, what a server asks while enough is being answered."""
    asked = 0

    async def answer(question: Asked) -> Given | None:
        nonlocal asked
        if asked == _AT_ONCE:
            return None
        asked += 1
        try:
            return await ask(question)
        finally:
            asked -= 1

    return answer


def _text(content: Any) -> str:
    blocks = content if isinstance(content, list) else [content]
    return clean(read_blocks(blocks)[0], _MAX_SAMPLED)


def _plain(schema: Any) -> dict[str, Any]:
    plain = schema if isinstance(schema, dict) else schema.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dict(plain)
