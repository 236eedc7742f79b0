"""`arriero eval`: how often does it hallucinate? One module for each command."""

import typer

from arriero.cli_eval import label
from arriero.terminal import example

evals = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How often does it hallucinate? A number with an interval, corrected for the judge.",
    epilog=example("arriero eval judge answers.jsonl --judge offline --json"),
)


evals.command(
    "label",
    epilog=example(
        "arriero eval label runs/first --annotator ana --annotator ben",
        "arriero eval label answers.jsonl --import labels.csv --annotator ana",
    ),
)(label.label)
