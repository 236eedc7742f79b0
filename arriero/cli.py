"""The command line."""

import logging
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer
from typer.core import TyperGroup

from arriero import __version__, cli_eval, cli_lines, cli_runs, cli_tools
from arriero.cli_stack import (
    ApiKey,
    DialectName,
    Engine,
    Json,
    Log,
    Model,
    TokenizerFolder,
    Url,
    agent_maker,
    agent_of,
    chat_agent,
    complain,
    later,
    presenter,
    stack_of,
)
from arriero.prompts.errors import ArrieroError
from arriero.terminal import example, one_line, print_json


class _Commands(TyperGroup):
    """Turns an expected error into one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ArrieroError as error:
            complain(error)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it would show the values of variables, keys and prompts among them
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ToolName(StrEnum):
    """Tools that `chat` can offer."""

    web_search = "web_search"
    code_interpreter = "code_interpreter"
    knowledge_search = "knowledge_search"
    ask_user = "ask_user"


_COLOURS = {"ok": "green", "missing": "yellow", "failed": "red"}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"arriero {__version__}")
        raise typer.Exit


@app.callback(epilog=example("arriero demo"))
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = (
        False
    ),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what happens inside.")] = False,
) -> None:
    """Agents that call tools, for the Llama family on vLLM.

    Exit codes: 0 done, 1 failed, 2 misuse.
    """
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    else:
        logging.getLogger("arriero").addHandler(logging.NullHandler())


@app.command(epilog=example("arriero demo", "arriero demo --url http://localhost:8000/v1"))
def demo(
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    log: Log = None,
    report: Annotated[Path, typer.Option(dir_okay=False, help="Where the evaluation's report goes.")] = Path(
        "arriero-evaluation.html"
    ),
    as_json: Json = False,
) -> None:
    """Run the example workflows, every step shown as it happens; then evaluate bundled answers, and write the report.

    Exit code 1 if a workflow did not end as it must.
    """
    from arriero.examples.demo import WORKFLOWS, run_demo

    cli_eval.check_installed()
    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)

    async def in_stack() -> int:
        async with opening as stack:
            return await run_demo(stack, presenter(as_json))

    unmet = anyio.run(in_stack)
    if not as_json:
        typer.echo(f"\n{len(WORKFLOWS) - unmet} of {len(WORKFLOWS)} workflows ended as they must.\n")
    _evaluate_samples(report, as_json)
    if unmet:
        raise typer.Exit(1)


def _evaluate_samples(report: Path, as_json: bool) -> None:
    from arriero.evals.reports.machine import to_json
    from arriero.evals.reports.page import write_html
    from arriero.examples import evaluation

    found = anyio.run(evaluation.evaluation)
    if as_json:
        write_html(found, report)
        print_json({"kind": "evaluation", **to_json(found, items=False), "report": str(report)})
    else:
        evaluation.report_on(found, report)


@app.command(
    epilog=example(
        "arriero run examples/research.py",
        'arriero run examples/research.py "What is the height of Mount Vesk?" --url http://localhost:8000/v1',
    )
)
def run(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="FILE", help="A Python file.")
    ],
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="What to ask. [default: the file's QUESTIONS]")
    ] = None,
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Run the agent of a Python file.

    The file defines `agent(stack)`, which returns an Agent; it is asked QUESTION, or each of the file's QUESTIONS.
    A file without `agent` defines an async `main()` or `main(stack)`, which is run. A call that needs a decision is
    asked about on a terminal; elsewhere its turn is left waiting, and `arriero runs resume` goes on with it.
    """
    from arriero.agents.chat import ask_each
    from arriero.agents.program import UnusableProgram, load, run_main

    try:
        program = load(file, question)
    except UnusableProgram as error:
        raise typer.BadParameter(str(error), param_hint="FILE") from error
    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)
    if program.main is not None:
        anyio.run(run_main, program.main, opening)
        return
    asks = not as_json and sys.stdin.isatty()
    shown, how = presenter(as_json, asks=asks), partial(later, log, file)
    make = partial(agent_of, program)
    if not ask_each(opening, make, shown, program.questions, complain=complain, later=how, asks=asks):
        raise typer.Exit(1)


