"""Documents written by hand: OpenAPI 3.0, every style of parameter, and what is wrong with some."""

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from api_server import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from arriero.tools import ToolArgumentError, ToolDefinitionError
from arriero.tools.declared import Tool
from arriero.tools.openapi import ApiKey, openapi_tools

pytestmark = pytest.mark.anyio


async def tell(request: Request) -> JSONResponse:
    body = await request.body()
    return JSONResponse(
        {
            "path": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": dict(request.headers),
            "body": body.decode(),
        }
    )


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    """A server that tells what it was asked."""
    with serving(Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST", "PUT"])])) as address:
        yield address


def document(operation: dict[str, Any], *, path: str = "/thing", version: str = "3.0.3", **rest: Any) -> dict[str, Any]:
    method = operation.pop("method", "get")
    return {"openapi": version, "info": {"title": "T", "version": "1"}, "paths": {path: {method: operation}}, **rest}


def made(operation: dict[str, Any], base_url: str = "https://api.example.com", **rest: Any) -> Tool:
    [tool] = openapi_tools(document(operation, **rest), base_url=base_url)
    return tool


def parameter(place: str, schema: dict[str, Any] | None = None, name: str = "color", **rest: Any) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"parameters": [{"name": name, "in": place, "schema": schema or {}, **required, **rest}]}


def wrong(operation: dict[str, Any], **rest: Any) -> str:
    with pytest.raises(ToolDefinitionError) as caught:
        made(operation, **rest)
    return str(caught.value)


# styles; the expected texts are those of the specification's table, percent-encoded


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        (None, None, "blue", "blue"),
        (None, None, ["blue", "black", "brown"], "blue,black,brown"),
        (None, False, {"R": 100, "G": 200}, "R,100,G,200"),
        (None, True, {"R": 100, "G": 200}, "R=100,G=200"),
        ("label", None, "blue", ".blue"),
        ("label", False, ["blue", "black"], ".blue,black"),
        ("label", True, ["blue", "black"], ".blue.black"),
        ("label", True, {"R": 100, "G": 200}, ".R=100.G=200"),
        ("matrix", None, "blue", ";color=blue"),
        ("matrix", False, ["blue", "black"], ";color=blue,black"),
        ("matrix", True, ["blue", "black"], ";color=blue;color=black"),
        ("matrix", False, {"R": 100, "G": 200}, ";color=R,100,G,200"),
        ("matrix", True, {"R": 100, "G": 200}, ";R=100;G=200"),
        (None, None, 3, "3"),
        (None, None, True, "true"),
        (None, None, "a,b=c;d", "a%2Cb%3Dc%3Bd"),
    ],
)
async def test_path_styles(mirror: str, style: str | None, explode: bool | None, value: Any, expected: str) -> None:
    options = {key: given for key, given in (("style", style), ("explode", explode)) if given is not None}
    tool = made(parameter("path", **options), mirror, path="/a/{color}/b")
    answer: Any = await tool.invoke({"color": value})
    assert answer["path"] == f"/a/{expected}/b"


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        (None, None, "blue", "color=blue"),
        (None, None, "", "color="),
        (None, None, ["blue", "black"], "color=blue&color=black"),
        (None, False, ["blue", "black"], "color=blue,black"),
        (None, None, {"R": 100, "G": 200}, "R=100&G=200"),
        (None, False, {"R": 100, "G": 200}, "color=R,100,G,200"),
        ("spaceDelimited", False, ["blue", "black"], "color=blue%20black"),
        ("pipeDelimited", False, ["blue", "black"], "color=blue%7Cblack"),
        ("deepObject", True, {"R": 100, "G": 200}, "color%5BR%5D=100&color%5BG%5D=200"),
        (None, None, [], ""),
        (None, None, None, ""),
        (None, None, False, "color=false"),
        (None, None, "a&b=c#d?e f+g", "color=a%26b%3Dc%23d%3Fe%20f%2Bg"),
    ],
)
async def test_query_styles(mirror: str, style: str | None, explode: bool | None, value: Any, expected: str) -> None:
    options = {key: given for key, given in (("style", style), ("explode", explode)) if given is not None}
    answer: Any = await made(parameter("query", **options), mirror).invoke({"color": value})
    assert answer["query"] == expected


