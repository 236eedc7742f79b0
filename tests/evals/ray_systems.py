"""What workers of a cluster import: a system that tells where it answered, and can be made to kill its worker."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asked_system import AskedSystem

from arriero.evals.items import Question
from arriero.evals.systems.system import Answer


class OnWorker(AskedSystem):
    """Answers with the worker's process id. A question `kill` kills its first worker."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "asked", home / "go", model="worker")
        self._killed = home / "killed"

    async def _answer(self, question: Question) -> Answer:
        if question.question == "kill" and not self._killed.exists():
            self._killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super()._answer(question)
        return Answer(question.id, f"{answer.text} by {os.getpid()}", passages=answer.passages)


@asynccontextmanager
async def on_worker(home: Path) -> AsyncIterator[OnWorker]:
    """A system in a worker."""
    yield OnWorker(home)


@asynccontextmanager
async def unusable() -> AsyncIterator[OnWorker]:
    """A system that cannot be opened."""
    from arriero.stack.errors import ModelNotReadable

    raise ModelNotReadable("there is no model there")
    yield
