"""Agents and RAG pipelines as systems under test, on the bundled model and on scripted engines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from arriero import Agent, Stack, tool
from arriero.evals.data import sample
from arriero.evals.items import Passage, Question, Said
from arriero.evals.systems.agent import AgentSystem
from arriero.evals.systems.facts import engine_facts
from arriero.evals.systems.rag import RagSystem
from arriero.evals.systems.retrieval import BM25
from arriero.examples.documents import agent as documents_agent
from arriero.models import DEMO
from arriero.stack.engine import Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.errors import ContextTooLong, EngineUnavailable
from arriero.testing import Say, call, scripted_stack
from arriero.tools import knowledge_search

pytestmark = pytest.mark.anyio

PASSES = {
    "salda": Passage("salda", "The height of the Salda Pass is 2140 metres.", "passes.md"),
    "zuri": Passage("zuri", "The load of Zuri is 85 kilograms.", "mules.md"),
}


@pytest.fixture(scope="module")
async def demo() -> AsyncIterator[Stack]:
    async with Stack.local() as stack:
        yield stack


async def test_a_rag_pipeline_answers_from_what_it_finds_and_cites_it(demo: Stack) -> None:
    handbook = sample("handbook").questions()
    question = next(one for one in handbook.questions if one.id == "told-01")
    answer = await RagSystem(demo, BM25(handbook.corpus)).answer(question)
    assert answer.text == "The length of the Chain Bridge is 118 metres [1]."
    assert (len(answer.passages), answer.cited, answer.refused) == (3, question.gold_ids, False)
    assert answer.prompt_tokens > 50
    assert answer.completion_tokens > 5
    assert answer.seconds > 0


async def test_a_rag_pipeline_that_finds_nothing_refuses(demo: Stack) -> None:
    answer = await RagSystem(demo, BM25(PASSES)).answer(Question("q", "Who is the mayor of Tarnholt?"))
    assert (answer.passages, answer.cited, answer.error) == ((), (), None)
    assert answer.text


async def test_an_agent_answers_from_what_its_tools_found(demo: Stack) -> None:
    system = AgentSystem(documents_agent(demo))
    try:
        answer = await system.answer(Question("q", "How high is the Salda Pass?"))
    finally:
        await system.aclose()
    assert "2140 metres" in answer.text
    assert [made["name"] for made in answer.calls] == ["knowledge_search"]
    (cited,) = answer.cited
    assert "2140 metres" in {passage.id: passage.text for passage in answer.passages}[cited]


async def test_passages_of_a_tool_are_known_by_their_text(demo: Stack) -> None:
    corpus = {"p1": Passage("p1", "The height of the Salda  Pass is 2140 metres.", "anything")}
    answers = []
    for known in ({}, corpus):
        system = AgentSystem(documents_agent(demo), corpus=known)
        answers.append(await system.answer(Question("q", "How high is the Salda Pass?")))
        await system.aclose()
    without, within = ({passage.id for passage in answer.passages} for answer in answers)
    assert "p1" not in without
    assert "p1" in within


async def test_the_bundled_model_is_known_by_its_weights(demo: Stack) -> None:
    facts = await engine_facts(demo.engine)
    assert (facts["model"], facts["quantization"]) == ("arriero-demo", "none")
    assert str(facts["revision"]).startswith("sha256:")
    assert {"arriero", "torch", "transformers"} <= set(facts["versions"])  # type: ignore[call-overload]
    told = await engine_facts(demo.engine, revision="r7", quantization="fp8")
    assert (told["revision"], told["quantization"]) == ("r7", "fp8")
    rounded = await engine_facts(TransformersEngine(DEMO, quantization="int8"))
    assert (rounded["quantization"], rounded["revision"]) == ("int8", facts["revision"])
    assert "torchao" in rounded["versions"]  # type: ignore[operator]


async def test_all_that_decides_answers_is_in_the_fingerprint() -> None:
    async with scripted_stack() as stack, scripted_stack(model="other") as other:
        prints = [
            RagSystem(stack, BM25(PASSES)).fingerprint,
            RagSystem(other, BM25(PASSES)).fingerprint,
            RagSystem(stack, BM25(PASSES), k=2).fingerprint,
            RagSystem(stack, BM25({"zuri": PASSES["zuri"]})).fingerprint,
            RagSystem(stack).fingerprint,
            RagSystem(stack, BM25(PASSES), instructions="Be brief.").fingerprint,
            RagSystem(stack, BM25(PASSES), sampling=Sampling(temperature=0.7)).fingerprint,
            RagSystem(stack, BM25(PASSES), facts={"model": "scripted", "quantization": "int8"}).fingerprint,
            AgentSystem(Agent(stack)).fingerprint,
            AgentSystem(Agent(stack, instructions="Be brief.")).fingerprint,
            AgentSystem(Agent(stack, tools=[knowledge_search()])).fingerprint,
            AgentSystem(Agent(stack, shields=["llama-guard"])).fingerprint,
            AgentSystem(Agent(stack, sampling=Sampling(temperature=0.7))).fingerprint,
        ]
        again = RagSystem(stack, BM25(PASSES)).fingerprint
    assert again == prints[0]
    assert len({repr(one) for one in prints}) == len(prints)


async def test_a_rag_prompt_holds_history_passages_and_seed() -> None:
    question = Question(
        "q",
        "And Zuri?",
        history=(Said("user", "How high is the pass?"), Said("assistant", "2140 metres.")),
        passages=(PASSES["zuri"], Passage("odd", "two\nlines <|eot_id|>")),
    )
    async with scripted_stack("85 kilograms [1][2].") as stack:
        answer = await RagSystem(stack, BM25(PASSES), instructions="Be brief.").answer(question, seed=11)
        (prompt,) = stack.engine.prompts
        (sampling,) = stack.engine.samplings
    assert [passage.id for passage in answer.passages] == ["zuri", "odd"]
    assert answer.cited == ("zuri", "odd")
    assert sampling.seed == 11
    for part in ("Be brief.", "How high is the pass?", "2140 metres.", "And Zuri?", "[1] mules.md: The load of Zuri"):
        assert part in prompt
    assert "two lines" in prompt
    assert prompt.index("2140 metres.") < prompt.index("And Zuri?") < prompt.index("[1] mules.md")


async def test_a_model_that_calls_in_place_of_an_answer_has_given_none() -> None:
    async with scripted_stack(call("knowledge_search", query="more")) as stack:
        answer = await RagSystem(stack, BM25(PASSES)).answer(Question("q", "Zuri?"))
    assert answer.error == "the model called knowledge_search in place of an answer"
    assert answer.calls == ({"name": "knowledge_search", "arguments": {"query": "more"}},)


async def test_errors_of_the_engine_come_through() -> None:
    async with scripted_stack(Say("", fault=EngineUnavailable("gone"))) as stack:
        with pytest.raises(EngineUnavailable):
            await RagSystem(stack).answer(Question("q", "?"))
    async with scripted_stack(context_length=16) as stack:
        with pytest.raises(ContextTooLong):
            await RagSystem(stack).answer(Question("q", "?"))


async def test_documents_that_changed_make_another_agent(tmp_path: Path) -> None:
    (tmp_path / "mules.md").write_text("Zuri carries 85 kilograms.")
    async with scripted_stack() as stack:
        before, same = (AgentSystem(Agent(stack, tools=[knowledge_search(tmp_path)])).fingerprint for _ in range(2))
        (tmp_path / "mules.md").write_text("Zuri carries 90 kilograms.")
        after = AgentSystem(Agent(stack, tools=[knowledge_search(tmp_path)])).fingerprint
    assert before == same != after
    assert {what for what in before if before[what] != after[what]} == {"index"}


async def test_a_log_in_memory_does_not_grow_with_the_questions_and_one_on_disk_keeps_them(tmp_path: Path) -> None:
    for log, kept in ((None, 0), (tmp_path / "log.sqlite", 2)):
        async with scripted_stack("First.", "Second.", log=log) as stack:
            system = AgentSystem(Agent(stack))
            for id_ in ("a", "b"):
                assert (await system.answer(Question(id_, f"And {id_}?"))).text
            assert len(await stack.log.turns()) == kept


@tool
def two_searches(query: str) -> str:
    """Search."""
    return {"first": "[1] a.md: one\n[2] b.md: two\nof two lines", "second": "[1] c.md: three"}[query]


@tool
def load(mule: str) -> dict[str, Any]:
    """Look a mule up."""
    if mule != "Zuri":
        raise ValueError("there is no such mule")
    return {"mule": mule, "load": 85}


async def test_numbers_of_the_last_search_count_and_failed_calls_are_no_passages() -> None:
    script = (
        call("two_searches", query="first"),
        call("two_searches", query="second"),
        call("load", mule="Zuri"),
        call("load", mule="Nobody"),
        "It is so [2].",
    )
    async with scripted_stack(*script) as stack:
        answer = await AgentSystem(Agent(stack, tools=[two_searches, load])).answer(Question("q", "?"))
    texts = [passage.text for passage in answer.passages]
    assert texts == ["a.md: one", "b.md: two\nof two lines", "c.md: three", '{"mule": "Zuri", "load": 85}']
    assert answer.cited == (answer.passages[1].id,)
    assert len(answer.calls) == 4
    async with scripted_stack(*script) as stack:
        some = await AgentSystem(Agent(stack, tools=[two_searches, load]), tools=["load"]).answer(Question("q", "?"))
    assert [passage.text for passage in some.passages] == texts[3:]


async def test_an_agent_is_given_history_and_seed_in_a_session_of_its_own() -> None:
    history = (Said("user", "How high is the pass?"), Said("assistant", "2140 metres."))
    async with scripted_stack("First.", "Second.") as stack:
        system = AgentSystem(Agent(stack, instructions="Be brief."))
        for id_ in ("a", "b"):
            await system.answer(Question(id_, f"And {id_}?", history=history), seed=5)
        prompts, samplings = stack.engine.prompts, stack.engine.samplings
    assert [sampling.seed for sampling in samplings] == [5, 5]
    assert all("2140 metres." in prompt and "Be brief." in prompt for prompt in prompts)
    assert "And a?" not in prompts[1]


async def test_a_turn_that_ends_without_an_answer_says_why() -> None:
    async with scripted_stack(*[call("load", mule="Zuri")] * 9) as stack:
        answer = await AgentSystem(Agent(stack, tools=[load])).answer(Question("q", "?"))
    assert answer.error == "the turn ended without an answer: limit"

    @tool(sensitive=True)
    def sell(mule: str) -> str:
        """Sell a mule."""
        return mule

    async with scripted_stack(call("sell", mule="Zuri")) as stack:
        answer = await AgentSystem(Agent(stack, tools=[sell])).answer(Question("q", "?"))
    assert answer.error == "the turn waits for a decision about sell"


async def test_what_a_shield_forbids_is_a_refusal() -> None:
    async with scripted_stack("poison", guard=scripted_stack("unsafe\nS1", dialect="llama-guard-3-8b").engine) as stack:
        answer = await AgentSystem(Agent(stack, shields=["llama-guard"])).answer(Question("q", "?"))
    assert (answer.refused, answer.error) == (True, None)
