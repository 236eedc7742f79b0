"""Which tier is used is decided by what code in it can do."""

import json
import logging
import os
import shutil
from pathlib import Path

import anyio.to_thread
import pytest

from arriero.tools import ToolDefinitionError
from arriero.tools.sandbox import Bubblewrap, Tier, Unsafe
from arriero.tools.sandbox.canaries import TierReport, probe
from arriero.tools.sandbox.choose import NoSandbox, choose_tier, probe_tiers
from arriero.tools.sandbox.landlock import Landlock
from sandbox.servers import NO_LANDLOCK, python, python_of_an_ordinary_user

pytestmark = pytest.mark.anyio
NAMES = [
    "benign code",
    "host file",
    "write outside",
    "network",
    "environment",
    "processes and threads",
    "memory",
    "wall time",
]
CHOOSE = """
import anyio, json
from arriero.tools.sandbox.choose import NoSandbox, choose_tier
try:
    choice = anyio.run(choose_tier)
    print(json.dumps([choice.tier.name, [[report.tier, report.ok, report.reason] for report in choice.reports]]))
except NoSandbox as error:
    print(json.dumps([None, str(error)]))
"""


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("tier", [Bubblewrap(), Landlock()], ids=lambda tier: tier.name)
async def test_every_canary_holds_in_a_real_sandbox(tier: Tier) -> None:
    report = await probe(tier)
    assert report.ok, report.reason
    assert report.reason == ""
    assert [canary.name for canary in report.canaries] == NAMES
    assert all(canary.ok and canary.detail for canary in report.canaries)


async def test_without_a_sandbox_the_canaries_break_out() -> None:
    report = await probe(Unsafe())
    broken = {canary.name: canary.detail for canary in report.canaries if not canary.ok}
    assert not report.ok
    assert broken.keys() >= {"host file", "write outside", "network"}
    assert broken["network"] == "a listener on this machine was reached"
    assert all(f"{name} ({detail})" in report.reason for name, detail in broken.items())


async def test_bubblewrap_comes_first() -> None:
    choice = await choose_tier()
    assert choice.safe
    assert choice.tier.name == "bubblewrap"
    assert [report.tier for report in choice.reports] == ["bubblewrap"]


async def test_a_report_is_kept_for_the_process() -> None:
    first, second = await choose_tier(), await choose_tier()
    assert first.reports[0] is second.reports[0]
    assert (await probe_tiers())[0] is first.reports[0]


async def test_without_bwrap_in_path_it_is_landlock_and_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choice = await choose_tier()
    assert choice.tier.name == "landlock"
    assert "apt-get install bubblewrap" in choice.reports[0].reason
    assert choice.reports[1].ok


async def test_a_bwrap_that_may_not_make_namespaces_gives_way_to_landlock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path, "bwrap", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    choice = await choose_tier()
    assert choice.tier.name == "landlock"
    assert "No permissions to create new namespace" in choice.reports[0].reason


async def test_a_bwrap_that_confines_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "bwrap", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    choice = await choose_tier()
    assert choice.tier.name == "landlock"
    assert not choice.reports[0].ok


async def test_where_no_tier_holds_the_error_has_every_reason_and_the_remedy() -> None:
    with pytest.raises(NoSandbox) as failure:
        await choose_tier(candidates=[Bubblewrap("/nowhere/bwrap"), Unsafe()])
    assert isinstance(failure.value, ToolDefinitionError)
    text = str(failure.value)
    assert "bubblewrap: " in text
    assert "/nowhere/bwrap" in text
    assert "none: it does not hold: host file" in text
    assert "apt-get install bubblewrap" in text
    assert "allow_unsafe=True" in text


async def test_code_runs_unsafely_only_if_that_is_asked_for_and_then_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "arriero"):
        choice = await choose_tier(candidates=[Bubblewrap("/nowhere/bwrap")], allow_unsafe=True)
    assert not choice.safe
    assert choice.tier.name == "none"
    assert "without a sandbox" in caplog.text
    assert "/nowhere/bwrap" in caplog.text


async def test_a_sandbox_that_holds_is_used_though_none_would_be_allowed() -> None:
    assert (await choose_tier(allow_unsafe=True)).safe


async def test_an_ordinary_user_gets_bubblewrap_too() -> None:
    assert json.loads(await anyio.to_thread.run_sync(python_of_an_ordinary_user, CHOOSE)) == [
        "bubblewrap",
        [["bubblewrap", True, ""]],
    ]


async def test_an_ordinary_user_without_bwrap_gets_landlock() -> None:
    code = f"import os; os.environ['PATH'] = '/nowhere'\n{CHOOSE}"
    chosen, reports = json.loads(await anyio.to_thread.run_sync(python_of_an_ordinary_user, code))
    assert chosen == "landlock"
    assert reports[1] == ["landlock", True, ""]


async def test_on_a_kernel_with_neither_nothing_is_chosen() -> None:
    code = f"import os; os.environ['PATH'] = '/nowhere'\n{NO_LANDLOCK}\n{CHOOSE}"
    chosen, error = json.loads(await anyio.to_thread.run_sync(python, code))
    assert chosen is None
    assert "bwrap is not installed" in error
    assert "the kernel has no Landlock" in error


async def test_a_tier_that_does_not_start_is_reported_and_not_raised(tmp_path: Path) -> None:
    assert await probe(Bubblewrap(str(tmp_path / "bwrap"))) == TierReport(
        "bubblewrap", False, (), f"bwrap cannot be started: [Errno 2] No such file or directory: '{tmp_path}/bwrap'"
    )


async def test_canaries_leave_nothing_behind() -> None:
    before = set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))
    await probe(Landlock())
    left = (set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))) - before
    assert not {name for name in left if name.startswith(("arriero-canary-",))}


def test_bwrap_is_there_for_these_tests() -> None:
    assert shutil.which("bwrap"), "run apt-get install bubblewrap"
