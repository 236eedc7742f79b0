"""The server over real HTTP, asked by the official client."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest
import uvicorn
from scripted import Say, ScriptedEngine, call, engine_of, kinds, logged, of, scripted_stack

from arriero.stack.errors import EngineInterrupted, EngineUnavailable
from arriero.stack.events import Event, PromptAppended, TurnFailed, TurnFinished
from arriero.stack.log import SQLiteLog
from arriero.stack.server import create_app
from arriero.stack.stack import Stack

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "description": "The town."}},
            "required": ["town"],
        },
    },
}
HELLO = [{"role": "user", "content": "Hello"}]

Serve = Callable[..., openai.OpenAI]


@contextmanager
def serving(stack: Stack) -> Iterator[str]:
    """The server's address."""
    server = uvicorn.Server(uvicorn.Config(create_app(stack), port=0, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as opened:

        def start(stack: Stack) -> openai.OpenAI:
            url = opened.enter_context(serving(stack))
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)
            return opened.enter_context(client)

        yield start


def test_models_and_health(serve: Serve) -> None:
    client = serve(scripted_stack())
    assert [model.id for model in client.models.list()] == ["scripted"]
    root = str(client.base_url).removesuffix("v1/")
    assert httpx2.get(f"{root}health").json() == {"status": "ok"}


def test_a_chat_completion(serve: Serve) -> None:
    stack = scripted_stack("Good day.<|eot_id|>")
    answer = serve(stack).chat.completions.create(model="scripted", messages=HELLO)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Good day.", "stop")
    assert choice.message.tool_calls is None
    assert answer.usage.prompt_tokens == len(engine_of(stack).requests[0])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_completion(serve: Serve) -> None:
    client = serve(scripted_stack("Good day.<|eot_id|>"))
    chunks = list(
        client.chat.completions.create(
            model="scripted", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(text) == "Good day."
    assert len(text) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_calls_come_back_for_the_client_to_run(serve: Serve) -> None:
    client = serve(scripted_stack(call("weather", town="Évora")))
    answer = client.chat.completions.create(model="scripted", messages=HELLO, tools=[WEATHER])
    choice = answer.choices[0]
    (made,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert made.id
    assert (made.function.name, json.loads(made.function.arguments)) == ("weather", {"town": "Évora"})


def test_streamed_calls_come_back_whole_and_no_text_of_them_is_shown(serve: Serve) -> None:
    two = call("weather", town="Faro").removesuffix("<|eot_id|>") + "; " + call("weather", town="Beja")
    client = serve(scripted_stack(two))
    with client.chat.completions.stream(model="scripted", messages=HELLO, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert [json.loads(made.function.arguments)["town"] for made in message.tool_calls] == ["Faro", "Beja"]
    assert not message.content
    assert final.choices[0].finish_reason == "tool_calls"


def test_results_that_the_client_sends_reach_the_model_by_their_ids(serve: Serve) -> None:
    stack = scripted_stack("Sun and rain.<|eot_id|>")
    calls = [
        {"id": id_, "type": "function", "function": {"name": "weather", "arguments": json.dumps({"town": town})}}
        for id_, town in (("a", "Faro"), ("b", "Beja"))
    ]
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "sun"}]},
    ]
    answer = serve(stack).chat.completions.create(model="scripted", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "Sun and rain."
    prompt = engine_of(stack).tokenizer.decode(engine_of(stack).requests[0])
    places = [prompt.index(text) for text in ('{"town": "Faro"}', '"sun"', '{"town": "Beja"}', '"rain"')]
    assert places == sorted(places)


def test_an_answer_that_looks_like_a_call_is_text_where_no_tool_was_offered(serve: Serve) -> None:
    client = serve(scripted_stack(*[call("weather", town="Faro")] * 2, extending=False))
    text = call("weather", town="Faro").removesuffix("<|eot_id|>")
    answer = client.chat.completions.create(model="scripted", messages=HELLO)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text, "stop")
    with client.chat.completions.stream(model="scripted", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == text


def test_sampling_reaches_the_engine(serve: Serve) -> None:
    stack = scripted_stack("Good day to you.<|eot_id|>")
    answer = serve(stack).chat.completions.create(
        model="scripted", messages=HELLO, temperature=0.7, top_p=0.9, seed=7, max_tokens=4
    )
    sampling = engine_of(stack).samplings[0]
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0.7, 0.9, 7, 4)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Good"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"stop": ["x"]}, "stop"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": -1}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "secret words"}]}, "messages.0.role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools.0.function.name"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(serve: Serve, change: dict[str, object], param: str) -> None:
    client = serve(scripted_stack())
    request = {"model": "scripted", "messages": HELLO} | change
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**request)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert "secret words" not in str(refused.value)


