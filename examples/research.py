"""Search the web, calculate with what was found, answer.

arriero run examples/research.py
arriero run examples/research.py "What is the height of Mount Vesk?"
python examples/research.py
"""

import anyio

from arriero import Agent, Stack
from arriero.tools import code_interpreter, web_search

QUESTIONS = (
    "What is three times the height of Mount Orla?",
    "What is twice the population of Lanza?",
)


def agent(stack: Stack) -> Agent:
    """An agent that looks facts up and leaves arithmetic to Python."""
    return Agent(
        stack,
        instructions="Search the web for facts and use the code interpreter for arithmetic.",
        tools=[
            web_search(provider="offline"),  # a few pages that ship with Arriero; web_search() asks the live web
            code_interpreter(),
        ],
    )


async def main() -> None:
    """Ask, and print the answers."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        for question in QUESTIONS:
            turn = await agent(stack).run(question)
            print(question, turn.text)


if __name__ == "__main__":
    anyio.run(main)
