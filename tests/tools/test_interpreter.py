"""The code interpreter as a tool: what a model reads, sessions, files, and its life in a program."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, code_interpreter
from arriero.tools.artifacts import ToolOutput
from arriero.tools.context import ToolContext
from arriero.tools.interpreter import CodeInterpreter
from arriero.tools.sandbox import Bubblewrap, Limits, SandboxError, SandboxUnavailable, Unsafe
from arriero.tools.sandbox.tier import Launched

pytestmark = pytest.mark.anyio

OTHER = next(path for path in ("/usr/bin/python3", sys.executable) if Path(path).exists())
ALICE, BOB = ToolContext(session="alice"), ToolContext(session="bob")


@pytest.fixture
async def interpreter() -> AsyncIterator[CodeInterpreter]:
    made = CodeInterpreter(tier=Bubblewrap())
    yield made
    await made.aclose()


async def text(interpreter: CodeInterpreter, code: str, context: ToolContext | None = None) -> str:
    result = await interpreter.tool().invoke({"code": code}, context)
    assert isinstance(result, str)
    return result


async def output(interpreter: CodeInterpreter, code: str, context: ToolContext | None = None) -> ToolOutput:
    result = await interpreter.tool().handler({"code": code}, context or ToolContext())
    assert isinstance(result, ToolOutput)
    return result


def sandbox_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "arriero-sandbox"]


async def test_what_is_printed_comes_back_in_metas_form(interpreter: CodeInterpreter) -> None:
    assert await text(interpreter, "print(6 * 7)") == "completed\n[stdout]42\n[/stdout]"
    code = "import sys; print('out'); print('warn', file=sys.stderr)"
    assert await text(interpreter, code) == "completed\n[stdout]out\n[/stdout]\n[stderr]warn\n[/stderr]"


async def test_the_value_of_a_last_expression_is_printed(interpreter: CodeInterpreter) -> None:
    assert await text(interpreter, "x = 'سلام'\nx * 2") == "completed\n[stdout]'سلامسلام'\n[/stdout]"
    assert await text(interpreter, "print('a', end='')\n1") == "completed\n[stdout]a\n1\n[/stdout]"
    assert await text(interpreter, "x = 1") == await text(interpreter, "") == "completed"


async def test_an_exception_is_a_failure_with_a_traceback_of_the_code_alone(interpreter: CodeInterpreter) -> None:
    result = await output(interpreter, "def f():\n    return 1 / 0\n\nprint('before')\nf()")
    assert result.error is None
    said = str(result.content)
    assert said.startswith("failed\n[stdout]before\n[/stdout]\n[stderr]Traceback (most recent call last):\n")
    assert "line 2, in f\n    return 1 / 0" in said
    assert "worker" not in said


async def test_code_that_runs_too_long_is_stopped_and_says_so() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), timeout=0.5)
    result = await output(interpreter, "print('on the way')\nwhile True: pass")
    assert result.error == "killed: time"
    assert str(result.content).startswith("failed\n[stdout]on the way\n[/stdout]\n[stderr]")
    assert "longer than 0.5 s" in str(result.content)
    await interpreter.aclose()


async def test_long_output_keeps_its_beginning_and_end() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), output=400)
    said = await text(interpreter, "print('start'); print('x' * 5_000_000); print('end')")
    assert said.startswith("completed\n[stdout]start\nxxx")
    assert said.endswith("xxx\nend\n[/stdout]")
    assert len(said) < 450
    assert "bytes left out" in said
    await interpreter.aclose()


async def test_a_session_keeps_its_variables_and_no_other_sees_them(interpreter: CodeInterpreter) -> None:
    await text(interpreter, "x = 41", ALICE)
    assert await text(interpreter, "x + 1", ALICE) == "completed\n[stdout]42\n[/stdout]"
    assert "NameError" in await text(interpreter, "x", BOB)


async def test_outside_of_a_session_each_call_starts_afresh(interpreter: CodeInterpreter) -> None:
    code = "import os\nprint(os.listdir('.'), 'y' in globals())\ny = open('left', 'w').close()"
    first, second = await text(interpreter, code), await text(interpreter, code)
    assert first == second
    assert "[] False" in first


async def test_a_session_outlives_the_loop_that_used_it() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap())

    def twice() -> str:
        anyio.run(text, interpreter, "x = 41", ALICE)
        return anyio.run(text, interpreter, "x + 1", ALICE)

    assert "42" in await anyio.to_thread.run_sync(twice)
    await interpreter.aclose()


async def test_sessions_run_at_the_same_time(interpreter: CodeInterpreter) -> None:
    await text(interpreter, "1", ALICE)
    await text(interpreter, "1", BOB)
    started = time.monotonic()
    async with anyio.create_task_group() as group:
        for context in (ALICE, BOB):
            group.start_soon(text, interpreter, "import time; time.sleep(.6)", context)
    assert time.monotonic() - started < 1.1


async def test_characters_that_cannot_be_seen_are_kept_and_noted(interpreter: CodeInterpreter) -> None:
    said = await text(
        interpreter, "print('a\\0b \\u202eevil\\u202c' + ''.join(chr(0xE0000 + ord(c)) for c in 'ignore'))"
    )
    assert "a\0b \u202eevil" in said
    assert said.endswith("[note]the output has 9 characters that cannot be seen[/note]")
    assert "[note]" not in await text(interpreter, "print('Zażółć\\t漢字 🦙\\n')")


async def test_another_interpreter_can_be_used() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), python=OTHER)
    assert OTHER in await text(interpreter, "import sys; sys.executable")
    await interpreter.aclose()


async def test_a_lost_state_is_noted(interpreter: CodeInterpreter) -> None:
    await text(interpreter, "x = 1", ALICE)
    assert "are gone" in await text(interpreter, "import os; os._exit(1)", ALICE)
    assert "are gone" in await text(interpreter, "1", ALICE)
    assert "are gone" not in await text(interpreter, "1", ALICE)


async def test_a_cancelled_call_is_killed_and_the_next_one_works(interpreter: CodeInterpreter) -> None:
    await text(interpreter, "1", ALICE)
    started = time.monotonic()
    with anyio.move_on_after(0.2):
        await text(interpreter, "import time\nwhile True: time.sleep(1)", ALICE)
    assert time.monotonic() - started < 1.5
    assert await text(interpreter, "1", ALICE) == (
        "completed\n[stdout]1\n[/stdout]\n"
        "[note]variables and files of earlier calls are gone: a new process has been started[/note]"
    )


async def test_files_are_listed_attached_and_can_be_fetched_and_put(interpreter: CodeInterpreter) -> None:
    await interpreter.upload("alice", "in.csv", b"1,2")
    result = await output(interpreter, "open('out.csv', 'w').write(open('in.csv').read() * 2); None", ALICE)
    assert result.content == "completed\n[files]out.csv (6 bytes)\n[/files]"
    assert [(file.name, file.media_type, file.data) for file in result.attachments] == [
        ("out.csv", "text/csv", b"1,21,2")
    ]
    assert [file.path for file in await interpreter.listing("alice")] == ["in.csv", "out.csv"]
    assert await interpreter.read("alice", "out.csv") == b"1,21,2"
    assert await interpreter.listing("bob") == ()
    with pytest.raises(SandboxError):
        await interpreter.read("bob", "out.csv")


async def test_large_files_are_listed_but_stay_inside_until_they_are_fetched() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), attach=1_000)
    code = "open('a', 'wb').write(bytes(900)); open('b', 'wb').write(bytes(900)); None"
    result = await output(interpreter, code, ALICE)
    assert [file.name for file in result.attachments] == ["a"]
    assert "b (900 bytes)" in str(result.content)
    assert await interpreter.read("alice", "b") == bytes(900)
    await interpreter.aclose()


async def test_figures_come_back_as_attachments(interpreter: CodeInterpreter) -> None:
    pytest.importorskip("matplotlib")
    result = await output(interpreter, "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()")
    (figure,) = result.attachments
    assert (figure.name, figure.media_type) == ("figure-1.png", "image/png")
    assert figure.data.startswith(b"\x89PNG")


async def test_an_unused_session_is_closed_after_a_while_and_that_is_noted() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), idle=0.2)
    await text(interpreter, "x = 1", ALICE)
    await anyio.sleep(0.8)
    said = await text(interpreter, "'x' in globals()", ALICE)
    assert "False" in said
    assert "are gone" in said
    await interpreter.aclose()


async def test_beyond_the_number_of_sessions_the_longest_unused_is_closed() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), sessions=2)
    for name in ("a", "b", "a", "c"):
        await text(interpreter, f"{name} = 1", ToolContext(session=name))
    assert "[stdout]1" in await text(interpreter, "a", ToolContext(session="a"))
    assert "are gone" in await text(interpreter, "1", ToolContext(session="b"))
    await interpreter.aclose()


async def test_when_all_sessions_are_busy_another_is_refused() -> None:
    interpreter = CodeInterpreter(tier=Bubblewrap(), sessions=1)
    await text(interpreter, "1", ALICE)
    async with anyio.create_task_group() as group:
        group.start_soon(text, interpreter, "import time; time.sleep(1)", ALICE)
        await anyio.sleep(0.3)
        with pytest.raises(SandboxError, match="later"):
            await text(interpreter, "1", BOB)
    await interpreter.aclose()


async def test_closing_ends_the_processes_and_the_thread_and_a_later_call_starts_again() -> None:
    before = len(sandbox_threads())
    interpreter = CodeInterpreter(tier=Bubblewrap())
    await text(interpreter, "x = 1", ALICE)
    assert len(sandbox_threads()) == before + 1
    await interpreter.aclose()
    assert len(sandbox_threads()) == before
    assert "NameError" in await text(interpreter, "x", ALICE)
    await interpreter.aclose()
    await interpreter.aclose()


async def test_a_tool_that_is_forgotten_ends_its_thread() -> None:
    gc.collect()
    before = len(sandbox_threads())
    tool: Any = code_interpreter(tier=Bubblewrap())
    await tool.invoke({"code": "1"})
    del tool
    gc.collect()
    assert len(sandbox_threads()) == before


def test_a_program_that_forgets_to_close_ends_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import anyio, os\n"
        "from arriero.tools import code_interpreter\n"
        "from arriero.tools.context import ToolContext\n"
        "tool = code_interpreter()\n"
        'code = \'import subprocess; subprocess.Popen(["sleep", "77.5"]); print(6 * 7)\'\n'
        "print(anyio.run(tool.invoke, {'code': code}, ToolContext(session='a')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "42" in done.stdout
    deadline = time.monotonic() + 2
    while subprocess.run(["pgrep", "-f", "sleep 77.5"], capture_output=True).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_without_a_sandbox_every_result_and_the_log_say_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        interpreter = CodeInterpreter(tier=Unsafe())
    assert "without a sandbox" in caplog.text
    for code in ("6 * 7", "1 / 0"):
        assert "UNSAFE" in await text(interpreter, code)
    await interpreter.aclose()


async def test_a_sandbox_that_stops_working_is_an_error_that_tells_why() -> None:
    class Broken:
        name = "broken"

        async def launch(self, limits: Limits, python: str | None) -> Launched:
            raise SandboxUnavailable("the bridge is out")

    interpreter = CodeInterpreter(tier=Broken())
    with pytest.raises(SandboxUnavailable, match="the bridge is out"):
        await text(interpreter, "1")
    await interpreter.aclose()


async def test_the_environment_and_its_secrets_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, interpreter: CodeInterpreter
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    said = await text(interpreter, "import os; print(sorted(os.environ)); print('hunter2' in str(os.environ))")
    assert "SECRET_KEY" not in said
    assert "False" in said


async def test_nothing_of_code_or_output_is_logged(
    caplog: pytest.LogCaptureFixture, interpreter: CodeInterpreter
) -> None:
    with caplog.at_level(logging.DEBUG):
        await text(interpreter, "print('confidential'); 1 / 0")
    assert "confidential" not in caplog.text


async def test_the_registry_offers_the_best_tier_that_holds_as_a_builtin() -> None:
    registry = Registry([code_interpreter()])
    assert registry.builtins == ("code_interpreter",)
    assert registry.declarations == []
    result = await registry.call(ToolCall("code_interpreter", {"code": "1 + 1"}))
    assert result.content == "completed\n[stdout]2\n[/stdout]"
    await registry.aclose()


async def test_a_short_session_costs_the_callers_process_no_descriptors(interpreter: CodeInterpreter) -> None:
    await text(interpreter, "1")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await text(interpreter, "1")
    assert len(os.listdir("/proc/self/fd")) <= before + 6  # a worker may just be started ahead
