"""What steps give each other is what is on disk: nothing else reaches the next one, and nothing changes it."""

from typing import Any

import pytest

from arriero.agents.workflow import InvalidInput, NodeContext, NodeError, Retry, Workflow, read_run
from arriero.stack.events import NodeFinished
from arriero.stack.log import EventLog

pytestmark = pytest.mark.anyio


async def test_what_the_next_step_reads_is_what_is_on_disk(log: EventLog) -> None:
    flow = Workflow("stored", takes=list[int], gives=bool)
    given: list[object] = []

    @flow.step(flow.input)
    def made(numbers: list[int]) -> tuple[int, ...]:
        given.append(value := tuple(numbers))
        return value

    @flow.step(made)
    def read(numbers: tuple[int, ...]) -> bool:
        return numbers == given[0] and numbers is not given[0]

    flow.returns(read)
    assert (await flow.run([1, 2], log=log, run="r")).output is True
    stored = [record.event.output for record in await log.read("r") if isinstance(record.event, NodeFinished)]
    assert stored == [[1, 2], True]


async def test_a_step_that_gives_something_else_than_it_says_has_failed(log: EventLog) -> None:
    flow = Workflow("liar", takes=int, gives=int)

    @flow.step(flow.input)
    def liar(number: int) -> int:
        return "seven"  # type: ignore[return-value]

    flow.returns(liar)
    with pytest.raises(NodeError, match="UnstorableValue: 'seven' is no"):
        await flow.run(7, log=log)


async def test_what_a_step_does_to_what_it_was_given_nobody_else_sees(log: EventLog) -> None:
    flow = Workflow("changed", takes=list[int], gives=list[int])

    @flow.step(flow.input, retry=Retry(attempts=2, wait=0.0))
    def change(at: NodeContext[None], numbers: list[int]) -> int:
        numbers.append(9)
        if at.attempt == 1:
            raise OSError
        return len(numbers)

    @flow.map(flow.input, flow.input, change)
    def kept(number: int, numbers: list[int], length: int) -> int:
        numbers.append(number)
        return 10 * length + len(numbers)

    flow.returns(kept)
    assert (await flow.run([1, 2], log=log)).output == [33, 33]


def loop() -> list[object]:
    within: list[object] = []
    within.append(within)
    return within


@pytest.mark.parametrize("value", [object(), loop(), "\ud800", b"\xff"], ids=["object", "circle", "surrogate", "bytes"])
async def test_what_json_cannot_carry_is_neither_taken_nor_given(log: EventLog, value: object) -> None:
    flow = Workflow("any", takes=Any, gives=Any)  # type: ignore[arg-type, var-annotated]

    @flow.step(flow.input)
    def give(given: Any) -> Any:
        return value

    flow.returns(give)
    with pytest.raises(InvalidInput, match="'any' takes something else"):
        await flow.run(value, log=log)
    with pytest.raises(NodeError, match="UnstorableValue"):
        await flow.run(1, log=log)


async def test_an_error_of_any_text_is_recorded(log: EventLog) -> None:
    flow = Workflow("hostile", takes=int, gives=int)

    @flow.step(flow.input)
    def hostile(number: int) -> int:
        raise ValueError("\ud800\x00\x1b[31m")

    flow.returns(hostile)
    with pytest.raises(NodeError):
        await flow.run(1, log=log, run="r")
    assert (await read_run(log, "r")).nodes["hostile", ""].error == "ValueError: \\ud800\x00\x1b[31m"
