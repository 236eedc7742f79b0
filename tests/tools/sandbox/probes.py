"""What the harness sees from outside: one function for each probe that a case may name."""

import base64
import json
import os
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.visible import visible
from sandbox.environment import Environment, Victim, library_folders
from sandbox.host_processes import HostProcess, command, descendants, leaf_uids, working_folder
from sandbox.listeners import reachable
from sandbox.server_process import Reply, ServerProcess
from sandbox.verdict import Miss, leaks, texts

KEPT = 1 << 20
"""Bytes of output that the cases' limits keep of a call."""

_NOTE_ROOM = 4096
_LISTING_WITHIN = _CLOSE_WITHIN = 2.0
_LISTED_MOST, _LISTED_BYTES = 10_000, 1 << 20
_READ_FOR = 2.0
_COLLECTED_MOST = 8 << 20
_HEART = 0.35


@dataclass(slots=True)
class Scene:
    """A case in progress, as the probes see it.

    Args:
        environment: What surrounds the server.
        server: It.
        victim: The process that nothing may harm.
        values: The placeholders.
        wall: Wall limit of a call, in seconds.
        session: Name of the session that the latest call ran in.
        pid: The outermost process of that session.
        uids: Uids that were seen at the ends of the session's process tree.
        bound: Whether the port to bind was reachable.
        folders: Working folders of the session's processes that the host can see.
        processes: Processes that were seen in the session.
        close_seconds: How long the slowest close took.
    """

    environment: Environment
    server: ServerProcess
    victim: Victim
    values: Mapping[str, str]
    wall: float
    session: str = ""
    pid: int = 0
    uids: set[int] = field(default_factory=set)
    bound: bool = False
    folders: set[Path] = field(default_factory=set)
    processes: set[HostProcess] = field(default_factory=set)
    close_seconds: float = 0.0


def look_at_processes(scene: Scene) -> None:
    """Note who runs in the session, and where."""
    found = descendants(scene.pid)
    scene.processes |= found
    scene.uids |= leaf_uids(scene.pid)
    scene.folders |= {folder for process in found if (folder := working_folder(process.pid))}


def look_at_port(scene: Scene) -> None:
    """Note whether the port to bind can be reached."""
    scene.bound = scene.bound or reachable(scene.environment.listeners.addresses, int(scene.values["BIND_PORT"]))


WHILE_IT_RUNS: Mapping[str, Callable[[Scene], None]] = {
    "host_uid": look_at_processes,
    "leftover": look_at_processes,
    "heartbeat": look_at_processes,
    "bind": look_at_port,
}


# After a call


def host_uid(scene: Scene, reply: Reply) -> Iterator[Miss]:
    if not scene.uids:
        yield Miss("the harness saw no process of the session")
    elif 0 in scene.uids:
        yield Miss("the code runs as the host's uid 0", "breach")


def bind(scene: Scene, reply: Reply) -> Iterator[Miss]:
    look_at_port(scene)
    if scene.bound:
        yield Miss("the port that the code opened can be reached", "breach")


def artifacts(scene: Scene, reply: Reply) -> Iterator[Miss]:
    """The listing is plain, and what is collected is the session's own."""
    listed = scene.server.ask("listing", session=scene.session)
    if listed.seconds > _LISTING_WITHIN:
        yield Miss(f"the listing took {listed.seconds:.1f} s", "late")
    if listed.raised and not listed.refused:
        yield Miss(f"an exception came out of the listing: {listed.raised}")
    files = [*listed.data.get("files", ()), *_execution(reply).get("files", ())]
    yield from _listing_faults(files)
    end = time.monotonic() + _READ_FOR
    for path in {str(file["path"]) for file in files if file["size"] <= _COLLECTED_MOST}:
        while True:  # a file that is swapped all the time is asked for again and again
            read = scene.server.ask("read", session=scene.session, path=path)
            if read.seconds > _LISTING_WITHIN:
                yield Miss(f"a file took {read.seconds:.1f} s", "late")
            if read.raised and not read.refused:
                yield Miss(f"an exception came out of reading a file: {read.raised}")
            yield from leaks([base64.b64decode(read.data.get("data", ""))], scene.environment.secrets)
            if "swap" not in path or time.monotonic() > end:
                break
    yield from leaks([base64.b64decode(figure) for figure in _execution(reply).get("figures", ())], _secrets(scene))


