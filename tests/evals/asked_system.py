"""A system under test that does what its questions say, and writes down what it was asked."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.lowlevel

from arriero.evals.items import Passage, Question, QuestionSet
from arriero.evals.systems.system import Answer
from arriero.stack.errors import ContextTooLong, EngineRejected, EngineUnavailable


class AskedSystem:
    """Answers `answer to ID`; a question whose text begins with `fail` fails as it says.

    Args:
        log: File that gets a line for each question that is asked.
        go: File that must exist before a question whose text begins with `wait` is answered.
        model: Decides its answers, as its fingerprint says.
    """

    name = "asked"

    def __init__(self, log: Path | None = None, go: Path | None = None, model: str = "m") -> None:
        self.log, self.go = log, go
        self.fingerprint: Mapping[str, object] = {"kind": "test", "model": model}
        self.asked: Counter[tuple[str, int | None]] = Counter()
        self.running = self.most_running = 0
        self.down = False

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        self.asked[question.id, seed] += 1
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{question.id}\n")
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await anyio.lowlevel.checkpoint()
            return await self._answer(question)
        finally:
            self.running -= 1

    async def _answer(self, question: Question) -> Answer:
        if self.down or question.question.startswith("fail unavailable"):
            raise EngineUnavailable("nothing answers there")
        if question.question.startswith("fail rejected"):
            raise EngineRejected("refused (400)")
        if question.question.startswith("fail long"):
            raise ContextTooLong(9, 8)
        if question.question.startswith("fail bug"):
            raise KeyError("a bug of the system")
        while question.question.startswith("wait") and self.go is not None and not self.go.exists():  # noqa: ASYNC110
            await anyio.sleep(0.005)
        return Answer(question.id, f"answer to {question.id}", passages=(Passage("p", "Mules eat hay."),))

    async def aclose(self) -> None:
        return


def questions(*texts: str) -> QuestionSet:
    """Questions `q0`, `q1` and so on."""
    return QuestionSet("asked", tuple(Question(f"q{number}", text) for number, text in enumerate(texts)))
