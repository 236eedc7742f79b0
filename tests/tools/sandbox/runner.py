"""One case, from a fresh session to the look around after it was closed."""

import base64
import importlib.util
import platform
import threading
import time
from collections.abc import Callable, Iterator

from sandbox.cases import Case, Step, fill
from sandbox.environment import Environment
from sandbox.host_processes import HostProcess, command, descendants, forget_peak, leaf_uids, peak_memory, status_line
from sandbox.probes import AFTER_A_CALL, ALWAYS, KNOWN, WHEN_NAMED, WHILE_IT_RUNS, Scene
from sandbox.server_process import Reply, ServerLost, ServerProcess
from sandbox.verdict import SLACK, Miss, Verdict, judge, leaks, texts

WALL = 5.0
"""Seconds of a call: the cases' wall limit."""

_HANG = 6.0
_GONE_WITHIN = 1.0
_GROWTH = 64 << 20
_LOOK_EVERY = 0.1
_PNG = b"\x89PNG\r\n\x1a\n"
_FRESH = "fresh-session-works"


def reason_to_skip(case: Case, *, confined: bool) -> str:
    """Why a case cannot be run here; "" if it can.

    Args:
        case: The case.
        confined: Whether the tier has a PID namespace of its own or a hard cap on processes.
    """
    if case.danger and not confined:
        return f"dangerous without a confined tier: {case.danger}"
    if case.arch and case.arch != platform.machine():
        return f"for {case.arch}; this is {platform.machine()}"
    missing = [name for name in case.needs if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}" if missing else ""


