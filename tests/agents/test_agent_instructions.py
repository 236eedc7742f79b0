"""What a turn depends on: instructions, the caller's deps, and which tools are offered."""

from dataclasses import dataclass
from typing import Any

import pytest
from scripted import call, engine_of, scripted_stack

from arriero import Agent, ArrieroError, Stack, Tool, tool
from arriero.agents import Context, InvalidInstructions, Template
from arriero.stack.events import TranscriptRewritten
from arriero.tools import ToolContext, ToolDefinitionError

pytestmark = pytest.mark.anyio

HELLO = "Hello.<|eot_id|>"


@dataclass(frozen=True)
class Guest:
    name: str
    admin: bool = False


def prompt(stack: Stack, request: int = 0) -> str:
    return stack.engine.tokenizer.decode(engine_of(stack).requests[request])


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@tool
def erase(context: ToolContext[Guest]) -> str:
    """Erase everything."""
    return f"erased by {context.deps.name}"


async def test_braces_in_plain_text_stay_what_they_are() -> None:
    stack = scripted_stack(HELLO)
    await Agent(stack, instructions="Write {{ deps.name }} as it is.").run("Hi")
    assert "Write {{ deps.name }} as it is." in prompt(stack)


async def test_a_template_knows_the_turn() -> None:
    stack = scripted_stack(HELLO)
    template = Template("You are {{ agent }}. You help {{ deps.name }} in {{ session }}, turn {{ turn }}.")
    await Agent[Guest](stack, instructions=template, name="muleteer").run("Hi", deps=Guest("Ana"), session="s1")
    assert "You are muleteer. You help Ana in s1, turn 1." in prompt(stack)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_of_the_context_gives_the_text(is_async: bool) -> None:
    def sync(context: Context[Guest]) -> str:
        return f"You help {context.deps.name}."

    async def later(context: Context[Guest]) -> str:
        return sync(context)

    stack = scripted_stack(HELLO)
    await Agent(stack, instructions=later if is_async else sync).run("Hi", deps=Guest("Ana"))
    assert "You help Ana." in prompt(stack)


async def test_the_context_counts_the_turns_of_a_session() -> None:
    seen: list[tuple[str, str, int]] = []

    def instructions(context: Context) -> str:
        seen.append((context.session, context.agent, context.turn))
        return "Be brief."

    agent = Agent(scripted_stack(HELLO, HELLO), instructions=instructions, name="muleteer")
    for _ in range(2):
        await agent.run("Hi", session="s1")
    assert seen == [("s1", "muleteer", 1), ("s1", "muleteer", 2)]


async def test_what_the_model_has_read_never_changes() -> None:
    stack = scripted_stack(HELLO, HELLO)  # it refuses a request that does not extend the one before
    agent = Agent(stack, instructions=Template("This is turn {{ turn }}."))
    await agent.run("Hi", session="s1")
    await agent.run("Hi", session="s1")
    assert "This is turn 1." in prompt(stack, 1)
    assert "This is turn 2." not in prompt(stack, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ deps.nme }}", "nme"),
        ("{{ depz }}", "depz"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ deps.name + 1 }}", "str"),
    ],
)
async def test_a_template_that_cannot_be_rendered_says_why_before_anything_is_logged(text: str, says: str) -> None:
    stack = scripted_stack(HELLO)
    with pytest.raises(InvalidInstructions, match=says):
        await Agent[Guest](stack, instructions=Template(text)).run("Hi", deps=Guest("Ana"), session="s1")
    assert await stack.log.read("s1") == []
    assert issubclass(InvalidInstructions, ArrieroError)


@pytest.mark.parametrize("text", ["{% if %}", "{{ ", "{% for x in y %}", 5])
def test_a_template_with_a_mistake_is_an_error_when_it_is_made(text: Any) -> None:
    with pytest.raises(InvalidInstructions):
        Template(text)


@pytest.mark.parametrize("instructions", [None, 5, b"Be brief."])
def test_what_can_give_no_text_is_an_error_when_the_agent_is_made(instructions: Any) -> None:
    with pytest.raises(InvalidInstructions, match="a function of the context"):
        Agent(scripted_stack(), instructions=instructions)


async def test_a_function_that_gives_no_text_is_an_error() -> None:
    def instructions(_context: Context) -> Any:
        return None

    with pytest.raises(InvalidInstructions, match="'instructions' gave NoneType"):
        await Agent(scripted_stack(HELLO), instructions=instructions).run("Hi")


async def test_what_a_caller_gives_cannot_become_a_special_token() -> None:
    stack = scripted_stack(HELLO)
    template = Template("You help {{ deps.name }}.")
    await Agent[Guest](stack, instructions=template).run("Hi", deps=Guest("<|eot_id|>"))
    ends = stack.engine.tokenizer.special_id("<|eot_id|>")
    assert engine_of(stack).requests[0].count(ends) == 2  # the system's message and the user's


async def test_tools_find_what_the_caller_gave() -> None:
    stack = scripted_stack(call("erase"), HELLO)
    turn = await Agent[Guest](stack, tools=[erase]).run("Go", deps=Guest("Ana"))
    assert turn.steps[0].results[0].content == "erased by Ana"


async def test_what_a_caller_gives_is_not_in_the_log() -> None:
    stack = scripted_stack(HELLO)
    await Agent[Guest](stack).run("Hi", deps=Guest("Secret"), session="s1")
    assert "Secret" not in str(await stack.log.read("s1"))


def for_admins(context: Context[Guest], offered: Tool) -> bool:
    return context.deps.admin or offered.name != "erase"


async def for_admins_later(context: Context[Guest], offered: Tool) -> bool:
    return for_admins(context, offered)


@pytest.mark.parametrize("when", [for_admins, for_admins_later])
async def test_a_tool_is_offered_only_when_the_predicate_says_so(when: Any) -> None:
    stack = scripted_stack(HELLO, HELLO, extending=False)
    agent = Agent(stack, tools=[double, erase], tools_when=when)
    await agent.run("Hi", deps=Guest("Ana"))
    await agent.run("Hi", deps=Guest("Eva", admin=True))
    assert '"double"' in prompt(stack, 0)
    assert '"erase"' not in prompt(stack, 0)
    assert '"erase"' in prompt(stack, 1)


async def test_a_tool_that_is_not_offered_cannot_be_called() -> None:
    stack = scripted_stack(call("erase"), HELLO)
    turn = await Agent(stack, tools=[double, erase], tools_when=for_admins).run("Go", deps=Guest("Ana"))
    assert "there is no tool 'erase'" in str(turn.steps[0].results[0].content)


async def test_other_tools_in_a_later_turn_write_the_conversation_anew() -> None:
    stack = scripted_stack(HELLO, HELLO, HELLO, extending=False)
    agent = Agent(stack, tools=[double, erase], tools_when=for_admins)
    await agent.run("Hi", deps=Guest("Ana"), session="s1")
    same = await agent.run("Hi", deps=Guest("Ana"), session="s1")
    other = await agent.run("Hi", deps=Guest("Eva", admin=True), session="s1")
    assert not [event for event in same.events if isinstance(event, TranscriptRewritten)]
    (rewritten,) = (event for event in other.events if isinstance(event, TranscriptRewritten))
    assert rewritten.reason == "tools"
    assert '"erase"' in prompt(stack, 2)


def test_what_the_caller_gives_has_a_type_in_a_tool_and_is_no_parameter() -> None:
    assert list(erase.parameters["properties"]) == []
    with pytest.raises(ToolDefinitionError, match="first parameter"):

        @tool
        def late(number: int, context: ToolContext[Guest]) -> int:
            """Too late."""
            return number
