"""The commands that take JSON lines: render and parse."""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from arriero.prompts.errors import ArrieroError
from arriero.terminal import named_dialect, one_line, print_json, tokenizer_at

if TYPE_CHECKING:
    from rich.table import Table

    from arriero.prompts.check import Checked
    from arriero.prompts.explain import Block, Explanation

Lines = Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is stdin.")]
WrittenDialect = Annotated[
    str | None, typer.Option("--dialect", help="Dialect of the lines that name none: llama3.1, llama4, ...")
]
Source = Annotated[
    str | None, typer.Option(help="Whose rendering of the dialect: published, meta, ... [default: published]")
]
LinesTokenizer = Annotated[
    Path | None, typer.Option(help="Folder of a model, or its tokenizer.json or tokenizer.model, for its token ids.")
]
Check = Annotated[bool, typer.Option("--check", help="Run vectors and compare; exit code 1 on any difference.")]
Strict = Annotated[bool, typer.Option("--strict", help="Read calls only as they are documented; repair nothing.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show who wrote each part of the prompt.")]
Page = Annotated[Path | None, typer.Option("--html", metavar="PAGE", help="Write that explanation as an HTML page.")]
AsJSON = Annotated[bool, typer.Option("--json", help="The outcome of --check or --explain as JSON.")]

_SHOWN_DIFFERENCES = 10
_SHOWN_IDS = 12
_STYLES = {"special": "magenta", "scaffolding": "dim", "content": "green"}


def render(
    file: Lines,
    dialect: WrittenDialect = None,
    source: Source = None,
    tokenizer: LinesTokenizer = None,
    check: Check = False,
    explain: Explain = False,
    html: Page = None,
    as_json: AsJSON = False,
) -> None:
    """Render conversations, one a line, to the text that a model reads.

    Reads {"id", "messages", "tools", "options"}; writes {"id", "text"}, with "token_ids" where --tokenizer is
    given, or {"id", "error"}. A line may name its own "dialect" and "source", or a "format" with the conversation in
    "input", as render vectors do. Exit code 1 if a line could not be rendered.
    """
    from arriero.prompts.jsonl import render_lines

    if check and (explain or html is not None):
        raise typer.BadParameter("it compares: leave --explain and --html out", param_hint="--check")
    if source is not None and dialect is None:
        raise typer.BadParameter("it is the source of a dialect: name that with --dialect", param_hint="--source")
    spoken = None if dialect is None else named_dialect(dialect, source)
    vocabulary = tokenizer_at(tokenizer)
    with _opened(file) as lines:
        if check:
            from arriero.prompts.check import Vocabularies, check_renders

            _report(list(check_renders(lines, Vocabularies(vocabulary))), as_json)
        elif explain or html is not None:
            from arriero.prompts.explain import explain_lines

            _show(explain_lines(lines, spoken, vocabulary), html, as_json)
        else:
            _write(render_lines(lines, spoken, vocabulary))


def parse(
    file: Lines,
    dialect: WrittenDialect = None,
    tokenizer: LinesTokenizer = None,
    strict: Strict = False,
    check: Check = False,
    as_json: AsJSON = False,
) -> None:
    """Parse what models wrote, one message a line.

    Reads {"id", "text", "tools"}, or "token_ids" in place of the text where --tokenizer is given; writes {"id",
    "content", "tool_calls", "end", "kind"}, with the "unknown" tools, "repairs" and "coercions" where there are some,
    or {"id", "error"}. A line may name its own "dialect". Exit code 1 if a line could not be read.
    """
    from arriero.prompts.jsonl import parse_lines

    spoken = None if dialect is None else named_dialect(dialect)
    vocabulary = tokenizer_at(tokenizer)
    with _opened(file) as lines:
        if check:
            from arriero.prompts.check import Vocabularies, check_parses

            _report(list(check_parses(lines, Vocabularies(vocabulary))), as_json)
        else:
            _write(parse_lines(lines, spoken, vocabulary, repair=not strict))


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    try:
        return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="FILE") from error


def _write(answers: Iterable[dict[str, Any]]) -> None:
    failed = False
    for answer in answers:
        failed |= "error" in answer
        print_json(answer)
    if failed:
        raise typer.Exit(1)


