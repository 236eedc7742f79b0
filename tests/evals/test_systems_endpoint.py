"""A chat endpoint as the system under test, on a real server that misbehaves."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.abc import SocketStream
from misbehaving_server import ScriptedServer, misbehaving, response

from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, QuestionSet, Said
from arriero.evals.runs.running import RunStopped, run_system
from arriero.evals.systems.endpoint import EndpointSystem
from arriero.evals.systems.facts import served_facts
from arriero.evals.systems.retrieval import BM25
from arriero.models import DEMO
from arriero.stack.engine import Sampling
from arriero.stack.engines.http import Server
from arriero.stack.errors import EngineInterrupted, EngineRejected, EngineUnavailable

pytestmark = pytest.mark.anyio

PASSAGE = Passage("zuri", "The load of Zuri is 85 kilograms. {question}", "mules.md")


def said(text: str | None) -> bytes:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"prompt_tokens": 7}}
    return response(200, json.dumps(body).encode())


@asynccontextmanager
async def chat(reply: Callable[[dict[str, Any], int], bytes]) -> AsyncIterator[tuple[ScriptedServer, str]]:
    """A chat server that replies to each request by what it asks, and how often it has asked that before."""
    known: dict[str, int] = {}

    async def answer(stream: SocketStream) -> None:
        request = server.requests[-1]
        asked = request["messages"][-1]["content"]
        known[asked] = known.get(asked, -1) + 1
        await stream.send(reply(request, known[asked]))

    async with misbehaving(DEMO, answer) as server:
        yield server, server.url


async def test_it_is_asked_with_passages_history_and_seed() -> None:
    question = Question(
        "q", "And Zuri? {passages}", history=(Said("user", "Hello"), Said("assistant", "Hi")), passages=(PASSAGE,)
    )
    async with chat(lambda *_: said("85 kilograms [1].")) as (server, url):
        system = EndpointSystem(url, "llama", instructions="Be brief.", sampling=Sampling(temperature=0.5))
        answer = await system.answer(question, seed=9)
        await system.aclose()
    (request,) = server.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user", "assistant", "user"]
    assert request["messages"][-1]["content"] == (
        "Passages:\n[1] mules.md: The load of Zuri is 85 kilograms. {question}\n\nQuestion: And Zuri? {passages}"
    )
    assert (request["model"], request["seed"], request["temperature"]) == ("llama", 9, 0.5)
    assert (answer.text, answer.cited, answer.prompt_tokens) == ("85 kilograms [1].", ("zuri",), 7)


async def test_it_is_asked_with_what_is_found_and_without_passages_where_there_are_none() -> None:
    async with chat(lambda *_: said("The documents do not say.")) as (server, url):
        for retriever in (BM25({"zuri": PASSAGE}), None):
            system = EndpointSystem(url, "llama", retriever=retriever)
            answer = await system.answer(Question("q", "The load of Zuri?"))
            assert answer.refused
            await system.aclose()
    contents = [request["messages"][-1]["content"] for request in server.requests]
    assert "[1] mules.md" in contents[0]
    assert contents[1] == "The load of Zuri?"


async def test_a_busy_server_is_asked_again() -> None:
    async with chat(lambda _, before: said("Yes.") if before == 2 else response(503)) as (server, url):
        system = EndpointSystem(url, "llama", backoff=0.001)
        assert (await system.answer(Question("q", "?"))).text == "Yes."
        await system.aclose()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (response(200, b"no JSON"), EngineInterrupted),
        (response(200, b"[]"), EngineRejected),
        (response(200, b'{"choices": []}'), EngineInterrupted),
        (response(200, b'{"choices": [{"message": {"content": {"a": 1}}}]}'), EngineInterrupted),
        (response(401), EngineRejected),
        (response(500), EngineUnavailable),
    ],
)
async def test_what_is_no_answer_is_a_typed_error(reply: bytes, error: type[Exception]) -> None:
    async with chat(lambda *_: reply) as (_, url):
        system = EndpointSystem(url, "llama", retries=0)
        with pytest.raises(error):
            await system.answer(Question("q", "?"))
        await system.aclose()


async def test_half_a_surrogate_in_an_answer_can_be_written_down(tmp_path: Path) -> None:
    async with chat(lambda *_: response(200, b'{"choices": [{"message": {"content": "a \\ud83d b"}}]}')) as (_, url):
        system = EndpointSystem(url, "llama", retries=0)
        asked = QuestionSet("s", (Question("q", "?"),))
        folder = await run_system(tmp_path / "run", system, asked, progress=False)
        await system.aclose()
    (answer,) = folder.answered().answers
    assert (answer.text, answer.error) == ("a ? b", None)


async def test_a_run_over_an_engine_that_fails_on_some_questions_counts_them(tmp_path: Path) -> None:
    def reply(request: dict[str, Any], _: int) -> bytes:
        asked = request["messages"][-1]["content"]
        return response(500) if "7" in asked else response(400) if "4" in asked else said(f"answer to {asked}")

    asked = QuestionSet("s", tuple(Question(f"q{n}", f"Question {n}?") for n in range(20)))
    async with chat(reply) as (server, url):
        system = EndpointSystem(url, "llama", retries=1, backoff=0.001)
        run = partial(run_system, tmp_path / "run", system, asked, progress=False)
        folder = await run()
        failed = {answer.question_id: answer.error or "" for answer in folder.answered().answers if answer.error}
        assert {id_: error.split(":")[0] for id_, error in failed.items()} == {
            "q4": "EngineRejected",
            "q7": "EngineUnavailable",
            "q14": "EngineRejected",
            "q17": "EngineUnavailable",
        }
        assert len(folder.items()) == 16
        asked_so_far = len(server.requests)
        await run()
        assert len(server.requests) == asked_so_far
        await system.aclose()


async def test_a_server_that_is_gone_stops_a_run(tmp_path: Path) -> None:
    async with chat(lambda *_: said("Yes.")) as (_, url):
        pass
    system = EndpointSystem(url, "llama", retries=0)
    asked = QuestionSet("s", tuple(Question(f"q{n}", "?") for n in range(9)))
    with pytest.raises(RunStopped, match="nothing answers"):
        await run_system(tmp_path / "run", system, asked, progress=False)
    await system.aclose()


async def test_a_server_says_which_model_it_serves() -> None:
    async with chat(lambda *_: said("")) as (_, url):
        server = Server(url)
        facts = await served_facts(server, "arriero-demo")
        await server.aclose()
    assert facts["root"] == str(DEMO)
    assert str(facts["revision"]).startswith("sha256:")


async def test_a_server_that_cannot_be_asked_is_not_taken_for_one_that_says_nothing() -> None:
    async with chat(lambda *_: said("")) as (_, url):
        pass
    server = Server(url, retries=0)
    with pytest.raises(EngineUnavailable, match="nothing answers"):
        await served_facts(server, "arriero-demo")
    await server.aclose()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h:1", "/v1/chat/completions"),
        ("http://h:1/v1/", "/v1/chat/completions"),
        ("http://h:1/openai/v1", "/openai/v1/chat/completions"),
        ("http://h:1/v1beta/openai", "/v1beta/openai/chat/completions"),
    ],
)
async def test_the_path_is_that_of_the_servers_kind(url: str, path: str) -> None:
    import httpx2

    asked: list[str] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"choices": [{"message": {"content": "Yes."}}]})

    system = EndpointSystem(url, "llama", transport=httpx2.MockTransport(handle))
    assert (await system.answer(Question("q", "?"))).text == "Yes."
    await system.aclose()
    assert asked == [path]


def test_a_template_that_asks_nothing_is_refused() -> None:
    with pytest.raises(EvalError, match="question"):
        EndpointSystem("http://h:1", "llama", template="{passages}")


def test_the_key_is_no_part_of_the_record() -> None:
    system = EndpointSystem("http://user:secret@h:1/v1", "llama", api_key="sk-secret")
    assert "secret" not in repr(system.fingerprint)
