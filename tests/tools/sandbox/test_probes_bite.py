"""Each probe sees what it is there to see, and a server that is killed or hangs fails its case alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandbox import probes
from sandbox.cases import case_from
from sandbox.environment import Environment
from sandbox.probes import Scene
from sandbox.runner import reason_to_skip
from sandbox.server_process import Reply
from sandbox.test_cases_bite import run_without_sandbox
from sandbox.verdict import judge

pytestmark = pytest.mark.sandbox

# What each does is stopped by every tier but the one without a sandbox, whose world is thrown away.
VIOLATIONS: Mapping[str, tuple[str, str]] = {
    "listener": ("import socket\nsocket.create_connection(('{EXT_ADDR}', {PORT})).close()", "listener was reached"),
    "udp": ("import socket\ns=socket.socket(10,2)\ns.sendto(b'x',('::1',{UDP_PORT}))", "udp was reached"),
    "unix": ("import socket\ns=socket.socket(1)\ns.connect('{UNIX_SOCK}')", "unix was reached"),
    "bind": (
        "import socket,time\ns=socket.socket()\ns.bind(('0.0.0.0',{BIND_PORT}))\ns.listen()\ntime.sleep(.5)\ns.close()",
        "can be reached",
    ),
    "victim": ("import os\nos.kill({HOST_PID},19)", "the victim was stopped"),
    "outside": ("open('{OUTSIDE}/x','w').close()", "written outside: x"),
    "host_home": ("open('{HOST_HOME}/x','w').close()", "the home was written to: x"),
    "host_tmp": ("open('/tmp/x{TAG}','w').close()", "a file was left in /tmp"),
    "host_shm": ("open('/dev/shm/x{TAG}','w').close()", "a file was left in /dev/shm"),
    "stdlib": ("import os\nopen(os.__file__+'{TAG}','w').close()", "a file was left in"),
    "host_uid": ("import time\ntime.sleep(.5)", "uid 0"),
    "no_canary_dir": ("print('{CANARY_DIR}')", "the canary's folder is in the output"),
    "artifacts": ("open('kept.txt','w').write(open('{CANARY}').read()[::-1])", "the canary file's token came out"),
    "leftover": (
        "import subprocess\nsubprocess.Popen(['setsid','-f','sleep','20'])\nimport time\ntime.sleep(.3)",
        "go on after the close, such as 'sleep 20'",
    ),
    "heartbeat": (
        "import os,time\nif os.fork()==0:\n    os.setsid()\n    for i in range(200):\n"
        "        open('{OUTSIDE}/../tmp/beat','w').write(str(i)); time.sleep(.05)\n    os._exit(0)\ntime.sleep(.3)",
        "still writes after it was closed",
    ),
    "a killed server": ("import os\nos.kill(os.getppid(),9)", "the server died: SIGKILL"),
    "a stopped server": ("import os\nos.kill(os.getppid(),19)", "the server did not answer"),
    "nothing": ("print('all is well')", ""),
}
SEEN_IN_THE_ANSWER = {"upload", "output_cap", "no_control", "valid_json", "special_tokens", "close_fast"}


def test_every_probe_that_the_host_can_look_at_sees_a_violation(tmp_path: Path) -> None:
    lines = [
        {"id": name, "must": "contained", "code": code, "probe": [name] if name in probes.KNOWN else []}
        for name, (code, _) in VIOLATIONS.items()
    ]
    file = tmp_path / "violations.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    report = run_without_sandbox(file)
    said = {case["id"]: [miss["what"] for miss in case["misses"]] for case in report["cases"]}
    for name, (_, expected) in VIOLATIONS.items():
        assert any(expected in what for what in said[name]) or (not expected and not said[name]), (name, said[name])


def test_no_probe_is_left_untried() -> None:
    assert {*VIOLATIONS, *SEEN_IN_THE_ANSWER} >= probes.KNOWN


def execution(**fields: Any) -> dict[str, Any]:
    texts = {"stdout": "", "stderr": "", "text": "", "value": None, "error": None, "reason": None}
    rest = {"status": "completed", "state_lost": False, "cut": False, "duration": 0.1, "figures": [], "files": []}
    return texts | rest | fields


def seen_by(probe: str, **fields: Any) -> list[str]:
    with Environment() as environment:
        environment.log.write_text("\x1b[31m" if fields.pop("log", False) else "plain\n", encoding="utf-8")
        nothing = SimpleNamespace(ask=lambda do, **_: Reply({"files": fields.get("files", []), "data": ""}, 0.1))
        scene = Scene(environment, cast("Any", nothing), cast("Any", None), {"CANARY_DIR": "/x"}, 5.0)
        scene.close_seconds = fields.pop("close_seconds", 0.0)
        if probe in probes.ALWAYS:
            return [miss.what for miss in probes.ALWAYS[probe](scene)]
        return [miss.what for miss in probes.AFTER_A_CALL[probe](scene, Reply({"execution": execution(**fields)}, 0.1))]


@pytest.mark.parametrize(
    ("probe", "good", "bad"),
    [
        ("output_cap", {"cut": True, "stdout": "x" * (1 << 20)}, {"cut": True, "stdout": "x" * (2 << 20)}),
        ("output_cap", {"cut": True, "value": "x"}, {"value": "x"}),
        ("no_control", {"stdout": "\x1b[2J"}, {"log": True}),
        ("valid_json", {"stdout": "\ufffd"}, {"stdout": "\ud800"}),
        ("valid_json", {"duration": 1.5}, {"duration": float("nan")}),
        ("close_fast", {"close_seconds": 1.0}, {"close_seconds": 3.0}),
        ("artifacts", {"files": [{"path": "a.png", "size": 1}]}, {"files": [{"path": "a\nb.png", "size": 1}]}),
        ("artifacts", {}, {"files": [{"path": "\udcff.png", "size": 1}]}),
        ("artifacts", {}, {"files": [{"path": "x" * 2_000_000, "size": 1}]}),
    ],
)
def test_a_probe_of_the_answer_tells_good_from_bad(probe: str, good: Mapping[str, Any], bad: Mapping[str, Any]) -> None:
    assert seen_by(probe, **good) == []
    assert seen_by(probe, **bad)


def test_an_upload_that_leaves_the_workspace_is_seen() -> None:
    with Environment() as environment:

        def through_a_link(session: str, path: str, data: bytes) -> Reply:
            (environment.outside / path).write_bytes(data)
            return Reply({}, 0.1)

        server = cast("Any", SimpleNamespace(upload=through_a_link))
        scene = Scene(environment, server, cast("Any", None), {}, 5.0)
        assert [miss.what for miss in probes.upload(scene, Reply({}, 0.1))] == ["written outside: data.csv"]


def test_special_tokens_are_text_to_the_prompt_and_seen_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen_by("special_tokens", text="<|eot_id|>") == []
    monkeypatch.setattr(probes, "_special_ids", lambda text: [1] * text.count("<|eot_id|>"))
    assert seen_by("special_tokens", text="<|eot_id|>")


VALUES = {"M1": "one", "M2": "two"}


def misses(step: Mapping[str, Any], fields: Mapping[str, Any], seconds: float = 0.1, raised: str = "") -> list[str]:
    case = case_from({"id": "x", "code": "", **step})
    data: dict[str, Any] = {"raised": raised} if raised else {"execution": execution(**fields)}
    return [miss.what for miss in judge(case.steps[0], Reply(data, seconds), VALUES, wall=5, optional=case.optional)]


@pytest.mark.parametrize(
    ("step", "good", "bad"),
    [
        ({"must": "blocked"}, {"error": '"one"+"two"', "status": "failed"}, {"error": "onetwo", "status": "failed"}),
        ({"must": "contained"}, {"status": "killed", "reason": "exit"}, {"status": "killed"}),
        ({"must": "killed"}, {"status": "killed", "reason": "time"}, {"status": "failed", "error": "MemoryError"}),
        ({"must": "killed", "also": ["error"]}, {"status": "failed"}, {"status": "completed"}),
        ({"must": "killed", "also": ["allowed"]}, {"status": "completed"}, {"status": "failed"}),
        ({"must": "allowed", "expect": "{M1}"}, {"value": "one"}, {"value": "two"}),
        ({"must": "allowed", "expect": "E", "error": True}, {"status": "failed", "error": "E"}, {"stdout": "E"}),
        ({"must": "allowed", "optional": True}, {"status": "failed"}, {"status": "killed", "reason": "time"}),
        ({"must": "allowed"}, {}, {"stdout": 5}),
        ({"must": "allowed"}, {}, {"status": "odd"}),
    ],
)
def test_a_verdict_tells_good_from_bad(
    step: Mapping[str, Any], good: Mapping[str, Any], bad: Mapping[str, Any]
) -> None:
    assert misses(step, good) == []
    assert misses(step, bad)


def test_late_answers_and_exceptions_are_misses() -> None:
    assert misses({"must": "contained"}, {}, seconds=6.9) == []
    assert misses({"must": "contained"}, {}, seconds=7.1)
    assert misses({"must": "blocked"}, {}, raised="OSError: gone") == [
        "an exception came out of the tool: OSError: gone"
    ]


def test_a_case_for_another_machine_or_without_its_packages_is_passed_over() -> None:
    def why(confined: bool = True, **fields: Any) -> str:
        return reason_to_skip(case_from({"id": "x", "code": "", "must": "blocked", **fields}), confined=confined)

    assert why() == ""
    assert why(needs=["no_such_package"]) == "needs no_such_package"
    assert "for vax" in why(arch="vax")
    assert why(danger="bad") == ""
    assert "dangerous" in why(danger="bad", confined=False)
