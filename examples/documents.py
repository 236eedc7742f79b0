"""Answer from documents, with a citation; say so where they do not hold the answer.

arriero run examples/documents.py
arriero run examples/documents.py "Who is the mayor of Pellow?"
python examples/documents.py
"""

import anyio

from arriero import Agent, Stack
from arriero.tools import knowledge_search

QUESTIONS = (
    "How high is the Salda Pass?",
    "Who is the mayor of Tarnholt?",
    "What is the price of the Copper Inn?",  # the documents tell its beds, not its price
)


def agent(stack: Stack) -> Agent:
    """An agent that knows what the documents say, and nothing else."""
    return Agent(
        stack,
        instructions="Answer from the documents and cite them.",
        tools=[knowledge_search()],  # the handbook that ships with Arriero; knowledge_search(folder) reads your own
    )


async def main() -> None:
    """Ask, and print each answer and the passage that it cites."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        reader = agent(stack)
        for question in QUESTIONS:
            turn = await reader.run(question)
            passages = str(turn.steps[0].results[0].content).splitlines() if turn.calls else []
            cited = [passage for passage in passages if passage.split(" ")[0] in turn.text]
            print(question, turn.text, *cited, sep="\n  ")


if __name__ == "__main__":
    anyio.run(main)
