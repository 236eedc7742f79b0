"""`arriero eval new`: a question set from one's own documents, its review, and trials of robustness."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from arriero.cli_stack import ApiKey, DialectName, Engine, Log, Model, TokenizerFolder, Url, stack_of
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from arriero.evals.data.drafting import Drafted
    from arriero.stack.stack import Opening

_SHOWN = 5

Documents = Annotated[
    Path | None,
    typer.Argument(
        exists=True,
        file_okay=False,
        metavar="DOCUMENTS",
        help="Folder of .md, .txt, .html and .pdf documents.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="FILE", help="Questions, .jsonl; NAME.corpus.jsonl and NAME.review.csv go beside it.")
]
Review = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, metavar="REVIEW", help="Write what a person kept: NAME.review.csv, filled in."
    ),
]
Robustness = Annotated[
    str | None,
    typer.Option(metavar="TRIALS", help="noise, no-answer, two-passages, contradiction, with commas between, or all."),
]
Source = Annotated[
    Path | None,
    typer.Option("--from", exists=True, metavar="QUESTIONS", help="Questions that --robustness makes trials of."),
]
Corpus = Annotated[
    Path | None,
    typer.Option(exists=True, metavar="FILE_OR_FOLDER", help="Their passages. [default: the corpus beside them]"),
]


def new(
    documents: Documents = None,
    *,
    out: Out,
    questions: Annotated[int, typer.Option(min=1, help="How many questions; with --robustness, of each trial.")] = 50,
    unanswerable: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share of them that the corpus is not to answer.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(help="Decides which passages are taken.")] = 0,
    accept: Review = None,
    robustness: Robustness = None,
    source: Source = None,
    corpus: Corpus = None,
    passages: Annotated[int, typer.Option(min=2, help="Passages that each question of --robustness gets.")] = 5,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions that are written at once.")] = 8,
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    log: Log = None,
    as_json: Annotated[bool, typer.Option("--json", help="What came of it, as one JSON object.")] = False,
) -> None:
    """Make a question set from your own documents, review it, and make trials of robustness.

    A model writes questions about passages taken at random. Some become unanswerable: their passage is withheld from
    the corpus. Fill the column keep of NAME.review.csv with yes or no, correct what is wrong, and give it to --accept.
    Called again after an interruption, it goes on.
    """
    given = {"DOCUMENTS": documents, "--accept": accept, "--robustness": robustness}
    modes = [name for name, value in given.items() if value is not None]
    if len(modes) != 1:
        not_both = f", not {' and '.join(modes)}" if modes else ""
        raise typer.BadParameter(f"give one of DOCUMENTS, --accept and --robustness{not_both}")
    if not out.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.xz")):
        raise typer.BadParameter(f"{one_line(str(out))} must end in .jsonl, .jsonl.gz or .jsonl.xz", param_hint="--out")
    there = next((path for path in _written(out, review=documents is not None) if path.exists()), None)
    if there is not None:
        raise typer.BadParameter(f"{one_line(str(there))} is there already: name another file", param_hint="--out")
    if (source is None) != (robustness is None):
        raise typer.BadParameter("--robustness and --from go together", param_hint="--from")
    if accept is not None:
        _accept(accept, out, as_json)
    elif robustness is not None and source is not None:
        _robustness(source, corpus, robustness, out, questions, passages, seed, as_json)
    elif documents is not None:
        from arriero.evals.data.lines import stem

        kept_log = log or str(out.with_name(f"{stem(out)}.log.sqlite"))
        opening = partial(stack_of, engine, url, model, tokenizer, dialect, api_key, kept_log)
        drafted = _draft(documents, opening, out, questions, unanswerable, seed, concurrency)
        if log is None:
            for part in ("", "-wal", "-shm"):
                Path(kept_log + part).unlink(missing_ok=True)
        _report(drafted, out, as_json)


def _written(out: Path, *, review: bool) -> list[Path]:
    """Files that may be written: none of them is written over, since a person may have worked on it."""
    from arriero.evals.data.questions import corpus_beside
    from arriero.evals.data.review import review_beside

    return [out, corpus_beside(out), *([review_beside(out)] if review else [])]


def _draft(
    documents: Path,
    opening: "partial[Opening]",
    out: Path,
    count: int,
    unanswerable: float,
    seed: int,
    concurrency: int,
) -> "Drafted":
    from arriero.evals.data.drafting import draft_questions
    from arriero.evals.data.folder import left_out, read_documents
    from arriero.evals.data.lines import stem
    from arriero.evals.data.questions import write_questions
    from arriero.evals.data.review import review_beside, write_review

    passages = read_documents(documents)
    if without := left_out(documents, passages):
        more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
        named = one_line(", ".join(without[:_SHOWN]))
        typer.echo(f"left out, since of another kind or without text: {named}{more}", err=True)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)

    async def write() -> "Drafted":
        async with opening() as stack:
            return await draft_questions(
                stack,
                passages,
                count=count,
                unanswerable=unanswerable,
                seed=seed,
                name=stem(out),
                concurrency=concurrency,
            )

    try:
        drafted = anyio.run(write)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on where it was", err=True)
        raise typer.Exit(1) from None
    write_review(review_beside(out), drafted.questions)
    write_questions(out, drafted.questions)  # last: where it is, all is done
    return drafted


def _report(drafted: "Drafted", out: Path, as_json: bool) -> None:
    from arriero.evals.data.review import review_beside

    asked = drafted.questions.questions
    found: dict[str, Any] = {
        "questions": len(asked),
        "answerable": sum(question.answerable is True for question in asked),
        "unanswerable": sum(question.answerable is False for question in asked),
        "tried": drafted.tried,
        "dropped": dict(drafted.dropped),
        "notes": list(drafted.notes),
        "file": str(out),
        "review": str(review_beside(out)),
    }
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found['questions']} questions in {out}: {found['answerable']} answerable, {found['unanswerable']} not;"
        f" {drafted.tried} passages tried"
    )
    for what, count in drafted.dropped.items():
        typer.echo(f"  dropped {count}: {one_line(what)}")
    for note in drafted.notes:
        typer.echo(f"  note: {one_line(note)}")
    typer.echo(f"nobody has reviewed them: fill the column keep of {found['review']}, then")
    typer.echo(f"  arriero eval new --accept {found['review']} --out {out.with_name('reviewed.jsonl')}")


def _accept(review: Path, out: Path, as_json: bool) -> None:
    from arriero.evals.data.questions import read_questions, write_questions
    from arriero.evals.data.review import accept_review

    name = review.name.removesuffix(".csv").removesuffix(".review")
    drafts = [review.with_name(f"{name}.jsonl{packed}") for packed in ("", ".gz", ".xz")]
    found = next((path for path in drafts if path.is_file()), None)
    if found is None:
        raise typer.BadParameter(f"the questions {drafts[0]} are missing beside it", param_hint="--accept")
    reviewed = accept_review(review, read_questions(found))
    if not reviewed.kept:
        typer.echo(f"error: {review} keeps no question: write yes in the column keep", err=True)
        raise typer.Exit(1)
    write_questions(out, reviewed.questions)
    counts = {name: getattr(reviewed, name) for name in ("kept", "corrected", "rejected", "undecided")}
    if as_json:
        print_json({**counts, "file": str(out)})
    else:
        typer.echo(f"{reviewed.kept} questions in {out}; {', '.join(f'{n} {what}' for what, n in counts.items())}")


def _robustness(
    source: Path,
    corpus: Path | None,
    wanted: str,
    out: Path,
    count: int,
    passages: int,
    seed: int,
    as_json: bool,
) -> None:
    from arriero.evals.data.questions import read_questions, write_questions
    from arriero.evals.data.robustness import TRIALS, robustness

    names = [name.strip() for name in wanted.split(",") if name.strip()]
    trials = [trial for trial in TRIALS if trial in names or names == ["all"]]
    unknown = [name for name in names if name not in (*TRIALS, "all")]
    if unknown or not trials:
        raise typer.BadParameter(
            f"there is no trial {one_line(', '.join(unknown)) or 'named'}: use {', '.join(TRIALS)} or all",
            param_hint="--robustness",
        )
    made = robustness(read_questions(source, corpus), trials, passages=passages, count=count, seed=seed)
    write_questions(out, made)
    counts = {trial: sum(question.kind == trial for question in made.questions) for trial in trials}
    if as_json:
        print_json({"questions": counts, "file": str(out)})
    else:
        typer.echo(f"{len(made.questions)} questions in {out}: {', '.join(f'{n} {t}' for t, n in counts.items())}")