def _listing_faults(files: list[Mapping[str, Any]]) -> Iterator[Miss]:
    try:
        written = json.dumps(files, ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError) as error:
        yield Miss(f"the listing is no JSON text: {error}")
        return
    if len(files) > _LISTED_MOST or len(written) > _LISTED_BYTES:
        yield Miss(f"the listing is not capped: {len(files)} files, {len(written)} bytes")
    if any(_acts(str(file["path"]), "") for file in files):
        yield Miss("a name in the listing holds control characters")


def upload(scene: Scene, reply: Reply) -> Iterator[Miss]:
    sent = scene.server.upload(scene.session, "data.csv", b"a,b\n1,2\n")
    if sent.raised and not sent.refused:
        yield Miss(f"an exception came out of the upload: {sent.raised}")
    yield from outside(scene)


def output_cap(scene: Scene, reply: Reply) -> Iterator[Miss]:
    execution = _execution(reply)
    for name in ("stdout", "stderr", "value", "text"):
        kept = len(str(execution.get(name) or "").encode("utf-8", "surrogatepass"))
        if kept > KEPT + _NOTE_ROOM:
            yield Miss(f"{kept} bytes of {name} were kept")
    if not execution.get("cut") and execution.get("status") != "killed":
        yield Miss("the output is not marked as cut")


def no_control(scene: Scene, reply: Reply) -> Iterator[Miss]:
    """What a log or a terminal shows."""
    log = scene.environment.log.read_text(encoding="utf-8", errors="surrogateescape")
    shown = [visible(str(text)) for text in texts(_execution(reply))]
    if any(_acts(text, "\n\t") for text in (log, *shown)):
        yield Miss("control characters reach a log or a terminal")


def valid_json(scene: Scene, reply: Reply) -> Iterator[Miss]:
    execution = _execution(reply)
    try:
        again = json.loads(json.dumps(execution, ensure_ascii=False, allow_nan=False).encode())
    except (UnicodeError, ValueError) as error:
        yield Miss(f"the answer is no JSON text: {error}")
        return
    if again != execution:
        yield Miss("the answer changes when it is written as JSON")


def special_tokens(scene: Scene, reply: Reply) -> Iterator[Miss]:
    """The ids of a tool message are those of its frame and of ordinary text."""
    text = str(_execution(reply).get("text", ""))
    if _special_ids(text) != _special_ids("x"):
        yield Miss("the tool message yields special tokens", "breach")


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(DEMO)


def _special_ids(text: str) -> list[int]:
    tokenizer = _tokenizer()
    call = Message("assistant", "", (ToolCall("code_interpreter", {"code": "x"}),))
    prompt = Dialect.get("llama3.1").render([Message("user", "x"), call, Message("tool", text)])
    return [id_ for id_ in prompt.encode(tokenizer) if id_ in tokenizer.special_ids.values()]


def no_canary_dir(scene: Scene, reply: Reply) -> Iterator[Miss]:
    if any(scene.values["CANARY_DIR"] in text for text in texts(_execution(reply))):
        yield Miss("the canary's folder is in the output", "breach")


AFTER_A_CALL: Mapping[str, Callable[[Scene, Reply], Iterator[Miss]]] = {
    "host_uid": host_uid,
    "bind": bind,
    "artifacts": artifacts,
    "upload": upload,
    "output_cap": output_cap,
    "no_control": no_control,
    "valid_json": valid_json,
    "special_tokens": special_tokens,
    "no_canary_dir": no_canary_dir,
}


# After the sessions were closed; the cheap ones are looked at in every case.


