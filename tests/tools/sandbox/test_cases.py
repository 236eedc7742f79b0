"""Every case holds in the bubblewrap tier."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from sandbox.cases import BUNDLED, MORE, Case, read_cases
from sandbox.harness import run_cases
from sandbox.verdict import Verdict

pytestmark = pytest.mark.sandbox

TOOLS = Path(__file__).resolve().parents[1]
OF_AN_ORDINARY_USER = ("fs_read.proc_mem", "fs_read.proc_fds", "disk.inodes_tmp", "sig.kill_all", "ok.spawned_pool")
CASES = [*read_cases(BUNDLED), *read_cases(MORE)]


class Running:
    """A run in the background, whose verdicts are fetched one by one."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._verdicts: dict[str, Future[Verdict]] = {case.id: Future() for case in cases}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(cases,), name="cases")
        self._thread.start()

    def verdict(self, case: Case) -> Verdict:
        return self._verdicts[case.id].result()  # the run itself ends in bounded time

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, cases: Sequence[Case]) -> None:
        try:
            run_cases(cases, "bubblewrap", told=self._told, stop=self._stop)
        finally:
            for verdict in self._verdicts.values():
                verdict.cancel()

    def _told(self, verdict: Verdict) -> None:
        self._verdicts[verdict.id].set_result(verdict)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    chosen = {item.name for item in request.session.items}
    run = Running([case for case in CASES if f"test_the_case_holds[{case.id}]" in chosen])
    yield run
    run.stop()


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_case_holds(case: Case, running: Running) -> None:
    verdict = running.verdict(case)
    if verdict.outcome == "skipped":
        pytest.skip(verdict.why)  # for another machine
    assert verdict.outcome == "passed", f"{case.why} {verdict.why}"


def test_the_worker_of_a_server_that_is_no_root_is_held_too(tmp_path: Path) -> None:
    lines = [
        line for line in MORE.read_text(encoding="utf-8").splitlines() if json.loads(line)["id"] in OF_AN_ORDINARY_USER
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*ordinary, sys.executable, "-m", "sandbox", str(tmp_path / "cases.jsonl"), "--json"],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] == len(OF_AN_ORDINARY_USER)
