"""A real model in a conversation that outgrows its context."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from arriero import Agent, Stack, tool
from arriero.stack.compaction import Compaction, DropOldestResults
from arriero.stack.engine import Delta, Engine, Sampling
from arriero.stack.events import TranscriptRewritten
from arriero.stack.replay import replay
from arriero.stack.summary import Summarise

pytestmark = pytest.mark.anyio

LOADS = {"Zuri": 85, "Nube": 70}


class ShortContext:
    """An engine with less room than it has."""

    context_length = 400

    def __init__(self, inner: Engine) -> None:
        self.inner, self.model, self.tokenizer = inner, inner.model, inner.tokenizer

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        assert len(prompt_ids) + sampling.max_tokens <= self.context_length
        async for delta in self.inner.generate(prompt_ids, sampling):
            yield delta

    async def aclose(self) -> None:
        await self.inner.aclose()


@tool
def mule_load(mule: str) -> int:
    """Get the load of a mule."""
    return LOADS[mule]


@pytest.mark.parametrize("policy", ["drop-oldest-results", "summarise"])
async def test_the_demo_model_goes_on_answering_and_its_session_replays(policy: str) -> None:
    local = await Stack.local()
    async with Stack(ShortContext(local.engine), local.dialect, log=local.log) as stack:
        kept: Compaction = DropOldestResults(keep_turns=1)
        if policy == "summarise":
            kept = Summarise(stack, keep_turns=1, max_tokens=20)
        agent = Agent(stack, tools=[mule_load], compaction=kept)
        rewritten = []
        for mule in ("Zuri", "Nube", "Zuri", "Nube", "Zuri"):
            turn = await agent.run(f"What is the load of {mule}?", session="s1")
            assert (turn.reason, turn.text) == ("answer", f"The load of {mule} is {LOADS[mule]}.")
            rewritten += [event for event in turn.events if isinstance(event, TranscriptRewritten)]
        assert {event.policy for event in rewritten} == {policy}
        assert (await replay(stack.log, "s1", stack.engine.tokenizer)).exact
