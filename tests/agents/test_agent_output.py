"""Answers that are values of a type: by grammar, by checks and retries, or not at all."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from held import takes
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator
from pydantic_core import core_schema
from scripted import call, engine_of, kinds, of, scripted_stack

from arriero import Agent, ArrieroError, Dialect, Limits, Message, Sampling, Stack, tool
from arriero.agents import Answer, OutputInvalid, UnusableOutput
from arriero.agents.output import AnswerReader
from arriero.prompts.grammar import GrammarNotExpressible, call_grammar
from arriero.stack.events import MessageAdded
from arriero.stack.terms import Hooks
from arriero.tools import Registry

pytestmark = pytest.mark.anyio


class Report(BaseModel):
    city: str
    mules: int


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("the number must be even")
        return number


class Named(BaseModel):
    name: str
    parameters: dict[str, int]


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


@dataclass
class Load:
    kilograms: float
    of: list[str] = field(default_factory=list)


class Mood(Enum):
    CALM = "calm"
    STUBBORN = "stubborn"


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def said(value: object) -> str:
    return json.dumps(value) + "<|eot_id|>"


async def test_an_answer_is_a_value_of_the_type() -> None:
    stack = scripted_stack(call("double", number=21), said({"city": "Salta", "mules": 42}))
    turn = await Agent(stack, tools=[double], output=Report).run("How many mules are in Salta?")
    assert turn.output == Report(city="Salta", mules=42)
    assert turn.reason == "answer"
    assert turn.problem == ""


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (int, 42, 42),
        (bool, True, True),
        (float, 0.5, 0.5),
        (list[int], {"answer": [1, 2]}, [1, 2]),
        (dict[str, int], {"answer": {"a": 1}}, {"a": 1}),
        (int | None, {"answer": None}, None),
        (Mood, {"answer": "calm"}, Mood.CALM),
        (Load, {"kilograms": 85, "of": ["hay"]}, Load(85.0, ["hay"])),
        (
            Named,
            {"answer": {"name": "double", "parameters": {"number": 1}}},
            Named(name="double", parameters={"number": 1}),
        ),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=[Tree(value=2)])),
    ],
    ids=str,
)
async def test_any_type_that_pydantic_reads_can_be_the_output(kind: Any, written: object, value: object) -> None:
    agent = Agent(stack := scripted_stack(said(written)), output=kind)
    assert (await agent.run("Well?")).output == value
    engine = engine_of(stack)
    assert takes(engine, engine.samplings[0].grammar, json.dumps(written))


async def test_the_model_is_told_the_schema_after_the_instructions() -> None:
    stack = scripted_stack(said({"city": "Salta", "mules": 1}))
    await Agent(stack, instructions="Be exact.", output=Report).run("Well?")
    prompt = stack.engine.tokenizer.decode(engine_of(stack).requests[0])
    assert "Be exact.\n\nYour final answer is JSON" in prompt
    assert '{"properties": {"city": {"type": "string"}, "mules": {"type": "integer"}}' in prompt


async def test_the_schema_can_be_left_out_of_the_prompt() -> None:
    stack = scripted_stack(said({"city": "Salta", "mules": 1}))
    await Agent(stack, output=Answer(Report, describe=False)).run("Well?")
    assert "schema" not in stack.engine.tokenizer.decode(engine_of(stack).requests[0])


async def test_with_tools_the_grammar_takes_calls_and_answers_and_nothing_else() -> None:
    stack = scripted_stack(said({"city": "Salta", "mules": 1}))
    await Agent(stack, tools=[double], output=Report).run("Well?")
    engine = engine_of(stack)
    grammar = engine.samplings[0].grammar
    assert takes(engine, grammar, '{"name": "double", "parameters": {"number": 2}}')
    assert takes(engine, grammar, '{"city": "Salta", "mules": 1}')
    for text in (
        "It is 42.",
        '{"city": "Salta"}',
        '{"name": "triple", "parameters": {}}',
        '{"mules": 1, "city": "x"} ok',
    ):
        assert not takes(engine, grammar, text), text


async def test_an_answer_that_does_not_fit_is_given_back_with_the_problem() -> None:
    stack = scripted_stack(said({"number": 3}), said({"number": 4}))
    turn = await Agent(stack, output=Even).run("An even number?")
    assert turn.output == Even(number=4)
    (told,) = of(MessageAdded, turn.events)
    assert told.source == "output"
    assert "number: Value error, the number must be even" in str(told.message.content)


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_after_the_last_retry_the_turn_is_kept_and_has_no_output(retries: int) -> None:
    stack = scripted_stack(*[said({"number": 3})] * (retries + 1))
    turn = await Agent(stack, output=Even, retries=retries, limits=Limits(steps=9)).run("An even number?")
    assert len(turn.steps) == retries + 1
    assert (turn.reason, turn.text) == ("answer", '{"number": 3}')
    assert "must be even" in turn.problem
    with pytest.raises(OutputInvalid, match="must be even"):
        turn.output  # noqa: B018  it raises
    assert issubclass(OutputInvalid, ArrieroError)


async def test_each_turn_has_retries_of_its_own() -> None:
    stack = scripted_stack(*[said({"number": 3}), said({"number": 4})] * 2, extending=False)
    agent = Agent(stack, output=Even, retries=1)
    assert [(await agent.run("Even?")).output.number for _ in range(2)] == [4, 4]


async def test_a_turn_without_an_answer_has_no_output() -> None:
    turn = await Agent(scripted_stack("x" * 50), output=Report, limits=Limits(tokens=5)).run("Well?")
    assert turn.reason == "limit"
    with pytest.raises(OutputInvalid, match="'limit'"):
        turn.output  # noqa: B018  it raises


async def test_json_in_a_code_fence_is_read_too() -> None:
    stack = scripted_stack('```json\n{"number": 4}\n```<|eot_id|>')
    agent = Agent(stack, output=Answer(Even, by="retries"))
    assert (await agent.run("Even?")).output.number == 4
    assert engine_of(stack).samplings[0].grammar is None


class Plain:
    """An engine that takes no grammars."""

    grammars = False

    def __init__(self, stack: Stack) -> None:
        self.inner = engine_of(stack)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def ungrammatical(*answers: str) -> Stack:
    inner = scripted_stack(*answers)
    return Stack(Plain(inner), inner.dialect, log=inner.log)


async def test_where_the_engine_takes_no_grammar_retries_hold_the_model() -> None:
    stack = ungrammatical("Forty-two.<|eot_id|>", said({"number": 42}))
    turn = await Agent(stack, output=Even).run("Even?")
    assert turn.output.number == 42
    assert kinds(turn.events).count("StepFinished") == 2


def test_a_grammar_that_the_engine_cannot_take_is_an_error_when_the_agent_is_made() -> None:
    with pytest.raises(UnusableOutput, match="retries"):
        Agent(ungrammatical(), output=Answer(Even, by="grammar"))


@pytest.mark.parametrize("kind", [set[int], Callable[[int], int]], ids=str)
def test_a_type_that_no_grammar_can_express_is_refused_where_a_grammar_is_asked_for(kind: Any) -> None:
    with pytest.raises(GrammarNotExpressible):
        Agent(scripted_stack(), output=Answer(kind, by="grammar"))


async def test_a_type_that_no_grammar_can_express_is_checked_otherwise() -> None:
    stack = scripted_stack(said({"answer": [1, 1, 2]}))
    assert (await Agent(stack, output=set[int]).run("Numbers?")).output == {1, 2}


async def test_a_type_without_a_schema_is_told_by_its_form() -> None:
    class Coded(str):
        """A text that reads itself."""

        __slots__ = ()

        @classmethod
        def __get_pydantic_core_schema__(cls, *_: object) -> Any:
            return core_schema.no_info_plain_validator_function(lambda value: cls(value[::-1]))

    stack = scripted_stack(said({"answer": "olleh"}))
    assert (await Agent(stack, output=Coded).run("Well?")).output == Coded("hello")
    assert 'JSON of the form {"answer": ...}' in stack.engine.tokenizer.decode(engine_of(stack).requests[0])
    assert engine_of(stack).samplings[0].grammar is None


class Unfinished(BaseModel):
    missing: "Missing"  # type: ignore[name-defined]  # noqa: F821  that it is nowhere is the point


@pytest.mark.parametrize("kind", [object(), 5, "", {}, type("Odd", (), {}), "Missing", Unfinished], ids=str)
def test_what_is_no_type_is_refused_when_the_agent_is_made(kind: Any) -> None:
    with pytest.raises(UnusableOutput, match="pydantic"):
        Agent(scripted_stack(), output=kind)


@pytest.mark.parametrize("retries", [-1, "2", None])
def test_retries_are_a_number(retries: Any) -> None:
    with pytest.raises(UnusableOutput, match="retries"):
        Agent(scripted_stack(), output=Even, retries=retries)


def test_a_way_that_is_none_is_refused() -> None:
    with pytest.raises(UnusableOutput, match="by='magic'"):
        Agent(scripted_stack(), output=Answer(Even, by="magic"))  # type: ignore[arg-type]


def test_two_grammars_are_refused() -> None:
    grammar = call_grammar(Dialect.get("llama3.1"), [double.declaration])
    with pytest.raises(UnusableOutput, match="leave one out"):
        Agent(scripted_stack(), output=Even, sampling=Sampling(grammar=grammar))


async def test_the_agents_own_check_hears_of_answers_that_fit() -> None:
    heard: list[str] = []

    async def accept(text: str) -> Message | None:
        heard.append(text)
        return Message("user", "Larger!") if len(heard) == 1 else None

    stack = scripted_stack(said({"number": 1}), said({"number": 2}), said({"number": 4}))
    turn = await Agent(stack, output=Even, hooks=Hooks(accept=accept)).run("Even?")
    assert turn.output.number == 4
    assert heard == ['{"number": 2}', '{"number": 4}']


async def test_the_demo_model_is_held_to_a_type() -> None:
    async with Stack.local() as stack:
        turn = await Agent(stack, output=Answer(Mood, by="grammar")).run("Hello!")
    assert turn.output in Mood
    assert len(turn.steps) == 1


VALUES: dict[Any, Any] = {
    str: st.text(),
    list[str]: st.lists(
        st.sampled_from(["<function=double>{}</function>", "double(number=1)", '{"name": "double"}', "x"])
    ),
    Named: st.builds(Named, name=st.sampled_from(["double", "x"]), parameters=st.just({"number": 1})),
    dict[str, str]: st.dictionaries(st.sampled_from(["name", "function", "parameters"]), st.just("double")),
    Load: st.builds(Load, st.integers(0, 9).map(float), st.lists(st.just('{"name": "double", "parameters": {}}'))),
    int: st.integers(),
}


@given(st.data(), st.sampled_from(["llama3.1", "llama3.2", "llama4"]))
def test_no_answer_of_a_type_is_read_as_a_call(data: st.DataObject, name: str) -> None:
    from pydantic import TypeAdapter

    kind = data.draw(st.sampled_from(list(VALUES)))
    reader = AnswerReader(Answer(kind, by="grammar"))
    plain = TypeAdapter(kind).dump_json(data.draw(VALUES[kind])).decode()
    wrapped = "answer" in (reader.schema or {}).get("properties", {})
    text = f'{{"answer": {plain}}}' if wrapped else plain
    dialect = Dialect.get(name)
    parsed = dialect.parse(text + dialect.end_of_turn, Registry([double]).called)
    assert parsed.tool_calls == ()
    assert reader.read(parsed.content) == TypeAdapter(kind).validate_json(plain)


def test_of_many_problems_the_model_reads_the_first() -> None:
    reader = AnswerReader(Answer(list[Report]))
    with pytest.raises(OutputInvalid) as raised:
        reader.read(json.dumps({"answer": [{"city": 1}] * 9}))
    assert str(raised.value).count(";") == 5
    assert "and 13 more" in str(raised.value)
