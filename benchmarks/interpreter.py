"""What the code interpreter costs: calls, sessions, memory; beside smolagents' executor and a Jupyter kernel.

    python benchmarks/interpreter.py [--peers ENVIRONMENT] [--repeats N] [--json]

ENVIRONMENT is a virtual environment with `smolagents`, `jupyter_client` and `ipykernel` in it; without one, only ours
is measured. Calls run `x += 1`. A session's time is until its first call has answered. Imports of numpy and pandas are
in none of the numbers. Note that smolagents' executor is no sandbox: it interprets in the caller's own process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread

from arriero.tools.sandbox import Bubblewrap, Sandbox
from arriero.tools.sandbox.watcher import memory_of, process_tree

Row = tuple[str, float, str, float | None]
"""Name, value, unit, and what the value should be at most, where something is promised."""

SESSIONS = 50
CODE = "x += 1"

SMOLAGENTS = """
import json, statistics, time
from smolagents.local_python_executor import LocalPythonExecutor
started = time.perf_counter()
executor = LocalPythonExecutor([])
executor.send_tools({})
executor("x = 1")
ready = time.perf_counter() - started
times = []
for _ in range(REPEATS):
    started = time.perf_counter()
    executor("x += 1")
    times.append(time.perf_counter() - started)
print(json.dumps([ready, statistics.median(times)]))
"""
JUPYTER = """
import json, statistics, time
from jupyter_client.manager import start_new_kernel
started = time.perf_counter()
manager, client = start_new_kernel()
client.execute_interactive("x = 1", timeout=60)
ready = time.perf_counter() - started
times = []
for _ in range(REPEATS):
    started = time.perf_counter()
    client.execute_interactive("x += 1", timeout=60)
    times.append(time.perf_counter() - started)
client.stop_channels()
manager.shutdown_kernel(now=True)
print(json.dumps([ready, statistics.median(times)]))
"""


def measure(repeats: int = 200) -> list[Row]:
    """Measure ours.

    Args:
        repeats: Calls to take the median of; sessions are a tenth of it.

    Returns:
        The numbers.
    """
    return anyio.run(_ours, repeats)


def measure_peers(environment: Path, repeats: int) -> list[Row]:
    """Measure the others.

    Args:
        environment: Where they are installed.
        repeats: Calls to take the median of.

    Returns:
        The numbers.
    """
    rows: list[Row] = []
    for name, program in (("smolagents' LocalPythonExecutor", SMOLAGENTS), ("a Jupyter kernel", JUPYTER)):
        code = program.replace("REPEATS", str(repeats))
        done = subprocess.run(
            [str(environment / "bin" / "python"), "-c", code], capture_output=True, text=True, timeout=300
        )
        if done.returncode != 0:
            raise SystemExit(f"{name} could not be measured in {environment}:\n{done.stderr.strip()[-2_000:]}")
        ready, call = json.loads(done.stdout.splitlines()[-1])
        rows += [(f"{name}: new session", ready * 1e3, "ms", None), (f"{name}: call, median", call * 1e3, "ms", None)]
    return rows


async def _ours(repeats: int) -> list[Row]:
    sessions = max(5, repeats // 10)
    async with Sandbox(Bubblewrap(), warm=0) as sandbox:
        cold = [await _opened(sandbox) for _ in range(sessions)]
        async with await sandbox.open() as session:
            await session.run("x = 1")
            calls = []
            for _ in range(repeats):
                started = time.perf_counter()
                execution = await session.run(CODE)
                calls.append(time.perf_counter() - started)
            assert execution.status == "completed"
    warm = []
    async with Sandbox(Bubblewrap(), warm=1) as sandbox:
        for _ in range(sessions):
            await sandbox.ready()
            warm.append(await _opened(sandbox))
    return [
        ("code interpreter: call in a session, median", _median_ms(calls), "ms", 2.0),
        ("code interpreter: new session with a waiting worker, median", _median_ms(warm), "ms", 20.0),
        ("code interpreter: new session without, median", _median_ms(cold), "ms", 150.0),
        (f"code interpreter: {SESSIONS} live sessions", await _memory(), "MB", 2_500.0),
    ]


async def _opened(sandbox: Sandbox) -> float:
    started = time.perf_counter()
    async with await sandbox.open() as session:
        await session.run("x = 1")
        return time.perf_counter() - started


async def _memory() -> float:
    async with Sandbox(Bubblewrap(), warm=0) as sandbox:
        pids: list[int] = []
        for _ in range(SESSIONS):
            session = await sandbox.open()
            await session.run("x = 1")
            pids += process_tree(session.pid)
        return await anyio.to_thread.run_sync(memory_of, pids) / 1e6


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, metavar="ENVIRONMENT", help="where the others are installed")
    parser.add_argument("--repeats", type=int, default=200, help="calls to take the median of")
    parser.add_argument("--json", action="store_true", help="write one JSON array")
    options = parser.parse_args()
    rows = measure(options.repeats)
    if options.peers is not None:
        rows += measure_peers(options.peers, options.repeats)
    if options.json:
        json.dump([dict(zip(("name", "value", "unit", "target"), row, strict=True)) for row in rows], sys.stdout)
        return
    for name, value, unit, target in rows:
        promised = "" if target is None else f"  (target: at most {target:g})"
        print(f"{name:<64}{value:>10.2f} {unit}{promised}")


if __name__ == "__main__":
    main()
