"""A run on a Ray cluster on this machine. It has one node: `tests/agents/test_cluster.py` has two."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
import ray
from asked_system import questions
from ray.cluster_utils import Cluster
from ray_systems import on_worker, unusable
from typer.testing import CliRunner

from arriero.agents.cluster import ClusterUnavailable
from arriero.cli import app
from arriero.evals.runs import RunFolder
from arriero.evals.runs.cluster import connected, on_ray
from arriero.evals.runs.running import run_system
from arriero.stack.errors import ModelNotReadable

pytestmark = pytest.mark.anyio

NODE = {
    "num_cpus": 2,
    "object_store_memory": 80 * 1024 * 1024,
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
    "node_ip_address": "127.0.0.1",
}


@pytest.fixture(scope="module")
def one_node() -> Iterator[str]:
    """Address of a cluster, to which this program is connected."""
    with (
        TemporaryDirectory(prefix="ray", dir="/tmp") as folder,  # paths of sockets have to be short
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where workers find the system
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # else it leaves the loopback interface
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"temp_dir": folder})
        try:
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster.address
        finally:
            ray.shutdown()
            cluster.shutdown()


def test_a_cluster_that_is_not_there_is_a_typed_error() -> None:
    with pytest.raises(ClusterUnavailable, match="ray start"), connected("127.0.0.1:1"):
        pass


@pytest.mark.usefixtures("one_node")
async def test_a_worker_that_dies_loses_no_question_and_answers_none_twice(tmp_path: Path) -> None:
    asked = questions(*["?"] * 9, "kill", "fail long", *["?"] * 9)
    with anyio.fail_after(90):
        async with on_ray(partial(on_worker, tmp_path), workers=2, concurrency=2) as system:
            folder = await run_system(tmp_path / "run", system, asked, concurrency=4, progress=False)
    assert (tmp_path / "killed").exists()
    lines = (tmp_path / "run" / "answers.jsonl").read_text().splitlines()
    assert len(lines) == len(asked.questions)
    answers = folder.answered().answers
    assert {answer.question_id for answer in answers if answer.error is not None} == {"q10"}
    texts = [answer.text for answer in answers if answer.error is None]
    assert all(text.startswith("answer to q") for text in texts)
    assert len({text.rsplit(" ", 1)[1] for text in texts}) >= 2
    assert folder.head.system == {"kind": "test", "model": "worker"}


@pytest.mark.usefixtures("one_node")
async def test_a_system_that_cannot_be_opened_is_the_runs_error() -> None:
    with anyio.fail_after(90), pytest.raises(ModelNotReadable, match="no model there"):
        async with on_ray(unusable, workers=1):
            pass


@pytest.mark.usefixtures("one_node")
def test_the_command_answers_on_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"id": "a", "question": "A?"}\n{"id": "b", "question": "B?"}\n')
    (tmp_path / "said.jsonl").write_text('{"id": "a", "answer": "one"}\n{"id": "b", "answer": "two"}\n')
    options = ["--answers", tmp_path / "said.jsonl", "--out", tmp_path / "run", "--judge", "none"]
    ray_options = ["--ray", "auto", "--workers", 1]
    done = CliRunner().invoke(app, ["eval", "run", *map(str, [tmp_path / "asked.jsonl", *options, *ray_options])])
    assert done.exit_code == 0, done.output
    assert [item.response for item in RunFolder.open(tmp_path / "run").items()] == ["one", "two"]
