import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import Terminal

ARRIERO = [sys.executable, "-c", "from arriero.cli import app; app(prog_name='arriero')"]
PROGRAM = '''
import os, signal
from pathlib import Path
from arriero import Agent, tool

QUESTIONS = ("What is the load of Zuri?",)

@tool(sensitive=True)
def mule_load(mule: str) -> int:
    """Get the load of a mule.

    Args:
        mule: The mule.
    """
    runs = Path(__file__).with_name("runs")
    runs.write_text(runs.read_text() + mule + "\\n" if runs.exists() else mule + "\\n")
    if Path(__file__).with_name("deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return {"Zuri": 85, "Bramble": 120}[mule]

def agent(stack):
    return Agent(stack, tools=[mule_load], name="drover")
'''


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program whose only call waits for approval, and the log in which it waits."""
    monkeypatch.setenv("ARRIERO_LOG", str(tmp_path / "log.sqlite"))
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


def begin(arriero, program: Path) -> str:
    """Ask the program's question; gives the session that waits."""
    begun = arriero("run", program, "--json")
    assert begun.code == 1
    events = [json.loads(line) for line in begun.out.splitlines()]
    assert next(event for event in events if event["kind"] == "TurnPaused")["waiting"] == ["1.0"]
    assert not program.with_name("runs").exists()
    (turn,) = map(json.loads, arriero("runs", "list", "--state", "waiting", "--json").out.splitlines())
    assert f"`arriero runs resume {turn['session']} --program {program} --log" in events[-1]["text"]
    return str(turn["session"])


