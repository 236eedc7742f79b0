"""One agent over many inputs on a Ray cluster of two nodes, on this machine."""

import os
import re
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import crew
import pytest
import ray
from ray.cluster_utils import Cluster

from arriero.agents.cluster import ClusterUnavailable, LogNotShared, RemoteError, WorkersLost, map_on_ray
from arriero.agents.map import Mapped
from arriero.prompts.errors import UnknownDialect
from arriero.stack.events import CallStarted, StepFinished, TurnFinished
from arriero.stack.log import open_log
from arriero.stack.terms import InvalidLimit

pytestmark = pytest.mark.anyio

QUESTIONS = [f"What of mule {mule}?" for mule in range(crew.MULES)]
NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 1024 * 1024,
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
    "node_ip_address": "127.0.0.1",
}
PATIENCE = 90.0


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """Address of a cluster, to which this program is connected."""
    with (
        TemporaryDirectory(prefix="ray", dir="/tmp") as folder,  # paths of sockets have to be short
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where workers find `crew`
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # else it leaves the loopback interface
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"temp_dir": folder})
        try:
            cluster.add_node(**NODE)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster.address
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(params=["sqlite", "postgres"])
def shared_log(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty log."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    return f"{request.getfixturevalue('postgres_dsn')}?schema=crew_{secrets.token_hex(6)}"


async def lines_of(path: Path, enough: int) -> list[list[str]]:
    """Lines that workers write to a file, once there are enough of them."""
    found: list[str] = []
    with anyio.fail_after(PATIENCE):
        while len(found) < enough:
            await anyio.sleep(0.05)
            found = (await anyio.Path(path).read_text()).splitlines() if await anyio.Path(path).exists() else []
    return [line.split() for line in found]


async def test_a_program_that_is_not_connected_is_told_so() -> None:
    with pytest.raises(ClusterUnavailable, match=r"ray\.init"):
        await map_on_ray(crew.make_agent, QUESTIONS, open_stack=crew.in_memory, progress=False)


@pytest.mark.usefixtures("two_nodes")
async def test_a_killed_workers_items_are_finished_by_others_and_each_once(shared_log: str, tmp_path: Path) -> None:
    items = []

    async def run() -> None:
        items.extend(await mapped(shared_log, tmp_path, workers=2, concurrency=3, options={"num_cpus": 1}))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            begun = await lines_of(tmp_path / "begun", 4)  # more than one worker runs at once
            killed = begun[0][0]
            os.kill(int(killed), signal.SIGKILL)
            (tmp_path / "go").touch()
    assert [item.output for item in items] == [f"Mule {mule} is weighed." for mule in range(crew.MULES)]
    ended = await lines_of(tmp_path / "ended", crew.MULES)
    assert Counter(mule for _, mule, _, _ in ended) == {str(mule): 1 for mule in range(crew.MULES)}
    assert killed not in {pid for pid, *_ in ended}
    begun = await lines_of(tmp_path / "begun", crew.MULES)
    assert len({node for *_, node in begun}) == 2
    often = Counter(mule for _, mule, _, _ in begun)
    assert max(often.values()) == 2, "no call was interrupted"
    assert len({(mule, key) for _, mule, key, _ in begun}) == crew.MULES
    await check_log(shared_log, [item.session for item in items])


def mapped(log: str, folder: Path, questions: Sequence[str] = QUESTIONS, **settings: Any) -> Mapped[str]:
    """A map that has a name, over one log."""
    open_stack = partial(crew.opening, log)
    settings = {"workers": 1, "name": "loads", "deps": folder, "progress": False} | settings
    return map_on_ray(crew.make_agent, questions, open_stack=open_stack, **settings)


async def check_log(address: str, sessions: list[str]) -> None:
    """Each session has one turn, which was finished once and whose steps were run once."""
    log = open_log(address)
    assert sorted({turn.session for turn in await log.turns()}) == sorted(sessions)
    for session in sessions:
        events = [record.event for record in await log.read(session)]
        ends = [event for event in events if isinstance(event, TurnFinished)]
        assert [end.reason for end in ends] == ["answer"]
        assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2]
        assert any(isinstance(event, CallStarted) for event in events)
    await log.aclose()