def _touched(kind: str) -> Callable[[Scene], Iterator[Miss]]:
    def touched(scene: Scene) -> Iterator[Miss]:
        if hits := scene.environment.listeners.hits[kind]:
            yield Miss(f"the host's {kind} was reached {hits} times", "breach")

    return touched


def victim(scene: Scene) -> Iterator[Miss]:
    if harm := scene.victim.harm():
        yield Miss(harm, "breach")


def outside(scene: Scene) -> Iterator[Miss]:
    if found := os.listdir(scene.environment.outside):
        yield Miss(f"written outside: {', '.join(sorted(found)[:3])}", "breach")


def host_home(scene: Scene) -> Iterator[Miss]:
    environment = scene.environment
    left = {path.name for path in environment.home.iterdir()} - {environment.netrc.name, ".local"}
    if left or environment.netrc_token not in environment.netrc.read_text(encoding="utf-8"):
        yield Miss(f"the home was written to: {', '.join(sorted(left))}", "breach")


def host_tmp(scene: Scene) -> Iterator[Miss]:
    yield from _tagged(scene, {Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir())})


def host_shm(scene: Scene) -> Iterator[Miss]:
    yield from _tagged(scene, {Path("/dev/shm")})


def stdlib(scene: Scene) -> Iterator[Miss]:
    folders = set(library_folders())
    for folder in list(folders):
        folders |= {Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)}
    folders |= {folder / "__pycache__" for folder in folders}
    yield from _tagged(scene, folders)


def _tagged(scene: Scene, folders: set[Path]) -> Iterator[Miss]:
    for folder in sorted(folders):
        for name in os.listdir(folder) if folder.is_dir() else ():
            if scene.values["TAG"] in name:
                yield Miss(f"a file was left in {folder}", "breach")


def heartbeat(scene: Scene) -> Iterator[Miss]:
    """A file named beat that still changes is written by someone who should be gone."""
    before = _beats(scene)
    if before:
        time.sleep(_HEART)
        if _beats(scene) != before:
            yield Miss("the session still writes after it was closed", "breach")


def _beats(scene: Scene) -> dict[str, bytes]:
    found = {}
    for top in {*scene.folders, scene.environment.temporary}:
        for folder, _, names in os.walk(top):
            if "beat" in names:
                path = Path(folder, "beat")
                found[str(path)] = path.read_bytes() + str(path.stat().st_mtime_ns).encode()
    return found


def leftover(scene: Scene) -> Iterator[Miss]:
    """Those who were seen in the session must be gone, wherever they went; a second's grace was given before."""
    if left := [process for process in sorted(scene.processes) if process.runs]:
        yield Miss(f"{len(left)} processes go on, such as {command(left[0].pid)!r}", "breach")
    yield from heartbeat(scene)


def close_fast(scene: Scene) -> Iterator[Miss]:
    if scene.close_seconds > _CLOSE_WITHIN:
        yield Miss(f"closing took {scene.close_seconds:.1f} s", "late")


ALWAYS: Mapping[str, Callable[[Scene], Iterator[Miss]]] = {
    "listener": _touched("listener"),
    "udp": _touched("udp"),
    "unix": _touched("unix"),
    "victim": victim,
    "outside": outside,
    "host_home": host_home,
    "host_tmp": host_tmp,
    "host_shm": host_shm,
    "close_fast": close_fast,
}
WHEN_NAMED: Mapping[str, Callable[[Scene], Iterator[Miss]]] = {
    "stdlib": stdlib,
    "heartbeat": heartbeat,
    "leftover": leftover,
}

KNOWN = frozenset({*WHILE_IT_RUNS, *AFTER_A_CALL, *ALWAYS, *WHEN_NAMED})


def _execution(reply: Reply) -> Mapping[str, Any]:
    execution: Mapping[str, Any] = reply.data.get("execution", {})
    return execution


def _secrets(scene: Scene) -> Mapping[str, str]:
    return scene.environment.secrets


def _acts(text: str, allowed: str) -> bool:
    return any(unicodedata.category(c) == "Cc" and c not in allowed for c in text)