@pytest.mark.parametrize(
    ("explode", "value", "expected"),
    [
        (None, "blue", "blue"),
        (None, ["blue", "black"], "blue,black"),
        (False, {"R": 100, "G": 200}, "R,100,G,200"),
        (True, {"R": 100, "G": 200}, "R=100,G=200"),
    ],
)
async def test_header_style(mirror: str, explode: bool | None, value: Any, expected: str) -> None:
    options = {} if explode is None else {"explode": explode}
    answer: Any = await made(parameter("header", name="X-Color", **options), mirror).invoke({"X-Color": value})
    assert answer["headers"]["x-color"] == expected


async def test_a_parameter_may_be_json(mirror: str) -> None:
    raw = {"parameters": [{"name": "filter", "in": "query", "content": {"application/json": {"schema": {}}}}]}
    answer: Any = await made(raw, mirror).invoke({"filter": {"a": [1, "x&y"]}})
    assert answer["query"] == "filter=%7B%22a%22%3A%20%5B1%2C%20%22x%26y%22%5D%7D"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30), st.text(max_size=30))
async def test_no_value_leaves_its_place(mirror: str, segment: str, query: str) -> None:
    raw = {"parameters": [*parameter("path")["parameters"], *parameter("query", name="q")["parameters"]]}
    tool = made(raw, mirror, path="/a/{color}/b")
    try:
        answer: Any = await tool.invoke({"color": segment, "q": query})
    except ToolArgumentError:
        return
    assert answer["path"].count("/") == 3
    assert answer["path"].startswith("/a/")
    assert answer["path"].endswith("/b")
    assert answer["query"].startswith("q=")
    assert not set(answer["query"]) & set("&#\r\n ")


async def test_the_paths_of_server_and_operation_are_joined(mirror: str) -> None:
    [tool] = openapi_tools(document({}, servers=[{"url": "/ignored"}]), base_url=f"{mirror}/v1/")
    answer: Any = await tool.invoke({})
    assert answer["path"] == "/v1/thing"


def test_the_variables_of_a_server_have_their_defaults() -> None:
    server = {
        "url": "https://{region}.example.com/{base}",
        "variables": {"region": {"default": "eu"}, "base": {"default": "v2"}},
    }
    [tool] = openapi_tools(document({}, servers=[server]))
    assert tool.source == "eu.example.com"


# names


def test_an_operation_without_an_id_is_named_by_its_path() -> None:
    assert made(parameter("path"), path="/a/{color}.json").name == "get_a_color_json"


def test_the_same_name_twice_is_told_apart() -> None:
    paths = {path: {"get": {"operationId": "look up"}} for path in ("/a", "/b")}
    tools = openapi_tools({"openapi": "3.1.0", "paths": paths}, base_url="https://api.example.com", prefix="x_")
    assert [tool.name for tool in tools] == ["x_look_up", "x_look_up_2"]


def test_parameters_of_the_same_name_are_told_apart() -> None:
    raw = {"parameters": [*parameter("path")["parameters"], *parameter("query")["parameters"]]}
    assert set(made(raw, path="/{color}").parameters["properties"]) == {"path_color", "query_color"}


def test_parameters_of_the_path_are_shared_and_may_be_replaced() -> None:
    item = {
        "parameters": [*parameter("path")["parameters"], *parameter("query", name="q")["parameters"]],
        "get": {"parameters": parameter("query", {"type": "integer"}, "q")["parameters"]},
    }
    [tool] = openapi_tools({"openapi": "3.1.0", "paths": {"/{color}": item}}, base_url="https://api.example.com")
    assert tool.parameters["properties"] == {"color": {}, "q": {"type": "integer"}}


def test_headers_that_the_specification_ignores_are_ignored() -> None:
    raw = {"parameters": [{"name": name, "in": "header"} for name in ("Accept", "Content-Type", "Authorization")]}
    assert made(raw).parameters["properties"] == {}


