"""Record what an engine said, and replay it.

A recording is a file of JSON lines. The first line describes the model, each further line is one request with its
answer: prompt ids, sampling, deltas, and the error if it ended in one.
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arriero.prompts.grammar.grammar import Grammar
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Engine, Sampling, Usage
from arriero.stack.engines.limits import answer_room
from arriero.stack.errors import EngineError, EngineInterrupted, EngineRejected, EngineUnavailable, ModelNotReadable

_FORMAT = 1
_ERRORS: Mapping[str, type[EngineError]] = {
    kind.__name__: kind
    for kind in (EngineError, EngineInterrupted, EngineRejected, EngineUnavailable, ModelNotReadable)
}


class Recorder:
    """An engine that hands everything on to another one, and writes it down.

    Args:
        engine: The engine to record.
        path: File to write. It must not exist yet.

    Raises:
        EngineError: The file exists or cannot be written.

    Example:
        >>> import anyio, tempfile
        >>> from arriero.models import DEMO
        >>> from arriero.stack.engines.local import TransformersEngine
        >>> async def replayed_is_the_same(path: Path) -> bool:
        ...     recorder = Recorder(TransformersEngine(DEMO), path)
        ...     ids = recorder.tokenizer.encode("Hello")
        ...     said = [delta async for delta in recorder.generate(ids, Sampling(max_tokens=3))]
        ...     engine = RecordedEngine(path, recorder.tokenizer)
        ...     return said == [delta async for delta in engine.generate(ids, Sampling(max_tokens=3))]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     anyio.run(replayed_is_the_same, Path(folder) / "hello.jsonl")
        True
    """

    def __init__(self, engine: Engine, path: str | Path) -> None:
        self._engine = engine
        self._path = Path(path)
        head = {"format": _FORMAT, "model": engine.model, "context_length": engine.context_length}
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(head) + "\n")
        except FileExistsError as error:
            raise EngineError(f"{path} exists: delete it or record to another file") from error
        except OSError as error:
            raise EngineError(f"{path} cannot be written: {error}") from error

    @property
    def model(self) -> str:
        """The recorded engine's model."""
        return self._engine.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The recorded engine's tokenizer."""
        return self._engine.tokenizer

    @property
    def context_length(self) -> int:
        """The recorded engine's context length."""
        return self._engine.context_length

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Let the recorded engine continue `prompt_ids`, and write the request down once it has ended.

        Yields:
            What the recorded engine yields.

        Raises:
            EngineError: Whatever the recorded engine raises.
        """
        answer_room(prompt_ids, sampling, self.context_length)
        prompt = list(prompt_ids)
        said: list[Delta] = []
        failure: EngineError | None = None
        deltas = self._engine.generate(prompt, sampling)
        try:
            async for delta in deltas:
                said.append(delta)
                yield delta
        except EngineError as error:
            failure = error
            raise
        finally:
            if isinstance(deltas, AsyncGenerator):
                await deltas.aclose()
            self._write(prompt, sampling, said, failure)

    async def aclose(self) -> None:
        """Close the recorded engine."""
        await self._engine.aclose()

    def _write(self, prompt: list[int], sampling: Sampling, said: list[Delta], failure: EngineError | None) -> None:
        entry = {
            "prompt_ids": prompt,
            "sampling": dataclasses.asdict(sampling),
            "deltas": [_delta_to_json(delta) for delta in said],
            "error": failure and {"type": _known(failure), "message": str(failure)},
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class RecordedEngine:
    """Replays a recording: the same request gets the same deltas, and the same error.

    A request that was recorded several times gets its answers in the order recorded, then the last one again.

    Args:
        path: The recording.
        tokenizer: The tokenizer of the recorded model.

    Raises:
        EngineError: The file is no recording.
    """

    def __init__(self, path: str | Path, tokenizer: Tokenizer) -> None:
        self._path = Path(path)
        self._tokenizer = tokenizer
        self._prompts: dict[tuple[int, ...], int] = {}
        self._answers: dict[tuple[tuple[int, ...], Sampling], list[_Answer]] = {}
        self._asked: defaultdict[tuple[tuple[int, ...], Sampling], int] = defaultdict(int)
        number = 1
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            head = json.loads(lines[0])
            if head["format"] != _FORMAT:
                raise ValueError(f"format {head['format']} instead of {_FORMAT}")
            self._model: str = head["model"]
            self._context_length: int = head["context_length"]
            for number, line in enumerate(lines[1:], 2):
                self._add(number, json.loads(line))
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise EngineError(f"{path}, line {number} is no recording ({error!r}): record it again") from error

    @property
    def model(self) -> str:
        """The recorded model."""
        return self._model

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer given."""
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """The recorded model's context length."""
        return self._context_length

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Replay the answer to this request.

        Yields:
            The recorded deltas.

        Raises:
            EngineError: The recorded error; or the request was not recorded, or its answer was left before this point.
        """
        answer_room(prompt_ids, sampling, self._context_length)
        key = (tuple(prompt_ids), sampling)
        answers = self._answers.get(key)
        if answers is None:
            raise EngineError(self._difference(*key))
        answer = answers[min(self._asked[key], len(answers) - 1)]
        self._asked[key] += 1
        for delta in answer.deltas:
            yield delta
        if answer.error is not None:
            kind, message = answer.error
            raise kind(message)
        if not answer.deltas or answer.deltas[-1].finish_reason is None:
            raise EngineError(
                f"{self._path}, line {answer.line}: when this was recorded the answer was left after"
                f" {len(answer.deltas)} deltas; record it again to hear more"
            )

    async def aclose(self) -> None:
        """Nothing to release."""

    def _add(self, number: int, entry: Mapping[str, Any]) -> None:
        raw = entry["sampling"]
        grammar = raw.get("grammar") and Grammar(raw["grammar"]["ebnf"], tuple(raw["grammar"]["notes"]))
        sampling = Sampling(**raw | {"stop_ids": tuple(raw["stop_ids"]), "grammar": grammar})
        prompt = tuple(entry["prompt_ids"])
        failure = (_ERRORS[entry["error"]["type"]], entry["error"]["message"]) if entry["error"] else None
        answer = _Answer(number, tuple(_delta_from_json(delta) for delta in entry["deltas"]), failure)
        self._prompts.setdefault(prompt, number)
        self._answers.setdefault((prompt, sampling), []).append(answer)

    def _difference(self, prompt: tuple[int, ...], sampling: Sampling) -> str:
        start = f"{self._path} has no such request"
        if prompt in self._prompts:
            recorded = next(wanted for known, wanted in self._answers if known == prompt)
            differing = ", ".join(
                f"{item.name} {getattr(sampling, item.name)!r} instead of {getattr(recorded, item.name)!r}"
                for item in dataclasses.fields(Sampling)
                if getattr(sampling, item.name) != getattr(recorded, item.name)
            )
            return f"{start}: the prompt is that of line {self._prompts[prompt]}, but with {differing}; record it again"
        if not self._prompts:
            return f"{start}: it is empty; record again"
        nearest = max(self._prompts, key=lambda known: _shared(known, prompt))
        at = _shared(nearest, prompt)
        here, there = (str(ids[at]) if at < len(ids) else "the end" for ids in (prompt, nearest))
        return (
            f"{start}: the nearest prompt (line {self._prompts[nearest]}, {len(nearest)} ids) first differs at id {at}:"
            f" {here} here, {there} recorded; record it again"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    line: int
    deltas: tuple[Delta, ...]
    error: tuple[type[EngineError], str] | None


def _known(failure: EngineError) -> str:
    return next(kind.__name__ for kind in type(failure).__mro__ if kind.__name__ in _ERRORS)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _delta_to_json(delta: Delta) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(delta).items() if value not in (None, ())}


def _delta_from_json(raw: Mapping[str, Any]) -> Delta:
    return Delta(
        tuple(raw.get("token_ids", ())),
        tuple({int(id_): value for id_, value in each.items()} for each in raw.get("logprobs", ())),
        raw.get("finish_reason"),
        Usage(**raw["usage"]) if "usage" in raw else None,
    )
