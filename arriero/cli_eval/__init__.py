"""`arriero eval`: how often does it hallucinate? One module for each command."""

from importlib.util import find_spec

import typer

from arriero.cli_eval import calibrate, compare, judge, label, new, quantization, report, run, size, toolcalls
from arriero.evals.errors import EvalError
from arriero.terminal import example

evals = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How often does it hallucinate? A number with an interval, corrected for the judge.",
    epilog=example("arriero eval judge answers.jsonl --judge offline --json"),
)


@evals.callback()
def check_installed() -> None:
    """Refuse where what evaluations count with is not installed."""
    missing = [name for name in ("numpy", "scipy") if find_spec(name) is None]
    if missing:
        raise EvalError(f"evaluations need {' and '.join(missing)}: pip install 'arriero[evals]'")


evals.command(
    "label",
    epilog=example(
        "arriero eval label runs/first --annotator ana --annotator ben",
        "arriero eval label answers.jsonl --import labels.csv --annotator ana",
    ),
)(label.label)

evals.command(
    "run",
    epilog=example(
        "arriero eval run",
        "arriero eval run questions.jsonl --documents handbook/ --url http://localhost:8000/v1 --out runs/first",
        "arriero eval run questions.jsonl --agent examples/documents.py --judge llama",
        "arriero eval run questions.jsonl --answers answers.csv --fail-above 0.1",
    ),
)(run.run)

evals.command(
    "report",
    epilog=example(
        "arriero eval report runs/first --html first.html",
        "arriero eval report answers.jsonl --judge llama --fail-above 0.05",
        "arriero eval report runs/first --markdown >> MODEL_CARD.md",
    ),
)(report.report)

evals.command(
    "new",
    epilog=example(
        "arriero eval new handbook/ --out handbook.jsonl --url http://localhost:8000/v1 --questions 100",
        "arriero eval new --accept handbook.review.csv --out reviewed.jsonl",
        "arriero eval new --robustness noise,no-answer --from reviewed.jsonl --out hard.jsonl",
    ),
)(new.new)

evals.command(
    "toolcalls",
    epilog=example(
        "arriero eval toolcalls",
        "arriero eval toolcalls calls.jsonl --url http://localhost:8000/v1 --grammar both --out runs/calls",
        "arriero eval toolcalls calls.jsonl --system - --system brief.txt --markdown",
        "arriero eval toolcalls calls.jsonl --answers answers.jsonl --json",
    ),
)(toolcalls.toolcalls)

evals.command(
    "compare",
    epilog=example(
        "arriero eval compare runs/bf16 runs/int4 --margin 0.02",
        "arriero eval compare runs/base runs/prompt-a runs/prompt-b --html prompts.html",
        "arriero eval compare answers.jsonl@llama answers.jsonl@gpt-4o --pair task_id --fail-if-worse",
    ),
)(compare.compare)

evals.command(
    "size",
    epilog=example(
        "arriero eval size --rate 0.1 --width 0.1",
        "arriero eval size --difference 0.05 --margin 0.02 --candidates 2",
        "arriero eval size --items 300 --labels 100 --per-document 5",
    ),
)(size.size)

evals.command(
    "judge",
    epilog=example(
        "arriero eval judge answers.jsonl --judge offline --json",
        "arriero eval judge runs/first --summary summary.json",
        "xzcat items.jsonl.xz | arriero eval judge - --json --claims > judged.jsonl",
    ),
)(judge.judge)

evals.command(
    "calibrate",
    epilog=example(
        "arriero eval calibrate runs/first --judge offline",
        "arriero eval calibrate answers.jsonl --judge llama --annotator ana --annotator ben --labels 200",
        "arriero eval calibrate runs/first --no-page --json",
    ),
)(calibrate.calibrate)

evals.command(
    "quantization",
    epilog=example(
        "arriero eval quantization",
        "arriero eval quantization --base local:llama-3.2-1b@bf16 --variants local:llama-3.2-1b@int8 --out runs/int8",
        "arriero eval quantization --base http://gpu1:8000/v1 --variants fp8=http://gpu2:8000/v1#llama --markdown",
    ),
)(quantization.quantization)
