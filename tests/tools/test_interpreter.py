import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, code_interpreter

pytestmark = pytest.mark.anyio


async def run(code: str, *, wall_time: float = 10.0, output: int = 8_000) -> str:
    result = await code_interpreter(timeout=wall_time, output=output).invoke({"code": code})
    assert isinstance(result, str)
    return result


async def wait_until(condition: Callable[[], bool]) -> None:
    def poll() -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    await anyio.to_thread.run_sync(poll)


def processes_named(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


async def test_what_is_printed_comes_back_in_metas_form() -> None:
    assert await run("print(6 * 7)") == "completed\n[stdout]42\n[/stdout]"
    assert await run("import sys; print('out'); print('warn', file=sys.stderr)") == (
        "completed\n[stdout]out\n[/stdout]\n[stderr]warn\n[/stderr]"
    )


async def test_the_value_of_a_last_expression_is_printed() -> None:
    assert await run("x = 'سلام'\nx * 2") == "completed\n[stdout]'سلامسلام'\n[/stdout]"
    assert await run("x = 1") == "completed"
    assert await run("") == "completed"


async def test_an_exception_is_a_failure_with_a_traceback_of_the_code_alone() -> None:
    result = await run("def f():\n    return 1 / 0\n\nprint('before')\nf()")
    assert result.startswith("failed\n[stdout]before\n[/stdout]\n[stderr]Traceback (most recent call last):\n")
    assert 'File "<code>", line 2, in f\n    return 1 / 0' in result
    assert "ZeroDivisionError: division by zero" in result
    assert "code_runner" not in result


async def test_code_that_does_not_parse_is_a_failure() -> None:
    result = await run("print('unclosed'")
    assert result.startswith("failed\n[stderr]")
    assert "SyntaxError" in result
    assert "code_runner" not in result


async def test_nul_bytes_are_harmless_in_code_and_output() -> None:
    assert "null bytes" in await run("print('a\0b')")
    assert await run(r"print('a\0b')") == "completed\n[stdout]a\0b\n[/stdout]"


async def test_the_exit_status_decides_between_completed_and_failed() -> None:
    assert await run("import sys; print(1); sys.exit(0)") == "completed\n[stdout]1\n[/stdout]"
    assert await run("import sys; sys.exit(3)") == "failed"
    assert await run("import os; os.abort()") == "failed\n[stderr]stopped by signal SIGABRT[/stderr]"


async def test_reading_input_finds_its_end() -> None:
    assert "EOFError" in await run("input()")


async def test_an_endless_loop_is_stopped_and_what_it_wrote_is_kept() -> None:
    result = await run("print('begun', flush=True)\nwhile True: pass", wall_time=0.7)
    assert result == "failed\n[stdout]begun\n[/stdout]\n[stderr]stopped: it ran longer than 0.7 s[/stderr]"


async def test_endless_output_is_drained_cut_and_noted() -> None:
    result = await run("while True: print('x' * 1000)", wall_time=0.7, output=400)
    assert len(result) < 700
    assert "bytes left out" in result
    assert "stopped: it ran longer" in result


async def test_the_beginning_and_the_end_of_long_output_are_kept() -> None:
    result = await run("print('first'); print('x' * 100_000); print('last')", output=400)
    assert result.startswith("completed\n[stdout]first\nxxx")
    assert result.endswith("xxx\nlast\n[/stdout]")
    assert "[... 99612 bytes left out ...]" in result


async def test_a_memory_bomb_ends_in_a_memory_error() -> None:
    result = await run("x = []\nwhile True: x.append(bytearray(64 << 20))")
    assert result.startswith("failed\n[stderr]")
    assert "MemoryError" in result


async def test_a_file_cannot_fill_the_disk() -> None:
    result = await run("with open('big', 'wb') as f:\n    for _ in range(64): f.write(bytes(1 << 20))")
    assert "File too large" in result


@pytest.mark.parametrize("own_session", [False, True])
async def test_children_left_behind_are_killed(own_session: bool) -> None:
    word = f"left-behind-{os.getpid()}-{own_session}"
    code = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {word!r}],"
        f" start_new_session={own_session})\n"
        "print('done')"
    )
    started = time.monotonic()
    assert await run(code) == "completed\n[stdout]done\n[/stdout]"
    assert time.monotonic() - started < 8
    await wait_until(lambda: not processes_named(word))


