"""A registry of ours, served: `python ours.py stdio`, or `python ours.py http PORT [TOKEN]`; `ask` after it asks."""

import sys

import anyio

from arriero.tools import Registry, ToolError, tool
from arriero.tools.artifacts import Attachment, ToolOutput
from arriero.tools.context import ToolContext
from arriero.tools.mcp import approve_by_client, serve


@tool
def add(a: int, b: int = 1) -> dict[str, int]:
    """Add two numbers.

    Args:
        a: One.
        b: The other.
    """
    print("stray text on the standard output")
    return {"sum": a + b}


@tool
def fail() -> str:
    """Fail."""
    raise ToolError("the disk is full")


@tool
def draw() -> ToolOutput:
    """Draw."""
    return ToolOutput(
        "drawn",
        (
            Attachment("a.png", "image/png", b"\x89PNG"),
            Attachment("a.csv", "text/csv", b"a,b"),
            Attachment("a.wav", "audio/wav", b"RIFF"),
            Attachment("large.bin", "application/octet-stream", b"x" * 600_000),
        ),
    )


@tool
async def slow(context: ToolContext) -> str:
    """Work for a while."""
    for done in range(1, 4):
        context.progress(f"step {done}", done=done, total=3)
        await anyio.sleep(0.02)
    return "worked"


@tool
def slow_thread(context: ToolContext) -> str:
    """Work for a while in a thread."""
    for done in range(1, 4):
        context.progress(f"step {done}", done=done, total=3)
    return "worked"


hanging = 0


@tool(timeout=60)
async def hang(context: ToolContext) -> str:
    """Hang."""
    global hanging
    hanging += 1
    try:
        context.progress("hanging")
        await anyio.sleep(60)
    finally:
        hanging -= 1
    return "never"


@tool
async def hung() -> int:
    """How many calls of hang have not ended, after a while."""
    with anyio.move_on_after(20):
        while hanging:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return hanging


@tool
def session(context: ToolContext) -> str:
    """The session."""
    return context.session


@tool(sensitive=True)
def delete(path: str) -> str:
    """Delete a file.

    Args:
        path: The file.
    """
    return f"deleted {path}"


async def main() -> None:
    asking = sys.argv[-1] == "ask"
    tools = [add, fail, draw, slow, slow_thread, hang, hung, session, delete]
    registry = Registry(tools, approve=approve_by_client if asking else None)
    words = [word for word in sys.argv[1:] if word != "ask"]
    if words[0] == "stdio":
        await serve(registry, sensitive=asking)
    else:
        token = words[2] if len(words) > 2 else None
        await serve(registry, transport="http", port=int(words[1]), token=token, sensitive=asking)


if __name__ == "__main__":
    anyio.run(main)
