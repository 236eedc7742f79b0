"""Judges by their names, as the command line and configurations give them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from arriero.evals.errors import EvalError
from arriero.evals.judgement import Judge

JUDGES = ("offline", "offline+embeddings", "llama", "hhem", "minicheck", "lettucedetect", "nli")
"""Names that `opened_judge` takes, those of `offline` alone or any other followed by a colon and a model."""


def check_judge(name: str) -> str:
    """The kind of judge that a name means.

    Args:
        name: As for `opened_judge`.

    Returns:
        One of `JUDGES`.

    Raises:
        EvalError: There is no judge of this name.

    Example:
        >>> check_judge("llama:http://localhost:8000/v1#llama-3.1-8b")
        'llama'
    """
    kind, colon, model = name.partition(":")
    if kind == "human":
        raise EvalError(
            "people judge on a page: `arriero eval label`; `--judge human` of report and compare has what they said"
        )
    if kind not in JUDGES:
        raise EvalError(f"there is no judge {kind!r}: use one of {', '.join(JUDGES)}")
    alone = kind.startswith("offline")
    if colon and (alone or not model):
        raise EvalError(f"the judge {name!r} names no model: write {kind}" + ("" if alone else ":MODEL"))
    return kind


def judge_named(name: str) -> Judge:
    """A judge that runs by itself, by its name.

    Args:
        name: As for `opened_judge`, but for `llama`, which needs an engine.

    Returns:
        The judge.

    Raises:
        EvalError: There is no judge of this name, it needs an engine, or its model is not on this machine.

    Example:
        >>> judge_named("offline").name
        'offline'
    """
    kind, model = check_judge(name), name.partition(":")[2]
    if kind.startswith("offline"):
        from arriero.evals.judges.offline import OfflineJudge

        return OfflineJudge(embeddings=kind != "offline")
    if kind == "llama":
        raise EvalError("the judge 'llama' needs an engine: open it with opened_judge, or make a LlamaJudge")
    from arriero.evals.judges import transformers as published

    made: dict[str, Callable[..., Judge]] = {
        "hhem": published.HHEMJudge,
        "minicheck": published.MiniCheckJudge,
        "lettucedetect": published.LettuceDetectJudge,
        "nli": published.NLIJudge,
    }
    return made[kind](model) if model else made[kind]()


@asynccontextmanager
async def opened_judge(
    name: str, *, api_key: str | None = None, calibration: str | Path | None = None
) -> AsyncIterator[Judge]:
    """A judge by its name, with the engine that it needs, which is closed in the end.

    Args:
        name: `offline`, or `offline+embeddings` (extra `rag`); `llama`, the bundled model, or `llama:` with a model's
            folder, or with the address of a vLLM server and after `#` the name of a served model; `hhem`, `minicheck`,
            `lettucedetect` or `nli`, each alone or with `:` and a model's name or folder.
        api_key: Key of the server.
        calibration: File that makes its scores probabilities.

    Yields:
        The judge.

    Raises:
        EvalError: There is no such judge, its model is not on this machine, or the calibration is not its own.
        EngineError: The engine cannot be reached, or refuses.

    Example:
        >>> import anyio
        >>> async def name() -> str:
        ...     async with opened_judge("llama") as judge:
        ...         return str(judge.fingerprint["model"])
        >>> anyio.run(name)
        'arriero-demo'
    """
    if check_judge(name) != "llama":
        yield _calibrated(judge_named(name), calibration)
        return
    from arriero.evals.judges.llama import LlamaJudge
    from arriero.stack.stack import Stack

    where, _, model = name.partition(":")[2].partition("#")
    if where.startswith(("http://", "https://")):
        opening = Stack.connect(where, model=model or None, api_key=api_key)
    else:
        opening = Stack.local(where or None)
    async with opening as stack:
        yield _calibrated(await LlamaJudge.over(stack), calibration)


def _calibrated(judge: Judge, file: str | Path | None) -> Judge:
    if file is None:
        return judge
    from arriero.evals.judges.calibration import CalibratedJudge, Calibration

    return CalibratedJudge(judge, Calibration.load(file))
