"""`arriero eval toolcalls`: are the right tools called, with the right arguments?"""

import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import typer

from arriero.cli_stack import ApiKey, DialectName, Engine, Model, TokenizerFolder, Url, stack_of, widen_output
from arriero.terminal import named_dialect, one_line, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arriero.evals.toolcalls import Prompting, ToolCallReport, ToolItem, Variant
    from arriero.stack.stack import Opening

Held = Literal["off", "on", "both"]


def toolcalls(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Questions, tools, right calls. [default: bundled]",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Score recorded answers: lines of id and text, texts, calls or messages."
        ),
    ] = None,
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    system: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="System text; repeat it to compare several, - for none. [default: none]"),
    ] = None,
    grammar: Annotated[Held, typer.Option(help="Hold answers to the tools' grammar; both compares.")] = "off",
    quantization: Annotated[
        list[str] | None,
        typer.Option(metavar="BITS", help="Local precision, bf16, int8 or int4; repeat it to compare. [default: fp32]"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a message.")] = 512,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep answers there; the same command goes on from them.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap, and of --limit.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many questions, chosen at random.")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FILE", help="Answers that runs share.")] = None,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Ask again what failed before.")] = False,
    margin: Annotated[
        float, typer.Option(min=0.0001, max=1, help="Largest loss that still counts as not worse.")
    ] = 0.05,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown, for a model card.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All figures and items as one JSON object.")] = False,
) -> None:
    """Say how often a model calls the right tools with the right arguments, and none where none is right.

    FILE has the form of the Berkeley Function Calling Leaderboard, and calls are matched by its rules. System texts,
    the grammar and precisions are compared item by item with the first of them.
    """
    from arriero.evals.toolcalls import SAMPLE, planned, read_tool_items

    if markdown and as_json:
        raise typer.BadParameter("give one of them", param_hint="--markdown and --json")
    if quantization and (url is not None or engine == "vllm"):
        raise typer.BadParameter("a server chooses it itself: leave it out", param_hint="--quantization")
    source = file or SAMPLE
    items = some(read_tool_items(source), limit, seed)
    if answers is not None:
        show(_recorded(items, answers, dialect, source.stem, margin, seed), markdown=markdown, as_json=as_json)
        return
    promptings = _promptings(system or [Path("-")], grammar, max_tokens)
    openings = _openings(quantization or [None], engine, url, model, tokenizer, dialect, api_key)
    if len(promptings) * len(openings) > 1:
        typer.echo(planned(len(items), margin=margin), err=True)
    how: dict[str, Any] = {
        "folder": out,
        "concurrency": concurrency,
        "seed": seed,
        "cache": cache,
        "retry_errors": retry_errors,
        "file": source,
        "name": source.stem,
    }
    try:
        variants = anyio.run(partial(_asked, items, openings, promptings, **how))
    except KeyboardInterrupt:
        kept = "nothing is kept without --out" if out is None else f"{one_line(str(out))} has what was answered"
        typer.echo(f"stopped: {kept}", err=True)
        raise typer.Exit(1) from None
    from arriero.evals.toolcalls import report_of

    show(report_of(source.stem, variants, margin=margin, seed=seed), markdown=markdown, as_json=as_json)


def show(report: "ToolCallReport", *, markdown: bool, as_json: bool) -> None:
    """Print a report."""
    from arriero.evals.toolcalls.report import print_toolcalls, toolcalls_to_json, toolcalls_to_markdown

    if as_json:
        print_json(toolcalls_to_json(report))
        return
    widen_output()
    if markdown:
        typer.echo(toolcalls_to_markdown(report), nl=False)
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    print_toolcalls(report, console)


async def _asked(
    items: "Sequence[ToolItem]",
    openings: "Sequence[tuple[str, Opening]]",
    promptings: "Sequence[Prompting]",
    **how: Any,
) -> "list[Variant]":
    from dataclasses import replace

    from arriero.evals.systems.facts import engine_facts
    from arriero.evals.toolcalls import ToolCallSystem, ask_variant

    found = []
    for name, opening in openings:
        async with opening as stack:
            facts = await engine_facts(stack.engine)
            for prompting in promptings:
                named = " ".join(filter(None, (name, prompting.name if len(promptings) > 1 or not name else "")))
                asked = ToolCallSystem(stack, items, replace(prompting, name=named), facts=facts)
                found.append(await ask_variant(items, asked, **how))
    return found


def _promptings(systems: "Sequence[Path]", grammar: Held, max_tokens: int) -> "list[Prompting]":
    from arriero.evals.toolcalls import Prompting

    found = []
    for path, held in product(systems, {"off": (False,), "on": (True,), "both": (False, True)}[grammar]):
        plain = str(path) == "-"
        try:
            text = "" if plain else path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--system") from error
        name = ("plain" if plain else path.stem) + (" grammar" if held else "")
        found.append(Prompting(name, text, held, max_tokens))
    if len({one.name for one in found}) < len(found):
        raise typer.BadParameter("two files have one name: name them apart", param_hint="--system")
    return found


def _openings(
    precisions: "Sequence[str | None]", engine: Any, url: str | None, model: str | None, *more: Any
) -> "list[tuple[str, Opening]]":
    from arriero.stack.engines.quantization import check_quantization
    from arriero.stack.errors import EngineRejected
    from arriero.stack.stack import Stack

    tokenizer, dialect, api_key = more
    if precisions == [None]:
        return [("", stack_of(engine, url, model, tokenizer, dialect, api_key, None))]
    spoken = None if dialect is None else named_dialect(dialect)
    try:
        known = [check_quantization(bits) for bits in dict.fromkeys(precisions)]
    except EngineRejected as error:
        raise typer.BadParameter(str(error), param_hint="--quantization") from error
    return [(bits or "fp32", Stack.local(model, quantization=bits, dialect=spoken)) for bits in known]


def _recorded(
    items: "Sequence[ToolItem]", answers: Path, dialect: str | None, name: str, margin: float, seed: int
) -> "ToolCallReport":
    from arriero.evals.toolcalls import read_recorded_calls, report_of, scored

    found = read_recorded_calls(answers, items, named_dialect(dialect or "llama3.1"))
    variant = scored(answers.stem, {"kind": "recorded", "file": answers.name}, items, found)
    return report_of(name, [variant], margin=margin, seed=seed)


def some(items: "Sequence[ToolItem]", limit: int | None, seed: int) -> "Sequence[ToolItem]":
    """Some of the items, chosen at random, in their order."""
    if limit is None or limit >= len(items):
        return items
    import random

    chosen = set(random.Random(seed).sample(range(len(items)), limit))  # noqa: S311  no secret
    return [item for at, item in enumerate(items) if at in chosen]
