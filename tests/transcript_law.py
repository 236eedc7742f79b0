"""A law that holds in every test of the suite: what was sent and received is never changed, unless the log says so."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from arriero.stack.log import LogError
from arriero.stack.prefixes import prefix_violations
from arriero.stack.sessions import Sessions
from arriero.stack.tape import Tape


@pytest.fixture(autouse=True)
def transcripts_only_grow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks at a session's whole log whenever a turn of it has ended."""
    wrong: list[str] = []
    opened = Sessions.open

    @asynccontextmanager
    async def looked_at(self: Sessions, session: str) -> AsyncIterator[Tape]:
        async with opened(self, session) as tape:
            try:
                yield tape
            finally:
                with anyio.CancelScope(shield=True), suppress(LogError):
                    wrong.extend(f"{session}: {problem}" for problem in prefix_violations(await self.log.read(session)))

    monkeypatch.setattr(Sessions, "open", looked_at)
    yield
    assert not wrong
