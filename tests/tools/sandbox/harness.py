"""Many cases at once: lanes, each with a server and surroundings of its own."""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sandbox.cases import Case
from sandbox.environment import Environment
from sandbox.runner import WALL, CaseRun, reason_to_skip
from sandbox.server_process import ServerLost, ServerProcess
from sandbox.verdict import Miss, Verdict

CONFINED = frozenset({"bubblewrap", "landlock", "wasi"})
"""Tiers in which a dangerous case may run: they have a PID namespace, a hard cap on processes, or no processes."""

_HEAVY = frozenset({"cpu_spin", "fork_bomb", "memory_bomb", "disk_bomb", "output_flood"})
_START, _EACH = 60.0, 15.0

Told = Callable[[Verdict], None]


def run_cases(
    cases: Sequence[Case],
    tier: str,
    *,
    lanes: int | None = None,
    within: float | None = None,
    told: Told = lambda verdict: None,
    stop: threading.Event | None = None,
) -> list[Verdict]:
    """Run cases against the sandbox.

    Light cases run first, those that use up processors, memory or disks after them. A case in which nothing was wrong
    but that it took too long is run again at the end, alone, and that verdict counts.

    Args:
        cases: What to run.
        tier: Name of the tier.
        lanes: How many at once; None for one per processor, two at most.
        within: Seconds for all; None for what so many cases may take. Those that do not get their turn are missed.
        told: Called with each verdict, in whatever thread made it.
        stop: Ends the run early when set, as soon as the cases in progress are cut off.

    Returns:
        The verdicts, in the cases' order.
    """
    lanes = lanes or min(2, os.cpu_count() or 1)
    deadline = time.monotonic() + (within or _START + _EACH * len(cases))
    run = _Run(tier, deadline, told, stop or threading.Event())
    light, heavy = [c for c in cases if not _is_heavy(c)], [c for c in cases if _is_heavy(c)]
    for part in (light, heavy):
        run.part(part, lanes)
    slow = [case for case in cases if run.verdicts[case.id].may_be_slowness]
    run.part(slow, 1, again=True)
    return [run.verdicts[case.id] for case in cases]


def fault_of(tier: str) -> str:
    """Why a tier cannot be used on this machine; "" if it can.

    Args:
        tier: Its name.
    """
    with Environment() as environment:
        try:
            server = ServerProcess(environment, tier, WALL)
        except ServerLost as error:
            return str(error)
        try:
            return server.ask("open", within=_START, session="first").raised
        except ServerLost as error:
            return str(error)
        finally:
            server.stop()


class Lane:
    """A server and what surrounds it; a server that is no longer fit is replaced."""

    def __init__(self, tier: str) -> None:
        self._tier = tier
        self._environment = Environment().__enter__()
        self._server: ServerProcess | None = None

    def run(self, case: Case) -> Verdict:
        """Run one case."""
        try:
            self._server = self._server or ServerProcess(self._environment, self._tier, WALL)
        except ServerLost as error:
            return Verdict(case.id, case.category, "missed", (Miss(f"no server: {error}"),))
        run = CaseRun(case, self._environment, self._server)
        verdict = run.run()
        if not run.server_is_fit:
            self.restart()
        return verdict

    def cut_off(self) -> None:
        """End the case in progress: its server dies."""
        if self._server is not None:
            self._server.kill()

    def restart(self) -> None:
        """Take a new server, with new surroundings, for the next case."""
        self.close()
        self._environment = Environment().__enter__()

    def close(self) -> None:
        """End the server, remove what surrounds it."""
        if self._server is not None:
            self._server.stop()
        self._server = None
        self._environment.__exit__()


class _Run:
    def __init__(self, tier: str, deadline: float, told: Told, stop: threading.Event) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._tier = tier
        self._deadline = deadline
        self._told = told
        self._stop = stop
        self._lanes: list[Lane] = []

    def part(self, cases: Sequence[Case], lanes: int, *, again: bool = False) -> None:
        waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        threads = [
            threading.Thread(target=self._lane, args=(waiting, again), daemon=True)
            for _ in range(min(lanes, len(cases)))
        ]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads)
        except KeyboardInterrupt:
            self._stop.set()
            self._wait(threads)
            raise

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in short bits, so that the main thread hears Ctrl-C
                if self._stop.is_set():
                    for lane in self._lanes:
                        lane.cut_off()

    def _lane(self, waiting: "queue.SimpleQueue[Case]", again: bool) -> None:
        lane = Lane(self._tier)
        self._lanes.append(lane)
        try:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                self._record(self._verdict(lane, case), again)
        finally:
            self._lanes.remove(lane)
            lane.close()

    def _verdict(self, lane: Lane, case: Case) -> Verdict:
        if why := reason_to_skip(case, confined=self._tier in CONFINED):
            return Verdict(case.id, case.category, "skipped", notes=(why,))
        if self._stop.is_set() or time.monotonic() > self._deadline:
            return Verdict(case.id, case.category, "missed", (Miss("not run: the time for all cases was up"),))
        try:
            return lane.run(case)
        except Exception as error:  # a fault of the harness itself fails the case, not the run
            return Verdict(case.id, case.category, "missed", (Miss(f"the harness failed: {error!r}"),))

    def _record(self, verdict: Verdict, again: bool) -> None:
        if again:
            first = self.verdicts[verdict.id]
            verdict = replace(verdict, notes=(*verdict.notes, f"second run; the first: {first.why}"))
        self.verdicts[verdict.id] = verdict
        if not self._stop.is_set() and (again or not verdict.may_be_slowness):
            self._told(verdict)


def _is_heavy(case: Case) -> bool:
    killed = any("killed" in (step.must, *step.also) for step in case.steps)
    return killed or case.category in _HEAVY