DETACHED = (
    "import subprocess, sys\n"
    "inner = 'import subprocess, sys\\nsubprocess.Popen([\"/bin/sleep\", sys.argv[1]], env={})'\n"
    "subprocess.Popen(['/bin/sleep', '%s'], env={}, start_new_session=True)\n"
    "subprocess.run([sys.executable, '-c', inner, '%s'], env={}, start_new_session=True)\n"
)


def sleeping(seconds: str) -> list[str]:
    return processes_named(f"/bin/sleep\0{seconds}\0")


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("print('done')", "completed\n[stdout]done\n[/stdout]"),
        ("import os; os._exit(3)", "failed"),
        ("import os; os.kill(os.getpid(), 15)", "failed\n[stderr]stopped by signal SIGTERM[/stderr]"),
        ("import os; os.killpg(0, 9)", "failed\n[stderr]stopped by the system: "),
        ("import time; time.sleep(60)", "failed\n[stderr]stopped: it ran longer than 4 s"),
    ],
)
async def test_children_without_a_trace_are_killed_however_the_code_ends(end: str, expected: str) -> None:
    seconds = f"{os.getpid()}.{abs(hash(end)) % 10_000}"
    started = time.monotonic()
    result = await run((DETACHED % (seconds, seconds)) + end, wall_time=4.0 if "sleep(60)" in end else 20.0)
    assert result.startswith(expected)
    assert not sleeping(seconds)
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
async def test_cancellation_kills_children_without_a_trace() -> None:
    seconds = f"{os.getpid()}.77"
    async with anyio.create_task_group() as group:
        group.start_soon(run, (DETACHED % (seconds, seconds)) + "import time; time.sleep(60)")
        await wait_until(lambda: len(sleeping(seconds)) == 2)
        group.cancel_scope.cancel()
    assert not sleeping(seconds)


async def test_cancellation_kills_the_code_and_removes_its_folder(tmp_path: Path) -> None:
    report = tmp_path / "folder"
    code = f"import os, time\nopen({str(report)!r}, 'w').write(os.getcwd() + ' ' + str(os.getpid()))\ntime.sleep(60)"
    async with anyio.create_task_group() as group:
        group.start_soon(run, code)
        await wait_until(lambda: report.exists() and report.read_text() != "")
        group.cancel_scope.cancel()
    folder, pid = report.read_text().split()
    await wait_until(lambda: not os.path.lexists(folder) and not os.path.lexists(f"/proc/{pid}"))


async def test_the_environment_and_its_secrets_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    result = await run("import os; print(sorted(os.environ)); print('hunter2' in str(os.environ))")
    assert "SECRET_KEY" not in result
    assert "False" in result


async def test_each_call_starts_afresh_in_an_empty_folder() -> None:
    code = "import os\nprint(os.listdir('.'))\nopen('left', 'w').write('x')\nprint('y' in globals())\ny = 1"
    assert await run(code) == await run(code) == "completed\n[stdout][]\nFalse\n[/stdout]"


async def test_the_program_is_the_main_module() -> None:
    code = "import pickle\nclass A: pass\nprint(__name__, type(pickle.loads(pickle.dumps(A()))).__name__)"
    assert await run(code) == "completed\n[stdout]__main__ A\n[/stdout]"


async def test_the_registry_offers_it_as_a_builtin() -> None:
    registry = Registry([code_interpreter()])
    assert registry.builtins == ("code_interpreter",)
    assert registry.declarations == []
    result = await registry.call(ToolCall("code_interpreter", {"code": "1 + 1"}))
    assert result.content == "completed\n[stdout]2\n[/stdout]"