def events_of(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_waiting_turn_goes_on_with_a_decision_from_the_command_line(arriero, program: Path) -> None:
    session = begin(arriero, program)
    done = arriero("runs", "resume", session, "--program", program, "--decide", "1.0=run", "--by", "ana", "--json")
    events = events_of(done.out)
    assert done.code == 0
    assert [event["kind"] for event in events][:2] == ["TurnResumed", "DecisionGiven"]
    assert (events[-1]["reason"], events[-1]["text"]) == ("answer", "The load of Zuri is 85.")
    assert program.with_name("runs").read_text() == "Zuri\n"
    over = arriero("runs", "resume", session, "--program", program)
    assert (over.code, over.out) == (1, "")
    assert over.err.endswith("(NothingToResume)\n")


def test_another_may_decide_days_before_the_turn_goes_on(arriero, program: Path) -> None:
    session = begin(arriero, program)
    assert arriero("runs", "decide", session[:6], '1.0=edit:{"mule": "Bramble"}', "--by", "ana").code == 0
    assert not program.with_name("runs").exists()
    done = arriero("runs", "resume", session[:6], "--program", program)
    assert (done.code, program.with_name("runs").read_text()) == (0, "Bramble\n")
    tree = arriero("runs", "show", session).out
    assert 'approved with changes by ana: {"mule": "Bramble"}' in tree
    assert 'call  mule_load(mule="Bramble")' in tree
    replayed = arriero("runs", "replay", session)
    assert (replayed.code, "events came out as they are logged" in replayed.out) == (0, True)
    assert program.with_name("runs").read_text() == "Bramble\n"


def test_what_it_waits_for_is_asked_on_standard_input(arriero, program: Path) -> None:
    session = begin(arriero, program)
    done = arriero("runs", "resume", session, "--program", program, stdin="perhaps\nn not today\n")
    assert done.code == 0
    assert "asks      May this run? mule_load" in done.out
    assert "not understood: 'perhaps'" in done.out
    assert "not today" in done.out
    assert not program.with_name("runs").exists()


def test_a_turn_that_nobody_decides_about_waits_on(arriero, program: Path) -> None:
    session = begin(arriero, program)
    done = arriero("runs", "resume", session, "--program", program)
    assert done.code == 1
    assert f"`arriero runs resume {session} --program {program} --log" in done.out
    wrong = arriero("runs", "resume", session, "--program", program, "--decide", "7.0=run")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.endswith("(InvalidDecision)\n")
    assert json.loads(arriero("runs", "list", "--json").out)["state"] == "waiting"


def test_a_turn_whose_process_was_killed_in_a_call_asks_before_it_runs_it_again(arriero, program: Path) -> None:
    session = begin(arriero, program)
    program.with_name("deadly").touch()
    command = ["runs", "resume", session, "--program", str(program), "--decide", "1.0=run"]
    killed = subprocess.run([*ARRIERO, *command], env=os.environ, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert json.loads(arriero("runs", "list", "--json").out)["state"] == "interrupted"

    program.with_name("deadly").unlink()
    asked = arriero("runs", "resume", session, "--program", program, "--json")
    assert asked.code == 1
    (question,) = [event for event in events_of(asked.out) if event["kind"] == "DecisionAsked"]
    assert question["asked"] == "interrupted"
    assert program.with_name("runs").read_text() == "Zuri\n"
    done = arriero("runs", "resume", session, "--program", program, "--decide", "1.0=answer:85")
    assert (done.code, program.with_name("runs").read_text()) == (0, "Zuri\n")


@pytest.mark.parametrize(
    ("source", "says"),
    [("async def main():\n    pass\n", "--program"), ("def agent(stack):\n    return stack\n", "UnusableProgram")],
)
def test_a_program_without_an_agent_cannot_go_on(arriero, program: Path, source: str, says: str) -> None:
    session = begin(arriero, program)
    program.write_text(source)
    done = arriero("runs", "resume", session, "--program", program, "--decide", "1.0=run")
    assert done.code in (1, 2)
    assert says in done.err
    assert "Traceback" not in done.err


FLOW = """
from pathlib import Path
from program import agent as drover
from arriero.agents.workflow import NodeContext, Workflow

flow = Workflow("loads", takes=str, gives=str)

@flow.step(flow.input, idempotent=True)
async def read(at: NodeContext, mule: str) -> str:
    turn = await at.ask(at.deps, f"What is the load of {mule}?")
    return turn.text

flow.returns(read)
deps = drover

async def main(stack):
    await flow.run("Zuri", log=stack.log, deps=drover(stack), run="case-7")
"""


@pytest.fixture
def flow(arriero, program: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program with a workflow, whose run waits for an approval."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = program.with_name("loads.py")
    file.write_text(FLOW)
    assert arriero("run", file).code == 0
    sys.modules.pop("program", None)
    return file


def test_a_run_of_a_workflow_goes_on_with_its_file_and_asks(arriero, program: Path, flow: Path) -> None:
    left = arriero("runs", "resume", "case-7", "--program", flow)
    assert left.code == 1
    assert f"`arriero runs resume case-7 --program {flow} --log" in left.out
    done = arriero("runs", "resume", "case-7", "--program", flow, stdin="perhaps\ny\n")
    assert (done.code, program.with_name("runs").read_text()) == (0, "Zuri\n")
    assert "not understood: 'perhaps'" in done.out
    assert "output    The load of Zuri is 85." in done.out
    over = arriero("runs", "resume", "case-7", "--program", flow)
    assert (over.code, over.err.endswith("(NothingToResume)\n")) == (1, True)


def test_a_call_in_a_run_of_a_workflow_is_decided_about_before_it_goes_on(arriero, program: Path, flow: Path) -> None:
    (waiting,) = events_of(arriero("runs", "decide", "case-7", "--json").out)
    assert waiting["id"] == "read/drover:1.0"
    wrong = arriero("runs", "decide", "case-7", "read=run")
    assert (wrong.code, "--decide" in wrong.err) == (2, True)
    decided = arriero("runs", "decide", "case-7", "read/drover:1.0=deny:not today", "--by", "ana")
    assert (decided.code, decided.err) == (0, "no call waits\n")
    assert arriero("runs", "resume", "case-7", "--program", flow).code == 0
    assert not program.with_name("runs").exists()
    assert "denied by ana: not today" in arriero("runs", "show", "case-7/read/drover").out


def test_a_run_of_a_workflow_wants_the_file_that_defines_it(arriero, program: Path, flow: Path) -> None:
    for options, says in (((), "run of the workflow 'loads'"), (("--program", program), "defines no workflow")):
        done = arriero("runs", "resume", "case-7", *options)
        assert (done.code, says in done.err) == (2, True)


def test_an_agent_of_a_file_is_not_stood_in_for_by_that_of_a_conversation(arriero, program: Path) -> None:
    session = begin(arriero, program)
    done = arriero("runs", "resume", session, "--decide", "1.0=run")
    assert (done.code, "the agent 'drover'" in done.err) == (2, True)
    assert json.loads(arriero("runs", "list", "--json").out)["state"] == "waiting"


def test_a_program_asks_on_a_terminal_for_what_its_turn_waits_for(program: Path) -> None:
    terminal = Terminal([*ARRIERO, "run", str(program)])
    terminal.wait_for("May this run? mule_load")
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("y\n")
    terminal.wait_for("The load of Zuri is 85.")
    assert terminal.end("") == 0
    assert "May this run?" not in terminal.seen
    assert program.with_name("runs").read_text() == "Zuri\n"


def test_a_program_that_is_left_at_a_question_says_how_it_goes_on(program: Path) -> None:
    terminal = Terminal([*ARRIERO, "run", str(program)])
    terminal.wait_for("run it? [y/n/e] ")
    terminal.type("\x04")
    terminal.wait_for("arriero runs resume ")
    assert terminal.end("") == 1
