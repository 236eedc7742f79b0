"""What tests of logs share: each runs on both stores."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arriero.stack.log import DatabaseLog, open_log


@pytest.fixture(params=["sqlite", "postgres"])
def log_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty log may be opened, any number of times, from any process: a file, or a schema in PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    return f"{request.getfixturevalue('postgres_dsn')}?schema=test_{secrets.token_hex(6)}"


@pytest.fixture
async def event_log(log_address: str) -> AsyncIterator[DatabaseLog]:
    """An empty log."""
    log = open_log(log_address)
    yield log
    await log.aclose()
