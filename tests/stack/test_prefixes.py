"""The law of transcripts, and sessions that break it."""

from dataclasses import replace

import pytest
from scripted import call, engine_of, logged, run, scripted_stack

from arriero.stack.events import PromptAppended, StepFinished, TranscriptRewritten
from arriero.stack.log import Record
from arriero.stack.prefixes import prefix_violations
from arriero.stack.turn import Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def lawful() -> tuple[list[Record], list[list[int]]]:
    stack = scripted_stack(call("double", number=4), "It is 8.<|eot_id|>", "Yes.<|eot_id|>")
    terms = Terms(registry=Registry([double]))
    await run(stack, "Double 4", terms, "alice")
    await run(stack, "Sure?", session="alice")
    return await stack.log.read("alice"), engine_of(stack).requests


async def test_a_session_that_grew_and_was_rewritten_keeps_the_law() -> None:
    records, requests = await lawful()
    assert any(isinstance(record.event, TranscriptRewritten) for record in records)
    assert prefix_violations(records, requests) == []


@pytest.mark.parametrize("kind", [PromptAppended, StepFinished, TranscriptRewritten])
async def test_ids_that_are_not_those_that_were_sent_break_it(kind: type) -> None:
    records, requests = await lawful()
    at = next(at for at, record in enumerate(records) if isinstance(record.event, kind))
    event = records[at].event
    assert isinstance(event, PromptAppended | StepFinished | TranscriptRewritten)
    records[at] = replace(records[at], event=replace(event, token_ids=(*event.token_ids, 1)))
    assert prefix_violations(records)
    assert prefix_violations(records, requests)


async def test_a_request_that_the_log_knows_nothing_of_breaks_it() -> None:
    records, requests = await lawful()
    requests[1][3] += 1
    assert prefix_violations(records, requests) == [f"request 1: its {len(requests[1])} ids are not what the log says"]


async def test_a_step_without_a_prompt_breaks_it() -> None:
    records, _ = await lawful()
    kept = [record for record in records if not (isinstance(record.event, PromptAppended) and record.event.step == 2)]
    assert any("prompted for 1" in problem for problem in prefix_violations(kept))


async def test_a_log_that_was_read_in_part_is_lawful_up_to_there() -> None:
    records, _ = await lawful()
    for length in range(len(records)):
        assert prefix_violations(records[:length]) == []
    assert len(await logged(scripted_stack(), "nobody")) == 0
