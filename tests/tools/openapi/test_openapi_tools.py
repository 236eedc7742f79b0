"""Tools from a FastAPI application's own document, called against that application."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import KEY, Heard, application, serving

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolArgumentError, ToolDefinitionError, ToolError, ToolUnavailable
from arriero.tools.declared import Tool
from arriero.tools.openapi import ApiKey, BasicLogin, BearerToken, Credentials, openapi_tools
from arriero.tools.web.download import BodyLimits
from arriero.tools.web.guard import NetworkPolicy

pytestmark = pytest.mark.anyio

EXPRESSIBLE = (
    "list_mules get_mule create_mule delete_mule never_by_path send_form text picture head_mules broken large moved"
    " busy slow echo refuse put_json"
).split()


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def document(heard: Heard) -> dict[str, Any]:
    return application(heard).openapi()


@pytest.fixture(scope="module")
def server(heard: Heard) -> Iterator[str]:
    with serving(application(heard)) as address:
        yield address


@pytest.fixture(scope="module")
def tools(document: dict[str, Any], server: str) -> dict[str, Tool]:
    limits = BodyLimits(compressed=1_000_000, decompressed=1_000_000)
    made = openapi_tools(document, operations=EXPRESSIBLE, base_url=server, limits=limits, timeout=5.0)
    return {tool.name: tool for tool in made}


def one(document: dict[str, Any], server: str, name: str, **options: Any) -> Tool:
    [tool] = openapi_tools(document, operations=[name], base_url=server, **options)
    return tool


# what the model is told


def test_every_operation_becomes_a_tool_with_its_name_and_words(tools: dict[str, Tool]) -> None:
    assert sorted(tools) == sorted(EXPRESSIBLE)
    assert tools["list_mules"].description == "List mules."
    assert "Find a mule." in tools["get_mule"].description
    assert tools["get_mule"].parameters["properties"]["name"]["description"] == "The mule's name."


def test_parameters_are_plain_schemas(tools: dict[str, Tool]) -> None:
    parameters = tools["create_mule"].parameters
    assert parameters["required"] == ["body"]
    mule = parameters["properties"]["body"]
    assert mule["properties"]["coat"] == {"type": "string", "enum": ["bay", "grey"], "default": "bay"}
    assert mule["properties"]["loads"]["items"]["properties"]["kilos"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 150,
        "description": "Weight of the load.",
    }
    assert "$ref" not in json.dumps(parameters)


def test_reading_is_free_and_everything_else_needs_approval(tools: dict[str, Tool]) -> None:
    free = {name for name, tool in tools.items() if not tool.sensitive}
    assert {"create_mule", "delete_mule", "send_form", "put_json"} == set(tools) - free
    repeatable = {name for name, tool in tools.items() if tool.idempotent}
    assert {"create_mule", "send_form"} == set(tools) - repeatable
    assert not any(tool.pure for tool in tools.values())


def test_an_operation_may_be_approved_once_for_all(document: dict[str, Any], server: str) -> None:
    made = openapi_tools(document, operations=["create_mule", "delete_mule"], base_url=server, approved=["POST /mules"])
    assert {tool.name: tool.sensitive for tool in made} == {"create_mule": False, "delete_mule": True}


# calls


async def test_query_header_and_cookie_reach_the_server(tools: dict[str, Tool], heard: Heard) -> None:
    arguments = {"limit": "5", "coats": ["bay", "grey"], "X-Trace": "a b", "theme": "dark; x=y"}
    answer = await tools["list_mules"].invoke(arguments)
    assert answer == {"limit": 5, "coats": ["bay", "grey"], "trace": "a b", "theme": "dark%3B%20x%3Dy"}
    assert heard.last["query"] == "limit=5&coats=bay&coats=grey"


async def test_what_is_left_out_is_not_sent(tools: dict[str, Tool], heard: Heard) -> None:
    assert await tools["list_mules"].invoke({"coats": None}) == {
        "limit": 10,
        "coats": None,
        "trace": None,
        "theme": None,
    }
    assert heard.last["query"] == ""
    assert "cookie" not in heard.last["headers"]


@pytest.mark.parametrize("name", ["Rosa", "Doña Rosa", "a?b", "a#b", "a%2Fb", "a&b=c", "50%", "a;b", "..a", "名"])
async def test_a_path_value_arrives_as_it_was(tools: dict[str, Tool], name: str) -> None:
    answer = await tools["get_mule"].invoke({"name": name})
    assert isinstance(answer, dict)
    assert answer["name"] == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/delete", "../mules", "a\\b", "/", "a\nb", "a\x00b", "x/../y"])
async def test_a_path_value_cannot_leave_its_place(tools: dict[str, Tool], heard: Heard, name: str) -> None:
    before = len(heard.requests)
    with pytest.raises(ToolArgumentError):
        await tools["get_mule"].invoke({"name": name})
    assert len(heard.requests) == before


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "señor", "x" * 10_000, "\ud800"])
async def test_a_header_cannot_be_broken_up(tools: dict[str, Tool], heard: Heard, value: str) -> None:
    before = len(heard.requests)
    with pytest.raises(ToolArgumentError):
        await tools["list_mules"].invoke({"X-Trace": value})
    assert len(heard.requests) == before


async def test_a_json_body_reaches_the_server(tools: dict[str, Tool]) -> None:
    mule = {"name": "Rosa", "coat": "grey", "age": None, "loads": [{"goods": "maize", "kilos": 40.5}]}
    assert await tools["create_mule"].invoke({"body": mule}) == mule
    assert await tools["create_mule"].invoke({"body": json.dumps(mule)}) == mule


async def test_a_form_reaches_the_server(tools: dict[str, Tool], heard: Heard) -> None:
    answer = await tools["send_form"].invoke({"body": {"user": "a&b=c d", "ages": [1, 2]}})
    assert answer == {"user": "a&b=c d", "ages": [1, 2]}
    assert heard.last["headers"]["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("list_mules", {"limit": 0}, "argument 'limit': 0 is less than the minimum of 1"),
        ("list_mules", {"limit": "many"}, "argument 'limit': 'many' is not of type 'integer'"),
        ("list_mules", {"max": 1}, "'max' was unexpected"),
        ("list_mules", {"coats": ["pink"]}, "argument 'coats'"),
        ("get_mule", {}, "argument 'name': missing"),
        ("create_mule", {}, "argument 'body': missing"),
        ("create_mule", {"body": {"name": "Rosa", "loads": [{"goods": "x", "kilos": 900}]}}, "body.loads.0.kilos"),
    ],
)
async def test_arguments_are_checked_before_anything_is_sent(
    tools: dict[str, Tool], heard: Heard, name: str, arguments: dict[str, Any], problem: str
) -> None:
    before = len(heard.requests)
    with pytest.raises(ToolArgumentError) as caught:
        await tools[name].invoke(arguments)
    assert problem in str(caught.value)
    assert len(heard.requests) == before


async def test_answers_without_a_body_say_that_it_is_done(tools: dict[str, Tool]) -> None:
    assert await tools["delete_mule"].invoke({"name": "Rosa"}) == "done: 204 No Content"
    assert await tools["head_mules"].invoke({}) == "done: 200 OK"


async def test_text_is_text(tools: dict[str, Tool]) -> None:
    assert await tools["text"].invoke({}) == "Mules eat hay, señor."


async def test_a_file_is_kept_as_an_artifact(tools: dict[str, Tool]) -> None:
    result = await Registry([tools["picture"]]).call(ToolCall("picture", {}))
    assert "image/png" in str(result.content)
    assert [artifact.media_type for artifact in result.artifacts] == ["image/png"]


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "problem"),
    [
        ("get_mule", {"name": "nobody"}, ToolError, '404 Not Found: {"detail":"no mule is named nobody"}'),
        ("broken", {}, ToolError, "its body is no JSON"),
        ("large", {}, ToolError, "at most 1,000,000 are read"),
        ("moved", {}, ToolError, "it redirects, which is not followed"),
        ("busy", {}, ToolUnavailable, "503 Service Unavailable: later please"),
    ],
)
async def test_what_goes_wrong_is_told(
    tools: dict[str, Tool], name: str, arguments: dict[str, Any], kind: type[ToolError], problem: str
) -> None:
    with pytest.raises(kind) as caught:
        await tools[name].invoke(arguments)
    assert problem in str(caught.value)


async def test_a_server_that_takes_too_long_is_left(document: dict[str, Any], server: str) -> None:
    with pytest.raises(ToolUnavailable, match=r"within 0\.2 s"):
        await one(document, server, "slow", timeout=0.2).invoke({})


async def test_the_result_names_where_it_is_from(tools: dict[str, Tool]) -> None:
    result = await Registry([tools["text"]]).call(ToolCall("text", {}))
    assert result.source == "127.0.0.1"


# credentials


CREDENTIALS: list[tuple[Credentials, str]] = [
    (BearerToken(KEY), "headers"),
    (BasicLogin("arriero", KEY), "headers"),
    (ApiKey("X-Api-Key", KEY), "headers"),
    (ApiKey("key", KEY, "query"), "query"),
    (ApiKey("session", KEY.replace("/", "-"), "cookie"), "headers"),
]


@pytest.mark.parametrize(("auth", "place"), CREDENTIALS, ids=lambda value: str(value)[:40])
async def test_credentials_reach_the_server_and_nobody_else(
    document: dict[str, Any],
    server: str,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    auth: Credentials,
    place: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    echo, refuse, slow = (one(document, server, name, auth=auth, timeout=0.5) for name in ("echo", "refuse", "slow"))
    answer = json.dumps(await echo.invoke({}))
    assert "[hidden]" in answer
    sent = str(heard.last[place])
    assert any(form in sent for form in ("canary-key-41", "YXJyaWVybzpjYW5hcnkta2V5"))
    with pytest.raises(ToolError) as caught:
        await refuse.invoke({})
    assert "401 Unauthorized: bad key in" in str(caught.value)
    with pytest.raises(ToolError) as late:
        await slow.invoke({})
    for text in (
        answer,
        str(caught.value),
        str(late.value),
        caplog.text,
        repr(auth),
        repr(echo),
        str(echo.declaration),
    ):
        assert "canary" not in text
        assert "Y2FuYXJ5" not in text
        assert "YXJyaWVybzpjYW5hcnkt" not in text


def with_key_parameter(document: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    parameter = {"name": name, "in": place, "required": True, "schema": {"type": "string"}}
    copy["paths"]["/echo"]["get"]["parameters"] = [parameter]
    return copy


@pytest.mark.parametrize("place", ["header", "query", "cookie"])
async def test_a_parameter_that_the_credentials_fill_is_not_the_models(
    document: dict[str, Any], server: str, place: Any
) -> None:
    tool = one(with_key_parameter(document, place, "Api-Key"), server, "echo", auth=ApiKey("Api-Key", "k", place))
    assert tool.parameters["properties"] == {}
    with pytest.raises(ToolArgumentError):
        await tool.invoke({"Api-Key": "mine"})


@pytest.mark.parametrize(
    "auth", [BearerToken(""), BearerToken("a\nb"), BasicLogin("a:b", "c"), ApiKey("X", "señor"), "token"]
)
def test_credentials_that_cannot_be_sent_are_refused(document: dict[str, Any], server: str, auth: Any) -> None:
    with pytest.raises(ToolDefinitionError):
        openapi_tools(document, operations=["echo"], base_url=server, auth=auth)


# what cannot be expressed


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ("upload", "POST /upload: its body is multipart/form-data, and only JSON"),
        ("plant", "POST /tree: the schema Node contains itself"),
        ("nothing", "names 'nothing', and the document has list_mules, create_mule"),
    ],
)
def test_what_cannot_be_a_tool_is_told(document: dict[str, Any], server: str, operation: str, problem: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        openapi_tools(document, operations=[operation], base_url=server)
    assert problem in str(caught.value)


def test_a_document_without_a_server_wants_an_address(document: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="give base_url"):
        openapi_tools(document, operations=["text"])


@pytest.mark.parametrize("address", ["ftp://x.example/", "http://user@x.example/", "https://{host}/", "https://x/?a=b"])
def test_an_address_that_is_none_is_refused(document: dict[str, Any], address: str) -> None:
    with pytest.raises(ToolDefinitionError):
        openapi_tools(document, operations=["text"], base_url=address)


def test_a_stricter_policy_counts(document: dict[str, Any], server: str) -> None:
    with pytest.raises(ToolDefinitionError, match="the policy does not let"):
        openapi_tools(document, operations=["text"], base_url=server, policy=NetworkPolicy())


# files


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_a_document_is_read_from_a_file(document: dict[str, Any], server: str, tmp_path: Path, form: str) -> None:
    import yaml

    file = tmp_path / f"api.{form}"
    full = {**document, "servers": [{"url": server}]}
    file.write_text(json.dumps(full) if form == "json" else yaml.safe_dump(full), "utf-8")
    [tool] = openapi_tools(file, operations=["GET /text"])
    assert await tool.invoke({}) == "Mules eat hay, señor."


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", "a: [", "swagger: '2.0'", "openapi: 3.0.0", "a: &a [*a]", "!!python/object:os.system x"],
)
def test_a_file_that_is_no_document_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(text)
    with pytest.raises(ToolDefinitionError):
        openapi_tools(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolDefinitionError, match="cannot be read"):
        openapi_tools(tmp_path / "none.json")