# schemas of 3.0


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}),
        ({"minimum": 0, "exclusiveMinimum": False}, {"minimum": 0}),
        ({"maximum": 9, "exclusiveMaximum": True}, {"exclusiveMaximum": 9}),
        (
            {"type": "string", "example": "x", "title": "T", "x-order": 1, "xml": {}, "deprecated": True},
            {"type": "string"},
        ),
        ({"$ref": "#/components/schemas/Size", "description": "ignored"}, {"type": "integer", "maximum": 9}),
        ({"allOf": [{"$ref": "#/components/schemas/Size"}]}, {"allOf": [{"type": "integer", "maximum": 9}]}),
        ({"properties": {"title": {"type": "string", "title": "T"}}}, {"properties": {"title": {"type": "string"}}}),
        (
            {"properties": {"id": {"readOnly": True}, "a": {}}, "required": ["id", "a"]},
            {"properties": {"a": {}}, "required": ["a"]},
        ),
    ],
)
def test_schemas_of_openapi_30_become_json_schema(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    components = {"schemas": {"Size": {"type": "integer", "maximum": 9}}}
    tool = made(parameter("query", schema), components=components)
    assert tool.parameters["properties"]["color"] == expected


def test_what_stands_beside_a_reference_counts_in_31() -> None:
    schema = {"$ref": "#/components/schemas/a~1b", "description": "How much."}
    tool = made(parameter("query", schema), version="3.1.0", components={"schemas": {"a/b": {"type": "integer"}}})
    assert tool.parameters["properties"]["color"] == {"type": "integer", "description": "How much."}


async def test_parameters_and_bodies_may_be_references(mirror: str) -> None:
    components = {
        "parameters": {"Color": parameter("query")["parameters"][0]},
        "requestBodies": {"Any": {"content": {"application/vnd.x+json; v=1": {"schema": {"type": "object"}}}}},
    }
    raw = {
        "method": "put",
        "parameters": [{"$ref": "#/components/parameters/Color"}],
        "requestBody": {"$ref": "#/components/requestBodies/Any"},
    }
    answer: Any = await made(raw, mirror, components=components).invoke({"color": "blue", "body": {"a": 1}})
    assert (answer["query"], json.loads(answer["body"])) == ("color=blue", {"a": 1})
    assert answer["headers"]["content-type"] == "application/vnd.x+json"


# what is wrong


def reference(target: str) -> dict[str, Any]:
    return parameter("query", {"$ref": target})


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("#/components/schemas/None", "leads nowhere"),
        ("other.yaml#/a", "leads outside of the document"),
        ("http://127.0.0.1:1/a.json", "leads outside of the document"),
        ("file:///etc/passwd", "leads outside of the document"),
        ("#/components/schemas/Loop", "Loop contains itself"),
        ("#/components/schemas/Ping", "contains itself"),
        ("#/components/schemas/Tree", "Tree contains itself"),
        ("#/components/schemas/s0", "too large"),
        ("#/info/title", "is no schema"),
    ],
)
def test_references_that_cannot_be_followed_are_told(target: str, problem: str) -> None:
    schemas: dict[str, Any] = {
        "Loop": {"$ref": "#/components/schemas/Loop"},
        "Ping": {"$ref": "#/components/schemas/Pong"},
        "Pong": {"allOf": [{"$ref": "#/components/schemas/Ping"}]},
        "Tree": {"properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}},
        "s40": {"type": "string"},
    }
    schemas |= {f"s{step}": {"allOf": [{"$ref": f"#/components/schemas/s{step + 1}"}] * 2} for step in range(40)}
    assert problem in wrong(reference(target), components={"schemas": schemas})


def test_parameters_that_refer_to_each_other_are_told() -> None:
    components = {
        "parameters": {"A": {"$ref": "#/components/parameters/B"}, "B": {"$ref": "#/components/parameters/A"}}
    }
    assert "in a circle" in wrong({"parameters": [{"$ref": "#/components/parameters/A"}]}, components=components)


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (parameter("body"), "none that OpenAPI knows"),
        (parameter("query", style="matrix"), "has style 'matrix', which query does not have"),
        (parameter("header", name="Host"), "not a caller's to set"),
        (parameter("header", name="Transfer-Encoding"), "not a caller's to set"),
        (parameter("header", name="X:Y"), "not a caller's to set"),
        (parameter("header", name="X\r\nY"), "not a caller's to set"),
        (parameter("path"), "do not fit: color"),
        ({"method": "post", "requestBody": {"content": {"multipart/form-data": {}}}}, "multipart/form-data"),
        ({"method": "post", "requestBody": {"content": {"application/xml": {}}}}, "application/xml"),
        ({"method": "post", "requestBody": {"content": {}}}, "of no type"),
        ({"method": "post", "requestBody": "x"}, "where an object belongs"),
        ({"parameters": ["x"]}, "where an object belongs"),
        (parameter("query", {"type": "text"}), "no JSON schema"),
    ],
)
def test_what_cannot_be_expressed_is_told(operation: dict[str, Any], problem: str) -> None:
    assert problem in wrong(operation)


