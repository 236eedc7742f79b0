"""The commands about tools: what there is, one call, the sandbox, and an MCP server."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from arriero.cli_call import Run, print_result, read_arguments
from arriero.terminal import example, one_line, print_json
from arriero.toolbox import BUILTINS, Keys, Missing, SearchName, Wanted, builtin, own_tools, registry_of

if TYPE_CHECKING:
    from arriero.tools import Registry, Tool
    from arriero.tools.registry import Approve
    from arriero.tools.sandbox.canaries import TierReport

tools = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tools: list them, call one, see what the sandbox stops.",
    epilog=example("arriero tools list", "arriero tools call web_search query=mules --search offline"),
)

From = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="SOURCE", help="File or module with tools: tools.py, package.module:name."),
]
Mcp = Annotated[
    list[str] | None,
    typer.Option("--mcp", metavar="NAME=SERVER", help="MCP server: its command, or its address."),
]
Root = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of file_read and the others.")]
Documents = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of knowledge_search.")]
Search = Annotated[
    SearchName | None, typer.Option(help="Whom web_search asks. [default: whom there is a key for, else ddgs]")
]
Unsafe = Annotated[bool, typer.Option("--allow-unsafe", help="Run code with your rights where no sandbox holds.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Approve each call of a sensitive tool.")]


@tools.command(
    "list", epilog=example("arriero tools list", "arriero tools list --schemas --from examples/custom_tool.py")
)
def list_tools(
    source: From = None,
    mcp: Mcp = None,
    root: Root = None,
    documents: Documents = None,
    search: Search = None,
    allow_unsafe: Unsafe = False,
    schemas: Annotated[bool, typer.Option("--schemas", help="Show the JSON schema of the arguments too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the tools, with what they do or what they lack."""
    wanted = _wanted(source, mcp, root, documents, search, allow_unsafe)

    async def show() -> None:
        async with own_tools(wanted) as own:
            entries = [builtin(name, wanted) for name in BUILTINS]
            registry = registry_of(entries, own)
            try:
                for tool in filter(None, map(registry.get, registry.names)):
                    _show_tool(tool, schemas, as_json)
                for entry in entries:
                    if isinstance(entry, Missing):
                        _show_missing(entry, as_json)
            finally:
                await registry.aclose()

    anyio.run(show)


@tools.command(
    "call",
    epilog=example(
        'arriero tools call web_fetch --json \'{"url": "https://example.org"}\'',
        "arriero tools call code_interpreter code='import sys; sys.version' --save figures",
        "arriero tools call double number=4 --from tools.py",
    ),
)
def call_tool(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tool.")],
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Arguments; JSON where the tool wants no text.")
    ] = None,
    arguments: Annotated[
        str | None, typer.Option("--json", metavar="JSON", help="Arguments; @FILE reads them, - reads stdin.")
    ] = None,
    source: From = None,
    mcp: Mcp = None,
    root: Root = None,
    documents: Documents = None,
    search: Search = None,
    allow_unsafe: Unsafe = False,
    yes: Yes = False,
    save: Annotated[Path | None, typer.Option(file_okay=False, help="Folder to save the tool's files in.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Show control characters as they are, also on a terminal.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json-output", help="The whole result as one JSON object.")] = False,
) -> None:
    """Call a tool, and print its result as a model reads it.

    Exit code 1 if it failed, 2 if the arguments do not fit.
    """
    given = read_arguments(arguments)
    wanted = _wanted(source, mcp, root, documents, search, allow_unsafe)
    run = Run(name, pairs or [], given, yes, save)
    result = anyio.run(run.run, wanted)
    if json_output:
        outcome = {"outcome": run.outcome, "attempts": run.attempts}
        files = [asdict(file) | {"saved": run.saved.get(file.id)} for file in result.artifacts]
        kept = {"content": result.content, "error": result.error, "duration": round(result.duration, 6)}
        print_json({"tool": name, **kept, "source": result.source, **outcome, "artifacts": files})
    else:
        print_result(result, raw)
        for file in result.artifacts:
            where = f"saved as {run.saved[file.id]}" if file.id in run.saved else "--save FOLDER keeps it"
            typer.echo(one_line(f"{file.name} ({file.media_type}, {file.size} bytes): {where}"), err=True)
    if run.outcome == "bad arguments":
        raise typer.Exit(2)
    if result.error is not None:
        raise typer.Exit(1)


