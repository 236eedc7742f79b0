"""Agents in agents under `kill -9`, after one commit and another, of either turn, on both stores."""

import secrets
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from scripted import kinds

from arriero.stack.log import open_log

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_no_step_of_either_turn_is_run_twice_and_no_payment_is_made_twice(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = str(tmp_path / "log.sqlite")
    if store == "postgres":
        address = f"{request.getfixturevalue('postgres_dsn')}?schema=test_{secrets.token_hex(6)}"
    notes = tmp_path / "notes"
    notes.touch()
    script = Path(__file__).with_name("killed_helper.py")
    with anyio.fail_after(120):
        done = await anyio.run_process([sys.executable, str(script), address, str(notes)], check=False)
    *_, text, kills = done.stdout.decode().splitlines()
    assert (text, done.returncode) == ("All done.", 0), done.stderr.decode()
    assert int(kills) >= 5
    log = open_log(address)
    nested = {turn.session for turn in await log.turns()} - {"s1"}
    assert len(nested) == 1
    told = {name: Counter(kinds([record.event for record in await log.read(name)])) for name in ("s1", *nested)}
    await log.aclose()
    assert [told[name]["StepFinished"] for name in ("s1", *nested)] == [2, 3]
    assert [told[name]["TurnFinished"] for name in ("s1", *nested)] == [1, 1]
    ran = notes.read_text().splitlines()
    assert sum(line.startswith("pay") for line in ran) == 1
    assert len({line for line in ran if line.startswith("put")}) == 1  # always with the same key
