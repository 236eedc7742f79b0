"""Record an engine at the first run of a test, replay it in all others."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Engine
from arriero.stack.engines.recorded import RecordedEngine, Recorder
from arriero.testing.script import ScriptError

Recording = Literal["once", "never", "always"]
"""When to record: where there is no recording yet, never, or anew each time."""


@asynccontextmanager
async def recorded(
    path: str | Path,
    open_engine: Callable[[], Engine | Awaitable[Engine]],
    *,
    tokenizer: Tokenizer | str | Path,
    record: Recording = "once",
) -> AsyncIterator[Engine]:
    """An engine that is recorded at the first run and replayed afterwards, when the real one is not opened at all.

    A recording is kept only when the block ends without an error.

    Args:
        path: The recording's file. Its folder is made if need be.
        open_engine: Opens the engine to record.
        tokenizer: The model's tokenizer, or its folder: a recording holds ids alone.
        record: When to record.

    Yields:
        The engine.

    Raises:
        ScriptError: There is no recording, and none is to be made; or the engine has another vocabulary.
        EngineError: The engine failed, or the file is no recording; in a replay, a request was not recorded.

    Example:
        >>> import anyio, tempfile
        >>> from arriero.models import DEMO
        >>> from arriero.stack.engine import Sampling
        >>> from arriero.stack.engines.local import TransformersEngine
        >>> async def ask(path: str) -> int:
        ...     async with recorded(path, lambda: TransformersEngine(DEMO), tokenizer=DEMO) as engine:
        ...         return len([delta async for delta in engine.generate([1, 2, 3], Sampling(max_tokens=4))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/demo.jsonl"
        ...     anyio.run(ask, file) == anyio.run(ask, file)
        True
    """
    file = Path(path)
    vocabulary = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_folder(tokenizer)
    replayed = _replayed(file, vocabulary, record)
    if replayed is not None:
        yield replayed
        return
    opened = open_engine()
    engine = await opened if isinstance(opened, Awaitable) else opened
    try:
        if engine.tokenizer.fingerprint != vocabulary.fingerprint:
            raise ScriptError(f"the engine of {file} has another vocabulary than the tokenizer given: give its own")
        with _kept_if_complete(file) as unfinished:
            yield Recorder(engine, unfinished)
    finally:
        await engine.aclose()


def _replayed(file: Path, vocabulary: Tokenizer, record: Recording) -> RecordedEngine | None:
    """The engine that replays a file; None where it is to be recorded."""
    if record != "always" and file.exists():
        return RecordedEngine(file, vocabulary)
    if record == "never":
        raise ScriptError(f"there is no recording {file}, and this run makes none: run it once where the model is")
    return None


@contextmanager
def _kept_if_complete(file: Path) -> Iterator[Path]:
    """Where to write a file that takes its place when the block ends well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
