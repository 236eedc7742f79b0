"""Long-term memory as tools: what an agent keeps from one conversation to the next."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from arriero.agents.memory_store import Embed, MemoryStore
from arriero.tools import ToolContext, ToolDefinitionError, ToolError, ToolGroup
from arriero.tools.declared import describe

Scope = str | Callable[[ToolContext], str]
"""Whose memories they are: a name, or what tells it from the context of a call."""


def memory(
    path: str | Path,
    *,
    scope: Scope = "",
    count: int = 5,
    embed: Embed | None = None,
    most: int = 10_000,
    longest: int = 2_000,
) -> ToolGroup:
    """Tools to remember, to recall and to forget, over a file that outlives the process.

    What is remembered is data, whoever wrote it: a result of `recall` is marked with the source `memory`, so that
    shields and people can tell it from what the user says. A branch of a session shares the memories.

    Args:
        path: The file. Several processes and agents may use it at once.
        scope: Whose memories these are, such as a user's or an agent's name. A function is given the context of each
            call, with the session and with what the agent's caller gave (`context.deps`). Agents with the same scope
            share their memories; no other scope's are ever found. The default is one scope for all who use the file.
        count: Most memories that one `recall` gives.
        embed: Finds by meaning too, where it is given: `arriero.tools.embedding.embed`, with the extra `rag`. Without
            it memories are found by their words.
        most: Most memories of a scope.
        longest: Most characters of one.

    Returns:
        The group `memory`: `remember`, `recall`, `forget`.

    Raises:
        ToolDefinitionError: A number is not positive.

    Example:
        >>> import anyio, tempfile
        >>> from arriero import ToolCall
        >>> from arriero.tools import Registry
        >>> async def keep() -> object:
        ...     with tempfile.TemporaryDirectory() as folder:
        ...         tools = Registry([memory(folder + "/memory.sqlite", scope="ana")])
        ...         await tools.call(ToolCall("remember", {"text": "Zuri is afraid of bridges."}))
        ...         found = await tools.call(ToolCall("recall", {"query": "bridge"}))
        ...         await tools.aclose()
        ...     return found.source, found.content[0]["text"]
        >>> anyio.run(keep)
        ('memory', 'Zuri is afraid of bridges.')
    """
    if count < 1 or most < 1 or longest < 1:
        raise ToolDefinitionError(f"memory: count is {count}, most {most}, longest {longest}; use numbers above 0")
    store = MemoryStore(path, embed=embed, most=most, longest=longest)

    def owner(context: ToolContext) -> str:
        named: object = scope if isinstance(scope, str) else scope(context)
        if not isinstance(named, str):
            raise ToolError(f"nobody's memories can be used here: their scope is {type(named).__name__}, not text")
        return named

    def remember(context: ToolContext, text: str) -> str:  # noqa: D417  the model gives no context
        """Keep a fact for later conversations.

        Args:
            text: The fact, in a sentence that can be understood alone.
        """
        return f"remembered as {store.remember(owner(context), text)}"

    def recall(context: ToolContext, query: str = "") -> list[dict[str, object]] | str:  # noqa: D417
        """Look up what was remembered in earlier conversations.

        Args:
            query: What it is about; empty for the latest.
        """
        found = store.recall(owner(context), query, count)
        told = [{"id": one.id, "day": _day(one.time), "text": one.text} for one in found]
        return told or "nothing is remembered about that"

    def forget(context: ToolContext, id: int) -> str:  # noqa: A002, D417  the name as recall gives it
        """Give up something that was remembered.

        Args:
            id: Its number, as recall gives it.
        """
        return "forgotten" if store.forget(owner(context), id) else f"there is no memory {id}"

    async def close() -> None:
        await anyio.to_thread.run_sync(store.close)

    return ToolGroup(
        "memory",
        [
            describe(remember, idempotent=True, retries=1, close=close),
            describe(recall, idempotent=True, retries=1, source="memory"),
            describe(forget, idempotent=True, retries=1),
        ],
    )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
