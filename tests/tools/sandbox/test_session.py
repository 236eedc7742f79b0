"""Sessions of the sandbox: what a caller sees of the code, the files and the worker's end."""

import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.sandbox import (
    Bubblewrap,
    Execution,
    FileEntry,
    Limits,
    Sandbox,
    SandboxError,
    SandboxSession,
    SandboxUnavailable,
    Unsafe,
)
from arriero.tools.sandbox.watcher import process_tree

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n"
MIB = 1 << 20
REAL_PYTHON = os.path.realpath(sys.executable)


@asynccontextmanager
async def opened(**limits: float) -> AsyncIterator[SandboxSession]:
    async with Sandbox(Bubblewrap(), limits=Limits(**limits), warm=0) as sandbox, await sandbox.open() as session:  # type: ignore[arg-type]
        yield session


async def run(code: str, **limits: float) -> Execution:
    async with opened(**limits) as session:
        return await session.run(code)


async def eventually(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - another process sets no event
            await anyio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_output_value_and_duration_come_back_apart() -> None:
    execution = await run("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert execution.status == "completed"
    assert (execution.stdout, execution.stderr, execution.value) == ("out\n", "err\n", "42")
    assert execution.error is None
    assert 0 < execution.duration < 5


async def test_variables_functions_and_imports_live_on_in_a_session() -> None:
    async with opened() as session:
        await session.run("import math\nx = 41\ndef add(n): return x + n")
        assert (await session.run("add(math.floor(1.5))")).value == "42"
        assert not (await session.run("x")).state_lost


async def test_sessions_share_nothing() -> None:
    async with Sandbox(Bubblewrap(), warm=1) as sandbox, await sandbox.open() as one, await sandbox.open() as other:
        await one.run("x = 1; open('f', 'w').write('x')")
        assert (await other.run("import os; 'x' in globals(), os.listdir('.')")).value == "(False, [])"
        uid = "import os; os.getuid()"
        assert (await one.run(uid)).value != (await other.run(uid)).value


async def test_a_traceback_starts_at_the_users_code_and_shows_its_lines() -> None:
    async with opened() as session:
        await session.run("def divide(a):\n    return a / 0")
        execution = await session.run("divide(1)")
    assert execution.status == "failed"
    assert execution.error == (
        "Traceback (most recent call last):\n"
        '  File "<code 2>", line 1, in <module>\n    divide(1)\n'
        '  File "<code 1>", line 2, in divide\n    return a / 0\n            ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(:\n  pass", "SyntaxError"),
        ("x = '\0'", "null bytes"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "E"),
        ("class R:\n    def __repr__(self): raise ValueError('no')\nR()", "ValueError: no"),
        ("def f(): f()\nf()", "RecursionError"),
        ("class E:\n    def __eq__(self, other): raise ValueError\nraise SystemExit(E())", "SystemExit"),
        ("class E(Exception):\n    @property\n    def __class__(self): raise ValueError\nraise E", "E"),
        (
            "class M(type):\n    __name__ = property(lambda s: 1 / 0)\nclass E(Exception, metaclass=M): pass\nraise E",
            "E",
        ),
        ("import sys; sys.setrecursionlimit(30); 1 / 0", "ZeroDivisionError"),
        ("b'a'.decode('utf-16')", "UnicodeDecodeError"),
    ],
)
async def test_code_that_fails_fails_alone(code: str, expected: str) -> None:
    async with opened() as session:
        await session.run("kept = 1")
        execution = await session.run(code)
        assert (execution.status, execution.reason) == ("failed", None)
        assert expected in (execution.error or "")
        assert (await session.run("kept")).value == "1"


async def test_leaving_with_success_is_no_failure() -> None:
    async with opened() as session:
        execution = await session.run("print('bye'); raise SystemExit")
        assert (execution.status, execution.stdout) == ("completed", "bye\n")


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.close()",
        "import sys; sys.stdout = sys.stderr = None",
        "import os; os.close(1); os.close(2); os.close(0)",
        "import os; os.dup2(os.open('/dev/null', 1), 1)",
        "import builtins, json; builtins.print = json.dumps = json.loads = None",
        "import builtins; builtins.sorted = builtins.min = builtins.range = None",
        "import signal; signal.signal(14, lambda *_: 1 / 0); signal.setitimer(signal.ITIMER_REAL, .05, .01)",
        "import sys; sys.settrace(lambda *_: 1 / 0)",
        "import sys; sys.addaudithook(lambda event, _: 1 / 0 if event == 'os.scandir' else None)",
        "class S(str):\n    def __len__(s): return 0\nclass R:\n    def __repr__(s): return S('x' * 5_000_000)\nR()",
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
        "import os; os.write = os.read = os.dup2 = os.scandir = None",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "import sys; sys.setrecursionlimit(30)",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))",
    ],
)
async def test_what_the_code_breaks_around_itself_does_not_break_the_next_call(code: str) -> None:
    async with opened() as session:
        await session.run("kept = 1")
        await session.run(code)
        execution = await session.run("import sys; _ = sys.stdout.write('heard\\n'); kept")
        assert (execution.stdout, execution.value, execution.state_lost) == ("heard\n", "1", False)


