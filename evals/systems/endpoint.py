"""Any server that speaks OpenAI's chat completions as the system under test."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question
from arriero.evals.systems.answering import answer_of, passages_for, prompt_facts, retrieval_facts, told
from arriero.evals.systems.facts import told_facts
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import Retriever
from arriero.evals.systems.system import Answer
from arriero.stack.engine import Sampling
from arriero.stack.engines.http import NotNow, Server
from arriero.stack.errors import EngineInterrupted, EngineRejected

INSTRUCTIONS = (
    "Answer the question from the passages alone, and name those that you use by their numbers, as in [1]. If they do"
    " not hold the answer, write: The documents do not say."
)
TEMPLATE = "Passages:\n{passages}\n\nQuestion: {question}"
"""What the user says; `{passages}` and `{question}` are put in. Without passages it is the question alone."""

_PLACES = re.compile(r"(\{question\}|\{passages\})")


class EndpointSystem:
    """Answers with a chat model behind HTTP: `POST /v1/chat/completions`.

    Requests that a busy or broken server did not answer are repeated, as the engines of a stack do.

    Args:
        url: The server, such as `http://localhost:11434/v1`.
        model: Name of the model there.
        retriever: Finds passages; None where the questions bring them.
        k: Most passages to find.
        instructions: System text.
        template: What the user says.
        sampling: How to sample: `max_tokens`, `temperature` and `top_p` are sent.
        api_key: Sent as bearer token.
        name: Short name for tables; None for the model's.
        facts: What is known of the model, as `served_facts` and `told_facts` give it; None for its name alone.
        rule: Tells refusals.
        timeout: Longest silence of the server, in seconds.
        retries: How often a request is repeated.
        backoff: Longest wait before the first repetition, in seconds; it doubles each time.
        transport: Another way to reach the server.

    Raises:
        EngineRejected: The URL or the key cannot be sent.
        EvalError: The template lacks the question.

    Example:
        >>> endpoint = EndpointSystem("http://localhost:11434/v1", "llama3.1")
        >>> endpoint.fingerprint["kind"], endpoint.fingerprint["url"]
        ('endpoint', 'http://localhost:11434')
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        retriever: Retriever | None = None,
        k: int = 3,
        instructions: str = INSTRUCTIONS,
        template: str = TEMPLATE,
        sampling: Sampling | None = None,
        api_key: str | None = None,
        name: str | None = None,
        facts: Mapping[str, object] | None = None,
        rule: RefusalRule | None = None,
        timeout: float = 120.0,
        retries: int = 3,
        backoff: float = 0.25,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        if "{question}" not in template:
            raise EvalError("the template has no {question}: the model would not be asked anything")
        self.server = Server(
            url, api_key=api_key, timeout=timeout, retries=retries, backoff=backoff, transport=transport
        )
        self._path = "v1/chat/completions" if _is_v1(url) else "chat/completions"
        self._model, self._retriever, self._k = model, retriever, k
        self._instructions, self._template, self._rule = instructions, template, rule or RefusalRule()
        sampling = sampling or Sampling()
        self._sampling = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        self.name = name or model
        self.fingerprint: Mapping[str, object] = {
            "kind": "endpoint",
            "url": self.server.url,
            **(told_facts({}) if facts is None else facts),
            "model": model,
            "prompt": prompt_facts(instructions, template=template),
            "sampling": self._sampling,
            "index": retrieval_facts(retriever, k),
            "refusal": self._rule.digest,
        }

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question; see `System.answer`.

        Raises:
            EngineError: The server cannot be reached, or refuses.
        """
        since = time.perf_counter()
        passages = await passages_for(question, self._retriever, self._k)
        body = {"model": self._model, "messages": self._messages(question, passages), **self._sampling}
        said = await self._said({**body, **({} if seed is None else {"seed": seed})})
        try:
            text = said["choices"][0]["message"]["content"] or ""
            usage = said.get("usage") or {}
            counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise EngineInterrupted(f"{self.server.url} answered without a message: it is no chat endpoint") from error
        if not isinstance(text, str):
            raise EngineInterrupted(f"{self.server.url} answered with {type(text).__name__} in place of text")
        return answer_of(
            question, text, passages, self._rule, since, prompt_tokens=counts[0], completion_tokens=counts[1]
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self.server.aclose()

    async def _said(self, body: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        attempt = 0
        while True:
            try:
                async with self.server.open("POST", self._path, content) as response:
                    raw = await response.aread()
                break
            except NotNow as failure:
                attempt = await self.server.pause(attempt, failure)
        try:
            said = json.loads(raw)
        except ValueError as error:
            raise EngineInterrupted(f"{self.server.url} answered with what is no JSON: {error}") from error
        if not isinstance(said, dict):
            raise EngineRejected(f"{self.server.url} answered with no JSON object: it is no chat endpoint")
        return said

    def _messages(self, question: Question, passages: Sequence[Passage]) -> list[dict[str, str]]:
        asked = question.question
        if passages or self._retriever is not None:
            asked = _filled(self._template, question.question, told(passages))
        system = [{"role": "system", "content": self._instructions}] if self._instructions else []
        history = [{"role": one.role, "content": one.text} for one in question.history]
        return [*system, *history, {"role": "user", "content": asked}]


def _filled(template: str, question: str, passages: str) -> str:
    """The template with question and passages in it. What these hold is never taken for a place to fill."""
    values = {"{question}": question, "{passages}": passages}
    pieces = _PLACES.split(template)
    return "".join(values.get(piece, piece) for piece in pieces)


def _is_v1(url: str) -> bool:
    path = httpx2.URL(url).path.rstrip("/")
    return path == "" or path.endswith("/v1")
