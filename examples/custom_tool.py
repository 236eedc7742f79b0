"""Give a model functions of your own: their types and docstrings are all it needs.

arriero run examples/custom_tool.py
python examples/custom_tool.py
"""

import anyio

from arriero import Agent, Stack, ToolError, tool

QUESTIONS = ("What is the load of Zuri?",)
LOADS = {"Zuri": 85, "Bramble": 120}
TOLLS = {"Salda Pass": 12, "Vandel Pass": 5}


@tool
def mule_load(mule: str) -> int:
    """Get the load of a mule.

    Args:
        mule: The mule.
    """
    if mule not in LOADS:
        raise ToolError(f"no such mule {mule}")
    return LOADS[mule]


@tool
def trail_toll(pass_name: str) -> int:
    """Get the toll of a pass.

    Args:
        pass_name: The pass.
    """
    if pass_name not in TOLLS:
        raise ToolError(f"no such pass {pass_name}")
    return TOLLS[pass_name]


def agent(stack: Stack) -> Agent:
    """An agent with two tools, which picks one by what they say of themselves."""
    return Agent(stack, instructions="Answer with the tools you are given.", tools=[mule_load, trail_toll])


async def main() -> None:
    """Ask, and print the answer and the call."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        turn = await agent(stack).run(QUESTIONS[0])
        print(QUESTIONS[0], turn.text)
        print(*turn.calls, sep="\n")


if __name__ == "__main__":
    anyio.run(main)
