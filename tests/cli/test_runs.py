import json
import re
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from terminal import Terminal

from arriero.models import DEMO
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    Event,
    NodeStarted,
    PromptAppended,
    StepFinished,
    TurnFinished,
    TurnPaused,
    TurnStarted,
    WorkflowStarted,
)
from arriero.stack.log import open_log
from arriero.tools import ToolResult

COMMANDS = ["list", "show", "resume", "decide", "fork", "replay", "prune", "export", "import"]
ARRIERO = [sys.executable, "-c", "from arriero.cli import app; app(prog_name='arriero')"]
TOKENIZER = Tokenizer.from_folder(DEMO)
ERASE = ToolCall("erase", {"path": "notes"})
EVIL = "</script><img src=x onerror=alert(1)>\x1b[31m"


def answered(question: str, answer: str, before: int = 0) -> list[Event]:
    """A turn, after so many ids of the session."""
    ids, said = tuple(TOKENIZER.encode(question)), tuple(TOKENIZER.encode(answer))
    usage = Usage(before + len(ids), len(said), before)
    return [
        TurnStarted((Message("user", question),), "demo", "llama3.1", (), (), TOKENIZER.fingerprint, "drover"),
        PromptAppended(1, ids),
        StepFinished(1, said, answer, (), "end_of_turn", usage, 0.25),
        TurnFinished(answer, "answer", usage, 0.5),
    ]


FIRST = answered("Hello", "Good day.")
SECOND = answered(EVIL, EVIL, len(TOKENIZER.encode("Hello")) + len(TOKENIZER.encode("Good day.")))
ASKED = len(TOKENIZER.encode("Erase my notes."))
WAITING: list[Event] = [
    *answered("Erase my notes.", "")[:2],
    StepFinished(1, (5,), "", (ERASE,), "end_of_turn", Usage(ASKED, 1), 0.25),
    DecisionAsked(1, 0, ERASE, "approval", "May this run? erase"),
    TurnPaused(("1.0",), Usage(ASKED, 1), 0.3),
]
NO_DECISIONS = ["1.0", "=run", "1.0=perhaps", "1.0=run:now", "1.0=edit", "1.0=edit:[1]", "1.0=edit:{"]


