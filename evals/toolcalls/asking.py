"""Puts tool-call questions to a model, token by token, and reads recorded answers the same way."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from arriero.evals.items import Question, QuestionSet
from arriero.evals.systems.facts import told_facts
from arriero.evals.systems.system import Answer
from arriero.evals.toolcalls.items import ToolItem
from arriero.evals.toolcalls.progress import Progress
from arriero.prompts.events import Parsed
from arriero.prompts.grammar.calls import call_grammar
from arriero.prompts.grammar.grammar import Limits
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.stack.engine import Sampling, takes_grammars
from arriero.stack.errors import EngineRejected
from arriero.stack.generation import Generation, request, stop_ids
from arriero.stack.stack import Stack

_ATTEMPT = re.compile(
    r"\s*(?:<\|python_(?:tag|start)\|>|<function=|\[?\s*\{\s*[\"'](?:name|function|type)[\"']|\[\s*[A-Za-z_][\w.]*\()"
)
_OPTIONS = RenderOptions(repair=True)
_MOST_CALLS = 16


@dataclass(frozen=True, slots=True)
class Prompting:
    """How tool-call questions are put.

    Args:
        name: Short name for tables.
        system: System text; empty for none. An item's own follows it, after a blank line.
        grammar: Whether answers are held to the grammar of the offered tools.
        max_tokens: Most tokens of a message.
    """

    name: str = "plain"
    system: str = ""
    grammar: bool = False
    max_tokens: int = 512


class ToolCallSystem:
    """A model that answers tool-call questions, through rendered ids, a grammar if wanted, and the parser.

    Args:
        stack: The model; who made it closes it.
        items: What may be asked.
        prompting: How it is put.
        facts: What is known of the engine, as `engine_facts` gives it; None for the model's name alone.

    Raises:
        EngineRejected: A grammar is wanted, and the engine takes none.

    Example:
        >>> import anyio
        >>> from arriero import Stack
        >>> from arriero.evals.toolcalls import SAMPLE, questions_of, read_tool_items
        >>> items = read_tool_items(SAMPLE)[:1]
        >>> async def ask() -> str:
        ...     async with Stack.local() as stack:
        ...         answer = await ToolCallSystem(stack, items).answer(questions_of(items).questions[0])
        ...         return str(answer.calls[0]["name"])
        >>> anyio.run(ask) == next(iter(items[0].steps[0].accepted[0]))
        True
    """

    def __init__(
        self,
        stack: Stack,
        items: Sequence[ToolItem],
        prompting: Prompting = Prompting(),
        *,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        if prompting.grammar and not takes_grammars(stack.engine):
            raise EngineRejected(f"{stack.engine!r} takes no grammar: ask without one, or install xgrammar")
        self._stack = stack
        self._items = {item.id: item for item in items}
        self._prompting = prompting
        self._facts = told_facts({"model": stack.engine.model}) if facts is None else facts

        self.name = prompting.name

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Model, dialect, prompting, versions, and what else was given."""
        dialect = self._stack.dialect
        return {
            "kind": "tool calls",
            **self._facts,
            "dialect": f"{dialect.name} ({dialect.source})",
            "prompting": asdict(self._prompting),
        }

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question, all its steps.

        Args:
            question: One of `questions_of`.
            seed: Seed of the sampling, which is greedy.

        Returns:
            The answer. Each of its calls carries the position of its message; a message that tries to call and cannot
            be read is there as a call without a name.

        Raises:
            EngineError: The engine failed, or the question does not fit its context.
            InvalidMessage: The conversation cannot be rendered.
            GrammarNotExpressible: A tool's schema cannot be held to.
        """
        begun = time.monotonic()
        asked = _Asked(self._stack, self._items[question.id], self._prompting, seed)
        await asked.run()
        return Answer(
            question.id,
            "\n".join(text for text in asked.texts if text),
            calls=tuple(asked.calls),
            seconds=time.monotonic() - begun,
            prompt_tokens=asked.prompt_tokens,
            completion_tokens=asked.completion_tokens,
        )

    async def aclose(self) -> None:
        """Nothing: the stack is its maker's."""


def questions_of(items: Sequence[ToolItem], name: str = "tool calls") -> QuestionSet:
    """Tool-call items as questions that a run can ask.

    Args:
        items: The items.
        name: Name of the set.

    Returns:
        The questions; each carries its whole item, so that a run's folder says what was asked.
    """
    return QuestionSet(name, tuple(_question(item) for item in items))


