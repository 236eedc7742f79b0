"""The same turn with OpenAI Agents, over chat completions."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version

from measure import measure
from openai import AsyncOpenAI

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled


@function_tool
async def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


def make(url: str, steps: int) -> Callable[[], Awaitable[None]]:
    """A turn of that many steps."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    model = OpenAIChatCompletionsModel(model="stub", openai_client=client)
    agent = Agent(name="a", instructions="You are a helpful assistant.", model=model, tools=[double])

    async def turn() -> None:
        await Runner.run(agent, "What is the double of 21?", max_turns=steps + 1)

    return turn


measure(make, version("openai-agents"))
