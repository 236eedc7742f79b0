"""Conversations on a terminal and through a pipe, with a scripted model."""

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from terminal import Terminal

from arriero.stack.events import DecisionGiven, Event, MessageAdded, TurnFinished
from arriero.stack.log import SQLiteLog

PROGRAM = str(Path(__file__).with_name("scripted_chat.py"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def talk(log: Path, script: str, *session: str) -> Terminal:
    terminal = Terminal([sys.executable, PROGRAM, str(log), script, *session])
    if not session:
        terminal.wait_for("Ctrl-D ends.")
        terminal.wait_for("> ")
    return terminal


def pipe(log: Path, script: str, lines: str, *session: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, str(log), script, *session]
    return subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=False)


def events(log: Path, session: str = "main") -> list[Event]:
    async def read() -> list[Event]:
        opened = SQLiteLog(log)
        records = await opened.read(session)
        await opened.aclose()
        return [record.event for record in records]

    return anyio.run(read)


def sessions(log: Path) -> list[str]:
    async def read() -> list[str]:
        opened = SQLiteLog(log)
        names = await opened.sessions()
        await opened.aclose()
        return names

    return anyio.run(read)


def test_ctrl_c_at_the_prompt_ends_it_without_a_traceback(log: Path) -> None:
    terminal = talk(log, "talk")
    assert terminal.end("\x03") == 0
    assert "Traceback" not in terminal.seen


def test_ctrl_c_stops_an_answer_and_the_session_goes_on(log: Path) -> None:
    terminal = talk(log, "waiting")
    terminal.type("Hello\n")
    terminal.wait_for("ANSWERING")
    terminal.type("\x03")
    terminal.wait_for("by Ctrl-C")
    terminal.wait_for("> ")
    terminal.type("Again\n")
    terminal.wait_for("Here I am.")
    terminal.wait_for("> ")
    assert terminal.end("\x04") == 0
    ends = [event.reason for event in events(log) if isinstance(event, TurnFinished)]
    assert len(ends) == 2
    assert ends[-1] == "answer"


def test_a_sensitive_call_is_approved_at_the_prompt(log: Path) -> None:
    terminal = talk(log, "approval")
    terminal.type("Erase my notes.\n")
    terminal.wait_for("May this run? erase")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type('e {"path": "drafts"}\n')
    terminal.wait_for('erase(path="drafts")')
    terminal.wait_for("Done with it.")
    terminal.wait_for("> ")
    assert terminal.end("\x04") == 0
    (given,) = [event.decision for event in events(log) if isinstance(event, DecisionGiven)]
    assert (given.choice, given.arguments) == ("edit", {"path": "drafts"})


def test_what_was_typed_before_a_question_is_no_reply_to_it(log: Path) -> None:
    terminal = talk(log, "asking late")
    terminal.type("Erase my notes.\n")
    terminal.wait_for("ANSWERING")
    terminal.type("/help\nGo on, yes!\n")  # a command is not for the turn: it waits until the prompt is back
    terminal.wait_for("erase(")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("n\n")
    terminal.wait_for("Done with it.")
    terminal.wait_for("list the commands")
    assert terminal.end("\x04") == 0
    (given,) = [event.decision for event in events(log) if isinstance(event, DecisionGiven)]
    assert given.choice == "deny"


def test_ctrl_c_at_a_question_leaves_the_turn_waiting_for_another_process(log: Path) -> None:
    terminal = talk(log, "approval")
    terminal.type("Erase my notes.\n")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("\x03")
    terminal.wait_for("session main waits")
    terminal.wait_for("> ")
    assert terminal.end("\x04") == 0
    again = talk(log, "approval", "main")
    again.wait_for("run it? [y/n/e] ")
    again.type("n not mine to erase\n")
    again.wait_for("Done with it.")
    assert again.end("") == 0
    (given,) = [event.decision for event in events(log) if isinstance(event, DecisionGiven)]
    assert (given.choice, given.text) == ("deny", "not mine to erase")


def test_the_models_question_is_answered_in_the_conversation(log: Path) -> None:
    done = pipe(log, "question", "Load a mule.\n\nZuri\n")
    assert done.returncode == 0, done.stderr
    assert "Which mule?" in done.stdout
    assert "the answer is empty" in done.stdout
    assert done.stdout.endswith("I see.\n")
    (given,) = [event.decision for event in events(log) if isinstance(event, DecisionGiven)]
    assert (given.choice, given.text) == ("answer", "Zuri")


def test_what_is_typed_while_an_answer_runs_is_said_to_the_model(log: Path) -> None:
    terminal = talk(log, "steering")
    terminal.type("How is Orla?\n")
    terminal.wait_for("LOOKING")
    terminal.type("Look closely!\n")
    terminal.wait_for("I heard you.")
    terminal.wait_for("> ")
    terminal.type("And now?\n")
    terminal.wait_for("Still here.")
    terminal.wait_for("> ")
    assert terminal.end("\x04") == 0
    (added,) = [event for event in events(log) if isinstance(event, MessageAdded)]
    assert (added.message.content, added.source) == ("Look closely!", "user")


def test_a_call_takes_one_line_with_its_time_and_can_be_unfolded(log: Path) -> None:
    out = pipe(log, "approval", "Erase my notes.\ny\n/steps\n").stdout
    assert re.search(r'^  erase\(path="notes"\)  \d+ ms$', out, re.MULTILINE)
    before, unfolded = out.split("  steps     turn  ")
    assert "notes is gone" not in before
    assert "result  notes is gone" in unfolded
    assert "decided  1.0: approved" in unfolded


def test_commands_tell_of_tools_tokens_and_sessions(log: Path) -> None:
    out = pipe(log, "talk", "Hello\n/tools\n/tokens\n/sessions\n/help\n").stdout
    assert re.search(r"^ +tools +erase +Erase a file\. \(asks for approval\)$", out, re.MULTILINE)
    assert re.search(r"tokens +\d+ in the conversation, \d+ of 8192 left", out)
    assert re.search(r"\d+ read in all, 0% of them cached; \d+ written", out)
    assert re.search(r"sessions +\* main +answer, \d+ s ago", out)
    for command in ("/help", "/steps", "/tools", "/tokens", "/sessions", "/new [NAME]", "/open NAME", "/undo"):
        assert command in out


def test_a_conversation_is_forked_undone_left_and_opened_again(log: Path) -> None:
    lines = "One\nTwo\n/fork branch\nThree\n/undo\nFour\n/open main\n/new other\n/open main\n"
    done = pipe(log, "talk", lines)
    assert done.returncode == 0, done.stderr
    names = sessions(log)
    assert {"main", "branch"} < set(names)
    assert "other" not in names  # nothing was said in it
    (undone,) = set(names) - {"main", "branch"}
    said = {name: [event.text for event in events(log, name) if isinstance(event, TurnFinished)] for name in names}
    assert said["main"] == ["First.", "Second."]
    assert said["branch"] == ["First.", "Second.", "Third."]
    assert said[undone] == ["First.", "Second.", "Fourth."]


def test_the_first_turn_can_be_undone(log: Path) -> None:
    done = pipe(log, "talk", "One\n/undo\nTwo\n")
    assert done.returncode == 0
    (other,) = set(sessions(log)) - {"main"}
    assert [event.text for event in events(log, other) if isinstance(event, TurnFinished)] == ["Second."]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/nope", "no command /nope"),
        ("/open nowhere", "no session 'nowhere'"),
        ("/open", "/sessions lists them"),
        ("/fork", "nothing to fork"),
        ("/undo", "nothing to undo"),
    ],
)
def test_a_command_that_cannot_be_done_is_told_and_the_conversation_goes_on(log: Path, line: str, says: str) -> None:
    done = pipe(log, "talk", f"{line}\nHello\n")
    assert done.returncode == 1
    assert says in done.stdout
    assert done.stdout.endswith("First.\n")


def test_a_message_may_begin_with_a_slash(log: Path) -> None:
    assert pipe(log, "talk", "//etc/hosts\n").returncode == 0
    records = [event for event in events(log) if type(event).__name__ == "TurnStarted"]
    assert records[0].messages[-1].content == "/etc/hosts"


def test_a_fork_does_not_take_the_name_of_another_session(log: Path) -> None:
    done = pipe(log, "talk", "One\n/fork main\n/new main\n")
    assert done.stdout.count("session 'main' already") == 2


def test_a_turn_that_was_left_at_its_question_is_asked_about_before_the_next_message(log: Path) -> None:
    terminal = talk(log, "approval")
    terminal.type("Erase my notes.\n")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("\x04")
    terminal.wait_for("session main waits")
    terminal.wait_for("> ")
    terminal.type("Well?\n")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("n\n")
    terminal.wait_for("Done with it.")
    terminal.wait_for("All is well.")
    terminal.wait_for("> ")
    assert terminal.end("\x04") == 0
    assert [event.reason for event in events(log) if isinstance(event, TurnFinished)] == ["answer", "answer"]
