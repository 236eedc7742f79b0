"""The same turn with smolagents' tool-calling agent, over chat completions."""

from collections.abc import Callable
from importlib.metadata import version

from measure import measure
from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool


@tool
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


def make(url: str, steps: int) -> Callable[[], None]:
    """A turn of that many steps."""
    model = OpenAIModel(model_id="stub", api_base=f"{url}/v1", api_key="none")
    agent = ToolCallingAgent(tools=[double], model=model, verbosity_level=LogLevel.OFF, max_steps=steps + 1)

    def turn() -> None:
        agent.run("What is the double of 21?")

    return turn


measure(make, version("smolagents"))
