"""A plain RAG pipeline on any engine: find passages, put them into the prompt, let the model answer."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from arriero.evals.items import Passage, Question
from arriero.evals.systems.answering import answer_of, passages_for, prompt_facts, retrieval_facts, told
from arriero.evals.systems.facts import told_facts
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import Retriever
from arriero.evals.systems.system import Answer
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.stack.engine import Sampling
from arriero.stack.generation import Generation, request, stop_ids
from arriero.stack.stack import Stack

INSTRUCTIONS = "Answer from the documents and cite them."
DATE = "26 Jul 2024"
"""The day in prompts that name one, which templates of Llama 3.1 have fixed: a prompt must not change overnight."""

_TOOL = "knowledge_search"
_DECLARATION: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": _TOOL,
        "description": "Search the documents.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to look for."}},
            "required": ["query"],
        },
    },
}


class RagSystem:
    """Answers from passages that come as the result of a search, as an agent with `knowledge_search` reads them.

    The search is made for every question, with the question itself as query; the model writes the answer alone. A
    question with passages of its own is answered from those.

    Args:
        stack: Where the model runs.
        retriever: Finds passages; None where the questions bring them.
        k: Most passages to find.
        instructions: System text.
        sampling: How to sample.
        name: Short name for tables; None for the model's.
        facts: What is known of the engine, as `engine_facts` gives it; None for the model's name alone.
        rule: Tells refusals.

    Example:
        >>> import anyio
        >>> from arriero import Stack
        >>> question = Question("hay", "What is the load of Zuri?", passages=(
        ...     Passage("zuri", "The load of Zuri is 85 kilograms.", "mules.md"),))
        >>> async def ask() -> Answer:
        ...     async with Stack.local() as stack:
        ...         return await RagSystem(stack).answer(question)
        >>> answer = anyio.run(ask)
        >>> answer.text, answer.cited
        ('The load of Zuri is 85 kilograms [1].', ('zuri',))
    """

    def __init__(
        self,
        stack: Stack,
        retriever: Retriever | None = None,
        *,
        k: int = 3,
        instructions: str = INSTRUCTIONS,
        sampling: Sampling | None = None,
        name: str | None = None,
        facts: Mapping[str, object] | None = None,
        rule: RefusalRule | None = None,
    ) -> None:
        self._stack, self._retriever, self._k = stack, retriever, k
        self._instructions, self._rule = instructions, rule or RefusalRule()
        stops = stop_ids(stack.dialect, stack.engine.tokenizer)
        self._sampling = replace(sampling or Sampling(), stop_ids=stops)
        self.name = name or stack.engine.model
        known = told_facts({"model": stack.engine.model}) if facts is None else facts
        shown = {**asdict(self._sampling), "stop_ids": None, "seed": None}
        self.fingerprint: Mapping[str, object] = {
            "kind": "rag",
            **known,
            "dialect": f"{stack.dialect.name} ({stack.dialect.source})",
            "prompt": prompt_facts(instructions, date=DATE, passages=_TOOL),
            "sampling": {what: value for what, value in shown.items() if value is not None},
            "index": retrieval_facts(retriever, k),
            "refusal": self._rule.digest,
        }

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question; see `System.answer`.

        Raises:
            EngineError: The engine failed.
        """
        since = time.perf_counter()
        passages = await passages_for(question, self._retriever, self._k)
        prompt = self._prompt(question, passages)
        engine, dialect = self._stack.engine, self._stack.dialect
        async with request(engine, prompt, replace(self._sampling, seed=seed)) as deltas:
            generation = Generation(deltas, dialect.parser((_TOOL,), engine.tokenizer))
            await generation.read()
        usage = generation.usage
        answer = answer_of(
            question,
            generation.parsed.content,
            passages,
            self._rule,
            since,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        calls = tuple({"name": call.name, "arguments": dict(call.arguments)} for call in generation.calls)
        if calls and not answer.text:
            return replace(answer, calls=calls, error=f"the model called {calls[0]['name']} in place of an answer")
        return replace(answer, calls=calls)

    async def aclose(self) -> None:
        """Nothing to release: the stack is its opener's to close."""

    def _prompt(self, question: Question, passages: Sequence[Passage]) -> list[int]:
        asked = [Message("system", self._instructions)] if self._instructions else []
        asked += [Message(one.role, one.text) for one in question.history]
        asked.append(Message("user", question.question))
        if passages or self._retriever is not None:
            call = ToolCall(_TOOL, {"query": question.question})
            asked += [Message("assistant", "", (call,)), Message("tool", told(passages))]
        options = RenderOptions(repair=True, date_string=DATE)
        return self._stack.dialect.render(asked, [_DECLARATION], options).encode(self._stack.engine.tokenizer)
