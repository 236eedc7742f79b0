"""Random walks: two logs over one store do what a model says, on both stores."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from arriero.stack.engine import Usage
from arriero.stack.events import Event, PromptAppended, SessionForked, TurnFinished, TurnStarted
from arriero.stack.log import (
    DatabaseLog,
    LogConflict,
    Retention,
    SessionBusy,
    SessionRedacted,
    UnknownSession,
    export_session,
    import_sessions,
    open_log,
    prune,
    redacted,
)

T = TypeVar("T")

NAMES = st.sampled_from("abc")
WHO = st.sampled_from((0, 1))
TURN: tuple[Event, ...] = (TurnStarted(()), PromptAppended(1, (1,)), TurnFinished("hi", "answer", Usage(), 0.1))


class Walk(RuleBasedStateMachine):
    """The model: what each session holds, who has leased it, and whether its texts were removed."""

    address = ""
    walks = 0

    @initialize()
    def begin(self) -> None:
        type(self).walks += 1
        self.prefix = f"walk {self.walks} "
        self.runner = asyncio.Runner()
        self.logs = [open_log(self.address), open_log(self.address)]
        self.held: dict[str, int] = {}
        self.kept: dict[str, list[Event]] = {}
        self.bare: set[str] = set()
        self.reader = 0

    def do(self, work: Awaitable[T]) -> T | type[Exception]:
        """What comes of it: a value, or the class of a typed error."""

        async def awaited() -> T:
            return await work

        try:
            return self.runner.run(awaited())
        except (LogConflict, SessionBusy, SessionRedacted, UnknownSession) as error:
            return type(error)

    @rule(who=WHO, name=NAMES, behind=st.sampled_from((0, 0, 0, 1)))
    def append(self, who: int, name: str, behind: int) -> None:
        session = self.prefix + name
        known = self.kept.get(session, [])
        if session in self.bare:
            return  # nobody who could lease it would
        seq = max(0, len(known) - behind)
        done = self.do(self.logs[who].append(session, f"t{seq}", seq, TURN))
        assert done is (None if seq == len(known) else LogConflict)
        if done is None:
            self.kept[session] = [*known, *TURN]

    @rule(who=WHO, name=NAMES)
    def take(self, who: int, name: str) -> None:
        session = self.prefix + name
        done = self.do(self.logs[who].take(session))
        if session in self.bare:
            assert done is SessionRedacted
        elif session in self.held:
            assert done is SessionBusy
        else:
            assert done is None
            self.held[session] = who

    @rule(who=WHO, name=NAMES)
    def release(self, who: int, name: str) -> None:
        session = self.prefix + name
        self.do(self.logs[who].release(session))
        if self.held.get(session) == who:
            del self.held[session]

    @rule(who=WHO, name=NAMES, into=NAMES, seq=st.integers(0, 7))
    def fork(self, who: int, name: str, into: str, seq: int) -> None:
        session, other = self.prefix + name, self.prefix + into
        known = self.kept.get(session, [])
        done = self.do(self.logs[who].fork(session, seq, other))
        if seq >= len(known):
            assert done is UnknownSession
        elif session in self.bare:
            assert done is SessionRedacted
        elif self.kept.get(other):
            assert done is LogConflict
        else:
            assert done is None
            self.kept[other] = [*known[: seq + 1], SessionForked(session, seq)]

    @rule(who=WHO, redact=st.booleans())
    def prune(self, who: int, redact: bool) -> None:
        age = {"redact_after": 0.0} if redact else {"delete_after": 0.0}
        self.do(prune(self.logs[who], Retention(**age), now=time.time() + 10.0))
        for session in [session for session in self.kept if session not in self.held]:
            if redact and session not in self.bare:
                self.kept[session] = [redacted(event) for event in self.kept[session]]
                self.bare.add(session)
            elif not redact:
                del self.kept[session]
                self.bare.discard(session)

    @rule(who=WHO, name=NAMES, into=NAMES)
    def copy(self, who: int, name: str, into: str) -> None:
        session, other = self.prefix + name, self.prefix + into
        done = self.do(import_sessions(self.logs[who], export_session(self.logs[who], session), lambda _: other))
        if not self.kept.get(session):
            assert done is UnknownSession
        elif self.kept.get(other) or (session in self.bare and other in self.held):
            assert done is LogConflict
        else:
            assert done == [other]
            self.kept[other] = self.kept[session]
            self.bare |= {other} if session in self.bare else set()

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.do(self.logs[who].aclose())
        self.logs[who] = open_log(self.address)
        self.held = {session: owner for session, owner in self.held.items() if owner != who}

    @invariant()
    def the_logs_hold_what_the_model_does(self) -> None:
        self.reader = 1 - self.reader
        for session in (self.prefix + name for name in "abc"):
            assert self.runner.run(self._events(self.logs[self.reader], session)) == self.kept.get(session, [])

    async def _events(self, log: DatabaseLog, session: str) -> list[Event]:
        return [record.event for record in await log.read(session)]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.do(prune(self.logs[0], Retention(delete_after=0.0), now=time.time() + 10.0))
            for log in self.logs:
                self.do(log.aclose())
            self.runner.close()


def test_two_logs_of_one_store_do_what_the_model_does(log_address: str) -> None:
    class Here(Walk):
        address = log_address

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Here,
        settings=settings(max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[*HealthCheck]),
    )