async def test_an_endless_loop_is_interrupted_in_time_and_the_variables_stay() -> None:
    async with opened(wall=0.5) as session:
        await session.run("kept = 1")
        started = time.monotonic()
        execution = await session.run("print('before')\nwhile True: pass")
        assert time.monotonic() - started < 2.5
        assert (execution.status, execution.reason, execution.state_lost) == ("killed", "time", False)
        assert execution.stdout == "before\n"
        assert "KeyboardInterrupt" in (execution.error or "")
        assert (await session.run("kept")).value == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass",
        "sum(range(10**14))",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nwhile True: pass",
        "import subprocess\nsubprocess.run(['sleep', '60'])",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
async def test_what_cannot_be_interrupted_alone_is_killed_and_the_loss_is_said_twice(code: str) -> None:
    async with opened(wall=0.5) as session:
        await session.run("gone = 1")
        pid, started = session.pid, time.monotonic()
        execution = await session.run(code)
        assert time.monotonic() - started < 2.5
        assert (execution.status, execution.reason, execution.state_lost) == ("killed", "time", True)
        assert not alive(pid)
        after = await session.run("'gone' in globals()")
        assert (after.value, after.state_lost) == ("False", True)
        assert not (await session.run("1")).state_lost


async def test_a_shorter_time_can_be_asked_for_but_no_longer_one() -> None:
    async with opened(wall=0.5) as session:
        assert (await session.run("import time; time.sleep(60)", timeout=0.1)).duration < 0.5
        assert (await session.run("import time; time.sleep(60)", timeout=60)).duration < 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.closerange(0, 1024)", "ended"),
        ("import os; os.execv('/bin/sleep', ['sleep', '0.1'])", "ended"),
        ("import builtins; builtins.isinstance = None", "ended"),
    ],
)
async def test_the_end_of_the_worker_is_told_and_the_next_call_works(code: str, expected: str) -> None:
    async with opened() as session:
        await session.run("x = 1")
        execution = await session.run("print('last words')\n" + code)
        assert (execution.status, execution.reason, execution.state_lost) == ("killed", "exit", True)
        assert execution.stdout == "last words\n"
        assert expected in (execution.error or "")
        assert (await session.run("print('alive')")).stdout == "alive\n"


async def test_processor_time_is_limited_by_call_and_not_by_session() -> None:
    spin = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"
    async with opened(cpu=1, wall=20) as session:
        for _ in range(3):
            assert (await session.run(spin.format(0.8))).status == "completed"
        execution = await session.run(spin.format(10))
        assert (execution.status, execution.reason) == ("killed", "cpu")


async def test_children_that_hold_too_much_together_are_killed() -> None:
    code = (
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        a = bytearray(40 << 20); a[::4096] = b'x' * len(a[::4096]); time.sleep(60); os._exit(0)\n"
        "time.sleep(60)"
    )
    execution = await run(code, memory=200 * MIB, wall=20)
    assert (execution.status, execution.reason) == ("killed", "memory")
    assert "200 MiB" in (execution.error or "")


async def test_what_sockets_hold_counts_as_memory() -> None:
    code = (
        "import os, socket, time\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        kept = [socket.socketpair() for _ in range(100)]; time.sleep(60); os._exit(0)\n"
        "time.sleep(60)"
    )
    execution = await run(code, memory=200 * MIB, wall=20)
    assert (execution.status, execution.reason) == ("killed", "memory")