@app.command(
    epilog=example(
        "arriero chat",
        'echo "What is 12 times 7?" | arriero chat',
        "arriero chat --log runs.sqlite --session alice",
        "arriero chat --program examples/custom_tool.py",
        "arriero chat --url http://localhost:8000/v1 --documents handbook --shield llama-guard",
    )
)
def chat(
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    log: Log = None,
    session: Annotated[str | None, typer.Option(help="Session to begin, or to continue from --log.")] = None,
    program: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Python file whose agent(stack) answers."),
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show every step: prompts, calls, results, times.")] = False,
    instructions: Annotated[str, typer.Option(help="System text.")] = "",
    tool: Annotated[
        list[ToolName] | None,
        typer.Option(
            help="Tool to offer; repeat for more. [default: web_search, and code_interpreter with the bundled model]"
        ),
    ] = None,
    search: Annotated[
        Literal["offline", "ddgs"] | None,
        typer.Option(help="Where web_search searches. [default: offline with the bundled model, else ddgs]"),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder for knowledge_search, which is offered then."),
    ] = None,
    shield: Annotated[list[str] | None, typer.Option(help="Shield for input and output, such as llama-guard.")] = None,
    as_json: Json = False,
) -> None:
    """Talk to a model that has tools, on a terminal or through a pipe.

    Lines that begin with a slash are commands; /help lists them. What is typed on a terminal while an answer runs is
    said to the model at its next step. Ctrl-C stops an answer; at the prompt it ends the program, as Ctrl-D does.
    """
    from arriero.agents.chat import converse

    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)
    if program is not None:
        if tool or search or documents or shield or instructions:
            raise typer.BadParameter("the file's agent has its own tools, shields and instructions: leave out yours")
        make = agent_maker(program)
    else:
        bundled = url is None and model is None
        make = chat_agent(
            tool or (), search, documents, bundled=bundled, instructions=instructions, shields=shield or ()
        )
    shown = presenter(as_json, steps=steps, folded=not steps, asks=True)
    how = partial(later, log, program)
    if not converse(opening, make, shown, session=session, complain=complain, later=how):
        raise typer.Exit(1)


app.command(
    epilog=example(
        'echo \'{"id": 1, "messages": [{"role": "user", "content": "Hello"}]}\' | arriero render --dialect llama3.1 -',
        "arriero render --check tests/data/render_vectors.jsonl",
    )
)(cli_lines.render)
app.command(
    epilog=example('echo \'{"id": 1, "text": "Hello.<|eot_id|>"}\' | arriero parse --dialect llama3.1 -'),
)(cli_lines.parse)


app.add_typer(cli_tools.tools, name="tools")
app.add_typer(cli_runs.runs, name="runs")
app.add_typer(cli_eval.evals, name="eval")
app.command(
    "mcp",
    epilog=example("arriero mcp", "arriero mcp --from tools.py --http 127.0.0.1:8765"),
)(cli_tools.serve_mcp)


@app.command(epilog=example("arriero serve --port 8400", "arriero serve --url http://localhost:8000/v1"))
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for a free one.")] = 8400,
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    log: Log = None,
) -> None:
    """Serve a model over HTTP as OpenAI's API: /v1/chat/completions, /v1/models, /v1/safety/run-shield, /health.

    It asks nobody for a key: keep it on this machine, or behind something that does. Ctrl-C stops it.
    """
    from arriero.stack.serving import serve_stack

    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)
    try:
        anyio.run(partial(serve_stack, opening, host, port, announce=partial(typer.echo, err=True)))
    except KeyboardInterrupt:
        return


@app.command(epilog=example("arriero doctor", "arriero doctor --url http://localhost:8000/v1"))
def doctor(
    url: Url = None,
    model: Annotated[str | None, typer.Option(help="Name of a served model.")] = None,
    tokenizer: TokenizerFolder = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, and try what should work. Exit code 1 if something does not."""
    from arriero.stack.doctor import Check, examine

    opening = stack_of(None, url, model, tokenizer, None, api_key, None) if url else None

    def show(check: Check) -> None:
        if as_json:
            print_json({"name": check.name, "state": check.state, "detail": check.detail})
        else:
            typer.secho(f"{check.state:<8}", fg=_COLOURS[check.state], nl=False)
            typer.echo(f"{check.name:<17}{one_line(check.detail)}")

    if not anyio.run(examine, show, opening):
        raise typer.Exit(1)