def test_a_conversation_that_cannot_be_rendered_is_a_bad_request(serve: Serve) -> None:
    client = serve(scripted_stack())
    calls = [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": "not json"}}]
    broken = [
        [{"role": "tool", "tool_call_id": "a", "content": "sun"}],
        [*HELLO, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "a", "content": "x"}],
        [*HELLO, {"role": "assistant", "tool_calls": calls}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
    ]
    for messages in broken:
        with pytest.raises(openai.BadRequestError, match="message"):
            client.chat.completions.create(model="scripted", messages=messages)


def test_another_model_is_not_found(serve: Serve) -> None:
    with pytest.raises(openai.NotFoundError, match="use 'scripted'"):
        serve(scripted_stack()).chat.completions.create(model="gpt-5", messages=HELLO)


def test_a_conversation_that_does_not_fit_says_so(serve: Serve) -> None:
    client = serve(scripted_stack(context_length=40))
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="scripted", messages=HELLO)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_is_down_is_503_without_a_word_of_what_is_inside(serve: Serve, stream: bool) -> None:
    def fail() -> None:
        raise EngineUnavailable("http://10.0.0.7:8000 with key sk-inner")

    client = serve(scripted_stack(Say("x", before=fail)))
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="scripted", messages=HELLO, stream=stream)
    assert failed.value.status_code == 503
    assert "10.0.0.7" not in str(failed.value)


def stream_into(text: list[str], client: openai.OpenAI) -> None:
    for chunk in client.chat.completions.create(model="scripted", messages=HELLO, stream=True):
        text.append(chunk.choices[0].delta.content or "")


def test_a_stream_that_breaks_off_ends_with_an_error(serve: Serve) -> None:
    client = serve(scripted_stack(Say("Good day", fault=EngineInterrupted("at http://10.0.0.7:8000"))))
    text: list[str] = []
    with pytest.raises(openai.APIError, match="broke off") as failed:
        stream_into(text, client)
    assert "".join(text) == "Good day"
    assert "10.0.0.7" not in str(failed.value)


def test_a_fault_of_ours_is_500_without_a_traceback(serve: Serve) -> None:
    def fail() -> None:
        raise RuntimeError("the prompt was: my secret")

    client = serve(scripted_stack(Say("x", before=fail)))
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="scripted", messages=HELLO)
    assert failed.value.status_code == 500
    assert "secret" not in failed.value.response.text
    assert "Traceback" not in failed.value.response.text


def test_unknown_paths_and_broken_bodies_answer_in_the_same_shape(serve: Serve) -> None:
    client = serve(scripted_stack())
    base = str(client.base_url)
    missing = httpx2.get(f"{base}nothing")
    broken = httpx2.post(f"{base}chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert (missing.status_code, broken.status_code) == (404, 400)
    for response in (missing, broken):
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_engines_request(serve: Serve, stream: bool) -> None:
    stack = scripted_stack(Say("Good day.", after=lambda: anyio.sleep(60)))
    engine: ScriptedEngine = engine_of(stack)
    client = serve(stack).with_options(timeout=1.0)
    with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
        list(client.chat.completions.create(model="scripted", messages=HELLO, stream=stream))
    wait_until(lambda: (engine.running, engine.closed_early) == (0, 1))


def test_a_client_that_leaves_between_two_chunks_ends_the_engines_request(serve: Serve) -> None:
    stack = scripted_stack(Say("Good day.", after=lambda: anyio.sleep(60)))
    engine = engine_of(stack)
    with serve(stack).chat.completions.create(model="scripted", messages=HELLO, stream=True) as answer:
        next(iter(answer))
    wait_until(lambda: (engine.running, engine.closed_early) == (0, 1))


def run_shield(client: openai.OpenAI, messages: list[dict[str, Any]], shield: str = "llama-guard") -> httpx2.Response:
    body = {"shield_id": shield, "messages": messages, "params": {}}
    return httpx2.post(f"{client.base_url}safety/run-shield", json=body)


def test_run_shield_in_llama_stacks_shape(serve: Serve) -> None:
    client = serve(scripted_stack("safe<|eot_id|>", "unsafe\nS2<|eot_id|>", "what?<|eot_id|>", extending=False))
    assert run_shield(client, HELLO).json() == {"violation": None}
    violation = run_shield(client, [*HELLO, {"role": "assistant", "content": "Steal it."}]).json()["violation"]
    assert violation["violation_level"] == "error"
    assert violation["user_message"]
    assert violation["metadata"]["violation_type"] == "S2"
    assert run_shield(client, HELLO).json()["violation"] is not None


def test_run_shield_refuses_what_it_does_not_know(serve: Serve) -> None:
    client = serve(scripted_stack())
    assert run_shield(client, HELLO, "other").status_code == 404
    assert run_shield(client, []).status_code == 400


def test_run_shield_refuses_a_conversation_that_no_shield_can_judge(serve: Serve) -> None:
    client = serve(scripted_stack("safe<|eot_id|>"))
    exchange = [
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "NEVER JUDGED"},
    ]
    for messages in ([*HELLO, *exchange], [*HELLO, {"role": "system", "content": "NEVER JUDGED"}], exchange[:1]):
        assert run_shield(client, messages).status_code == 400
    assert run_shield(client, [{"role": "assistant", "content": "Hello"}]).status_code == 400