async def test_what_is_left_running_between_calls_has_the_processor_time_of_a_call() -> None:
    spin = "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()"
    async with opened(cpu=1) as session:
        assert (await session.run(spin)).status == "completed"
        pid = session.pid
        with anyio.fail_after(30):
            while alive(pid):  # noqa: ASYNC110 - another process sets no event
                await anyio.sleep(0.05)
        assert (await session.run("1")).state_lost


async def test_memory_taken_between_calls_ends_the_worker_too() -> None:
    code = (
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(.3); a = bytearray(40 << 20); a[::4096] = b'x' * len(a[::4096]); time.sleep(60)\n"
    )
    async with opened(memory=200 * MIB) as session:
        assert (await session.run(code)).status == "completed"
        pid = session.pid
        await eventually(lambda: not alive(pid))
        assert (await session.run("1")).state_lost


@pytest.mark.parametrize("folder", ["/workspace", "/tmp", "/dev/shm"])
async def test_writable_folders_are_bounded_in_bytes_and_in_files(folder: str) -> None:
    code = (
        "import os\nn = m = 0\n"
        f"try:\n    for n in range(500): os.mkdir('{folder}/d%d' % n)\n"
        "except OSError as e: print('files', n, e.errno)\n"
        f"os.rmdir('{folder}/d1')\nf = open('{folder}/d0/x', 'wb')\n"
        "try:\n    for m in range(64): f.write(b'x' * (1 << 20)); f.flush()\n"
        "except OSError as e: print('mib', m, e.errno)\n"
    )
    execution = await run(code, inodes=100, workspace=8 * MIB, tmp=8 * MIB, shm=8 * MIB)
    files, mib = (line.split() for line in execution.stdout.splitlines())
    assert int(files[1]) < 100
    assert int(mib[1]) <= 8
    assert files[2] == "28"


async def test_nothing_else_can_be_written() -> None:
    code = (
        "import os\n"
        "for folder, folders, _ in os.walk('/'):\n"
        "    folders[:] = [] if folder.count('/') > 2 or folder in ('/proc', '/usr') else folders\n"
        "    if os.access(folder, os.W_OK): print(folder)\n"
    )
    assert set((await run(code)).stdout.split()) == {"/workspace", "/tmp", "/dev/shm"}


async def test_processes_are_bounded_by_session() -> None:
    code = (
        "import os, time\nn = 0\n"
        "try:\n"
        "    while n < 100:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        n += 1\n"
        "except OSError: pass\n"
        "n"
    )
    async with opened(tasks=20) as one, opened(tasks=20) as other:
        assert (await one.run(code)).value == "19"
        assert (await other.run(code)).value == "19"


async def test_no_process_survives_a_close() -> None:
    code = (
        "import os, subprocess\n"
        "subprocess.Popen(['sh', '-c', \"trap '' TERM INT HUP; while :; do sleep 1; done\"], start_new_session=True)\n"
        "if os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(60)\n"
    )
    async with opened() as session:
        await session.run(code)
        tree = process_tree(session.pid)
        assert len(tree) >= 5
        started = time.monotonic()
        await session.aclose()
        assert time.monotonic() - started < 1
        assert not [pid for pid in tree if alive(pid)]


async def test_a_cancelled_call_leaves_no_process_and_the_session_goes_on() -> None:
    async with opened() as session:
        await session.run("x = 1")
        tree = process_tree(session.pid)
        with anyio.move_on_after(0.2) as scope:
            await session.run("while True: pass")
        assert scope.cancelled_caught
        assert not [pid for pid in tree if alive(pid)]
        execution = await session.run("'x' in globals()")
        assert (execution.value, execution.state_lost) == ("False", True)


async def test_a_close_from_elsewhere_ends_a_running_call() -> None:
    async with opened(wall=30) as session, anyio.create_task_group() as group:
        ended = anyio.Event()

        async def call() -> None:
            execution = await session.run("while True: pass")
            assert (execution.status, execution.reason) == ("killed", "cancelled")
            ended.set()

        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await session.aclose()
        with anyio.fail_after(1):
            await ended.wait()
        with pytest.raises(SandboxError, match="closed"):
            await session.run("1")


async def test_calls_of_one_session_wait_for_each_other() -> None:
    code = "n = len(order); import time; time.sleep(.02); order.append(n)"
    async with opened() as session:
        await session.run("order = []")
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(session.run, code)
        assert (await session.run("order")).value == "[0, 1, 2, 3, 4]"


