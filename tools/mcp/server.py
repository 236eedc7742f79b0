"""An MCP server as a source of tools, resources and prompts."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

from arriero.tools.artifacts import ToolOutput
from arriero.tools.context import ToolContext
from arriero.tools.declared import Tool
from arriero.tools.errors import ToolArgumentError, ToolDefinitionError, ToolError
from arriero.tools.mcp.call import call_tool
from arriero.tools.mcp.catalogue import Catalogue, Offer, all_pages, if_known
from arriero.tools.mcp.channel import Channel
from arriero.tools.mcp.declared import clean
from arriero.tools.mcp.pins import MemoryPins, Pins
from arriero.tools.mcp.policy import McpPolicy
from arriero.tools.mcp.results import (
    McpPrompt,
    McpPromptMessage,
    McpResource,
    read_blocks,
    read_contents,
    read_prompt,
    read_resource,
    read_result,
)
from arriero.tools.mcp.routes import ChildRoute, HttpRoute, Route
from arriero.tools.web.policy import NetworkPolicy

if TYPE_CHECKING:
    import httpx2
    from mcp import Client

T = TypeVar("T")


class McpServer:
    """A connection to an MCP server: its tools become tools of an agent.

    Use it as an asynchronous context manager. It reconnects by itself. A request that did not reach the server is sent
    again; a tool's call whose answer was lost is an error that says so, unless a trusted server says that the tool is
    idempotent.

    Args:
        name: Your name for the server; its tools are called `name_tool`.
        route: The way to it; see `stdio` and `http`.
        policy: How far it is believed, and limits.
        pins: What it declared before; None remembers for as long as this object lives.

    Raises:
        ToolDefinitionError: The name cannot begin the name of a tool.
    """

    def __init__(self, name: str, route: Route, *, policy: McpPolicy | None = None, pins: Pins | None = None) -> None:
        if not (name.isascii() and name.replace("_", "").replace("-", "").isalnum() and len(name) <= 32):
            raise ToolDefinitionError(f"MCP server {name!r}: name it with 1 to 32 letters, digits, '_' and '-'")
        self._name = name
        self._policy = policy or McpPolicy()
        self._catalogue = Catalogue(name, pins if pins is not None else MemoryPins(), max_tools=self._policy.max_tools)
        self._channel = Channel(name, route, self._policy, self._catalogue.forget)

    @classmethod
    def stdio(
        cls,
        name: str,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        folder: str | Path | None = None,
        policy: McpPolicy | None = None,
        pins: Pins | None = None,
    ) -> Self:
        """A server that is a program, spoken to over its standard streams.

        It is started with this user's rights: it is no sandbox. It gets `PATH`, `HOME`, the locale, the time zone and
        `TMPDIR` of this process and no other environment variable. What it writes to its standard error is not logged.

        Args:
            name: Your name for it.
            command: The program.
            args: Its arguments.
            env: Environment variables for it, its keys for instance.
            folder: Where it runs; None for here.
            policy: How far it is believed, and limits.
            pins: What it declared before.

        Returns:
            The server, not yet started.

        Example:
            >>> import sys
            >>> McpServer.stdio("notes", sys.executable, ["-m", "notes_server"], env={"NOTES": "/srv/notes"}).name
            'notes'
        """
        route = ChildRoute(
            command=(command, *args), env=dict(env or {}), folder=Path(folder) if folder is not None else None
        )
        return cls(name, route, policy=policy, pins=pins)

    @classmethod
    def http(
        cls,
        name: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: "httpx2.Auth | None" = None,
        network: NetworkPolicy | None = None,
        policy: McpPolicy | None = None,
        pins: Pins | None = None,
    ) -> Self:
        """A server at an address, spoken to over streamable HTTP.

        Args:
            name: Your name for it.
            url: Its endpoint.
            headers: Sent with each request to it, for instance `Authorization`.
            auth: How requests are authenticated instead; see `oauth`.
            network: What may be reached. None is the public internet; `NetworkPolicy.only(url)` is that server, be it
                on this machine or in a private network.
            policy: How far it is believed, and limits.
            pins: What it declared before.

        Returns:
            The server, not yet connected.

        Raises:
            BlockedAddress: The address may not be reached.
            ToolDefinitionError: Headers or tokens would go over the network in the clear.

        Example:
            >>> McpServer.http("wiki", "https://mcp.example.org/mcp", headers={"Authorization": "Bearer ..."}).name
            'wiki'
            >>> McpServer.http("wiki", "http://127.0.0.1:8000/mcp")
            Traceback (most recent call last):
            arriero.tools.web.policy.BlockedAddress: ...
        """
        route = HttpRoute(url=url, headers=dict(headers or {}), auth=auth, network=network or NetworkPolicy())
        return cls(name, route, policy=policy, pins=pins)

    @property
    def name(self) -> str:
        """Your name for the server."""
        return self._name

    @property
    def stderr(self) -> str:
        """The last 8 KiB that the server's process wrote to its standard error. A stranger wrote it."""
        return self._channel.stderr

    @property
    def refused(self) -> Mapping[str, str]:
        """Tools of the last list that are not offered, by the server's names for them, and why."""
        return dict(self._catalogue.refused)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            McpConnectionError: The server cannot be reached or does not shake hands.
        """
        await self._channel.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; a server's process is stopped with its process group."""
        await self._channel.close()

    async def tools(self) -> list[Tool]:
        """The server's tools. The list is kept until the server says that it changed or is connected anew.

        A tool whose declaration is not the one that is pinned is left out until it is accepted, as its new description
        could be written to mislead a model; see `changed`.

        Returns:
            The tools. Those of a server that is not trusted are `sensitive`.

        Raises:
            ToolError: The list cannot be read.
        """
        offers = await self._offers()
        return [self._tool(offer) for offer in offers.values() if self._catalogue.is_pinned(offer)]

    @property
    def changed(self) -> Mapping[str, str]:
        """Tools of the last list that are not what was pinned: the server's name for each, and its new description."""
        return self._catalogue.changed

    def accept(self, tool: str) -> None:
        """Pin what a tool declares now.

        Args:
            tool: The server's name for it, as `changed` gives it.

        Raises:
            ToolError: The last list has no such tool.
        """
        self._catalogue.pin(tool)

    async def resources(self) -> list[McpResource]:
        """The server's resources and templates of such.

        Raises:
            ToolError: They cannot be listed.
        """

        async def list_all(client: "Client") -> list[McpResource]:
            if client.server_capabilities.resources is None:
                return []
            plain = await all_pages(client.list_resources, lambda page: page.resources)
            templates = await if_known(all_pages(client.list_resource_templates, lambda page: page.resource_templates))
            return [read_resource(item) for item in (*plain, *templates)]

        return await self._ask(list_all)

    async def read_resource(self, uri: str) -> ToolOutput:
        """Read a resource.

        Args:
            uri: Its address, a template filled in.

        Returns:
            Its text, and its bytes as attachments. A stranger wrote both.

        Raises:
            ToolError: It cannot be read.
        """
        result = await self._ask(lambda client: client.read_resource(uri))
        text, attachments = read_contents(result.contents)
        return ToolOutput(text, attachments)

    async def prompts(self) -> list[McpPrompt]:
        """The server's prompts.

        Raises:
            ToolError: They cannot be listed.
        """

        async def list_all(client: "Client") -> list[McpPrompt]:
            if client.server_capabilities.prompts is None:
                return []
            return [read_prompt(item) for item in await all_pages(client.list_prompts, lambda page: page.prompts)]

        return await self._ask(list_all)

    async def get_prompt(self, name: str, arguments: Mapping[str, str] | None = None) -> list[McpPromptMessage]:
        """A prompt with its arguments filled in.

        Args:
            name: The server's name for it.
            arguments: Texts by argument name.

        Returns:
            Its messages. A stranger wrote them.

        Raises:
            ToolError: There is no such prompt, or an argument is missing.
        """
        result = await self._ask(lambda client: client.get_prompt(name, dict(arguments or {})))
        found = [(message.role, *read_blocks([message.content])) for message in result.messages]
        return [McpPromptMessage(role=role, text=text, attachments=files) for role, text, files in found]

    async def _ask(self, work: "Callable[[Client], Awaitable[T]]") -> T:
        """Something that does no harm when it is done twice, with a deadline."""
        try:
            with anyio.fail_after(self._policy.timeout):
                return await self._channel.ask(work, repeatable=True)
        except TimeoutError as error:
            raise ToolError(f"{self._name}: no answer within {self._policy.timeout:g} s") from error

    async def _offers(self) -> dict[str, Offer]:
        return await self._catalogue.read(self._ask)

    def _tool(self, offer: Offer) -> Tool:
        declaration = offer.declaration

        async def handler(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
            now = await self._still_offered(offer, context)
            return await self._call(now, now.arguments(arguments), context)

        return Tool(
            name=offer.name,
            description=declaration.description,
            parameters=declaration.parameters,
            handler=handler,
            check=lambda arguments: json.dumps(offer.arguments(arguments), sort_keys=True),
            timeout=self._policy.timeout,
            idempotent=self._policy.trusted and declaration.idempotent,
            sensitive=declaration.destructive or not self._policy.trusted,
            source=f"MCP server {self._name}",
        )

    async def _still_offered(self, offer: Offer, context: ToolContext) -> Offer:
        """The tool as the server declares it now; a person is asked first when it is not what was accepted."""
        name = offer.declaration.name
        now = (await self._offers()).get(name)
        if now is None:
            raise ToolError(f"{self._name} does not offer {offer.name} any more")
        if not self._catalogue.is_pinned(now):
            agreed = await context.approve(
                f"MCP server {self._name} changed what its tool {clean(name, 80)!r} declares. It says now: "
                f"{now.declaration.description!r}. Accept this and go on with the call?"
            )
            if not agreed:
                raise ToolError(f"{offer.name} was not called: its declaration changed and was not accepted")
            self._catalogue.pin(name)
        return now

    async def _call(self, offer: Offer, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        name = offer.declaration.name
        result = await self._channel.ask(
            lambda client: call_tool(client, name, arguments, context),
            repeatable=self._policy.trusted and offer.declaration.idempotent,
        )
        if not result.is_error:
            self._check_result(offer, result.structured_content)
        return read_result(result)

    def _check_result(self, offer: Offer, structured: object) -> None:
        if offer.output is None:
            return
        if not isinstance(structured, dict):
            if structured is not None:
                return  # any JSON value is allowed since 2026-07-28; only objects have a schema that we check
            raise ToolError(f"{offer.name} declares a structured result and gave none")
        try:
            offer.output(structured)
        except ToolArgumentError as error:
            problem = str(error).replace("argument '", "value '")
            raise ToolError(f"{offer.name} gave a result that is not what it declares: {problem}") from error