class CaseRun:
    """A case against a server.

    Args:
        case: The case.
        environment: What surrounds the server.
        server: The server, idle.
    """

    def __init__(self, case: Case, environment: Environment, server: ServerProcess) -> None:
        self._case = case
        self._environment = environment
        self._server = server
        self._misses: list[Miss] = []
        self._notes: list[str] = []
        self._open: list[str] = []
        self._names = iter(f"s{number}" for number in range(1_000))
        self._tainted = False

    @property
    def server_is_fit(self) -> bool:
        """Whether the next case can use the server."""
        return not self._tainted

    def run(self) -> Verdict:
        """Run it; whatever goes wrong is in the verdict."""
        started = time.monotonic()
        try:
            self._run()
        except ServerLost as error:
            self._tainted = True
            self._misses.append(Miss(str(error)))
        misses = tuple(dict.fromkeys(self._misses))
        self._tainted = self._tainted or bool(misses)
        return Verdict(
            self._case.id,
            self._case.category,
            "missed" if misses else "passed",
            misses,
            tuple(dict.fromkeys(self._notes)),
            time.monotonic() - started,
        )

    def _run(self) -> None:
        if unknown := self._case.probes - KNOWN:
            self._misses.append(Miss(f"the harness has no probe {', '.join(sorted(unknown))}"))
        self._environment.clean()
        before = descendants(self._server.pid)
        memory = _resident(self._server.pid)
        forget_peak(self._server.pid)
        self._scene = self._first_scene()
        killed = self._steps()
        self._look_at_memory(memory)
        for session in tuple(self._open):
            self._close(session)
        self._look_for_leftovers(before)
        if killed:
            self._fresh_session_works()
        time.sleep(0.02)  # what was sent before the close is counted by now
        for look in ALWAYS.values():
            self._misses += look(self._scene)
        for name in sorted(self._case.probes & set(WHEN_NAMED)):
            self._misses += WHEN_NAMED[name](self._scene)
        self._misses += leaks([self._environment.log.read_bytes()], self._secrets("the server's log: "))
        self._misses += [Miss(died)] if (died := self._server.died()) else []

    def _first_scene(self) -> Scene:
        environment, server = self._environment, self._server
        opened = self._ask_open()
        pid = int(opened.data["pid"])
        uid, gid = _user(pid)
        victim = environment.victim(uid, gid)
        values = environment.placeholders(victim.process.pid)
        return Scene(environment, server, victim, values, WALL, session=self._open[-1], pid=pid)

    def _ask_open(self) -> Reply:
        session = next(self._names)
        opened = self._server.ask("open", within=30.0, session=session)
        if opened.raised:
            raise ServerLost(f"no session could be opened: {opened.raised}")
        self._open.append(session)
        return opened

    def _steps(self) -> bool:
        """Make the calls.

        Returns:
            Whether one of them was ended by the sandbox.
        """
        killed = False
        last: Reply | None = None
        for number, step in enumerate(self._case.steps):
            where = f"call {number + 1}: " if number else ""
            if number:
                self._move_to_session(step)
            reply = self._call(step, where, number)
            if step.where == "same_or_new" and reply.raised and reply.refused:  # that session is over
                self._new_session()
                reply = self._call(step, where, number)
            elif step.where == "same_or_new":
                self._state_lost_is_said(step, last, reply)
            self._look_after(step, reply, where, number)
            killed = killed or (reply.data.get("execution") or {}).get("status") == "killed"
            last = reply
        return killed

    def _call(self, step: Step, where: str, number: int) -> Reply:
        scene = self._scene
        for path, text in step.upload.items():
            sent = self._server.upload(scene.session, path, text.encode())
            if sent.raised:
                self._misses.append(Miss(f"{where}{path} could not be uploaded: {sent.raised}"))
        code = fill(step.code, scene.values)
        watched = [WHILE_IT_RUNS[name] for name in step.probes if name in WHILE_IT_RUNS]
        with _Watch(scene, watched):
            request = {"session": scene.session, "code": code, "wall": WALL}
            reply = self._server.ask("run", within=WALL + SLACK + _HANG, **request)
        scene.pid = int(reply.data.get("pid") or scene.pid)
        return reply

    def _look_after(self, step: Step, reply: Reply, where: str, number: int) -> None:
        scene = self._scene
        found = list(judge(step, reply, scene.values, wall=WALL, optional=self._case.optional))
        execution = reply.data.get("execution")
        if execution is not None:
            found += leaks(texts(execution), self._secrets("", number))
            if execution["status"] == "killed":
                self._notes.append(f"{where}killed: {execution['reason']}")
        if step.artifact is not None:
            found += self._artifact_faults(step.artifact, execution or {})
        for name in step.probes:
            if name in AFTER_A_CALL:
                found += AFTER_A_CALL[name](scene, reply)
        self._misses += [Miss(where + miss.what, miss.kind) for miss in found]

    def _secrets(self, where: str, number: int = 0) -> dict[str, str]:
        secrets = {where + name: secret for name, secret in self._environment.secrets.items()}
        if number and self._scene.session != "s0":  # another session than the one that was given it
            secrets["the token of another session"] = self._scene.values["SESSION_TOKEN"]
        return secrets

    def _move_to_session(self, step: Step) -> None:
        if step.where in ("new", "other"):
            self._close(self._scene.session)
        if step.where in ("new", "other", "other_while_open"):
            self._new_session()
        if step.where == "restart_same_workspace":
            again = self._server.ask("restart", within=30.0, session=self._scene.session)
            if again.raised:
                self._misses.append(Miss(f"the session could not be restarted: {again.raised}"))
            self._scene.pid = int(again.data.get("pid") or self._scene.pid)

    def _new_session(self) -> None:
        opened = self._ask_open()
        self._scene.session, self._scene.pid = self._open[-1], int(opened.data["pid"])

    def _state_lost_is_said(self, step: Step, last: Reply | None, reply: Reply) -> None:
        """A session that goes on with another worker says so, in the answer that tells of the death or in the next."""
        before = last.data if last is not None else {}
        said = (reply.data.get("execution") or {}).get("state_lost")
        if "state-lost" not in step.why:
            said = said or (before.get("execution") or {}).get("state_lost")
        if before.get("pid") != reply.data.get("pid") and not said:
            self._misses.append(Miss("the session lost its state and does not say so"))

    def _artifact_faults(self, path: str, execution: dict[str, object]) -> Iterator[Miss]:
        files = execution.get("files")
        listed = [file["path"] for file in files] if isinstance(files, list) else []
        if path not in listed:
            yield Miss(f"{path} is not among the files of the result")
        read = self._server.ask("read", session=self._scene.session, path=path)
        data = base64.b64decode(read.data.get("data", ""))
        if read.raised or not data:
            yield Miss(f"{path} did not come back: {read.raised or 'it is empty'}")
        elif path.endswith(".png") and not data.startswith(_PNG):
            yield Miss(f"{path} came back as no PNG")

    def _close(self, session: str) -> None:
        self._open.remove(session)
        closed = self._server.ask("close", session=session)
        self._scene.close_seconds = max(self._scene.close_seconds, closed.seconds)
        if closed.raised:
            self._misses.append(Miss(f"an exception came out of close: {closed.raised}"))

    def _look_at_memory(self, before: int) -> None:
        grown = peak_memory(self._server.pid) - before
        if grown > _GROWTH:
            self._misses.append(Miss(f"the server's memory grew by {grown >> 20} MiB"))

    def _look_for_leftovers(self, before: set[HostProcess]) -> None:
        deadline = time.monotonic() + _GONE_WITHIN
        while left := descendants(self._server.pid) - before:
            if time.monotonic() > deadline:
                first = min(left)
                what = f"{len(left)} processes go on after the close, such as {command(first.pid)[:80]!r}"
                self._misses.append(Miss(what, "breach"))
                return
            time.sleep(0.02)

    def _fresh_session_works(self) -> None:
        self._new_session()
        request = {"session": self._scene.session, "code": f"print({_FRESH!r})", "wall": WALL}
        reply = self._server.ask("run", within=WALL + SLACK + _HANG, **request)
        if _FRESH not in str((reply.data.get("execution") or {}).get("stdout")):
            self._misses.append(Miss(f"a call in a fresh session fails after the kill: {dict(reply.data)}"[:300]))
        self._close(self._scene.session)


class _Watch:
    """Looks at a scene again and again while a call runs."""

    def __init__(self, scene: Scene, looks: list[Callable[[Scene], None]]) -> None:
        self._scene = scene
        self._looks = looks
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> None:
        if self._looks:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._looks:
            self._thread.join()

    def _watch(self) -> None:
        while True:
            for look in self._looks:
                look(self._scene)
            if self._over.wait(_LOOK_EVERY):
                return


def _user(pid: int) -> tuple[int, int]:
    """Whom the session's processes belong to, on the host: the victim is to be theirs."""
    uid = max(leaf_uids(pid), default=0)
    for process in {*descendants(pid), HostProcess(pid, 0)}:
        if status_line(process.pid, "Uid").startswith(f"{uid}\t"):
            return uid, int((status_line(process.pid, "Gid") or "0").split()[0])
    return uid, uid


def _resident(pid: int) -> int:
    return int((status_line(pid, "VmRSS") or "0 kB").split()[0]) * 1024
