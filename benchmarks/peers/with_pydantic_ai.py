"""The same turn with Pydantic AI, over chat completions."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version

from measure import measure
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits


async def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


def make(url: str, steps: int) -> Callable[[], Awaitable[None]]:
    """A turn of that many steps."""
    model = OpenAIChatModel("stub", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
    agent = Agent(model, instructions="You are a helpful assistant.", tools=[double])

    async def turn() -> None:
        await agent.run("What is the double of 21?", usage_limits=UsageLimits(request_limit=steps + 1))

    return turn


measure(make, version("pydantic-ai-slim"))
