"""The options that say where the model runs and what is logged, and how turns are shown."""

import io
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arriero.prompts.errors import ArrieroError
from arriero.terminal import named_dialect, one_line, print_json

if TYPE_CHECKING:
    from arriero.agents.agent import Agent
    from arriero.agents.program import Program
    from arriero.agents.show import Presenter
    from arriero.stack.stack import Opening, Stack

EngineName = Literal["transformers", "vllm"]
Engine = Annotated[
    EngineName | None,
    typer.Option(help="transformers: in this process; vllm: a server. [default: vllm with --url, else transformers]"),
]
Url = Annotated[str | None, typer.Option(help="vLLM server, such as http://localhost:8000/v1.")]
Model = Annotated[
    str | None,
    typer.Option(help="Name of a served model, or the folder of one to run here. [default: the first; the bundled]"),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="ARRIERO_API_KEY", show_envvar=True, help="Key that the server was started with.")
]
TokenizerFolder = Annotated[
    Path | None,
    typer.Option(help="Folder with the model's tokenizer.json. [default: where the server says its model is]"),
]
DialectName = Annotated[str | None, typer.Option(help="How the model writes. [default: found by the model]")]
Log = Annotated[
    str | None,
    typer.Option(
        metavar="FILE_OR_DSN",
        envvar="ARRIERO_LOG",
        show_envvar=True,
        help="Event log: a file, made if absent, or postgresql://... [default: in memory]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def stack_of(
    engine: EngineName | None,
    url: str | None,
    model: str | None,
    tokenizer: Path | None,
    dialect: str | None,
    api_key: str | None,
    log: str | None,
) -> "Opening":
    """The stack that the options describe, not opened yet."""
    from arriero.stack.stack import Stack

    spoken = None if dialect is None else named_dialect(dialect)
    if url is not None:
        if engine == "transformers":
            raise typer.BadParameter("it runs in this process: leave --url out, or say vllm", param_hint="--engine")
        return Stack.connect(url, model=model, tokenizer=tokenizer, api_key=api_key, dialect=spoken, log=log)
    if engine == "vllm":
        raise typer.BadParameter("vllm is a server: give its address with --url", param_hint="--engine")
    if tokenizer is not None:
        raise typer.BadParameter("a model that runs here has its own: leave it out", param_hint="--tokenizer")
    return Stack.local(model, dialect=spoken, log=log)


def presenter(as_json: bool, *, steps: bool = True, folded: bool = False, asks: bool = False) -> "Presenter":
    """What shows turns on standard output."""
    from rich.console import Console

    from arriero.agents.show import JSONLines, Screen

    if as_json:
        return JSONLines(print_json)
    widen_output()
    return Screen(Console(file=sys.stdout), steps=steps, folded=folded, asks=asks)


def widen_output() -> None:
    """Let standard output take any text: a model may write what a narrow locale has no letter for."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def complain(error: ArrieroError) -> None:
    """Say on stderr, in one line, what went wrong."""
    typer.echo(f"error: {one_line(str(error))} ({type(error).__name__})", err=True)


def agent_maker(file: Path) -> "Callable[[Stack], Agent[Any, Any]]":
    """What makes the agent of a Python file; misuse if it defines none."""
    from arriero.agents.program import UnusableProgram, load

    try:
        program = load(file, "anything")  # the file needs no questions of its own
    except UnusableProgram as error:
        raise typer.BadParameter(str(error), param_hint="--program") from error
    return partial(agent_of, program)


def agent_of(program: "Program", stack: "Stack") -> "Agent[Any, Any]":
    """The agent of a program; an error if what it makes is none."""
    from arriero.agents.agent import Agent
    from arriero.agents.program import UnusableProgram

    agent: Any = program.agent(stack) if program.agent is not None else None
    if not isinstance(agent, Agent):
        raise UnusableProgram(f"agent(stack) must return an Agent, not {type(agent).__name__}")
    return agent


def later(log: str | None, program: Path | None, session: str) -> str:
    """How to go on with a turn that is left waiting."""
    if log is None:
        return "it is kept in memory alone: with --log another process could go on with it"
    # the address of a database may hold a password
    where = "postgresql://..." if "://" in log else shlex.quote(log)
    file = "" if program is None else f" --program {shlex.quote(str(program))}"
    return f"`arriero runs resume {shlex.quote(session)}{file} --log {where}` goes on with it"


def chat_agent(
    names: Sequence[str] = (),
    search: Literal["offline", "ddgs"] | None = None,
    documents: Path | None = None,
    *,
    bundled: bool,
    instructions: str = "",
    shields: Sequence[str] = (),
) -> "Callable[[Stack], Agent[Any, Any]]":
    """What makes the agent of `arriero chat`."""
    from arriero.agents.agent import Agent
    from arriero.agents.chat import offered

    tools = offered(names, search, documents, bundled=bundled, note=lambda text: typer.echo(one_line(text), err=True))
    return partial(Agent, instructions=instructions, tools=tools, shields=shields)
