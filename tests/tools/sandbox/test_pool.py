"""Workers that wait for sessions."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.sandbox import Bubblewrap, Launched, Limits, Sandbox, SandboxError, SandboxUnavailable
from arriero.tools.sandbox.watcher import process_tree

pytestmark = pytest.mark.anyio


class Counting(Bubblewrap):
    """Bubblewrap that tells whom it started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[int] = []

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        launched = await super().launch(limits, python)
        self.started.append(launched.pid)
        return launched


def gone(pids: list[int]) -> bool:
    return not any(map(alive, pids))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_a_session_takes_a_waiting_worker_and_another_one_is_started() -> None:
    tier = Counting()
    async with Sandbox(tier, warm=2) as sandbox:
        await sandbox.ready()
        assert len(tier.started) == 2
        session = await sandbox.open()
        assert session.pid in tier.started[:2]
        await sandbox.ready()
        assert len(tier.started) == 3


async def test_no_worker_serves_two_sessions() -> None:
    tier = Counting()
    async with Sandbox(tier, warm=2) as sandbox:
        pids = []
        for _ in range(6):
            async with await sandbox.open() as session:
                await session.run("x = 1")
                pids.append(session.pid)
        assert len(set(pids)) == 6


async def test_sessions_opened_at_once_get_workers_of_their_own() -> None:
    async with Sandbox(Bubblewrap(), warm=2) as sandbox:
        pids: list[int] = []

        async def open_one() -> None:
            pids.append((await sandbox.open()).pid)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(open_one)
        assert len(set(pids)) == 5


async def test_a_worker_that_died_while_waiting_is_not_given_out() -> None:
    tier = Counting()
    async with Sandbox(tier, warm=1) as sandbox:
        await sandbox.ready()
        first = process_tree(tier.started[0])[-1]
        os.kill(first, signal.SIGKILL)
        with anyio.fail_after(5):
            while not gone([first]):  # noqa: ASYNC110 - another process sets no event
                await anyio.sleep(0.01)
        session = await sandbox.open()
        execution = await session.run("6 * 7")
        assert (execution.value, execution.state_lost) == ("42", False)


async def test_leaving_ends_waiting_workers_and_sessions_that_were_not_closed() -> None:
    tier = Counting()
    async with Sandbox(tier, warm=2) as sandbox:
        await sandbox.ready()
        session = await sandbox.open()
        await session.run("import subprocess; subprocess.Popen(['sleep', '60'])")
        trees = [pid for started in tier.started for pid in process_tree(started)]
    assert gone(trees)
    with pytest.raises(SandboxError):
        await session.run("1")


async def test_cancelling_what_is_around_leaves_no_process() -> None:
    tier = Counting()
    trees: list[int] = []
    async with anyio.create_task_group() as group:

        async def use() -> None:
            async with Sandbox(tier, warm=1) as sandbox, await sandbox.open() as session:
                await sandbox.ready()
                trees.extend(pid for started in tier.started for pid in process_tree(started))
                group.cancel_scope.cancel()
                await session.run("while True: pass")

        group.start_soon(use)
    assert trees
    assert gone(trees)


async def test_an_exception_inside_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with Sandbox(Bubblewrap(), warm=1) as sandbox:
            await sandbox.open()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_tier_that_fails_is_told_to_who_opens_and_waited_for_by_nobody() -> None:
    async with Sandbox(Bubblewrap("/bin/false"), warm=1) as sandbox:
        with anyio.fail_after(5):
            await sandbox.ready()
        with pytest.raises(SandboxUnavailable, match="bubblewrap"):
            await sandbox.open()


async def test_a_sandbox_must_be_entered() -> None:
    with pytest.raises(SandboxError, match="async with"):
        await Sandbox(Bubblewrap()).open()
    with pytest.raises(ToolDefinitionError, match="warm"):
        Sandbox(Bubblewrap(), warm=-1)
