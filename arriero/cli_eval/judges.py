"""The options that say who judges."""

from pathlib import Path
from typing import Annotated

import typer

JudgeName = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="NAME[:MODEL]",
        help="offline; offline+embeddings; llama[:FOLDER] or llama:URL[#MODEL]; hhem, minicheck, lettucedetect, nli,"
        " each with [:MODEL];"
        " none to judge nothing, where that makes sense.",
    ),
]
JudgeKey = Annotated[
    str | None,
    typer.Option(envvar="ARRIERO_JUDGE_API_KEY", show_envvar=True, help="Key of the server that judges."),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        exists=True,
        readable=True,
        dir_okay=False,
        metavar="FILE",
        help="Makes the judge's scores probabilities; `eval calibrate --fit` writes it.",
    ),
]
