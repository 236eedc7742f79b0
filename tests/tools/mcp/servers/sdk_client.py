"""The SDK's own client as a process of its own: `python sdk_client.py MODE WAY [ANSWER...] < calls`, results to stdout.

WAY is an address or a JSON list, a command; calls are `[tool, arguments]` as a JSON list. Each ANSWER answers one
elicitation.
"""

import json
import sys

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult

mode, way, *answers = sys.argv[1:]
asked = []
links = []


async def elicit(context, params):
    asked.append(params.message)
    return ElicitResult(action="accept", content={"approve": json.loads(answers[len(asked) - 1])})


def target():
    if way.startswith("["):
        command, *args = json.loads(way)
        return StdioServerParameters(command=command, args=args)
    url, _, token = way.partition(" ")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, timeout=30))


async def do(client, name, arguments):
    steps = []

    async def progress(done, total, message):
        steps.append([done, total, message])

    try:
        if name == "cancel":
            with anyio.move_on_after(0.3):
                await client.call_tool(arguments["tool"], {})
            return "cancelled"
        if name == "tools":
            return [tool.model_dump(mode="json", by_alias=True) for tool in (await client.list_tools()).tools]
        if name == "read":
            uri = links[-1] if arguments["uri"] == "the last link" else arguments["uri"]
            contents = (await client.read_resource(uri)).contents
            return [len(part.blob) for part in contents]
        result = await client.call_tool(name, arguments, progress_callback=progress)
    except MCPError as error:
        return {"code": error.code, "message": error.message}
    links.extend(part.uri for part in result.content if part.type == "resource_link")
    return result.model_dump(mode="json", by_alias=True, exclude_none=True) | {"steps": steps}


async def main():
    calls = json.load(sys.stdin)
    callback = elicit if answers else None
    async with Client(target(), mode=mode, elicitation_callback=callback) as client:
        results = [await do(client, name, arguments) for name, arguments in calls]
        print(json.dumps({"version": client.protocol_version, "results": results, "asked": asked}))


anyio.run(main)
