"""Run by `test_kills`: forks a child for each part of a turn's life, and kills it.

Reads jobs, a line of JSON each, and writes what became of them. The parent imports everything once and opens nothing,
so that a child begins within milliseconds and shares nothing with the others but the log.
"""

import asyncio
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import kill_scenarios

from arriero.stack.events import Event
from arriero.stack.log import open_log

import_module("psycopg")  # children would each import it anew

MOST_ROUNDS = 50
DEADLINE = 60.0
MANY = 1 << 20
OUTCOMES = {10: "won", 11: "busy", 12: "nothing to resume"}


class WatchedLog:
    """A log that ticks around each commit, and dies before or after the n-th one where that is wanted."""

    def __init__(self, inner: Any, notes: kill_scenarios.Notes, plan: dict[str, Any]) -> None:
        self._inner, self._notes, self._plan, self._count = inner, notes, plan, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        self._count += 1
        self._die("before")
        self._notes.tick(kill_scenarios.TICK)
        await self._inner.append(session, turn, seq, events)
        self._die("after")
        self._notes.tick(kill_scenarios.TICK)

    def _die(self, when: str) -> None:
        if self._plan.get(when) == self._count:
            os.kill(os.getpid(), signal.SIGKILL)


def live(job: dict[str, Any], plan: dict[str, Any], number: int, progress: int) -> int:
    """A child's life: 0 when the turn is over."""
    notes = kill_scenarios.Notes(job["notes"], job["session"], number, lambda tick: os.write(progress, tick) and None)

    async def main() -> None:
        log = WatchedLog(open_log(job["log"]), notes, plan)
        notes.write("finished", text=await kill_scenarios.live(job["scenario"], log, notes))
        await log.aclose()

    try:
        asyncio.run(main())
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def round_of(job: dict[str, Any], plan: dict[str, Any], number: int) -> int:
    """Fork a child, kill it by plan. Gives its exit code, -9 when it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(live(job, plan, number, writing))
    os.close(writing)
    end = time.monotonic() + plan.get("seconds", DEADLINE)
    ticks = runs = 0
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        heard = os.read(reading, plan.get("ticks", MANY) - ticks) if ready else b""
        ticks, runs = ticks + len(heard), runs + heard.count(kill_scenarios.TOOL_RAN)
        if ready and not heard:
            break
        if not ready or ticks >= plan.get("ticks", MANY) or runs >= plan.get("runs", MANY):
            os.kill(pid, signal.SIGKILL)
            break
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def rounds_of(job: dict[str, Any]) -> dict[str, Any]:
    kills = 0
    for number in range(MOST_ROUNDS):
        plans = job["plans"]
        code = round_of(job, plans[number] if number < len(plans) else {}, number)
        if code != -signal.SIGKILL:
            return {"session": job["session"], "kills": kills, "rounds": number + 1, "code": code}
        kills += 1
    return {"session": job["session"], "kills": kills, "rounds": MOST_ROUNDS, "code": None}


def race(job: dict[str, Any]) -> dict[str, Any]:
    """Kill a turn, then let several children resume it at the same time. Gives how each came out of it."""
    killed = round_of(job, job["plans"][0], 0)
    starting, shots = os.pipe()
    pids = []
    for number in range(job["together"]):
        pid = os.fork()
        if pid == 0:
            os.close(shots)
            os.read(starting, 1)  # all of them wait for the end of this pipe
            os._exit(_resumed(job, number + 1))
        pids.append(pid)
    os.close(starting)
    os.close(shots)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {"session": job["session"], "killed": killed, "outcomes": [OUTCOMES.get(code, code) for code in codes]}


def _resumed(job: dict[str, Any], number: int) -> int:
    notes = kill_scenarios.Notes(job["notes"], job["session"], number)
    codes = {outcome: code for code, outcome in OUTCOMES.items()}

    async def main() -> int:
        log = open_log(job["log"])
        outcome = await kill_scenarios.resume_once(job["scenario"], log, notes)
        await log.aclose()
        return codes[outcome]

    try:
        return asyncio.run(main())
    except BaseException:
        traceback.print_exc()
        return 1


def warm_up() -> None:
    """Do everything once, so that children need not: compile templates, make vocabularies."""

    async def once() -> None:
        for name in kill_scenarios.SCENARIOS:
            log = open_log(":memory:")
            await kill_scenarios.live(name, log, kill_scenarios.Notes(os.devnull, name))
            await log.aclose()

    asyncio.run(once())


def main() -> None:
    warm_up()
    for line in sys.stdin:
        job = json.loads(line)
        done = race(job) if "together" in job else rounds_of(job)
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