@pytest.mark.usefixtures("two_nodes")
async def test_a_map_that_is_cancelled_ends_its_workers_and_goes_on_under_its_name(tmp_path: Path) -> None:
    log = str(tmp_path / "events.sqlite")
    (tmp_path / "go 0").touch()

    async def run() -> None:
        async for _ in mapped(log, tmp_path, QUESTIONS[:2]):
            first.set()

    with anyio.fail_after(PATIENCE):
        first = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await first.wait()
            begun = await lines_of(tmp_path / "begun", 2)
            group.cancel_scope.cancel()
        for pid, *_ in begun:
            while await anyio.Path(f"/proc/{pid}").exists():  # noqa: ASYNC110  it is Ray that ends it
                await anyio.sleep(0.05)
        (tmp_path / "go").touch()
        items = await mapped(log, tmp_path, QUESTIONS[1:3] + QUESTIONS[:1])
    assert [(item.state, item.known) for item in items] == [("finished", number == 2) for number in range(3)]
    assert len(await lines_of(tmp_path / "ended", 3)) == 3


@pytest.mark.usefixtures("two_nodes")
async def test_items_fail_alone_whatever_becomes_of_their_worker(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with anyio.fail_after(PATIENCE):
        questions = [QUESTIONS[0], f"What of mule {crew.DEADLY}?", QUESTIONS[1], "mule " * 2000]
        log = str(tmp_path / "events.sqlite")
        first, deadly, last, long = await mapped(log, tmp_path, questions, concurrency=1, attempts=1)
    assert (first.state, last.state) == ("finished", "finished")
    assert (deadly.state, type(deadly.error)) == ("failed", WorkersLost)
    assert "a worker died over input 1, 1 times in all" in str(deadly.error)
    assert type(long.error) is RemoteError  # the error has a constructor of its own
    assert str(long.error).startswith("ContextTooLong: the prompt has")


@pytest.mark.usefixtures("two_nodes")
async def test_a_stack_that_cannot_be_opened_is_the_maps_error() -> None:
    with anyio.fail_after(PATIENCE), pytest.raises(UnknownDialect):
        await map_on_ray(crew.make_agent, QUESTIONS, open_stack=crew.failing_opening, workers=1)


@pytest.mark.usefixtures("two_nodes")
async def test_a_log_in_memory_is_refused() -> None:
    with anyio.fail_after(PATIENCE), pytest.raises(LogNotShared, match="PostgreSQL"):
        await map_on_ray(crew.make_agent, QUESTIONS, open_stack=crew.in_memory, workers=1)


@pytest.mark.usefixtures("two_nodes")
async def test_a_cluster_without_room_is_a_typed_error() -> None:
    mapped = map_on_ray(
        crew.make_agent,
        QUESTIONS,
        open_stack=crew.in_memory,
        options={"num_cpus": 64},
        ready_within=0.5,
        progress=False,
    )
    with anyio.fail_after(PATIENCE), pytest.raises(ClusterUnavailable, match=r"ready within 0\.5 s.*64"):
        await mapped


@pytest.mark.parametrize("what", ["workers", "concurrency", "attempts"])
async def test_a_number_of_nothing_is_refused(what: str) -> None:
    with pytest.raises(InvalidLimit, match=what):
        map_on_ray(crew.make_agent, QUESTIONS, open_stack=crew.in_memory, **{what: 0})


async def test_the_program_of_the_docs_runs(two_nodes: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text("utf-8")
    (program,) = re.findall(r"^```python cluster\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"RAY_ADDRESS": two_nodes}, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