@pytest.mark.parametrize("path", ["thing", "/a?b=c", "/a#b", "/{a}/{b}"])
def test_a_path_that_makes_no_sense_is_told(path: str) -> None:
    assert "GET " in wrong({}, path=path)


@pytest.mark.parametrize(
    "content", [{}, {"openapi": "3.1.0"}, {"openapi": 3, "paths": {}}, {"swagger": "2.0", "paths": {}}]
)
def test_what_is_no_openapi_3_is_told(content: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="OpenAPI"):
        openapi_tools(content, base_url="https://api.example.com")


WHOLE: dict[str, Any] = {
    "openapi": "3.1.0",
    "servers": [{"url": "https://{region}.example.com", "variables": {"region": {"default": "eu"}}}],
    "paths": {
        "/thing/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "post": {
                "parameters": [{"name": "j", "in": "query", "content": {"application/json": {"schema": {}}}}],
                "requestBody": {"content": {"application/json": {"schema": {"properties": {"a": {"enum": [1]}}}}}},
            },
        }
    },
}


def places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*above, key)
        yield from places(value, (*above, key))


@pytest.mark.parametrize("odd", [None, 1, "x", [], [1], {"a": 1}, {1: 2}, {"$ref": "#"}], ids=repr)
def test_a_document_that_is_wrong_anywhere_is_read_or_told(odd: Any) -> None:
    for place in places(WHOLE):
        content = copy.deepcopy(WHOLE)
        node: Any = content
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = odd
        with suppress(ToolDefinitionError):
            openapi_tools(content)


def test_a_schema_that_contains_itself_without_a_reference_is_told() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"inner": schema}  # as YAML's aliases can
    assert "contain themselves" in wrong(parameter("query", schema))


@pytest.mark.parametrize("address", ["https://me:secret-pw@host/", "ftp://me:secret-pw@host", "x?key=secret-pw"])
def test_an_address_that_is_refused_is_told_without_its_secrets(address: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        openapi_tools(WHOLE, base_url=address)
    assert "secret-pw" not in str(caught.value)


@pytest.mark.parametrize("place", ["query", "cookie"])
async def test_the_fields_of_an_object_are_neither_other_parameters_nor_the_credentials(
    mirror: str, place: Any
) -> None:
    operation = parameter(place, {"type": "object"}, name="filter", style="form", explode=True)
    operation["parameters"].append({"name": "page", "in": place, "schema": {"type": "integer"}})
    [tool] = openapi_tools(document(operation), base_url=mirror, auth=ApiKey("key", "canary-7f3a", place))
    assert "color=red" in str(await tool.invoke({"filter": {"color": "red"}}))
    for field in ("key", "KEY", "page"):
        with pytest.raises(ToolArgumentError, match="may not have a field"):
            await tool.invoke({"filter": {field: "x"}})
