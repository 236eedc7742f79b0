"""Data analysis: numbers and plots from programs that run in the sandbox.

arriero run examples/analysis.py
python examples/analysis.py
"""

from pathlib import Path
from tempfile import mkdtemp

import anyio

from arriero import Agent, Stack, Tool, tool
from arriero.tools import Registry, ToolContext, ToolOutput, code_interpreter

QUESTIONS = ("What is the mean of height?", "Create a chart with column height.")
PASSES = {
    "name": ["Salda", "Morun", "Tilbeck", "Vandel", "Orsic"],
    "height": [2140, 1875, 2630, 1490, 2985],
    "toll": [12, 8, 15, 5, 20],
}
MEAN = "print(sum(data[{column!r}]) / len(data[{column!r}]))"
CHART = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.bar(data["name"], data[{column!r}])
axes.set_title({column!r})
"""


def tools() -> list[Tool]:
    """What the agent can do with the table. Each runs a program of this file in one sandbox."""
    interpreter = code_interpreter()

    async def run(context: ToolContext, program: str, column: str) -> ToolOutput:
        code = f"data = {PASSES!r}\n" + program.format(column=column)
        made = await interpreter.handler({"code": code}, context)
        return made if isinstance(made, ToolOutput) else ToolOutput(str(made))

    @tool(pure=True)
    async def get_mean(context: ToolContext, column: str) -> str:  # noqa: D417  the model gives no context
        """Get the mean of a column.

        Args:
            column: The column.
        """
        made = await run(context, MEAN, column)
        return str(made.content).partition("[stdout]")[2].partition("\n")[0]

    @tool(pure=True)
    async def create_chart(context: ToolContext, column: str) -> ToolOutput:  # noqa: D417
        """Create a chart.

        Args:
            column: The column.
        """
        made = await run(context, CHART, column)
        return ToolOutput(f"{column}_chart" if made.attachments else made.content, made.attachments)

    return [get_mean, create_chart]  # a larger model is given `interpreter` itself, and writes the programs


async def main(stack: Stack) -> None:
    """Ask, print the answers, and write the plots to a folder."""
    folder = Path(mkdtemp(prefix="plots-"))
    registry = Registry(tools())
    agent = Agent(stack, instructions="Use the tools. Be brief.", tools=registry)
    for question in QUESTIONS:
        turn = await agent.run(question)
        print(question, turn.text)
        for result in (result for step in turn.steps for result in step.results):
            for artifact in result.artifacts:
                plot = folder / artifact.name
                plot.write_bytes(await registry.artifacts.get(artifact.id))
                print(f"  {artifact.media_type}, {artifact.size} bytes: {plot}")
    await registry.aclose()


async def alone() -> None:
    """Run on the bundled model."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        await main(stack)


if __name__ == "__main__":
    anyio.run(alone)
