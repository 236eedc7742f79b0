"""A log that fails, or ends its process, at one of its commits."""

import os
import signal
from collections.abc import Sequence
from typing import Literal

from arriero.stack.events import Event
from arriero.stack.log import EventLog, LogError, Record, TurnSummary


class FailingLog:
    """Wraps a log, and counts its commits: calls of `append`.

    Args:
        inner: The log.
        at: Which commit, from 1; 0 for none.
        when: Before anything of it is written, or after all of it is.
        how: Raise `LogError`, or end the process as `kill -9` would.
        times: How many commits fail, one after the other.
    """

    def __init__(
        self,
        inner: EventLog,
        at: int = 0,
        when: Literal["before", "after"] = "before",
        how: Literal["raise", "kill"] = "raise",
        times: int = 1,
    ) -> None:
        self.inner = inner
        self.at = at
        self.when = when
        self.how = how
        self.times = times
        self.commits = 0

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        self.commits += 1
        fails = self.at <= self.commits < self.at + self.times and self.at > 0
        if fails and self.when == "before":
            self._fail()
        await self.inner.append(session, turn, seq, events)
        if fails:
            self._fail()

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        return await self.inner.read(session, turn)

    async def length(self, session: str) -> int:
        return await self.inner.length(session)

    async def take(self, session: str) -> None:
        await self.inner.take(session)

    async def release(self, session: str) -> None:
        await self.inner.release(session)

    async def turns(self, session: str | None = None) -> list[TurnSummary]:
        return await self.inner.turns(session)

    async def fork(self, session: str, seq: int, into: str) -> None:
        await self.inner.fork(session, seq, into)

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _fail(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise LogError(f"commit {self.commits} fails here, as the test wants")
