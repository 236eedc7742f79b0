"""What clients may send. Whatever would change the answer and is not supported is refused, not ignored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class FunctionCall(BaseModel):
    """A call in the history; `arguments` is JSON text, as in OpenAI's API."""

    name: str
    arguments: str


class Call(BaseModel):
    """A tool call in the history."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    """A message. Parts other than text are refused when it is read."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None


class Function(BaseModel):
    """A declared function; its keys reach the model in this order."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class ToolDeclaration(BaseModel):
    """A declared tool."""

    type: Literal["function"]
    function: Function


class StreamOptions(BaseModel):
    """What a stream carries besides the answer."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatBody(BaseModel):
    """A request for `/v1/chat/completions`.

    `user`, `metadata`, `store`, `service_tier`, `safety_identifier`, `prompt_cache_key` and
    `parallel_tool_calls` are taken and have no effect on the answer.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[ToolDeclaration] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, strict=True)
    max_tokens: int | None = Field(default=None, ge=1, strict=True)
    max_completion_tokens: int | None = Field(default=None, ge=1, strict=True)
    n: Literal[1] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None


class ShieldBody(BaseModel):
    """A request for `/v1/safety/run-shield`, in Llama Stack's shape."""

    shield_id: str
    messages: list[ChatMessage] = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
