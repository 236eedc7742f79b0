"""`kill -9` in the middle of turns, at random moments and at each commit, then `resume`, until they are over.

ARRIERO_KILLS sets how many kills at random moments there are on each store.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from kill_scenarios import SCENARIOS, Notes, fingerprint, live
from turn_law import problems

from arriero.stack import events as e
from arriero.stack.log import EventLog, Record, open_log
from arriero.stack.tape import Tape, fold

pytestmark = [pytest.mark.anyio, pytest.mark.reliability]

KILLS = int(os.environ.get("ARRIERO_KILLS", "260"))
"""Kills on each store, so that both together make 500 and a few."""

Run = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]


class Nursery:
    """A process that runs jobs; see `nursery.py`."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.jobs, self.results = process, process.stdin, process.stdout

    def begin(self, job: dict[str, Any]) -> None:
        self.jobs.write(json.dumps(job) + "\n")
        self.jobs.flush()

    def end(self) -> dict[str, Any]:
        done: dict[str, Any] = json.loads(self.results.readline())
        return done


@pytest.fixture(scope="module")
def nursery() -> Iterator[Run]:
    """Two processes that run jobs, as the small machines have two cores."""
    with ExitStack() as stack:
        pair = [Nursery() for _ in range(2)]
        for one in pair:
            stack.enter_context(one.process)
            stack.callback(one.jobs.close)

        def run(todo: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            for job, one in zip(todo, cycle(pair), strict=False):
                one.begin(job)
            return [one.end() for _, one in zip(todo, cycle(pair), strict=False)]

        yield run


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the log is, as `open_log` takes it."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    return str(request.getfixturevalue("postgres_dsn"))


async def reference(name: str, tmp_path: Path) -> tuple[Tape, int]:
    """The scenario without a kill: its transcript, and how often it ticks."""
    ticks = 0

    def tick(_: bytes) -> None:
        nonlocal ticks
        ticks += 1

    log = open_log(tmp_path / "reference.sqlite")
    notes = Notes(str(tmp_path / "reference.jsonl"), f"reference of {name}", tick=tick)
    assert await live(name, log, notes) == "All done."
    tape = fold(notes.session, await log.read(notes.session))
    await log.aclose()
    return tape, ticks


def job_of(name: str, place: str, tmp_path: Path, number: object, *plans: dict[str, Any]) -> dict[str, Any]:
    session = f"{tmp_path.name}-{name} {number}"  # the server is shared
    notes = tmp_path / f"{name} {number}.jsonl"
    return {"scenario": name, "log": place, "notes": str(notes), "session": session, "plans": plans}


async def verify(name: str, log: EventLog, session: str, notes: Notes, expected: Tape) -> None:
    """All that is promised of a turn that was killed and resumed."""
    records, noted = await log.read(session), notes.read()
    assert problems(records) == []
    tape = fold(session, records)
    assert tape.turn is None
    *_, end = [record.event for record in records if isinstance(record.event, e.TurnFinished)]
    assert (end.text, end.reason) == ("All done.", "answer")
    not_asked_again(session, records, noted)
    not_run_again(session, records, noted)
    keys_are_stable(noted)
    done_once(noted)
    if SCENARIOS[name].says:
        heard = [message.content for message in tape.messages if message.role == "user"]
        assert set(heard) >= {note["text"] for note in noted if note["what"] == "said"}
    else:
        assert tape.messages == expected.messages
        assert tape.ids == expected.ids


def not_asked_again(session: str, records: Sequence[Record], noted: Sequence[dict[str, Any]]) -> None:
    """No step that was logged is asked of the engine again."""
    tape = Tape(session)
    asked = [(note["prompt"], note["time"]) for note in noted if note["what"] == "ask"]
    for record in records:
        if isinstance(record.event, e.StepFinished):
            prompt = fingerprint(tape.ids)
            assert [time for ids, time in asked if ids == prompt]
            assert not [time for ids, time in asked if ids == prompt and time > record.time], record.event
        tape.apply(record.event, record.turn, record.time)


def not_run_again(session: str, records: Sequence[Record], noted: Sequence[dict[str, Any]]) -> None:
    """No call whose result was logged runs again."""
    for record in records:
        if isinstance(record.event, e.CallFinished):
            made = record.event.result.call
            later = [
                note
                for note in noted
                if note["what"] == "run"
                and note["tool"] == made.name
                and note["time"] > record.time
                and all(note.get(key) == value for key, value in made.arguments.items())
            ]
            assert later == [], record.event


def keys_are_stable(noted: Sequence[dict[str, Any]]) -> None:
    """A call has one key however often it runs, and another than all other calls."""
    keys: dict[str, set[str]] = {}
    for note in noted:
        if note["what"] == "run":
            call = json.dumps({k: v for k, v in note.items() if k not in ("session", "round", "time", "what", "key")})
            keys.setdefault(call, set()).add(note["key"])
    assert all(len(of_call) == 1 for of_call in keys.values())
    assert len({key for of_call in keys.values() for key in of_call}) == len(keys)


def done_once(noted: Sequence[dict[str, Any]]) -> None:
    """What may not be repeated was done once: whoever decides is told the truth, and decides only when asked."""
    once = [note["key"] for note in noted if note["what"] == "run" and note["tool"] in ("pay", "sell")]
    assert len(once) == len(set(once))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_whenever_a_turn_is_killed_it_ends_as_if_it_had_not_been(
    name: str, place: str, tmp_path: Path, nursery: Run
) -> None:
    expected, ticks = await reference(name, tmp_path)
    chance = random.Random(f"{name} {place[:8]}")

    def plan() -> dict[str, Any]:
        return chance.choice(
            [
                {"ticks": chance.randint(1, ticks)},  # anywhere
                {"runs": chance.randint(1, 4)},  # just after a tool did something
                {"seconds": chance.uniform(0.0, 0.05)},
            ]
        )

    killed, number = 0, 0
    log = open_log(place)
    while killed < KILLS / len(SCENARIOS):
        plans = [[plan() for _ in range(chance.choice((1, 1, 2, 4)))] for _ in range(8)]
        jobs = [job_of(name, place, tmp_path, number + at, *rounds) for at, rounds in enumerate(plans)]
        number += len(jobs)
        for job, done in zip(jobs, nursery(jobs), strict=True):
            assert done["code"] == 0
            killed += done["kills"]
            await verify(name, log, job["session"], Notes(job["notes"], job["session"]), expected)
    await log.aclose()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_any_commit_a_turn_is_a_legal_prefix_and_can_be_finished(
    name: str, when: str, place: str, tmp_path: Path, nursery: Run
) -> None:
    expected, _ = await reference(name, tmp_path)
    log = open_log(place)
    number, all_killed = 1, True
    while all_killed:
        jobs = [job_of(name, place, tmp_path, at, {when: at}) for at in range(number, number + 4)]
        number += len(jobs)
        for job, done in zip(jobs, nursery(jobs), strict=True):
            assert done["code"] == 0
            all_killed = all_killed and bool(done["kills"])
            await verify(name, log, job["session"], Notes(job["notes"], job["session"]), expected)
    assert number > 6  # it got through all commits of the turn
    await log.aclose()


async def test_what_a_kill_leaves_is_a_legal_prefix(place: str, tmp_path: Path, nursery: Run) -> None:
    """The log as it is before anybody resumes."""
    log = open_log(place)
    for name in SCENARIOS:
        jobs = [job_of(name, place, tmp_path, f"left {at}", {"after": at}) | {"together": 0} for at in range(1, 8)]
        nursery(jobs)
        for job in jobs:
            records = await log.read(job["session"])
            assert problems(records) == []
            assert all(isinstance(record.event, e.TurnStarted) for record in records[:1])
    await log.aclose()


@pytest.mark.parametrize("name", ["calls", "steering"])
async def test_of_processes_that_resume_a_turn_at_once_exactly_one_wins(
    name: str, place: str, tmp_path: Path, nursery: Run
) -> None:
    log = open_log(place)
    chance = random.Random(name)
    jobs = [
        job_of(name, place, tmp_path, f"race {number}", {"after": chance.choice((1, 2, 3))}) | {"together": 3}
        for number in range(max(1, KILLS // 20))
    ]
    for job, done in zip(jobs, nursery(jobs), strict=True):
        assert done["killed"] == -9
        assert set(done["outcomes"]) <= {"won", "busy", "nothing to resume"}
        records = await log.read(job["session"])
        assert problems(records) == []
        resumed = sum(isinstance(record.event, e.TurnResumed) for record in records)
        assert resumed == done["outcomes"].count("won") == 1
    await log.aclose()
