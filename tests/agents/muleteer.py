"""An agent with a tool that a person must approve, for two processes."""

from arriero import Agent, Stack, tool
from arriero.tools import ToolContext


@tool(sensitive=True)
def mule_load(context: ToolContext, mule: str) -> int:
    """Get the load of a mule.

    Args:
        mule: The mule.
    """
    print(f"mule_load runs for {mule} in the {context.deps}")
    return {"Zuri": 85}[mule]


def agent(stack: Stack) -> Agent[str]:
    """The agent."""
    return Agent(stack, tools=[mule_load])
