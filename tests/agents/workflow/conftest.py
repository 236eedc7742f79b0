"""What tests of workflows share: each that has a log runs on both stores."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arriero.stack.log import DatabaseLog, SQLiteLog, open_log

STORES = ["sqlite", "postgres"]


def _schema(request: pytest.FixtureRequest) -> str:
    return f"{request.getfixturevalue('postgres_dsn')}?schema=test_{secrets.token_hex(6)}"


@pytest.fixture(params=STORES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty log may be opened, any number of times, from any process."""
    return str(tmp_path / "shared.sqlite") if request.param == "sqlite" else _schema(request)


@pytest.fixture(params=STORES)
async def log(request: pytest.FixtureRequest) -> AsyncIterator[DatabaseLog]:
    """An empty log of this process."""
    log = SQLiteLog(":memory:") if request.param == "sqlite" else open_log(_schema(request))
    yield log
    await log.aclose()
