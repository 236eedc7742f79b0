"""Random models, held to grammars: all that they write are calls that our parser reads, with valid arguments."""

import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio
import jsonschema
import pytest
from pydantic import BaseModel, TypeAdapter

from arriero.prompts.dialect import Dialect
from arriero.prompts.grammar import Grammar, Limits, Named, Policy, Syntax, answer_grammar, call_grammar
from arriero.stack.engine import Delta, Engine, Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.engines.recorded import RecordedEngine, Recorder
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.errors import EngineError, EngineRejected
from arriero.stack.generation import stop_ids

pytestmark = pytest.mark.anyio

TOOLS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "grammar_tools.jsonl").read_text(encoding="utf-8").splitlines()
]
WAYS: tuple[tuple[str, Syntax], ...] = (
    ("llama3.1", "json"),
    ("llama3.1", "function-tag"),
    ("llama3.2", "pythonic"),
    ("llama4", "json"),
    ("llama4", "pythonic"),
)
CALLS = 1000
AT_ONCE = 48
LIMITS = Limits(string=5, items=2, depth=5)
"""A random model says no less than it may, so texts and lists must end by themselves."""
JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "bool": "boolean"}


@dataclass(frozen=True)
class Offer:
    """Some tools, offered in one way."""

    dialect: Dialect
    tools: Sequence[Mapping[str, Any]]
    grammar: Grammar

    @property
    def names(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.tools]

    def schema(self, name: str) -> Any:
        return plain(next(tool["function"]["parameters"] for tool in self.tools if tool["function"]["name"] == name))