def write(address: str | Path, session: str, *turns: tuple[str, Sequence[Event]]) -> None:
    async def append() -> None:
        log = open_log(address)
        for turn, events in turns:
            await log.append(session, turn, await log.length(session), events)
        await log.aclose()

    anyio.run(append)


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where there is a log with a session of two turns, and one that waits."""
    monkeypatch.delenv("ARRIERO_LOG", raising=False)
    path = str(tmp_path / "log.sqlite")
    if request.param == "postgres":
        path = f"{request.getfixturevalue('postgres_dsn')}?schema=test_{secrets.token_hex(6)}"
    write(path, "alice", ("aaaa1111", FIRST), ("aabb2222", SECOND))
    write(path, "bob", ("bbbb3333", WAITING))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(arriero, command: str) -> None:
    done = arriero("runs", command, "--help")
    assert done.code == 0
    assert f"arriero runs {command}" in done.out.split("Example:")[1]


def test_turns_are_listed_the_latest_first(arriero, log: str) -> None:
    done = arriero("runs", "list", "--log", log)
    header, *rows = [re.split(r"  +", line.strip()) for line in done.out.splitlines()]
    assert header == ["session", "turn", "state", "agent", "steps", "calls", "tokens", "age"]
    assert [row[:3] for row in rows] == [
        ["bob", "bbbb3333", "waiting"],
        ["alice", "aabb2222", "answer"],
        ["alice", "aaaa1111", "answer"],
    ]
    assert rows[0][3:7] == ["drover", "1", "0", str(ASKED + 1)]
    assert re.fullmatch(r"\d+ s", rows[0][7])


def test_the_list_can_be_filtered_and_read_by_programs(arriero, log: str) -> None:
    done = arriero("runs", "list", "--state", "waiting", "--json", "--log", log)
    (turn,) = map(json.loads, done.out.splitlines())
    assert (turn["session"], turn["turn"], turn["state"], turn["reason"]) == ("bob", "bbbb3333", "waiting", None)
    assert arriero("runs", "list", "--session", "alice", "--json", "--log", log).out.count("\n") == 2
    cut = arriero("runs", "list", "--limit", 1, "--log", log)
    assert cut.out.count("\n") == 2
    assert "2 more" in cut.err


def test_the_log_may_stand_in_the_environment(arriero, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_LOG", log)
    assert arriero("runs", "list").out == arriero("runs", "list", "--log", log).out


def test_a_session_is_shown_as_a_tree(arriero, log: str) -> None:
    out = arriero("runs", "show", "bob", "--log", log).out
    assert out.startswith("turn  bbbb3333  drover on demo, waiting, ")
    assert "├─ user  Erase my notes." in out
    assert '│  └─ call  erase(path="notes")  waits' in out
    assert "│     └─ asks  May this run? erase  approval" in out
    assert "└─ paused  it waits for 1.0" in out
    assert "\x1b" not in arriero("runs", "show", "alice", "--log", log).out


def test_a_turn_is_found_by_the_beginning_of_its_id(arriero, log: str) -> None:
    assert arriero("runs", "show", "aaaa", "--log", log).out.count("turn  ") == 1
    assert arriero("runs", "show", "alice", "--log", log).out.count("turn  ") == 2
    ambiguous = arriero("runs", "show", "aa", "--log", log)
    assert (ambiguous.code, ambiguous.out) == (1, "")
    assert "aaaa1111, aabb2222" in ambiguous.err


def test_events_are_shown_to_programs_as_they_are_logged(arriero, log: str) -> None:
    records = [json.loads(line) for line in arriero("runs", "show", "alice", "--json", "--log", log).out.splitlines()]
    assert [record["seq"] for record in records] == list(range(8))
    assert records[0]["event"]["kind"] == "TurnStarted"
    assert records[4]["event"]["messages"][0]["content"] == EVIL


def test_a_page_has_the_texts_of_its_ids_and_no_markup_of_others(arriero, log: str, tmp_path: Path) -> None:
    page = tmp_path / "alice.html"
    assert arriero("runs", "show", "alice", "--html", page, "--log", log).code == 0
    text = page.read_text("utf-8")
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert 'title="Hello"' in text or 'title="H' in text
    assert "\x1b" not in text


def test_a_page_does_not_take_a_tokenizer_that_wrote_other_ids(arriero, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write(path, "alice", ("t1", [TurnStarted((Message("user", "Hi"),), vocabulary="another"), PromptAppended(1, (1,))]))
    page = tmp_path / "alice.html"
    refused = arriero("runs", "show", "alice", "--html", page, "--tokenizer", DEMO, "--log", path)
    assert (refused.code, page.exists()) == (2, False)
    assert "--tokenizer" in refused.err
    assert arriero("runs", "show", "alice", "--html", page, "--log", path).code == 0
    assert '<i class="prompt">1</i>' in page.read_text("utf-8")


def test_a_fork_has_the_events_of_the_other_up_to_one_of_them(arriero, log: str) -> None:
    done = arriero("runs", "fork", "aaaa", "--into", "again", "--json", "--log", log)
    assert json.loads(done.out) == {"session": "again", "of": "alice", "at": 3}
    tree = arriero("runs", "show", "again", "--log", log).out
    assert "Good day." in tree
    assert "fork  of alice at event 3" in tree
    missing = arriero("runs", "fork", "alice", "--at", 99, "--log", log)
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert missing.err.endswith("(UnknownSession)\n")
    taken = arriero("runs", "fork", "alice", "--into", "bob", "--log", log)
    assert "session 'bob' already" in taken.err
    assert taken.err.endswith("(LogConflict)\n")


def test_decisions_are_recorded_and_nothing_is_run(arriero, log: str) -> None:
    asked = arriero("runs", "decide", "bob", "--json", "--log", log)
    assert json.loads(asked.out) == {
        "id": "1.0",
        "asked": "approval",
        "question": "May this run? erase",
        "call": {"name": "erase", "arguments": {"path": "notes"}},
    }
    done = arriero("runs", "decide", "bob", "1.0=deny:not yours", "--by", "ana", "--log", log)
    assert (done.code, done.out, done.err) == (0, "", "no call waits\n")
    assert "decided  1.0: denied by ana: not yours" in arriero("runs", "show", "bob", "--log", log).out
    again = arriero("runs", "decide", "bob", "1.0=run", "--log", log)
    assert again.code == 1
    assert again.err.endswith("(InvalidDecision)\n")
    over = arriero("runs", "decide", "alice", "1.0=run", "--log", log)
    assert over.err.endswith("(NothingToResume)\n")


@pytest.mark.parametrize(
    "text", ["1.0", "=run", "1.0=perhaps", "1.0=run:now", "1.0=edit", "1.0=edit:[1]", "1.0=edit:{"]
)
def test_a_decision_that_is_none_is_misuse(arriero, log: str, text: str) -> None:
    done = arriero("runs", "decide", "bob", text, "--log", log)
    assert (done.code, done.out) == (2, "")
    assert "CALL=DECISION" in done.err
    assert "paused" in arriero("runs", "show", "bob", "--log", log).out


def test_sessions_travel_as_lines(arriero, log: str, tmp_path: Path) -> None:
    exported = arriero("runs", "export", "--log", log)
    assert exported.code == 0
    other = tmp_path / "other.sqlite"
    assert arriero("runs", "import", "-", "--log", other, stdin=exported.out).out == "alice\nbob\n"
    assert arriero("runs", "show", "alice", "--log", other).out == arriero("runs", "show", "alice", "--log", log).out
    one = tmp_path / "alice.jsonl"
    assert arriero("runs", "export", "ali", "--output", one, "--log", log).out == ""
    assert one.read_text("utf-8") == "".join(exported.out.splitlines(keepends=True)[:9])
    assert arriero("runs", "import", one, "--into", "carol", "--log", other).out == "carol\n"
    conflict = arriero("runs", "import", one, "--log", other)
    assert (conflict.code, conflict.out) == (1, "")
    assert conflict.err.endswith("(LogConflict)\n")


@pytest.mark.parametrize("lines", [b"\xff\n", b"{}\n", b"hello\n"])
def test_an_export_that_is_none_is_one_clear_line(arriero, tmp_path: Path, lines: bytes) -> None:
    done = arriero("runs", "import", "-", "--log", tmp_path / "new.sqlite", stdin=lines)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.endswith("(InvalidExport)\n")


def test_pruning_says_what_it_would_do_and_asks_first(arriero, log: str) -> None:
    time.sleep(0.01)  # a session is older than nothing
    planned = arriero("runs", "prune", "--older-than", "0s", "--dry-run", "--log", log)
    assert planned.out.splitlines()[0] == "1 session would be deleted"  # the one that waits stays
    unasked = arriero("runs", "prune", "--older-than", "0s", "--log", log)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert unasked.out == ""
    assert arriero("runs", "list", "--json", "--log", log).out.count("\n") == 3
    assert arriero("runs", "prune", "--older-than", "0s", "--keep", "ali*", "--yes", "--log", log).code == 0
    assert arriero("runs", "list", "--json", "--log", log).out.count("\n") == 3
    assert arriero("runs", "prune", "--older-than", "0s", "--yes", "--json", "--log", log).code == 0
    assert json.loads(arriero("runs", "list", "--json", "--log", log).out)["session"] == "bob"


def test_redaction_leaves_the_shape_and_no_text(arriero, log: str, tmp_path: Path) -> None:
    assert arriero("runs", "prune", "--redact-after", "0s", "--yes", "--log", log).code == 0
    out = arriero("runs", "show", "alice", "--log", log).out
    assert "Good day" not in out
    assert out.count("step  1") == 2
    assert arriero("runs", "show", "alice", "--html", tmp_path / "a.html", "--log", log).code == 0


def test_a_replay_says_where_a_session_is_not_what_the_loop_makes_of_it(arriero, log: str) -> None:
    done = arriero("runs", "replay", "alice", "--log", log)  # its prompts were never rendered
    assert done.code == 1
    assert done.out.startswith("alice: 2 turns, ")
    assert "event 1 of turn aaaa1111: " in done.out
    told = json.loads(arriero("runs", "replay", "alice", "--json", "--log", log).out)
    assert (told["exact"], told["differences"][0]["recorded"]) == (False, "PromptAppended")


def test_a_replay_can_be_watched(arriero, log: str) -> None:
    done = arriero("runs", "replay", "aaaa", "--watch", "--speed", 1000, "--log", log)
    assert done.code == 0
    assert "answer    Good day." in done.out
    lines = arriero("runs", "replay", "alice", "--watch", "--json", "--log", log).out.splitlines()
    assert "".join(e["text"] for e in map(json.loads, lines) if e["kind"] == "TextDelta") == "Good day." + EVIL


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list"], "--log"),
        (["replay", "alice", "--speed", "2", "--log", "LOG"], "--watch"),
        (["list", "--state", "asleep", "--log", "LOG"], "--state"),
        (["show", "alice", "--log", "no/such/file"], "no event log"),
        (["show", "alice", "--html", "no/such/folder/page.html", "--log", "LOG"], "--html"),
        (["fork", "alice", "--at", "-1", "--log", "LOG"], "--at"),
        (["list", "--log", "mysql://host/runs"], "no event log"),
        (["prune", "--log", "LOG"], "--older-than"),
        (["prune", "--older-than", "soon", "--log", "LOG"], "30d"),
        (["export", "--output", "no/such/folder/file", "--log", "LOG"], "--output"),
        (["resume", "bob", "--program", "no/such/file.py", "--log", "LOG"], "--program"),
        (["resume", "bob", "--decide", "run", "--log", "LOG"], "2.0=run"),
    ],
)
def test_misuse_is_told(arriero, log: str, arguments: list[str], says: str) -> None:
    done = arriero("runs", *(log if word == "LOG" else word for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert says in done.err


@pytest.mark.parametrize("command", ["show", "resume", "decide", "fork", "replay", "export"])
def test_an_unknown_run_is_one_clear_line(arriero, log: str, command: str) -> None:
    done = arriero("runs", command, "nobody", "--log", log)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "arriero runs list" in done.err
    assert done.err.endswith("(UnknownSession)\n")


def test_a_database_that_is_not_there_is_one_clear_line_without_its_password(arriero) -> None:
    done = arriero("runs", "list", "--log", "postgresql://ana:CANARY-KEY@127.0.0.1:1/runs")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.endswith("(LogError)\n")
    assert "CANARY-KEY" not in done.err


def test_the_run_of_a_workflow_is_shown_and_gone_on_with_by_its_program(arriero, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write(path, "flow", ("t1", [WorkflowStarted("triage", "v1", {"case": 7}), NodeStarted("read", "read")]))
    assert "node  read  not finished" in arriero("runs", "show", "flow", "--log", path).out
    for command, says in (
        (["resume", "flow"], "--program"),
        (["decide", "flow", "read=run"], "--decide"),
        (["replay", "flow"], "run of the workflow 'triage'"),
    ):
        done = arriero("runs", *command, "--log", path)
        assert (done.code, done.out) == (2, "")
        assert says in done.err


def test_the_beginning_of_a_runs_name_means_the_run_and_not_a_turn_in_it(arriero, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    write(path, "case-7", ("case-7", [WorkflowStarted("triage", "v1", "B-17")]))
    write(path, "case-7/read/drover", ("t1", FIRST))
    assert arriero("runs", "show", "case", "--log", path).out.startswith("workflow  case-7")
    assert "Good day." in arriero("runs", "show", "case-7/", "--log", path).out
    write(path, "case-8", ("t2", FIRST))
    assert "write more of it" in arriero("runs", "show", "case", "--log", path).err


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_list_keeps_to_the_width_of_a_terminal(arriero, tmp_path: Path, width: int) -> None:
    path = tmp_path / "log.sqlite"
    write(path, "a-session-with-a-name-that-is-longer-than-a-narrow-terminal/read/drover", ("t1", WAITING))
    terminal = Terminal([*ARRIERO, "runs", "list", "--log", str(path)], width)
    terminal.end("")
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in terminal.seen.splitlines()]
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines), terminal.seen
    assert lines[1].startswith("a-session")
    assert "waiting" in lines[1]


def test_a_log_without_turns_of_a_kind_says_so(arriero, log: str) -> None:
    done = arriero("runs", "list", "--state", "running", "--log", log)
    assert (done.code, done.out, done.err) == (0, "", "there are none\n")


def test_a_call_that_was_running_when_its_process_died_is_listed_and_shown(arriero, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    cut = [*WAITING[:3], CallStarted(1, ERASE)]
    write(path, "bob", ("t1", cut))
    assert json.loads(arriero("runs", "list", "--json", "--log", path).out)["state"] == "interrupted"
    assert ", interrupted, " in arriero("runs", "show", "bob", "--log", path).out
    write(path, "carol", ("t2", [*cut, CallFinished(1, ToolResult(ERASE, "gone", None, 0.2))]))
    assert 'erase(path="notes")  0.20 s' in arriero("runs", "show", "carol", "--log", path).out
