"""The system that options describe: an agent, a RAG pipeline, an endpoint, recorded answers."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import typer

from arriero.cli_stack import EngineName, stack_of
from arriero.terminal import named_dialect

if TYPE_CHECKING:
    from arriero.agents.agent import Agent
    from arriero.evals.items import Passage
    from arriero.evals.systems.retrieval import Retriever
    from arriero.evals.systems.system import System
    from arriero.stack.engine import Sampling
    from arriero.stack.stack import Opening, Stack

Found = Literal["bm25", "embeddings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderTest:
    """What options say of the system under test. Processes of a cluster are sent it."""

    engine: EngineName | None = None
    url: str | None = None
    model: str | None = None
    tokenizer: Path | None = None
    dialect: str | None = None
    api_key: str | None = field(default=None, repr=False)
    agent: str | None = None
    endpoint: str | None = None
    answers: Path | None = None
    retriever: Found = "bm25"
    k: int = 3
    instructions: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    revision: str | None = None
    quantization: str | None = None
    corpus: "Mapping[str, Passage]" = field(default_factory=dict, repr=False)

    def check(self, repeats: int) -> None:
        """Misuse, if options contradict each other."""
        ways = {"--agent": self.agent, "--endpoint": self.endpoint, "--answers": self.answers}
        named = [name for name, value in ways.items() if value is not None]
        if len(named) > 1:
            raise typer.BadParameter("each is another system: give one of them", param_hint=" and ".join(named))
        if named and self.url is not None and self.agent is None:
            raise typer.BadParameter(f"{named[0]} asks no engine of ours: leave --url out", param_hint="--url")
        if self.agent is not None and not Path(self.agent.partition(":")[0]).is_file():
            raise typer.BadParameter(f"there is no file {self.agent.partition(':')[0]}", param_hint="--agent")
        if self.endpoint is not None and self.model is None:
            raise typer.BadParameter("an endpoint serves a model by name: give it", param_hint="--model")
        if self.answers is not None and repeats > 1:
            raise typer.BadParameter("recorded answers are the same each time", param_hint="--repeats")
        if self.agent is None and self.answers is None and repeats > 1 and not self.temperature:
            raise typer.BadParameter(
                "greedy answers are the same each time: give --temperature above 0", param_hint="--repeats"
            )
        fixed = {"--temperature": self.temperature, "--max-tokens": self.max_tokens, "--prompt": self.instructions}
        for name, value in fixed.items():
            if value is not None and (self.agent is not None or self.answers is not None):
                raise typer.BadParameter("the system under test has its own: leave it out", param_hint=name)

    @property
    def name(self) -> str:
        """Short name of the system, for a folder."""
        if self.agent is not None:
            path, _, name = self.agent.partition(":")
            return name or Path(path).stem
        if self.answers is not None:
            return self.answers.name.split(".", 1)[0]
        return Path(self.model).name if self.model else "llama" if self.url else "arriero-demo"


@asynccontextmanager
async def opened(test: UnderTest) -> "AsyncIterator[System]":
    """The system, until the block is left.

    Args:
        test: What the options say.

    Yields:
        The system.
    """
    from contextlib import aclosing

    if test.answers is not None:
        from arriero.evals.systems.recorded import RecordedSystem

        yield RecordedSystem(test.answers, corpus=test.corpus, model=test.model)
    elif test.endpoint is not None:
        async with aclosing(await _endpoint(test, test.endpoint)) as system:
            yield system
    else:
        async with _opening(test) as stack:
            system = await _on_stack(test, stack)
            try:
                yield system
            finally:
                await system.aclose()


async def _endpoint(test: UnderTest, url: str) -> "System":
    from arriero.evals.systems.endpoint import INSTRUCTIONS, EndpointSystem
    from arriero.evals.systems.facts import served_facts, told_facts
    from arriero.stack.engines.http import Server

    model = test.model or ""
    server = Server(url, api_key=test.api_key, timeout=10.0, retries=2)
    try:
        facts = told_facts(await served_facts(server, model), revision=test.revision, quantization=test.quantization)
    finally:
        await server.aclose()
    return EndpointSystem(
        url,
        model,
        retriever=_retriever(test),
        k=test.k,
        instructions=test.instructions or INSTRUCTIONS,
        sampling=_sampling(test),
        api_key=test.api_key,
        facts=facts,
    )


async def _on_stack(test: UnderTest, stack: "Stack") -> "System":
    from arriero.evals.systems.facts import engine_facts

    facts = await engine_facts(stack.engine, revision=test.revision, quantization=test.quantization)
    if test.agent is not None:
        from arriero.evals.systems.agent import AgentSystem

        make, program = _agent(test.agent), _program(test.agent)
        return AgentSystem(make(stack), corpus=test.corpus, facts={**facts, "program": program})
    from arriero.evals.systems.rag import INSTRUCTIONS, RagSystem

    return RagSystem(
        stack,
        _retriever(test),
        k=test.k,
        instructions=test.instructions or INSTRUCTIONS,
        sampling=_sampling(test),
        facts=facts,
    )


def _opening(test: UnderTest) -> "Opening":
    from arriero.stack.engines.quantization import Quantization, check_quantization
    from arriero.stack.stack import Stack

    local = test.url is None and test.engine != "vllm" and test.tokenizer is None
    if local and test.quantization in get_args(Quantization):
        spoken = None if test.dialect is None else named_dialect(test.dialect)
        return Stack.local(test.model, dialect=spoken, quantization=check_quantization(test.quantization))
    return stack_of(test.engine, test.url, test.model, test.tokenizer, test.dialect, test.api_key, None)


def _retriever(test: UnderTest) -> "Retriever | None":
    from arriero.evals.systems.retrieval import retriever_named

    return retriever_named(test.retriever, test.corpus) if test.corpus else None


def _sampling(test: UnderTest) -> "Sampling":
    from arriero.stack.engine import Sampling

    return Sampling(max_tokens=test.max_tokens or 512, temperature=test.temperature or 0.0)


def _program(said: str) -> dict[str, str]:
    """The file that makes the agent, as a fingerprint has it."""
    file = Path(said.partition(":")[0])
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _agent(said: str) -> "Callable[[Stack], Agent[Any, Any]]":
    """What makes the agent that `FILE.py:NAME` names; `agent` without a name."""
    from arriero.agents.agent import Agent
    from arriero.agents.program import UnusableProgram, execute

    file, _, name = said.partition(":")
    found = vars(execute(Path(file))).get(name or "agent")
    if not callable(found):
        raise UnusableProgram(f"{file} defines no {name or 'agent'}(stack) that makes an agent")

    def make(stack: "Stack") -> "Agent[Any, Any]":
        agent = found(stack)
        if not isinstance(agent, Agent):
            raise UnusableProgram(f"{name or 'agent'}(stack) must return an Agent, not {type(agent).__name__}")
        return agent

    return make