def _report(checked: "list[Checked]", as_json: bool) -> None:
    from arriero.prompts.check import tally

    failed = [one for one in checked if one.differences]
    scores = {
        "formats": tally(checked, lambda one: [one.format]),
        "tags": tally(checked, lambda one: one.tags),
    }
    if as_json:
        print_json(
            {"passed": len(checked) - len(failed), "total": len(checked)}
            | {name: {group: asdict(score) for group, score in groups.items()} for name, groups in scores.items()}
            | {"not_compared": sum(len(one.not_compared) for one in checked)}
            | {"differences": [asdict(one) for one in failed]}
        )
    else:
        _print_report(checked, failed, scores)
    if failed or not checked:
        raise typer.Exit(1)


def _print_report(checked: "list[Checked]", failed: "list[Checked]", scores: dict[str, Any]) -> None:
    for title, groups in scores.items():
        width = max((len(group) for group in groups), default=0)
        typer.secho(title, bold=True)
        for group, score in groups.items():
            colour = None if score.passed == score.total else typer.colors.RED
            typer.secho(f"  {one_line(group):<{width}}  {score.passed:>4} / {score.total}", fg=colour)
    for one in failed[:_SHOWN_DIFFERENCES]:
        typer.secho(f"\n{one_line(str(one.id))} ({one_line(one.format)})", bold=True)
        for difference in one.differences:
            typer.echo(f"  {difference.field}")
            typer.echo(f"    expected  {one_line(difference.expected)}")
            typer.echo(f"    got       {one_line(difference.got)}")
    if len(failed) > _SHOWN_DIFFERENCES:
        typer.echo(f"\nand {len(failed) - _SHOWN_DIFFERENCES} more, all of them with --json")
    if lacking := sum(bool(one.not_compared) for one in checked):
        typer.echo(
            f"\nToken ids of {lacking} vectors were not compared: give their --tokenizer, or install llama-models."
        )
    typer.echo(
        f"\n{len(checked) - len(failed)} of {len(checked)} vectors passed." if checked else "There is no vector."
    )


def _show(explained: "Iterator[tuple[str, Explanation | ArrieroError]]", page: Path | None, as_json: bool) -> None:
    good: dict[str, Explanation] = {}
    failed = False
    for title, explanation in explained:
        if isinstance(explanation, ArrieroError):
            failed = True
            typer.echo(f"error: {one_line(title)}: {one_line(str(explanation))}", err=True)
        elif page is not None:
            good[title] = explanation
        elif as_json:
            print_json({"title": title, "count": explanation.count, **asdict(explanation)})
        else:
            _print_explanation(title, explanation)
    if page is not None:
        _write_page(page, good)
    if failed:
        raise typer.Exit(1)


def _write_page(page: Path, explanations: "dict[str, Explanation]") -> None:
    from arriero.prompts.explain import explanation_page

    try:
        page.write_text(explanation_page(explanations), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{page} cannot be written: {error.strerror}", param_hint="--html") from error


def _print_explanation(title: str, explanation: "Explanation") -> None:
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a narrow locale has no letter for some content
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    unit = "characters" if explanation.count is None else "tokens"
    sizes = ", ".join(f"{origin} {size}" for origin, size in explanation.by_origin.items())
    total = "" if explanation.count is None else f"{explanation.count} "
    console.print(f"{one_line(title)}: {total}{unit} ({one_line(sizes)})", style="bold", soft_wrap=True)
    for block in explanation.blocks:
        wrote = "template" if block.message is None else f"message {block.message}"
        count = "" if block.count is None else f", {block.count} tokens"
        console.print(f"\n{block.role or 'turn'} ({wrote}{count})", style="bold")
        console.print(_block_table(block))
    console.print()


def _block_table(block: "Block") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from arriero.prompts.visible import visible

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for piece in block.pieces:
        text = visible(piece.text).replace("\n", "⏎\n").removesuffix("\n")
        row = [Text(one_line(piece.origin)), Text(text, _STYLES[piece.kind])]
        if piece.ids is not None:
            shown = " ".join(map(str, piece.ids[:_SHOWN_IDS])) + (" …" if len(piece.ids) > _SHOWN_IDS else "")
            row = [Text(str(len(piece.ids))), *row, Text(shown, "dim")]
        table.add_row(*row)
    return table
