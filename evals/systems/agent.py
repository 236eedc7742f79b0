"""An agent as the system under test."""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, fields, replace
from typing import Any
from uuid import uuid4

from arriero.agents.agent import Agent
from arriero.agents.context import Context
from arriero.agents.instructions import Template
from arriero.agents.turn import Turn
from arriero.evals.items import Passage, Question
from arriero.evals.systems.answering import answer_of, prompt_facts
from arriero.evals.systems.citations import cited_ids, numbered
from arriero.evals.systems.facts import digest_of_text, told_facts
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import corpus_digest
from arriero.evals.systems.system import Answer
from arriero.prompts.messages import Message
from arriero.stack.events import CallProgressed, TextDelta
from arriero.stack.log import SQLiteLog
from arriero.tools.values import as_text

_NUMBERED = re.compile(r"^\[(\d{1,4})\] ", re.MULTILINE)
_NOT_FOUND = ("no results", "")


class AgentSystem:
    """Answers with an agent, a new session for each question. A log in memory forgets it: it would only grow.

    What its tools gave is what it had to answer from: results of numbered lines, as `knowledge_search` and
    `web_search` write them, are a passage for each line, others one passage. What failed is none.

    Args:
        agent: The agent, whose stack is open.
        corpus: Passages by id, where questions name passages: what a tool found is known by its text.
        tools: Names of the tools whose results are passages; None for all.
        name: Short name for tables; None for the agent's.
        deps: What its instructions and tools find in their context.
        facts: What is known of the engine, as `engine_facts` gives it; None for the model's name alone.
        rule: Tells refusals. What a shield forbids is a refusal as well.

    Raises:
        ToolError: A tool has nothing to search.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack
        >>> from arriero.examples.documents import agent
        >>> async def ask() -> Answer:
        ...     async with Stack.local() as stack:
        ...         system = AgentSystem(agent(stack))
        ...         try:
        ...             return await system.answer(Question("pass", "How high is the Salda Pass?"))
        ...         finally:
        ...             await system.aclose()
        >>> answer = anyio.run(ask)
        >>> answer.refused, [call["name"] for call in answer.calls], len(answer.passages), len(answer.cited)
        (False, ['knowledge_search'], 3, 1)
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        corpus: Mapping[str, Passage] | None = None,
        tools: Sequence[str] | None = None,
        name: str | None = None,
        deps: Any = None,
        facts: Mapping[str, object] | None = None,
        rule: RefusalRule | None = None,
    ) -> None:
        self._agent, self._deps, self._rule = agent, deps, rule or RefusalRule()
        self._tools = None if tools is None else frozenset(tools)
        self._ids = {_plain(passage.text): id_ for id_, passage in (corpus or {}).items()}
        self.name = name or agent.name
        stack = agent.open_stack
        known = told_facts({"model": stack.engine.model}) if facts is None else facts
        declared = [tool.declaration for tool in agent.registry]
        shields = [shield if isinstance(shield, str) else type(shield).__name__ for shield in agent.shields]
        index = {tool.name: tool.digest() for tool in agent.registry if tool.digest is not None}
        index |= {"corpus": corpus_digest(corpus)} if corpus else {}
        sampling = {**asdict(agent.sampling), "seed": None, "grammar": None}
        self.fingerprint: Mapping[str, object] = {
            "kind": "agent",
            "agent": agent.name,
            **known,
            "dialect": f"{stack.dialect.name} ({stack.dialect.source})",
            "prompt": prompt_facts(_instructions(agent)),
            "tools": {"names": list(agent.tools), "sha256": digest_of_text(repr(declared))},
            "passages_of": None if tools is None else sorted(tools),
            "sampling": {what: value for what, value in sampling.items() if value not in (None, ())},
            "limits": _limits(agent),
            "shields": shields,
            "index": index or None,
            "refusal": self._rule.digest,
        }

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question; see `System.answer`.

        Raises:
            ArrieroError: As from `Agent.run`.
        """
        since = time.perf_counter()
        turn = await self._run(question, seed)
        passages, names = self._passages(turn)
        answer = answer_of(
            question,
            turn.text,
            passages,
            self._rule,
            since,
            prompt_tokens=turn.usage.prompt_tokens,
            completion_tokens=turn.usage.completion_tokens,
        )
        calls = tuple({"name": call.name, "arguments": dict(call.arguments)} for call in turn.calls)
        answer = replace(answer, calls=calls, cited=cited_ids(answer.text, names))
        if turn.reason == "refused":
            return replace(answer, refused=True)
        if turn.reason == "paused":
            return replace(answer, error=f"the turn waits for a decision about {turn.waiting[0].call.name}")
        if turn.reason != "answer" and not answer.text:
            return replace(answer, error=f"the turn ended without an answer: {turn.reason}")
        return answer

    async def aclose(self) -> None:
        """Release what the agent's tools hold. The stack is its opener's to close."""
        await self._agent.aclose()

    async def _run(self, question: Question, seed: int | None) -> Turn[Any]:
        stack, session = self._agent.open_stack, uuid4().hex
        terms = await self._agent.terms(stack, Context(self._deps, session, self._agent.name, 1))
        if seed is not None:
            terms = replace(terms, sampling=replace(terms.sampling, seed=seed))
        said = [Message(one.role, one.text) for one in question.history]
        messages = [*said, Message("user", question.question)]
        async with aclosing(stack.run_turn(messages, terms, session=session)) as stream:
            events = [event async for event in stream if not isinstance(event, TextDelta | CallProgressed)]
        if isinstance(stack.log, SQLiteLog) and stack.log.in_memory:
            await stack.log.delete(session, await stack.log.length(session))
        return self._agent.turn_of(events, session)

    def _passages(self, turn: Turn[Any]) -> tuple[tuple[Passage, ...], dict[str, str]]:
        """What the turn's tools gave, and what its answer may write for each: the last result's numbers count."""
        found: dict[str, Passage] = {}
        names: dict[str, str] = {}
        for result in (result for step in turn.steps for result in step.results):
            if result.error is not None or (self._tools is not None and result.call.name not in self._tools):
                continue
            given = [self._passage(result.call.name, piece) for piece in _pieces(as_text(result.content))]
            found |= {passage.id: passage for passage in given if passage.id not in found}
            names |= numbered(given)
        return tuple(found.values()), names

    def _passage(self, tool: str, piece: str) -> Passage:
        """A piece of a result: its text is known, or what follows the name of its document is."""
        title, separator, text = piece.partition(": ")
        for told, of in ((piece, ""), (text, title)):
            if (id_ := self._ids.get(_plain(told))) is not None:
                return Passage(id_, told, of)
        whole = not separator or len(title) > 120 or tool != "knowledge_search"
        name, body = (tool, piece) if whole else (title, text)
        return Passage(f"{name}#{digest_of_text(body)[:8]}", body, name)


def _pieces(content: str) -> list[str]:
    """The numbered lines of a result, without their numbers; else all of it."""
    starts = [found.start() for found in _NUMBERED.finditer(content)]
    if not starts:
        return [] if content.strip() in _NOT_FOUND else [content]
    ends = [*starts[1:], len(content)]
    return [_NUMBERED.sub("", content[start:end], count=1).strip() for start, end in zip(starts, ends, strict=True)]


def _limits(agent: Agent[Any, Any]) -> dict[str, object]:
    plain = {field.name: getattr(agent.limits, field.name) for field in fields(agent.limits)}
    return plain | {"calls_per_tool": dict(agent.limits.calls_per_tool)}


def _plain(text: str) -> str:
    return " ".join(text.split())


def _instructions(agent: Agent[Any, Any]) -> str:
    match agent.instructions:
        case str() as text:
            return text
        case Template(text=text):
            return text
        case function:
            return f"function {getattr(function, '__qualname__', type(function).__name__)}"