async def test_output_is_kept_whole_up_to_the_limit_and_cut_in_the_middle_beyond() -> None:
    whole = await run("print('a' * 900_000)")
    assert (len(whole.stdout), whole.cut) == (900_001, False)
    cut = await run(
        "import os, sys\nfor _ in range(100): os.write(1, b'a' * 65536)\nprint('end')\n"
        "sys.stderr.write('e' * 2_000_000)\n'v' * 2_000_000"
    )
    kept = [cut.stdout, cut.stderr, cut.value or ""]
    assert cut.cut
    assert sum(len(text.encode()) for text in kept) <= MIB
    assert cut.stdout.startswith("aaa")
    assert cut.stdout.endswith("end\n")
    assert all("left out" in text for text in kept)


async def test_output_that_is_no_text_stays_within_the_limit_and_is_valid_unicode() -> None:
    execution = await run("import sys\nprint('\\ud800')\nsys.stdout.buffer.write(b'\\xff' * 2_000_000)\n'\\udcff'")
    assert len(execution.stdout.encode()) + len((execution.value or "").encode()) <= MIB
    assert execution.stdout.startswith("\\ud800\n\ufffd")


async def test_a_child_that_writes_for_ever_neither_blocks_the_call_nor_the_server() -> None:
    async with opened(wall=5) as session:
        execution = await session.run("import subprocess; child = subprocess.Popen(['yes'])\nprint('started')")
        assert execution.status == "completed"
        before = time.process_time()
        await anyio.sleep(0.5)
        assert time.process_time() - before < 0.2
        assert (await session.run("child.kill(); child.wait()")).value == "-9"
        assert (await session.run("print('quiet')")).stdout.endswith("quiet\n")


async def test_open_figures_come_back_as_png_once() -> None:
    pytest.importorskip("matplotlib")
    async with opened(wall=30) as session:
        code = "import matplotlib.pyplot as plt\nfor _ in range(2): plt.figure(); plt.plot([1, 4, 9])\nplt.show()"
        execution = await session.run(code)
        assert [figure.name for figure in execution.figures] == ["figure-1.png", "figure-2.png"]
        assert all(figure.data.startswith(PNG) for figure in execution.figures)
        assert (await session.run("1")).figures == ()


async def test_matplotlib_is_not_imported_unasked() -> None:
    assert (
        await run("import sys; [name for name in sys.modules if 'matplotlib' in name or name == 'numpy']")
    ).value == "[]"


async def test_files_written_are_listed_with_the_call_that_wrote_them() -> None:
    async with opened() as session:
        first = await session.run("import os\nos.makedirs('d/e')\nopen('d/e/f.txt', 'w').write('mule')\nNone")
        assert first.files == (FileEntry("d/e/f.txt", 4),)
        assert (await session.run("1")).files == ()
        assert (await session.run("open('d/e/f.txt', 'a').write('s'); None")).files == (FileEntry("d/e/f.txt", 5),)
        assert await session.read("d/e/f.txt") == b"mules"


async def test_links_pipes_and_folders_are_no_files() -> None:
    async with opened() as session:
        code = "import os\nos.symlink('/etc/passwd', 'a'); os.symlink('/usr', 'b'); os.mkdir('c')\nos.link('a', 'd')"
        await session.run(code)
        assert await session.listing() == ()
        for path in ("a", "c", "missing", "b/bin/sh/x"):
            with pytest.raises(SandboxError):
                await session.read(path)
        assert (await session.run("'still'")).value == "'still'"


async def test_an_upload_replaces_a_link_and_does_not_write_through_it() -> None:
    async with opened() as session:
        await session.run("import os\nopen('target', 'w').write('old')\nos.symlink('target', 'data.csv')")
        await session.upload("data.csv", b"new")
        assert await session.read("target") == b"old"
        assert await session.read("data.csv") == b"new"


async def test_large_files_travel_in_pieces() -> None:
    data = os.urandom(5 * MIB + 3)
    async with opened() as session:
        await session.upload("in/put.bin", data)
        assert (await session.run("import hashlib; len(open('in/put.bin', 'rb').read())")).value == str(len(data))
        assert await session.read("in/put.bin") == data
        await session.upload("empty", b"")
        assert await session.read("empty") == b""