def plain(schema: Any) -> Any:
    """The schema in the words of the standard, which is what the validator knows."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    standard = {key: plain(value) for key, value in schema.items() if key != "nullable"}
    if isinstance(standard.get("type"), str):
        standard["type"] = JSON_TYPES.get(standard["type"], standard["type"])
    return {**standard, "type": [standard["type"], "null"]} if schema.get("nullable") else standard


def offers() -> Iterator[Offer]:
    """Every tool, three at a time, in every way in which all three can be called."""
    for name, syntax in WAYS:
        fitting = [tool for tool in TOOLS if callable_in(syntax, tool["function"])]
        for start in range(0, len(fitting), 3):
            group = fitting[start : start + 3]
            dialect = Dialect.get(name)
            most = 1 + start % 2
            grammar = call_grammar(dialect, group, policy="required", syntax=syntax, most_calls=most, limits=LIMITS)
            yield Offer(dialect, group, grammar)


def callable_in(syntax: str, function: Mapping[str, Any]) -> bool:
    if syntax == "pythonic":
        names = [*function["name"].split("."), *function["parameters"]["properties"]]
        return all(name.isidentifier() for name in names)
    return syntax == "json" or " " not in function["name"]


async def write(engine: Engine, dialect: Dialect, grammar: Grammar, seed: int, most: int = 1200) -> list[int]:
    stops = stop_ids(dialect, engine.tokenizer)
    sampling = Sampling(max_tokens=most, temperature=1.0, seed=seed, stop_ids=stops, grammar=grammar)
    prompt = engine.tokenizer.encode("Call a tool.")
    return [id_ async for delta in engine.generate(prompt, sampling) for id_ in delta.token_ids]


async def called(engine: Engine, offer: Offer, seed: int) -> str:
    """The tool of the first call written, once all of them are known to be right."""
    ids = await write(engine, offer.dialect, offer.grammar, seed)
    parsed = offer.dialect.parse(ids, offer.names, engine.tokenizer)
    text = engine.tokenizer.decode(ids)
    assert parsed.tool_calls, text
    assert not parsed.unknown, text
    assert not parsed.content, text
    for call in parsed.tool_calls:
        jsonschema.validate(call.arguments, offer.schema(call.name), format_checker=jsonschema.FormatChecker())
    return parsed.tool_calls[0].name


async def all_called(engine: Engine, count: int, at_once: int) -> Counter[str]:
    """How often each tool was called, in so many messages."""
    offered = list(offers())
    seen: Counter[str] = Counter()
    slots = anyio.CapacityLimiter(at_once)

    async def ask(seed: int) -> None:
        async with slots:
            seen[await called(engine, offered[seed % len(offered)], seed)] += 1

    async with anyio.create_task_group() as tasks:
        for seed in range(count):
            tasks.start_soon(ask, seed)
    return seen


@pytest.fixture(scope="module")
def local(random_llama: Path) -> TransformersEngine:
    return TransformersEngine(random_llama)


@pytest.fixture(scope="module")
def random_server(start_vllm, random_llama: Path) -> Iterator:
    with start_vllm("--max-num-seqs", str(AT_ONCE), folder=random_llama) as server:
        yield server


@pytest.fixture
async def served(random_server, random_llama: Path) -> AsyncIterator[VLLMEngine]:
    async with aclosing(await VLLMEngine.connect(random_server.url, tokenizer=random_llama)) as engine:
        yield engine


async def test_every_message_of_a_random_model_in_transformers_is_valid_calls(local: TransformersEngine) -> None:
    seen = await all_called(local, CALLS, at_once=1)
    assert sum(seen.values()) == CALLS
    assert len(seen) >= 30


async def test_a_named_tool_is_the_only_one_called(local: TransformersEngine) -> None:
    dialect = Dialect.get("llama3.1")
    grammar = call_grammar(dialect, TOOLS, policy=Named("weather.today"), limits=LIMITS)
    names = [tool["function"]["name"] for tool in TOOLS]
    for seed in range(8):
        parsed = dialect.parse(await write(local, dialect, grammar, seed), names, local.tokenizer)
        assert [call.name for call in parsed.tool_calls] == ["weather.today"]


@pytest.mark.parametrize("policy", ["auto", "none"])
async def test_free_text_is_free_of_calls(local: TransformersEngine, policy: Policy) -> None:
    dialect = Dialect.get("llama3.1")
    offer = Offer(dialect, TOOLS[:3], call_grammar(dialect, TOOLS[:3], policy=policy, limits=LIMITS))
    kinds = Counter[bool]()
    for seed in range(12):
        ids = await write(local, dialect, offer.grammar, seed, most=150)
        parsed = dialect.parse(ids, offer.names, local.tokenizer)
        kinds[bool(parsed.tool_calls)] += 1
        assert not parsed.unknown
        assert not (parsed.tool_calls and parsed.content)
        for call in parsed.tool_calls:
            jsonschema.validate(call.arguments, offer.schema(call.name))
    assert kinds[False]
    assert policy == "auto" or not kinds[True]


async def test_builtin_tools_are_called_after_the_tag(local: TransformersEngine) -> None:
    dialect = Dialect.get("llama3.1")
    builtin = ("brave_search", "code_interpreter")
    for tool in builtin:
        grammar = call_grammar(dialect, TOOLS[:3], policy=Named(tool), builtin_tools=builtin, limits=LIMITS)
        ids = await write(local, dialect, grammar, seed=3, most=600)
        assert ids[0] == local.tokenizer.special_id("<|python_tag|>")
        if ids[-1] in stop_ids(dialect, local.tokenizer):  # code has no limit of its own
            parsed = dialect.parse(ids, list(builtin), local.tokenizer)
            assert [call.name for call in parsed.tool_calls] == [tool]


class Place(BaseModel):
    name: str
    kind: Literal["city", "river"]
    inside: "Place | None" = None


async def test_an_answer_of_a_type_is_read_as_that_type(local: TransformersEngine) -> None:
    dialect = Dialect.get("llama3.1")
    answers = TypeAdapter(list[Place])
    grammar = answer_grammar(list[Place], limits=LIMITS)
    ends = stop_ids(dialect, local.tokenizer)
    for seed in range(8):
        ids = await write(local, dialect, grammar, seed)
        assert ids[-1] in ends
        answers.validate_json(local.tokenizer.decode(ids[:-1]))


async def test_under_a_grammar_an_answer_must_be_able_to_end(random_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(random_llama, tmp_path / "endless")
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {"eos_token_id": None}))
    with pytest.raises(EngineRejected, match="give stop_ids"):
        await once(TransformersEngine(folder), Sampling(grammar=Grammar('root ::= "a"')))


async def test_a_grammar_for_another_vocabulary_is_refused(local: TransformersEngine) -> None:
    with pytest.raises(EngineRejected, match=r"writes <\|absent\|>, which the model's vocabulary lacks"):
        await once(local, Sampling(grammar=Grammar("root ::= Token(<|absent|>)")))


async def test_a_grammar_that_cannot_be_read_is_refused(local: TransformersEngine) -> None:
    with pytest.raises(EngineRejected, match="cannot read the grammar"):
        await once(local, Sampling(grammar=Grammar("root ::= (")))


async def test_alternatives_are_the_models_own_and_hold_the_drawn_token(local: TransformersEngine) -> None:
    sampling = Sampling(max_tokens=4, logprobs=2, grammar=Grammar('root ::= "xyz"'))
    deltas = [delta async for delta in local.generate(local.tokenizer.encode("x"), sampling)]
    assert local.tokenizer.decode([id_ for delta in deltas[:-1] for id_ in delta.token_ids]) == "xyz"
    for delta in deltas:
        assert delta.token_ids[0] in delta.logprobs[0]
        assert max(delta.logprobs[0].values()) < 0.0


async def test_a_recording_knows_the_grammar_of_a_request(local: TransformersEngine, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl"
    recorder = Recorder(local, path)
    sampling = Sampling(max_tokens=9, grammar=Grammar('root ::= "yes" | "no"', ("a note",)))
    prompt = local.tokenizer.encode("x")
    said = [delta async for delta in recorder.generate(prompt, sampling)]
    recorded = RecordedEngine(path, local.tokenizer)
    assert [delta async for delta in recorded.generate(prompt, sampling)] == said
    with pytest.raises(EngineError, match="with grammar None instead of Grammar"):
        await once(recorded, replace(sampling, grammar=None), prompt)


async def once(engine: Engine, sampling: Sampling, prompt: Sequence[int] = (5,)) -> list[Delta]:
    return [delta async for delta in engine.generate(prompt, sampling)]


@pytest.mark.vllm
async def test_every_message_of_a_random_model_in_vllm_is_valid_calls(served: VLLMEngine) -> None:
    seen = await all_called(served, CALLS, AT_ONCE)
    assert sum(seen.values()) == CALLS
    assert len(seen) >= 30


@pytest.mark.vllm
async def test_what_transformers_writes_under_a_grammar_vllm_writes_too(
    served: VLLMEngine, local: TransformersEngine
) -> None:
    dialect = Dialect.get("llama4")
    grammar = call_grammar(dialect, TOOLS[:9], policy="required", syntax="pythonic", limits=LIMITS)
    sampling = Sampling(max_tokens=400, stop_ids=stop_ids(dialect, local.tokenizer), grammar=grammar)
    here = await once(local, sampling)
    there = await once(served, sampling)
    assert [id_ for delta in there for id_ in delta.token_ids] == [id_ for delta in here for id_ in delta.token_ids]


@pytest.mark.vllm
async def test_vllm_too_refuses_a_grammar_it_cannot_read(served: VLLMEngine) -> None:
    with pytest.raises(EngineRejected, match="grammar"):
        await once(served, Sampling(grammar=Grammar("root ::= (")))
    with pytest.raises(EngineRejected, match=r"<\|absent\|>"):
        await once(served, Sampling(grammar=Grammar("root ::= Token(<|absent|>)")))
