"""What the demo runs: the examples' questions, and how each must end."""

import re
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from arriero.agents.agent import Agent
from arriero.agents.show import Presenter, show_turn
from arriero.agents.turn import Turn
from arriero.examples import documents, research, shielded
from arriero.stack.events import Reason
from arriero.stack.shields import Place
from arriero.stack.stack import Stack
from arriero.stack.terms import REFUSAL


@dataclass(frozen=True, slots=True)
class Workflow:
    """One question to one example's agent, and how the turn must end.

    Args:
        name: Short name.
        shows: What it shows, in a few words.
        agent: Makes the agent.
        question: What is asked.
        calls: Names of the tools that must be called, in order.
        reason: How the turn must end.
        answer: Regular expression that the whole answer must match.
        refusal: Where a shield must refuse, and for which category. A shield that refuses because it cannot read
            its guard's verdict does not count.
    """

    name: str
    shows: str
    agent: Callable[[Stack], Agent]
    question: str
    calls: tuple[str, ...]
    reason: Reason
    answer: str
    refusal: tuple[Place, str] | None = None

    def unmet(self, turn: Turn) -> str | None:
        """What in a turn is not as it must be; None when nothing is."""
        calls = tuple(call.name for call in turn.calls)
        refusals = [given for given in turn.verdicts if not given.verdict.allowed]
        refusal = (refusals[0].where, ",".join(refusals[0].verdict.categories)) if refusals else None
        for what, is_, must in (
            ("calls", calls, self.calls),
            ("end", turn.reason, self.reason),
            ("refusal", refusal, self.refusal),
        ):
            if is_ != must:
                return f"{what} must be {must!r}, not {is_!r}"
        if not re.fullmatch(self.answer, turn.text):
            return f"the answer must match {self.answer!r}, not be {turn.text!r}"
        return None


REFUSED = re.escape(REFUSAL)
WORKFLOWS = (
    Workflow(
        "research",
        "search, then arithmetic, then an answer",
        research.agent,
        research.QUESTIONS[0],
        ("web_search", "code_interpreter"),
        "answer",
        r".*\b6420\b.*",
    ),
    Workflow(
        "population",
        "the same for another question",
        research.agent,
        research.QUESTIONS[1],
        ("web_search", "code_interpreter"),
        "answer",
        r".*\b10240\b.*",
    ),
    Workflow(
        "documents",
        "an answer from documents, with its source",
        documents.agent,
        documents.QUESTIONS[0],
        ("knowledge_search",),
        "answer",
        r".*\b2140 metres \[\d\]\.",
    ),
    Workflow(
        "mayor",
        "another answer from documents, with its source",
        documents.agent,
        documents.QUESTIONS[1],
        ("knowledge_search",),
        "answer",
        r".*\bYsa Grell \[\d\]\.",
    ),
    Workflow(
        "unanswerable",
        "a question that the documents cannot answer",
        documents.agent,
        documents.QUESTIONS[2],
        ("knowledge_search",),
        "answer",
        r"The documents do not say\.",
    ),
    Workflow(
        "input shield",
        "a request that is refused",
        shielded.agent,
        shielded.QUESTIONS[0],
        (),
        "refused",
        REFUSED,
        ("input", "S9"),
    ),
    Workflow(
        "output shield",
        "an answer that is refused",
        shielded.agent,
        shielded.QUESTIONS[1],
        ("web_search",),
        "refused",
        REFUSED,
        ("output", "S9"),
    ),
)


async def run_demo(stack: Stack, presenter: Presenter, workflows: Iterable[Workflow] = WORKFLOWS) -> int:
    """Run workflows, one after the other.

    Args:
        stack: What they run on.
        presenter: Shows their events as they happen.
        workflows: Which.

    Returns:
        How many did not end as they must.

    Raises:
        EngineError: The engine failed.
    """
    agents: dict[Callable[[Stack], Agent], Agent] = {}
    failed = 0
    async with AsyncExitStack() as closing:
        for workflow in workflows:
            if workflow.agent not in agents:
                agents[workflow.agent] = workflow.agent(stack)
                closing.push_async_callback(agents[workflow.agent].aclose)
            presenter.begin(workflow.name, f"{workflow.shows}\n{workflow.question}")
            unmet = workflow.unmet(await show_turn(agents[workflow.agent], workflow.question, presenter))
            presenter.note("unmet", unmet)
            failed += unmet is not None
    return failed
