"""Asks one model everything that it is compared by."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arriero.agents.map_progress import Progress, shown
from arriero.evals.evaluation import Evaluation
from arriero.evals.items import Question, QuestionSet
from arriero.evals.judgement import Judge
from arriero.evals.quantization.agreement import TokenAgreement, agreement, distributions, divergences, kept, recalled
from arriero.evals.quantization.cost import Speed, memory, speed
from arriero.evals.quantization.outcomes import answer_outcomes, call_outcomes
from arriero.evals.quantization.overheard import Reference, overhearing
from arriero.evals.runs import judge_run, read_subject
from arriero.evals.runs.evaluating import evaluate_subject
from arriero.evals.runs.running import run_system
from arriero.evals.systems.facts import engine_facts
from arriero.evals.systems.rag import RagSystem
from arriero.evals.systems.retrieval import Retriever
from arriero.evals.toolcalls.asking import Prompting, ToolCallSystem, questions_of
from arriero.evals.toolcalls.comparing import Outcomes
from arriero.evals.toolcalls.items import ToolItem
from arriero.evals.toolcalls.running import Variant, ask_variant, folder_name
from arriero.prompts.errors import ArrieroError
from arriero.stack.engine import Sampling
from arriero.stack.engines.quantization import WeightBytes
from arriero.stack.stack import Stack

_PROBE = 'The toll of the Salda Pass is 12 silver, 日本 {"name": "x"} [1].'
"""Text that two tokenizers write alike only if they are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What variants are asked, and how.

    Args:
        tools: Tool-call items; empty for none.
        questions: Questions; None for none.
        retriever: Finds passages for questions that bring none.
        k: Passages to find.
        judge: Judges the answers, the same for all variants; None to judge nothing.
        references: Items whose answers are compared token by token, of each kind.
        places: Most places of each such answer.
        repeats: How often the speed is measured; 0 for not at all.
        concurrency: Items at once.
        max_tokens: Most tokens of an answer.
        margin: Largest loss that still counts as not worse; chosen before looking.
        level: How often each interval is to hold the truth.
        seed: Seed of the bootstrap.
    """

    tools: Sequence[ToolItem] = ()
    questions: QuestionSet | None = None
    retriever: Retriever | None = None
    k: int = 3
    judge: Judge | None = None
    references: int = 25
    places: int = 64
    repeats: int = 3
    concurrency: int = 4
    max_tokens: int = 512
    margin: float = 0.05
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class VariantFound:
    """What was found of one variant.

    Args:
        name: Its name.
        facts: What decides its answers: model, revision, quantization, versions.
        calls: Its tool calls; None where none were asked for.
        answers: Its answers as they were judged; None without questions or without a judge.
        outcomes: By measure, which items went wrong.
        agreement: How alike its next tokens are to the baseline's; None for the baseline, or where `apart` says why.
        apart: Why its tokens were not compared.
        speed: How fast it writes; a text says why it was not measured.
        memory: Memory of its weights; None of a server, which does not say.
    """

    name: str
    facts: Mapping[str, object]
    calls: Variant | None
    answers: Evaluation | None
    outcomes: Mapping[str, Outcomes]
    agreement: TokenAgreement | None
    apart: str | None
    speed: Speed | str | None
    memory: WeightBytes | None


class Asking:
    """Asks one model after the other; the first one's answers are the others' references.

    Args:
        plan: What is asked, and how.
        home: Folder of the answers.
        scratch: Folder of what is not kept.
        progress: Whether to show progress on stderr, or who hears of it.
        retry_errors: Whether to ask again what failed before.
    """

    def __init__(self, plan: Plan, home: Path, scratch: Path, progress: Progress, retry_errors: bool) -> None:
        self._plan, self._home, self._scratch = plan, home, scratch
        self._how: dict[str, Any] = {
            "concurrency": plan.concurrency,
            "seed": plan.seed,
            "progress": progress,
            "retry_errors": retry_errors,
        }
        self._references: list[Reference] | None = None
        self._put_aside: list[Any] = []
        self._probe: tuple[int, ...] = ()
        self._apart: str | None = None

    async def ask(self, name: str, stack: Stack) -> VariantFound:
        """Ask one model.

        Args:
            name: Its name.
            stack: The model.

        Returns:
            What was found.

        Raises:
            EvalError: The folder has another run, or the engine is gone.
            EngineError: The model cannot be used.
        """
        plan = self._plan
        facts = await engine_facts(stack.engine)
        calls = None
        if plan.tools:
            self._tell(f"{name}: tool calls")
            system = ToolCallSystem(stack, plan.tools, Prompting(name, max_tokens=plan.max_tokens), facts=facts)
            calls = await ask_variant(
                plan.tools, system, folder=self._home / "toolcalls", level=plan.level, **self._how
            )
        evaluation, outcomes = await self._answered(name, stack, facts)
        outcomes |= call_outcomes(calls)
        self._tell(f"{name}: tokens and speed")
        shared, apart = await self._agreement(stack)
        return VariantFound(
            name=name,
            facts=facts,
            calls=calls,
            answers=evaluation,
            outcomes=outcomes,
            agreement=shared,
            apart=apart,
            speed=await self._speed(stack),
            memory=await memory(stack.engine),
        )

    async def _answered(
        self, name: str, stack: Stack, facts: Mapping[str, object]
    ) -> tuple[Evaluation | None, dict[str, Outcomes]]:
        plan = self._plan
        if plan.questions is None or not plan.questions.questions:
            return None, {}
        self._tell(f"{name}: questions")
        sampling = Sampling(max_tokens=plan.max_tokens)
        system = RagSystem(stack, plan.retriever, k=plan.k, sampling=sampling, name=name, facts=facts)
        home = self._home / "answers" / folder_name(name)
        run = await run_system(home, system, plan.questions, name=name, **self._how)
        outcomes = answer_outcomes(name, run.questions, list(run.answers().values()))
        if plan.judge is None:
            return None, outcomes
        judging = await judge_run(run, plan.judge, progress=self._how["progress"])
        return evaluate_subject(read_subject(run.path), judging, level=plan.level, seed=plan.seed), outcomes

    async def _agreement(self, stack: Stack) -> tuple[TokenAgreement | None, str | None]:
        tokenizer = stack.engine.tokenizer
        if self._references is None:
            self._references = await _referenced(stack, self._plan)
            self._probe = tuple(tokenizer.encode(_PROBE))
            try:
                await self._each(
                    stack, lambda at, _, found: self._put_aside.append(kept(found, self._scratch / f"{at}.npy"))
                )
            except ArrieroError as error:
                self._apart = f"the baseline: {type(error).__name__}: {error}"
            return None, None
        if tuple(tokenizer.encode(_PROBE)) != self._probe:
            return None, "its tokenizer is not the baseline's"
        if self._apart is not None:
            return None, self._apart
        if len({reference.cluster for reference in self._references}) < 2:
            return None, "the baseline answered fewer than two items"
        places, exact = [], []

        def compare(at: int, reference: Reference, other: Any) -> None:
            one = recalled(self._put_aside[at])
            exact.append(not isinstance(one, list) and not isinstance(other, list))
            places.append((reference.cluster, *divergences(one, other)))

        try:
            await self._each(stack, compare)
        except ArrieroError as error:
            return None, f"{type(error).__name__}: {error}"
        return agreement(places, exact=all(exact), level=self._plan.level, seed=self._plan.seed), None

    async def _each(self, stack: Stack, take: Callable[[int, Reference, Any], None]) -> None:
        """Hand over what a model gives to the tokens of each reference."""
        references = self._references or []
        with shown(self._how["progress"], len(references), "tokens") as tally:
            for at, reference in enumerate(references):
                tally.begun()
                take(at, reference, await distributions(stack.engine, reference))
                tally.over(failed=False, waiting=False, known=False)

    async def _speed(self, stack: Stack) -> Speed | str | None:
        plan = self._plan
        try:
            return await speed(
                stack.engine, self._references or [], repeats=plan.repeats, tokens=min(64, plan.max_tokens)
            )
        except ArrieroError as error:  # what was answered counts all the same
            return f"{type(error).__name__}: {error}"

    def _tell(self, what: str) -> None:
        if self._how["progress"] is True:
            sys.stderr.write(f"{what}\n")


async def _referenced(stack: Stack, plan: Plan) -> list[Reference]:
    """The baseline's answers to some items, id by id."""
    heard, engine = overhearing(stack)
    tools = plan.tools[: plan.references]
    asked: list[tuple[Any, Sequence[Question]]] = []
    if tools:
        asked.append(
            (ToolCallSystem(heard, tools, Prompting(max_tokens=plan.max_tokens)), questions_of(tools).questions)
        )
    if plan.questions is not None:
        sampling = Sampling(max_tokens=plan.max_tokens)
        asked.append(
            (RagSystem(heard, plan.retriever, k=plan.k, sampling=sampling), plan.questions.questions[: plan.references])
        )
    for each, questions in asked:
        for question in questions:
            engine.cluster = question.doc_id or question.id
            try:
                await each.answer(question)
            except ArrieroError:  # counted where the items are asked for good
                continue
    return [replace(one, answer=one.answer[: plan.places]) for one in engine.heard]
