"""Whether the model calls: as it decides, first of all, never, or one tool."""

from typing import Any, Literal

import pytest
from held import takes
from pydantic import BaseModel, Field
from scripted import call, engine_of, scripted_stack
from test_agent_output import ungrammatical

from arriero import Agent, ArrieroError, Stack, Tool, tool
from arriero.agents import Answer, Context, InvalidToolChoice
from arriero.prompts.grammar import GrammarNotExpressible, Named
from arriero.tools import Registry

pytestmark = pytest.mark.anyio

CALL = '{"name": "double", "parameters": {"number": 21}}'
OTHER = '{"name": "halve", "parameters": {"number": 42}}'
TEXT = "It is 42."


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@tool
def halve(number: int) -> int:
    """Halve a number."""
    return number // 2


class Number(BaseModel):
    number: int


class Load(BaseModel):
    mule: Literal["Zuri", "Pampa"]
    kilograms: int = Field(ge=0, le=999)


async def taken(choice: Any, **settings: Any) -> list[list[str]]:
    """Which messages each of two steps takes: text, a call, a call of another tool, an answer of a type."""
    stack = scripted_stack(call("double", number=21), "42<|eot_id|>")
    turn = await Agent(stack, tools=[double, halve], tool_choice=choice, **settings).run("Twice 21?")
    assert turn.calls
    engine = engine_of(stack)
    texts = {"text": TEXT, "call": CALL, "other": OTHER, "answer": '{"number": 42}'}
    return [
        [name for name, text in texts.items() if sampling.grammar is None or takes(engine, sampling.grammar, text)]
        for sampling in engine.samplings[:2]
    ]


async def test_auto_holds_the_model_to_nothing() -> None:
    stack = scripted_stack("It is 42.<|eot_id|>")
    await Agent(stack, tools=[double]).run("Twice 21?")
    assert engine_of(stack).samplings[0].grammar is None


async def test_required_holds_for_the_first_step_so_that_the_turn_can_end() -> None:
    assert await taken("required") == [["call", "other"], ["text", "call", "other", "answer"]]


async def test_a_tools_name_holds_for_the_first_step() -> None:
    assert await taken("halve") == [["other"], ["text", "call", "other", "answer"]]
    assert await taken("halve", output=Number, retries=0) == [["other"], ["call", "other", "answer"]]


async def test_none_allows_text_alone_though_tools_are_in_the_prompt() -> None:
    stack = scripted_stack("It is 42.<|eot_id|>")
    await Agent(stack, tools=[double], tool_choice="none").run("Twice 21?")
    engine = engine_of(stack)
    assert '"double"' in engine.tokenizer.decode(engine.requests[0])
    grammar = engine.samplings[0].grammar
    assert takes(engine, grammar, TEXT)
    assert not takes(engine, grammar, CALL)


async def test_with_an_output_type_the_last_steps_take_calls_and_answers() -> None:
    assert await taken("required", output=Number, retries=0) == [["call", "other"], ["call", "other", "answer"]]


async def test_several_calls_may_stand_in_one_message() -> None:
    stack = scripted_stack(call("double", number=21), "42<|eot_id|>")
    await Agent(stack, tools=[double], tool_choice="required").run("Twice 21?")
    engine = engine_of(stack)
    assert takes(engine, engine.samplings[0].grammar, f"{CALL}; {CALL}")


def test_required_without_tools_is_an_error_when_the_agent_is_made() -> None:
    with pytest.raises(InvalidToolChoice, match="no tools"):
        Agent(scripted_stack(), tool_choice="required")
    with pytest.raises(InvalidToolChoice, match="no tools"):
        Agent(Stack.local(), tool_choice="required")
    assert issubclass(InvalidToolChoice, ArrieroError)


@pytest.mark.parametrize("choice", ["triple", "", 5, None])
def test_a_tool_that_is_not_there_is_an_error_that_names_those_that_are(choice: Any) -> None:
    with pytest.raises(InvalidToolChoice, match="double, halve"):
        Agent(scripted_stack(), tools=[double, halve], tool_choice=choice)


@pytest.mark.parametrize("choice", ["required", "none", "double"])
def test_an_engine_that_takes_no_grammars_cannot_be_held(choice: str) -> None:
    with pytest.raises(InvalidToolChoice, match="no grammars"):
        Agent(ungrammatical(), tools=[double], tool_choice=choice)


async def test_a_tool_that_is_not_offered_at_this_turn_cannot_be_required() -> None:
    def nothing(_context: Context, _tool: Tool) -> bool:
        return False

    stack = scripted_stack("Hello.<|eot_id|>")
    for choice in ("required", "double"):
        agent = Agent(stack, tools=[double], tool_choice=choice, tools_when=nothing)
        with pytest.raises(InvalidToolChoice, match="tools_when"):
            await agent.run("Twice 21?")


def test_a_tool_whose_name_no_call_can_carry_is_an_error_where_a_call_is_required() -> None:
    odd = Tool(name="odd", description="", parameters={"anyOf": [{}]}, handler=double.handler)
    with pytest.raises(GrammarNotExpressible, match="odd"):
        Agent(scripted_stack(), tools=[odd], tool_choice="required")


async def test_a_tool_that_no_grammar_can_express_leaves_the_answer_to_retries() -> None:
    odd = Tool(name="odd", description="", parameters={"anyOf": [{}]}, handler=double.handler)
    stack = scripted_stack("no<|eot_id|>", '{"number": 42}<|eot_id|>')
    turn = await Agent(stack, tools=[odd], output=Number).run("Twice 21?")
    assert turn.output.number == 42
    assert engine_of(stack).samplings[0].grammar is None


async def test_a_tool_that_the_format_knows_can_be_required_by_either_name() -> None:
    search = Tool(
        name="web_search",
        description="Search.",
        parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
        handler=double.handler,
        builtin="brave_search",
    )
    for name in ("web_search", "brave_search"):
        stack = scripted_stack('<|python_tag|>brave_search.call(query="x")<|eom_id|>', "Found.<|eot_id|>")
        await Agent(stack, tools=[search], tool_choice=name).run("Search!")
        engine = engine_of(stack)
        assert takes(engine, engine.samplings[0].grammar, '<|python_tag|>brave_search.call(query="mules")')
        assert not takes(engine, engine.samplings[0].grammar, TEXT)


async def test_a_registry_that_others_own_can_be_held_to_as_well() -> None:
    stack = scripted_stack(call("double", number=21), "42<|eot_id|>")
    turn = await Agent(stack, tools=Registry([double]), tool_choice="double").run("Twice 21?")
    assert turn.calls[0].name == "double"
    assert Named("double") == Named("double")


async def test_the_demo_model_calls_where_it_must() -> None:
    async with Stack.local() as stack:
        called = {}
        for choice in ("auto", "required", "halve", "none"):
            turn = await Agent(stack, tools=[double, halve], tool_choice=choice).run("Hello!")
            called[choice] = [made.name for made in turn.calls[:1]]
        assert called == {"auto": [], "required": [called["required"][0]], "halve": ["halve"], "none": []}
        held = Agent(stack, tools=[double, halve], tool_choice="none", output=Answer(Load, by="grammar"))
        turn = await held.run("What is the load of Zuri?")
    assert turn.output.mule in ("Zuri", "Pampa")
    assert 0 <= turn.output.kilograms <= 999
    assert len(turn.steps) == 1