async def test_a_file_is_taken_into_memory_up_to_a_limit_and_in_pieces_beyond() -> None:
    async with opened() as session:
        await session.run("open('large', 'wb').write(b'mule' * (1 << 20))")
        with pytest.raises(SandboxError, match="pieces"):
            await session.read("large", most=3 * MIB)
        assert [len(piece) async for piece in session.pieces("large")] == [MIB] * 4
        assert len(await session.read("large", most=4 * MIB)) == 4 * MIB


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "x" * 2_000])
async def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    async with opened() as session:
        with pytest.raises(SandboxError, match="path"):
            await session.upload(path, b"x")
        with pytest.raises(SandboxError, match="path"):
            await session.read(path)


async def test_an_upload_that_does_not_fit_is_an_error_and_the_session_lives() -> None:
    async with opened(workspace=2 * MIB) as session:
        with pytest.raises(SandboxError, match="large"):
            await session.upload("x", b"x" * 3 * MIB)
        assert (await session.run("1")).value == "1"


async def test_odd_file_names_are_shown_without_controls_and_can_be_read() -> None:
    code = (
        "for n in ('a\\nb', '\\x1b[31mred', '\\udcff', 'back\\\\slash', '\\u202e'):\n"
        "    open(n.encode('utf-8', 'surrogateescape'), 'w').write(n[:1].encode('utf-8', 'replace').decode())"
    )
    async with opened() as session:
        execution = await session.run(code)
        assert len(execution.files) == 5
        for file in execution.files:
            assert file.path.isprintable()
            assert len(await session.read(file.path)) == file.size


async def test_a_listing_of_very_many_files_is_capped() -> None:
    async with opened() as session:
        started = time.monotonic()
        execution = await session.run("import os\nos.mkdir('d')\nfor n in range(9_000): open('d/%d' % n, 'w').close()")
        assert execution.status == "completed"
        assert len(execution.files) == len(await session.listing()) == 200
        assert time.monotonic() - started < 5


async def test_a_restart_keeps_files_and_forgets_variables() -> None:
    async with opened() as session:
        await session.run(
            "x = 1\nimport os; os.mkdir('d'); open('d/f', 'w').write('mule'); open('json.py', 'w').write('1/0')"
        )
        pid = session.pid
        await session.restart()
        execution = await session.run("import json; 'x' in globals(), open('d/f').read()")
        assert (execution.value, execution.state_lost) == ("(False, 'mule')", False)
        assert not alive(pid)


async def test_a_restart_takes_all_files_along_and_none_of_them_through_memory() -> None:
    async with opened(wall=20) as session:
        code = (
            "for n in range(450): open('%d' % n, 'w').write('x' * n)\nopen('large', 'wb').write(bytes(100 << 20)); None"
        )
        await session.run(code)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await session.restart()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 << 10
        check = "import os; len(os.listdir('.')), os.path.getsize('large'), os.path.getsize('449')"
        assert (await session.run(check)).value == f"(451, {100 * MIB}, 449)"


async def test_modules_in_the_workspace_can_be_imported_but_shadow_none() -> None:
    async with opened() as session:
        await session.upload("mine.py", b"value = 7")
        await session.upload("colorsys.py", b"value = 8")
        assert (
            await session.run("import mine, colorsys; mine.value, hasattr(colorsys, 'value')")
        ).value == "(7, False)"


async def test_code_that_is_too_long_is_refused() -> None:
    async with opened() as session:
        execution = await session.run("x = 1\n" * MIB)
        assert execution.status == "failed"
        assert "bytes" in (execution.error or "")
        assert (await session.run("1")).value == "1"


async def test_the_environment_of_the_server_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "hunter2")
    code = (
        "import os\n"
        "for p in os.listdir('/proc'):\n"
        "    if p.isdigit():\n"
        "        for f in ('environ', 'cmdline'):\n"
        "            try: print(open(f'/proc/{p}/{f}').read())\n"
        "            except OSError: pass\n"
        "print(dict(os.environ))"
    )
    assert "hunter2" not in (await run(code)).stdout


async def test_what_the_machine_tells_in_proc_is_masked_and_nothing_there_can_be_written() -> None:
    code = (
        "import os\n"
        "for name in ('keys', 'kallsyms', 'cmdline', 'timer_list'):\n"
        "    try: print(open('/proc/' + name).read())\n"
        "    except OSError: pass\n"
        "for folder, _, files in os.walk('/proc/sys'):\n"
        "    for name in files:\n"
        "        try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY)); print(folder, name)\n"
        "        except OSError: pass\n"
    )
    execution = await run(code)
    assert (execution.status, execution.stdout) == ("completed", "")


