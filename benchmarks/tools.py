"""What tools cost: the registry's part of a call, and the code interpreter.

    python benchmarks/tools.py [--repeats N] [--json]

The registry: the time of a call of a tool that does nothing, which is all the registry's (bounds, validation,
dispatch, record); and 1,000 calls side by side of a tool that waits for 10 ms, of which anything beyond 10 ms is
the registry's. One core is used. The code interpreter is measured by `benchmarks/interpreter.py`.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolEvent, tool

SIDE_BY_SIDE = 1_000
WAIT_MS = 10.0


@dataclass(frozen=True, slots=True)
class Measure:
    """One number, and what it should be at most."""

    name: str
    value: float
    unit: str
    target: float | None = None


@tool
async def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


@tool(name="double_in_thread")
def double_in_thread(number: int) -> int:
    """Double a number, in a thread.

    Args:
        number: The number.
    """
    return 2 * number


@tool
async def wait(number: int) -> int:
    """Wait.

    Args:
        number: The number.
    """
    await anyio.sleep(WAIT_MS / 1e3)
    return number


async def one_call(registry: Registry, name: str, calls: int) -> float:
    """Median wall time of a call, in microseconds."""
    times = []
    for number in range(calls):
        started = time.perf_counter()
        result = await registry.call(ToolCall(name, {"number": number}))
        times.append((time.perf_counter() - started) * 1e6)
        if result.content != str(2 * number):
            raise SystemExit(f"a call went wrong: {result}")
    return statistics.median(times)


async def side_by_side(registry: Registry) -> tuple[float, float]:
    """Wall time beyond the wait, and CPU time, of calls that run at once, in milliseconds."""
    calls = [ToolCall("wait", {"number": number}) for number in range(SIDE_BY_SIDE)]
    cpu, started = time.process_time(), time.perf_counter()
    results = await registry.call_all(calls)
    taken, used = (time.perf_counter() - started) * 1e3 - WAIT_MS, (time.process_time() - cpu) * 1e3
    if [result.content for result in results] != [str(number) for number in range(SIDE_BY_SIDE)]:
        raise SystemExit("the calls went wrong")
    return taken, used


async def without_registry() -> float:
    """Wall time beyond the wait of as many bare tasks, in milliseconds: what this machine, as busy as it is, allows."""
    started = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(SIDE_BY_SIDE):
            group.start_soon(wait.function, number)
    return (time.perf_counter() - started) * 1e3 - WAIT_MS


async def registry_section(repeats: int) -> list[Measure]:
    """The registry's part of a call."""
    events: list[ToolEvent] = []
    registry = Registry([double, double_in_thread, wait], concurrency=SIDE_BY_SIDE, on_event=events.append)
    await one_call(registry, "double", 200)
    await one_call(registry, "double_in_thread", 200)
    call = await one_call(registry, "double", repeats * 100)
    in_thread = await one_call(registry, "double_in_thread", repeats * 100)
    taken, used = zip(*[await side_by_side(registry) for _ in range(max(3, repeats // 5))], strict=True)
    bare = statistics.median([await without_registry() for _ in taken])
    return [
        Measure("registry, one call", call, "us", 100),
        Measure("registry, one call of a sync tool, with its thread", in_thread, "us"),
        Measure(f"{SIDE_BY_SIDE} calls at once, beyond their {WAIT_MS:g} ms", statistics.median(taken), "ms", 150),
        Measure(f"{SIDE_BY_SIDE} calls at once, CPU", statistics.median(used), "ms"),
        Measure(f"{SIDE_BY_SIDE} bare tasks at once, beyond their {WAIT_MS:g} ms", bare, "ms"),
    ]


def sections() -> Mapping[str, Callable[[int], list[Measure]]]:
    """What is measured, by its name: each takes the number of repeats."""
    found: dict[str, Callable[[int], list[Measure]]] = {
        "registry": lambda repeats: asyncio.run(registry_section(repeats))
    }
    if importlib.util.find_spec("interpreter"):
        measure = importlib.import_module("interpreter").measure  # (name, value, unit, target or None) for each number
        found["interpreter"] = lambda repeats: [Measure(*row) for row in measure(repeats)]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = sections()
    parser.add_argument("section", nargs="*", choices=[*known, []], help="what to measure; all when left out")
    parser.add_argument("--repeats", type=int, default=30, help="how often")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    report = {name: known[name](chosen.repeats) for name in chosen.section or known}
    if chosen.json:
        print(json.dumps({name: [_row(measure) for measure in rows] for name, rows in report.items()}))
        return
    for measure in (measure for rows in report.values() for measure in rows):
        target = "" if measure.target is None else f"  (target: at most {measure.target:g})"
        print(f"{measure.name:<64}{measure.value:>10.1f} {measure.unit}{target}")


def _row(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "value": round(measure.value, 3),
        "unit": measure.unit,
        "target": measure.target,
        "reached": None if measure.target is None else measure.value <= measure.target,
    }


if __name__ == "__main__":
    main()