@tools.command("sandbox", epilog=example("arriero tools sandbox", "arriero tools sandbox --json"))
def sandbox(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per tier.")] = False,
) -> None:
    """Try each kind of sandbox with hostile code, and say which one is used. Exit code 1 if none holds."""
    from arriero.tools.sandbox.choose import probe_tiers

    reports = anyio.run(probe_tiers)
    active = next((report.tier for report in reports if report.ok), None)
    for report in reports:
        if as_json:
            print_json({"active": report.tier == active, **asdict(report)})
        else:
            _show_tier(report, active=report.tier == active)
    if active is None:
        raise typer.Exit(1)


def serve_mcp(
    source: From = None,
    mcp: Mcp = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="Tool to offer; repeat for more. [default: all that are there]")
    ] = None,
    root: Root = None,
    documents: Documents = None,
    search: Search = None,
    allow_unsafe: Unsafe = False,
    sensitive: Annotated[
        bool, typer.Option("--sensitive", help="Offer sensitive tools too; the client's user approves each call.")
    ] = False,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Listen there. [default: standard streams]")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="ARRIERO_MCP_TOKEN", show_envvar=True, help="What clients must send over HTTP."),
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Another name of this server, with its port.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Web page that may use it: https://host.")] = None,
) -> None:
    """Offer tools to MCP clients, over standard streams or HTTP.

    With --from or --mcp it offers those tools, else the built-in ones; --tool chooses by name among all.
    """
    host, port = _address(http) if http else ("", 0)
    wanted = _wanted(source, mcp, root, documents, search, allow_unsafe)

    async def offer() -> None:
        from arriero.tools.mcp import approve_by_client, serve

        async with own_tools(wanted) as own:
            registry = _chosen(tool, own, wanted, approve_by_client)
            say = partial(typer.echo, err=True)
            if http is None:
                start = partial(serve, registry, sensitive=sensitive)
            else:
                start = partial(serve, registry, sensitive=sensitive, transport="http", host=host, port=port)
                start = partial(start, token=token, hosts=allow_host or (), origins=allow_origin or (), on_ready=say)
            try:
                await start()
            finally:
                with anyio.CancelScope(shield=True):
                    await registry.aclose()

    try:
        anyio.run(offer)
    except KeyboardInterrupt:
        return


def _wanted(
    source: list[str] | None,
    mcp: list[str] | None,
    root: Path | None,
    documents: Path | None,
    search: SearchName | None,
    allow_unsafe: bool,
) -> Wanted:
    return Wanted(
        sources=source or (),
        servers=mcp or (),
        root=root,
        documents=documents,
        search=search,
        allow_unsafe=allow_unsafe,
        keys=Keys.from_environment(),
    )


def _chosen(names: list[str] | None, own: "list[Tool]", wanted: Wanted, approve: "Approve") -> "Registry":
    from arriero.tools import ToolDefinitionError

    asked = [name for name in BUILTINS if name in names] if names else ([] if own else BUILTINS)
    made = [builtin(name, wanted) for name in asked]
    for entry in made:
        if isinstance(entry, Missing) and names:
            raise typer.BadParameter(f"{entry.name}: {one_line(entry.reason)}", param_hint="--tool")
    registry = registry_of(made, own, approve)
    try:
        return registry.only(*names) if names else registry
    except ToolDefinitionError as error:
        raise typer.BadParameter(str(error), param_hint="--tool") from error


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"{one_line(text)}: write HOST:PORT, such as 127.0.0.1:8765", param_hint="--http")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _show_tool(tool: "Tool", schemas: bool, as_json: bool) -> None:
    effects = [name for name in ("pure", "idempotent", "sensitive") if getattr(tool, name)]
    if as_json:
        parts = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        print_json({**parts, "effects": effects, "group": tool.group, "builtin": tool.builtin, "available": True})
        return
    summary = one_line(tool.description.partition("\n\n")[0])
    typer.echo(f"{tool.name:<18}{summary}{' (asks for approval)' if tool.sensitive else ''}")
    if schemas:
        typer.echo(f"{json.dumps(tool.parameters, indent=2)}\n")


def _show_missing(missing: Missing, as_json: bool) -> None:
    if as_json:
        print_json({"name": missing.name, "available": False, "reason": missing.reason})
    else:
        typer.secho(f"{missing.name:<18}not here: {one_line(missing.reason)}", dim=True)


def _show_tier(report: "TierReport", *, active: bool) -> None:
    state, colour = ("active", "green") if active else ("holds", None) if report.ok else ("not used", "yellow")
    typer.secho(f"{report.tier}: {state}", fg=colour, bold=True)
    for canary in report.canaries:
        typer.secho(f"  {'ok' if canary.ok else 'FAILED':<8}", fg="green" if canary.ok else "red", nl=False)
        typer.echo(f"{canary.name:<22}{one_line(canary.detail)}")
    if not report.canaries:
        typer.echo(f"  {one_line(report.reason)}")
