"""The same turn with LangGraph's prebuilt agent, over chat completions."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from measure import measure


@tool
async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def make(url: str, steps: int) -> Callable[[], Awaitable[None]]:
    """A turn of that many steps."""
    model = ChatOpenAI(model="stub", base_url=f"{url}/v1", api_key="none")
    agent = create_react_agent(model, [double], prompt="You are a helpful assistant.")

    async def turn() -> None:
        question = {"messages": [{"role": "user", "content": "What is the double of 21?"}]}
        await agent.ainvoke(question, {"recursion_limit": 2 * steps + 2})

    return turn


measure(make, version("langgraph"))
