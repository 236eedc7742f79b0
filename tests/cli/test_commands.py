import importlib.metadata
import json
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import arriero as package

COMMANDS = ["demo", "run", "chat", "render", "parse", "serve", "tools", "runs", "mcp", "eval", "doctor"]
EVALS = ["new", "run", "judge", "label", "calibrate", "report", "compare", "size", "toolcalls", "quantization"]
ARRIERO = [sys.executable, "-c", "from arriero.cli import app; app(prog_name='arriero')"]
AGENT = """
from arriero import Agent, Limits

QUESTIONS = ("Hello", "Thanks!")

def agent(stack):
    return Agent(stack, limits=Limits(tokens=20))
"""


def test_the_version_is_that_of_the_package(arriero) -> None:
    assert arriero("--version").out == f"arriero {package.__version__}\n"
    assert importlib.metadata.version("arriero") == package.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(arriero, command: str) -> None:
    done = arriero(command, "--help")
    assert done.code == 0
    assert "Example:" in done.out
    assert f"arriero {command}" in done.out.split("Example:")[1]


@pytest.mark.parametrize("command", EVALS)
def test_help_of_an_evaluation_shows_an_example(arriero, command: str) -> None:
    done = arriero("eval", command, "--help")
    assert done.code == 0
    assert f"arriero eval {command}" in done.out.split("Example:")[1]
    assert "--json" in done.out


def test_help_lists_every_command(arriero) -> None:
    listed = arriero("--help").out
    assert [command for command in COMMANDS if f"  {command} " not in listed] == []


def test_nothing_heavy_is_imported_for_help() -> None:
    heavy = ["torch", "transformers", "chromadb", "fastapi", "httpx2", "numpy", "scipy", "sklearn"]
    code = f"import sys, arriero.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_run_asks_a_files_agent_its_questions(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(AGENT)
    done = arriero("run", tmp_path / "program.py", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    asked = [event["messages"][-1]["content"] for event in events if event["kind"] == "TurnStarted"]
    assert asked == ["Hello", "Thanks!"]
    assert events[-1]["kind"] in ("TurnFinished", "unmet")
    ends = [event["reason"] for event in events if event["kind"] == "TurnFinished"]
    assert done.code == (0 if set(ends) == {"answer"} else 1)


def test_run_asks_what_the_command_line_says(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(AGENT)
    done = arriero("run", tmp_path / "program.py", "Who are you?")
    assert done.out.splitlines()[:2] == ["", "Who are you?"]
    assert "\x1b" not in done.out


def test_run_runs_a_main_that_takes_nothing(arriero, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("TEXT = 'from the neighbour'\n")
    (tmp_path / "program.py").write_text("import neighbour\n\nasync def main():\n    print(neighbour.TEXT)\n")
    assert arriero("run", tmp_path / "program.py").out == "from the neighbour\n"


def test_run_runs_a_main_that_takes_the_stack(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("async def main(stack):\n    print(stack.dialect.name)\n")
    assert arriero("run", tmp_path / "program.py").out == "llama3.1\n"


def test_a_log_keeps_what_happened(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(AGENT)
    arriero("run", tmp_path / "program.py", "Hello", "--log", tmp_path / "log.sqlite")
    assert b"TurnFinished" in (tmp_path / "log.sqlite").read_bytes()


def test_chat_answers_each_line_of_a_pipe_in_one_session(arriero) -> None:
    done = arriero("chat", "--json", stdin="Hello\n\nThanks!\n")
    events = [json.loads(line) for line in done.out.splitlines()]
    starts = [event for event in events if event["kind"] == "TurnStarted"]
    prompts = [event for event in events if event["kind"] == "PromptAppended"]
    assert done.code == 0
    assert len(starts) == 2
    # The second turn appends to the first: it does not render the tools again.
    assert len(prompts[-1]["token_ids"]) < len(prompts[0]["token_ids"])


@pytest.mark.usefixtures("no_sandbox")
def test_chat_goes_without_the_interpreter_where_no_sandbox_holds_unless_it_is_asked_for(arriero) -> None:
    left_out = arriero("chat", stdin="")
    assert (left_out.code, left_out.out) == (0, "")
    assert left_out.err.startswith("code_interpreter is left out: ")
    asked = arriero("chat", "--tool", "code_interpreter", stdin="")
    assert asked.code == 1
    assert asked.err.endswith("(NoSandbox)\n")


def test_chat_offers_the_tools_that_it_is_told_to(arriero, tmp_path: Path) -> None:
    done = arriero("chat", "--json", "--tool", "web_search", "--documents", tmp_path, stdin="Hello\n")
    started = json.loads(done.out.splitlines()[0])
    assert [tool["function"]["name"] for tool in started["tools"]] == ["web_search", "knowledge_search"]
    assert started["builtins"] == []


def test_doctor_finds_everything_well(arriero) -> None:
    done = arriero("doctor", "--json")
    checks = {check["name"]: check["state"] for check in map(json.loads, done.out.splitlines())}
    assert done.code == 0
    assert set(checks.values()) == {"ok"}
    assert {"extra local", "extra rag", "bundled model", "code interpreter", "document search"} <= set(checks)


def test_doctor_says_which_server_does_not_answer(arriero, locked_server: str) -> None:
    done = arriero("doctor", "--url", locked_server)
    assert done.code == 1
    assert "failed  model server     " in done.out


def test_serve_says_where_it_is_and_stops_at_ctrl_c() -> None:
    with subprocess.Popen([*ARRIERO, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        model, _, url = process.stderr.readline().split()
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=30) as client:
            assert [served.id for served in client.models.list()] == [model]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("absent", "command", "extra"), [("uvicorn", ["serve"], "serve"), ("torch", ["demo"], "local")]
)
def test_an_extra_that_is_not_installed_is_one_clear_line(absent: str, command: list[str], extra: str) -> None:
    code = f"import sys; sys.modules[{absent!r}] = None; from arriero.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert f"pip install 'arriero[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1