@pytest.mark.parametrize("depth", [960, 100_000])
def test_arguments_that_are_nested_too_deeply_are_the_clients_fault(serve: Serve, depth: int) -> None:
    function = {"name": "weather", "arguments": '{"a":' * depth + "1" + "}" * depth}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "8"},
    ]
    client = serve(scripted_stack())
    with pytest.raises(openai.BadRequestError, match=r"must be a JSON object|strict JSON"):
        client.chat.completions.create(model="scripted", messages=messages)


def records(stack: Stack) -> dict[str, list[Event]]:
    """The events of the log by session."""

    async def read() -> dict[str, list[Event]]:
        assert isinstance(stack.log, SQLiteLog)
        return {name: await logged(stack, name) for name in await stack.log.sessions()}

    return anyio.run(read)


@pytest.mark.parametrize("stream", [False, True])
def test_each_completion_is_a_session_in_the_log(serve: Serve, tmp_path: Path, stream: bool) -> None:
    stack = scripted_stack("Good day.<|eot_id|>", log=SQLiteLog(tmp_path / "events.sqlite"))
    answer = serve(stack).chat.completions.create(model="scripted", messages=HELLO, stream=stream)
    id_ = [chunk.id for chunk in answer][-1] if stream else answer.id
    ((session, events),) = records(stack).items()
    assert session == id_
    assert kinds(events) == ["TurnStarted", "PromptAppended", "StepFinished", "TurnFinished"]
    assert list(of(PromptAppended, events)[0].token_ids) == engine_of(stack).requests[0]
    assert (of(TurnFinished, events)[0].text, of(TurnFinished, events)[0].reason) == ("Good day.", "answer")


def test_a_completion_that_fails_or_is_cut_says_so_in_the_log(serve: Serve, tmp_path: Path) -> None:
    def fail() -> None:
        raise EngineUnavailable("nobody is there")

    answers = ("A long answer.<|eot_id|>", Say("x", before=fail))
    stack = scripted_stack(*answers, log=SQLiteLog(tmp_path / "events.sqlite"), extending=False)
    client = serve(stack)
    client.chat.completions.create(model="scripted", messages=HELLO, max_tokens=4)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="scripted", messages=HELLO)
    ends = sorted(kinds(events)[-2:] for events in records(stack).values())
    assert ends == [["LimitReached", "TurnFinished"], ["TurnFailed", "TurnFinished"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_in_the_log(serve: Serve, tmp_path: Path, stream: bool) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    stack = scripted_stack(Say("Good day.", after=lambda: anyio.sleep(60)), log=log)
    with pytest.raises((openai.APITimeoutError, httpx2.ReadTimeout)):
        list(
            serve(stack)
            .with_options(timeout=1.0)
            .chat.completions.create(model="scripted", messages=HELLO, stream=stream)
        )
    wait_until(lambda: engine_of(stack).running == 0)
    wait_until(lambda: all(of(TurnFinished, events) for events in records(stack).values()))
    (events,) = records(stack).values()
    assert of(TurnFailed, events)[0].error == "Abandoned"
