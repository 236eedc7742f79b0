"""`arriero tools`: what there is, and calls of it."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import Terminal

ARRIERO = [sys.executable, "-c", "from arriero.cli import app; app(prog_name='arriero')"]
TOOLS = r'''
import time
from arriero.tools import Attachment, ToolContext, ToolError, ToolGroup, ToolOutput, tool

@tool(pure=True)
def double(number: float, unit: str = "") -> str:
    """Double a number.

    Args:
        number: The number.
    """
    return f"{2 * number}{unit}"

@tool(sensitive=True)
def erase(path: str) -> str:
    """Erase a file."""
    return f"erased {path}"

@tool
def chart(name: str = "chart.png") -> ToolOutput:
    """Draw."""
    return ToolOutput("a chart", (Attachment(name, "image/png", b"PNG"),))

@tool
def hostile() -> dict:
    """Says what it should not."""
    return {"text": "\x1b[2Jred\u202e", "half": "\ud800"}

@tool
def broken() -> str:
    """Fails."""
    raise ToolError("the mule\nis tired")

@tool
async def steps(context: ToolContext) -> str:
    """Takes steps."""
    context.progress("loading\x1b[2J", 1, 2)
    return "done"

@tool
async def asking(context: ToolContext) -> str:
    """Asks."""
    return "yes" if await context.approve("Really?") else "no"

@tool(timeout=60)
def waits() -> str:
    """Waits."""
    print("WAITING", flush=True)
    time.sleep(60)
    return ""

group = ToolGroup("notes", [double.renamed("read")], namespaced=True)
several = [double, group]

def make():
    return [double]

nothing = 5
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    file = tmp_path / "my_tools.py"
    file.write_text(TOOLS)
    return file


def call(arriero, tools: Path, *arguments: object, **options):
    return arriero("tools", "call", *arguments, "--from", tools, **options)


def test_built_in_tools_are_listed_with_what_they_lack(arriero, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARRIERO_WOLFRAM_APP_ID", raising=False)
    done = arriero("tools", "list")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert done.code == 0
    assert lines["web_search"] == "Search the web."
    assert lines["wolfram_alpha"] == "not here: set ARRIERO_WOLFRAM_APP_ID"
    assert lines["file_read"] == "not here: give the folder of the files with --root"
    assert {"web_fetch", "code_interpreter", "knowledge_search"} <= set(lines)


def test_the_list_can_be_read_by_programs(arriero, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_WOLFRAM_APP_ID", "CANARY-KEY")
    done = arriero("tools", "list", "--json", "--root", tmp_path)
    listed = {tool["name"]: tool for tool in map(json.loads, done.out.splitlines())}
    assert listed["file_read"]["parameters"]["required"] == ["path"]
    assert listed["file_write"]["effects"] == ["idempotent", "sensitive"]
    assert listed["wolfram_alpha"]["builtin"] == "wolfram_alpha"
    assert all(tool["available"] for tool in listed.values())
    assert "CANARY-KEY" not in done.out


def test_tools_of_a_file_are_listed_with_schemas(arriero, tools: Path) -> None:
    out = arriero("tools", "list", "--from", tools, "--schemas").out
    assert re.search(r"^double +Double a number\.$", out, re.MULTILINE)
    assert re.search(r"^erase +Erase a file\. \(asks for approval\)$", out, re.MULTILINE)
    assert re.search(r"^notes_read +Double a number\.$", out, re.MULTILINE)
    assert '"description": "The number."' in out


def test_tools_come_from_modules_and_from_what_is_named(arriero, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tools.parent)
    for source in ("my_tools", "my_tools:double", "my_tools:several", "my_tools:make", f"{tools}:double"):
        assert arriero("tools", "call", "double", "number=4", "--from", source).out == "8.0\n"
    assert arriero("tools", "call", "notes_read", "number=4", "--from", "my_tools:group").out == "8.0\n"
    sys.modules.pop("my_tools", None)


def test_arguments_come_as_json_as_a_file_from_stdin_and_as_pairs(arriero, tools: Path, tmp_path: Path) -> None:
    arguments = '{"number": 4, "unit": "kg"}'
    (tmp_path / "arguments.json").write_text(arguments)
    assert call(arriero, tools, "double", "--json", arguments).out == "8.0kg\n"
    assert call(arriero, tools, "double", "--json", f"@{tmp_path / 'arguments.json'}").out == "8.0kg\n"
    assert call(arriero, tools, "double", "--json", "-", stdin=arguments).out == "8.0kg\n"
    assert call(arriero, tools, "double", "number=4", "unit=7").out == "8.07\n"
    assert call(arriero, tools, "double", "--json", arguments, "number=5").out == "10.0kg\n"


def test_a_failure_is_printed_as_the_model_reads_it(arriero, tools: Path) -> None:
    done = call(arriero, tools, "broken")
    assert (done.code, done.out, done.err) == (1, "error: the mule\nis tired\n", "")


def test_arguments_that_do_not_fit_are_misuse(arriero, tools: Path) -> None:
    done = call(arriero, tools, "double", "number=four", "colour=red")
    assert done.code == 2
    assert "number" in done.out
    assert "colour" in done.out


def test_the_whole_result_can_be_read_by_programs(arriero, tools: Path) -> None:
    done = call(arriero, tools, "chart", "--json-output")
    result = json.loads(done.out)
    (file,) = result.pop("artifacts")
    assert (file["name"], file["media_type"], file["size"], file["saved"]) == ("chart.png", "image/png", 3, None)
    assert result.pop("duration") >= 0
    assert result == {
        "tool": "chart", "content": "a chart", "error": None, "source": None, "outcome": "completed", "attempts": 1,
    }  # fmt: skip
    failed = json.loads(call(arriero, tools, "broken", "--json-output").out)
    assert (failed["outcome"], failed["error"]) == ("failed", "the mule\nis tired")


def test_files_are_told_of_and_saved_where_wanted(arriero, tools: Path, tmp_path: Path) -> None:
    assert call(arriero, tools, "chart").err == "chart.png (image/png, 3 bytes): --save FOLDER keeps it\n"
    folder = tmp_path / "new" / "figures"
    for name in ("chart.png", "chart-2.png"):
        done = call(arriero, tools, "chart", "--save", folder)
        assert done.err == f"chart.png (image/png, 3 bytes): saved as {folder / name}\n"
        assert (folder / name).read_bytes() == b"PNG"


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("../../up.png", "up.png"),
        ("/etc/passwd", "passwd"),
        (".bashrc", "bashrc"),
        ("..", None),
        ("a\\b.png", "b.png"),
        ("new\nline\x1b.png", "new_line_.png"),
        ("x" * 300, "x" * 100),
    ],
)
def test_the_name_that_a_tool_gives_a_file_leads_nowhere(
    arriero, tools: Path, tmp_path: Path, name: str, saved: str | None
) -> None:
    folder = tmp_path / "figures"
    arguments = json.dumps({"name": name})
    assert call(arriero, tools, "chart", "--json", arguments, "--save", folder).code == 0
    (file,) = folder.iterdir()
    assert saved is None or file.name == saved
    assert sorted(os.listdir(tmp_path)) == ["figures", "my_tools.py"]


def test_a_link_in_the_folder_is_not_written_through(arriero, tools: Path, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "chart.png").symlink_to(tmp_path / "elsewhere")
    call(arriero, tools, "chart", "--save", tmp_path / "figures")
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "figures" / "chart-2.png").read_bytes() == b"PNG"


def test_nothing_is_run_whose_files_could_not_be_saved(arriero, tools: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    done = call(arriero, tools, "steps", "--save", tmp_path / "a file" / "figures")
    assert (done.code, done.out) == (2, "")
    assert "cannot be written" in done.err
    assert "loading" not in done.err


def test_a_pipe_gets_a_result_as_it_is(arriero, tools: Path) -> None:
    assert json.loads(call(arriero, tools, "hostile").out) == {"text": "\x1b[2Jred\u202e", "half": "?"}


def test_a_sensitive_tool_is_not_run_where_nobody_can_be_asked(arriero, tools: Path) -> None:
    done = call(arriero, tools, "erase", "path=a.txt", stdin="y\n")
    assert done.code == 1
    assert "erased" not in done.out
    assert done.err == "erase needs approval: run it on a terminal, or with --yes\n"
    assert call(arriero, tools, "erase", "path=a.txt", "--yes").out == "erased a.txt\n"
    assert call(arriero, tools, "asking", "--yes").out == "yes\n"


def test_progress_is_plain_lines_on_stderr(arriero, tools: Path) -> None:
    done = call(arriero, tools, "steps")
    assert (done.out, done.err) == ("done\n", "loading␛[2J 1/2\n")


def test_files_of_a_folder_are_read_and_written(arriero, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hay")
    assert arriero("tools", "call", "file_read", "path=a.txt", "--root", tmp_path).out == "hay\n"
    done = arriero("tools", "call", "file_write", "path=b.txt", "content=5", "--root", tmp_path, "--yes")
    assert done.out == "wrote b.txt (1 bytes)\n"
    assert (tmp_path / "b.txt").read_text() == "5"
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) == 0o644
    done = arriero("tools", "call", "file_read", "path=../b.txt", "--root", tmp_path)
    assert (done.code, done.out) == (1, "error: path ../b.txt leads out of the folder; give one inside it\n")


def test_the_search_is_the_one_that_is_named(arriero) -> None:
    assert arriero("tools", "call", "web_search", "query=salt pass", "--search", "offline").out.startswith(
        "provider: offline"
    )


def test_code_runs_in_the_sandbox(arriero) -> None:
    done = arriero("tools", "call", "code_interpreter", "code=print(6 * 7)")
    assert (done.code, done.out) == (0, "completed\n[stdout]42\n[/stdout]\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["hammer"], "there is no tool hammer"),
        (["double", "number"], "write NAME=VALUE"),
        (["double", "--json", "{"], "not JSON"),
        (["double", "--json", "[1]"], "a JSON object"),
        (["double", "--json", "[" * 100_000], "not JSON"),
        (["double", "--json", "@no/such.json"], "no/such.json cannot be read"),
        (["file_read", "path=a"], "--root"),
        (["web_search", "query=a", "--search", "tavily"], "ARRIERO_TAVILY_KEY"),
        (["double", "--from", "no/such.py"], "there is no file no/such.py"),
        (["double", "--from", "no_such_module"], "there is no module no_such_module"),
        (["double", "--from", ".relative"], "names no module"),
        (["double", "--from", "json"], "defines no tools"),
        (["double", "--from", "json:nothing"], "defines no nothing"),
        (["double", "--from", "json:__name__"], "is not a tool"),
        (["double", "--from", "json:loads"], "takes no parameters"),
        (["double", "--mcp", "python server.py"], "name the server"),
        (["double", "--mcp", "a='"], "not a command"),
    ],
)
def test_misuse_is_exit_code_2_in_one_clear_message(
    arriero, tools: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARRIERO_TAVILY_KEY", raising=False)
    done = arriero("tools", "call", *arguments, "--from", tools)
    assert (done.code, done.out) == (2, "")
    assert says in " ".join(done.err.replace("│", " ").split())


def test_keys_come_from_the_environment_and_are_shown_nowhere(arriero, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARRIERO_WOLFRAM_APP_ID", "two words")
    done = arriero("tools", "call", "wolfram_alpha", "query=2+2")
    assert done.code == 2
    assert "AppID" in done.err
    assert "two words" not in done.err


def on_terminal(tools: Path, *arguments: str) -> Terminal:
    return Terminal([*ARRIERO, "tools", "call", *arguments, "--from", str(tools)])


@pytest.mark.parametrize(
    ("answer", "code", "result"), [("y\n", 0, "erased a"), ("n\n", 1, "error:"), ("\n", 1, "error:")]
)
def test_a_person_on_a_terminal_is_asked(tools: Path, answer: str, code: int, result: str) -> None:
    terminal = on_terminal(tools, "erase", "--json", '{"path": "a\\u001b[2Jb"}')
    terminal.wait_for('Run erase with {"path": "a')
    terminal.wait_for("[y/N]: ")
    terminal.type(answer)
    terminal.wait_for(result)
    assert terminal.end("") == code
    assert "\x1b[2J" not in terminal.seen


def test_what_is_asked_is_no_longer_than_can_be_read(tools: Path) -> None:
    terminal = on_terminal(tools, "erase", "path=" + "a" * 50_000)
    terminal.wait_for("characters left out")
    terminal.wait_for("[y/N]: ")
    terminal.type("n\n")
    assert terminal.end("") == 1


def test_ctrl_c_at_the_question_runs_nothing(tools: Path) -> None:
    terminal = on_terminal(tools, "erase", "path=a")
    terminal.wait_for("[y/N]: ")
    assert terminal.end("\x03") != 0
    assert "erased" not in terminal.seen
    assert "Traceback" not in terminal.seen


def test_a_terminal_is_not_acted_upon_by_a_result(tools: Path) -> None:
    terminal = on_terminal(tools, "hostile")
    terminal.wait_for("red")
    terminal.end("")
    assert "\x1b" not in terminal.seen


def test_ctrl_c_ends_a_call_without_a_traceback(tools: Path) -> None:
    command = [*ARRIERO, "tools", "call", "waits", "--from", str(tools)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "WAITING\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
        assert "Traceback" not in process.stderr.read()


def test_the_sandbox_that_is_used_is_shown_with_its_canaries(arriero) -> None:
    done = arriero("tools", "sandbox", "--json")
    tiers = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [tier["active"] for tier in tiers].count(True) == 1
    active = next(tier for tier in tiers if tier["active"])
    assert {canary["name"]: canary["ok"] for canary in active["canaries"]}["network"] is True
    shown = arriero("tools", "sandbox").out
    assert f"{active['tier']}: active" in shown
    assert "  ok      host file" in shown


@pytest.mark.usefixtures("no_sandbox")
def test_without_a_sandbox_the_reason_is_told_and_it_fails(arriero) -> None:
    done = arriero("tools", "sandbox")
    assert done.code == 1
    assert "not used" in done.out
    assert "FAILED" in done.out


@pytest.mark.parametrize("command", [["tools", "list"], ["tools", "call"], ["tools", "sandbox"], ["mcp"]])
def test_help_shows_an_example(arriero, command: list[str]) -> None:
    done = arriero(*command, "--help")
    assert f"arriero {' '.join(command)}" in done.out.split("Example:")[1]