async def test_the_user_has_a_name_and_a_home_and_no_other_users_are_there() -> None:
    code = (
        "import getpass, grp, os, pwd\n"
        "own = pwd.getpwuid(os.getuid())\n"
        "print(own.pw_name, getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)\n"
        "print(own.pw_dir == os.path.expanduser('~') == os.path.expanduser('~user'), os.access(own.pw_dir, os.W_OK))\n"
        "print(len(pwd.getpwall()), len(grp.getgrall()))"
    )
    assert (await run(code)).stdout == "user user user\nTrue True\n1 1\n"


async def test_when_the_machine_runs_out_of_memory_the_code_goes_first() -> None:
    code = (
        "import subprocess\n"
        "own = open('/proc/self/oom_score_adj').read().strip()\n"
        "print(own, subprocess.run(['cat', '/proc/self/oom_score_adj'], capture_output=True, text=True).stdout)\n"
        "open('/proc/self/oom_score_adj', 'w').write('0')"
    )
    execution = await run(code)
    assert execution.stdout == "1000 1000\n\n"
    assert execution.status == "failed"


async def test_the_worker_has_no_rights_left() -> None:
    status = (await run("print(open('/proc/self/status').read())")).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert "0" not in fields["Uid"].split()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sandbox has its own uid outside")
async def test_the_worker_is_no_root_outside_either() -> None:
    async with opened() as session:
        worker = process_tree(session.pid)[-1]
        assert os.stat(f"/proc/{worker}").st_uid >= 1_000


async def test_no_tier_means_no_confinement_but_the_same_calls(tmp_path: Path) -> None:
    async with Sandbox(Unsafe(), warm=0) as sandbox, await sandbox.open() as session:
        await session.run("x = 1")
        assert (await session.run(f"open({str(tmp_path / 'f')!r}, 'w').write('x'); x")).value == "1"
        assert (tmp_path / "f").exists()
        folder = anyio.Path((await session.run("import os; print(os.getcwd())")).stdout.strip())
        assert await folder.is_dir()
        await session.aclose()
        assert not await folder.exists()


async def test_of_an_interpreters_folders_nothing_else_is_shown(tmp_path: Path) -> None:
    home, environment = tmp_path / "home", tmp_path / "project"
    for folder in (home / "bin", environment / "bin", environment / "lib"):
        folder.mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(REAL_PYTHON)
    (environment / "bin" / "python").symlink_to(home / "bin" / "python3")
    (environment / "pyvenv.cfg").write_text(f"home = {home / 'bin'}\n")
    for secret in (home / ".netrc", home / "bin" / "tool", environment / ".env", environment / "pip.conf"):
        secret.write_text("mule")
    python = str(environment / "bin" / "python")
    code = f"import os, sys\nprint(sys.prefix)\nfor _, _, names in os.walk({str(tmp_path)!r}): print(sorted(names))"
    async with Sandbox(Bubblewrap(), warm=0, python=python) as sandbox, await sandbox.open() as session:
        prefix, *found = (await session.run(code)).stdout.splitlines()
        assert prefix == str(environment)
        assert sorted(found) == ["['python']", "['python3']", "['pyvenv.cfg']", *["[]"] * 3]


async def test_an_interpreter_that_is_none_is_told() -> None:
    async with Sandbox(Bubblewrap(), warm=0, python="/bin/true") as sandbox:
        with pytest.raises(SandboxUnavailable, match="/bin/true"):
            await sandbox.open()


async def test_a_tier_whose_program_is_missing_or_broken_says_so() -> None:
    async with Sandbox(Bubblewrap("/nonexistent/bwrap"), warm=0) as sandbox:
        with pytest.raises(SandboxUnavailable, match="bwrap"):
            await sandbox.open()
    async with Sandbox(Bubblewrap("/bin/false"), warm=0) as sandbox:
        with pytest.raises(SandboxUnavailable, match="did not start"):
            await sandbox.open()


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1"])
def test_limits_that_limit_nothing_are_refused(value: object) -> None:
    with pytest.raises(ToolDefinitionError, match="memory"):
        Limits(memory=value)  # type: ignore[arg-type]


async def test_a_killed_server_side_process_is_noticed_before_the_next_call() -> None:
    async with opened() as session:
        await session.run("x = 1")
        pid = session.pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not alive(pid))
        execution = await session.run("1")
        assert (execution.status, execution.state_lost) == ("completed", True)