def written_calls(parsed: Parsed, message: int) -> list[dict[str, object]]:
    """What an answer keeps of a message of the model.

    Args:
        parsed: The message.
        message: Its position, from 0.

    Returns:
        Its calls; one without a name where it tries to call and cannot be read.
    """
    if parsed.tool_calls:
        return [
            {"name": call.name, "arguments": dict(call.arguments), "message": message} for call in parsed.tool_calls
        ]
    if _ATTEMPT.match(parsed.content):
        return [{"name": "", "arguments": {}, "message": message}]
    return []


class _Asked:
    """One item, put to one model."""

    def __init__(self, stack: Stack, item: ToolItem, prompting: Prompting, seed: int | None) -> None:
        self._stack, self._item = stack, item
        self._engine, self._dialect = stack.engine, stack.dialect
        grammar = None
        if prompting.grammar and item.tools:
            grammar = call_grammar(
                stack.dialect, item.tools, most_calls=_MOST_CALLS, limits=Limits(string=2_000, items=200)
            )
        ends = stop_ids(stack.dialect, stack.engine.tokenizer)
        self._sampling = Sampling(max_tokens=prompting.max_tokens, seed=seed, stop_ids=ends, grammar=grammar)
        self._opening = [*_instructed(item.messages, prompting.system), *item.steps[0].messages]
        self.texts: list[str] = []
        self.calls: list[dict[str, object]] = []
        self.prompt_tokens = self.completion_tokens = 0

    async def run(self) -> None:
        """Ask until the item is over."""
        tokenizer = self._engine.tokenizer
        ids = self._dialect.render(self._opening, self._item.tools, _OPTIONS).encode(tokenizer)
        progress = Progress(self._item)
        while True:
            parsed = await self._said(ids)
            following = progress.said(parsed.tool_calls)
            if following is None:
                return
            if ids[-1] not in self._sampling.stop_ids:
                ids.append(tokenizer.special_id(self._dialect.end_of_turn))
            ids += self._dialect.render_delta(following, _OPTIONS).encode(tokenizer)

    async def _said(self, ids: list[int]) -> Parsed:
        """The model's next message, which is appended to the ids."""
        parser = self._dialect.parser(self._item.tools, self._engine.tokenizer)
        async with request(self._engine, ids, self._sampling) as deltas:
            generation = Generation(deltas, parser)
            await generation.read()
        ids += generation.token_ids
        self.prompt_tokens += generation.usage.prompt_tokens
        self.completion_tokens += generation.usage.completion_tokens
        self.calls += written_calls(generation.parsed, len(self.texts))
        self.texts.append(generation.parsed.content)
        return generation.parsed


def _instructed(messages: Sequence[Message], system: str) -> list[Message]:
    """A conversation under a system text, before its own where it has one."""
    if not system:
        return list(messages)
    if messages[0].role != "system":
        return [Message("system", system), *messages]
    own = messages[0].content
    return [Message("system", f"{system}\n\n{own}" if isinstance(own, str) else system), *messages[1:]]


def _question(item: ToolItem) -> Question:
    spoken = [message.content for message in item.messages if message.role == "user"]
    text = spoken[-1] if spoken and isinstance(spoken[-1], str) else ""
    kept = {"messages": [asdict(message) for message in item.messages], "tools": list(item.tools)}
    steps = [asdict(step) for step in item.steps]
    plain = json.loads(json.dumps({**kept, "steps": steps}, default=dict))
    return Question(item.id, text, doc_id=item.doc_id, kind=item.category, extra=plain)


def calls_by_message(answer: Answer) -> list[list[ToolCall]]:
    """The calls of an answer, message by message.

    Args:
        answer: The answer.

    Returns:
        For each message of the model its calls; at least one message.
    """
    last = max((int(str(call.get("message", 0))) for call in answer.calls), default=0)
    messages: list[list[ToolCall]] = [[] for _ in range(last + 1)]
    for call in answer.calls:
        arguments = call["arguments"]
        if call["name"]:
            made = ToolCall(str(call["name"]), arguments if isinstance(arguments, dict) else {})
            messages[int(str(call.get("message", 0)))].append(made)
    return messages
