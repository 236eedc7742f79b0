"""The SDK's own client as a process of its own: `python sdk_client.py < jobs`, results to stdout.

A job is `{"mode", "way", "calls", "answers"}`, a client of its own: the way is an address, with a token after a blank,
or a command; calls are `[tool, arguments]`; each answer answers one elicitation.
"""

import json
import sys

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult


def target(way):
    if isinstance(way, list):
        command, *args = way
        return StdioServerParameters(command=command, args=args)
    url, _, token = way.partition(" ")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, timeout=30))


async def cancelled_in_the_middle(client, tool):
    async with anyio.create_task_group() as tasks:

        async def stop(done, total, message):
            tasks.cancel_scope.cancel()

        await client.call_tool(tool, {}, progress_callback=stop)
        raise AssertionError("it came to an end")
    return "cancelled"


async def do(client, name, arguments, links):
    steps = []

    async def progress(done, total, message):
        steps.append([done, total, message])

    try:
        if name == "cancel":
            return await cancelled_in_the_middle(client, arguments["tool"])
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


async def run(job):
    asked = []
    links = []

    async def elicit(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"approve": job["answers"][len(asked) - 1]})

    callback = elicit if job["answers"] else None
    async with Client(target(job["way"]), mode=job["mode"], elicitation_callback=callback) as client:
        results = [await do(client, name, arguments, links) for name, arguments in job["calls"]]
        return {"version": client.protocol_version, "results": results, "asked": asked}


async def main():
    with anyio.fail_after(240):
        print(json.dumps([await run(job) for job in json.load(sys.stdin)]))


anyio.run(main)
