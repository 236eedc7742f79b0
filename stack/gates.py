"""Shields around a turn: the input is judged beside generation, the answer before it is shown."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

from arriero.prompts.messages import Message
from arriero.stack.events import VerdictGiven
from arriero.stack.generation import Generation
from arriero.stack.shields import Place, Shield, judge

T = TypeVar("T")


def allowed(verdicts: Sequence[VerdictGiven]) -> bool:
    """Whether every shield allows."""
    return all(given.verdict.allowed for given in verdicts)


async def verdicts_of(shields: Sequence[Shield], messages: Sequence[Message], where: Place) -> list[VerdictGiven]:
    """What shields say, all asked at once.

    Args:
        shields: The shields.
        messages: The conversation.
        where: The place.

    Returns:
        Their verdicts, in their order.
    """
    conversation = tuple(messages)
    return await _in_order([partial(_verdict, shield, conversation, where) for shield in shields])


async def judged_beside(
    generation: Generation, shields: Sequence[Shield], messages: Sequence[Message]
) -> list[VerdictGiven]:
    """Judge the input while the answer is generated. Nothing of it may be shown before this returns.

    Args:
        generation: The answer in the making. It is read ahead, until the verdicts are there.
        shields: The shields.
        messages: The conversation, as the user left it.

    Returns:
        The verdicts.

    Raises:
        EngineError: The engine failed, and the input is allowed as far as is known.
    """
    verdicts: list[VerdictGiven] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def judge_input() -> None:
            verdicts.extend(await verdicts_of(shields, messages, "input"))
            if not allowed(verdicts):
                group.cancel_scope.cancel()

        group.start_soon(judge_input)
        try:
            await generation.read_until(lambda: bool(verdicts))
        except Exception as error:  # kept out of the group, which would wrap it
            failure = error
            group.cancel_scope.cancel()
    if failure is not None and allowed(verdicts):
        raise failure
    return verdicts


async def _verdict(shield: Shield, messages: Sequence[Message], where: Place) -> VerdictGiven:
    started = time.perf_counter()
    verdict = await judge(shield, messages, where)
    return VerdictGiven(where, verdict, time.perf_counter() - started, shield.name)


async def _in_order(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run jobs side by side; give their results in the order of the jobs."""
    if len(jobs) == 1:
        return [await jobs[0]()]
    results: dict[int, T] = {}

    async def run(position: int) -> None:
        results[position] = await jobs[position]()

    async with anyio.create_task_group() as group:
        for position in range(len(jobs)):
            group.start_soon(run, position)
    return [results[position] for position in range(len(jobs))]
