"""The Landlock tier, for a server run by this user (in continuous integration often root) and by an ordinary one."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from arriero.tools.sandbox import Execution, Limits, Sandbox, SandboxSession, SandboxUnavailable
from arriero.tools.sandbox.landlock import Landlock
from sandbox.servers import NO_LANDLOCK, ROOT, python, python_of_an_ordinary_user

pytestmark = pytest.mark.anyio
MIB = 1 << 20


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(Landlock(), limits=Limits(workspace=32 * MIB, inodes=400), warm=0) as sandbox:
        yield sandbox


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[SandboxSession]:
    async with await sandbox.open() as session:
        yield session


@pytest.fixture
def secret() -> Iterator[Path]:
    path = Path("/var/tmp") / f"arriero-test-{secrets.token_hex(8)}"
    path.write_text("the secret")
    path.chmod(0o666)
    yield path
    path.unlink()


def processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def folders_with(name: str) -> list[Path]:
    roots = {Path("/dev/shm"), Path(tempfile.gettempdir())}
    return [found for root in roots for found in root.glob(f"arriero-code-*/workspace/{name}")]


async def until(condition: Callable[[], bool]) -> None:
    """Poll: what ends outside of this process tells nobody here."""

    def poll() -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    await anyio.to_thread.run_sync(poll)


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


@contextmanager
def server_with_a_session(code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server as a process of its own, which keeps a session open in which code was run."""
    program = (
        "import anyio\n"
        "from arriero.tools.sandbox import Sandbox\n"
        "from arriero.tools.sandbox.landlock import Landlock\n"
        "async def main():\n"
        "    async with Sandbox(Landlock(), warm=0) as sandbox, await sandbox.open() as session:\n"
        f"        print((await session.run({code!r})).status, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"completed\n"
        yield server
        server.kill()


def failed_with(execution: Execution, error: str) -> bool:
    return execution.status == "failed" and error in (execution.error or "")


async def test_code_runs_and_its_variables_stay(session: SandboxSession) -> None:
    assert (await session.run("x = 40")).status == "completed"
    assert (await session.run("x + 2")).value == "42"


async def test_packages_of_the_servers_environment_can_be_imported_though_root_alone_reaches_them(
    session: SandboxSession,
) -> None:
    done = await session.run("import numpy, encodings.idna, email.mime.text\nint(numpy.arange(4).sum())")
    assert done.value == "6", done.error


async def test_host_files_cannot_be_read_in_any_way(session: SandboxSession, secret: Path) -> None:
    for code in (
        f"open({str(secret)!r}).read()",
        f"open('/proc/self/root{secret}').read()",
        f"import os; os.symlink({str(secret)!r}, 'link'); open('link').read()",
        f"import os; os.link({str(secret)!r}, 'hard'); open('hard').read()",
        "import os; os.listdir('/var/tmp')",
        "open('/proc/self/environ').read()",
    ):
        done = await session.run(code)
        assert failed_with(done, "Error: "), code
        assert "the secret" not in f"{done}"
    shown = await session.run(
        f"import subprocess; subprocess.run(['cat', {str(secret)!r}], capture_output=True).stdout"
    )
    assert shown.value == "b''"


async def test_host_files_cannot_be_changed_not_even_their_mode_and_times(
    session: SandboxSession, secret: Path
) -> None:
    before = os.stat(secret)
    for code in (
        f"open({str(secret)!r}, 'a')",
        f"import os; os.truncate({str(secret)!r}, 0)",
        f"import os; os.chmod({str(secret)!r}, 0)",
        f"import os; os.utime({str(secret)!r}, (0, 0))",
        f"import os; os.rename({str(secret)!r}, 'mine')",
        f"import os; os.unlink({str(secret)!r})",
        "import os; os.rename('.', '../other')",
    ):
        assert failed_with(await session.run(code), "Error: "), code
    assert os.stat(secret) == before


async def test_no_socket_can_be_made_but_a_pair_of_streams(session: SandboxSession) -> None:
    for kind in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_VSOCK"):
        made = await session.run(f"import socket; socket.socket(socket.{kind}, socket.SOCK_DGRAM)")
        assert failed_with(made, "PermissionError"), kind
    made = await session.run("socket.socketpair(type=socket.SOCK_DGRAM)")  # could send to any named socket
    assert failed_with(made, "PermissionError")
    talked = await session.run("a, b = socket.socketpair()\na.send(b'hello')\nb.recv(5)")
    assert talked.value == "b'hello'"
    assert (await session.run("import asyncio; asyncio.run(asyncio.sleep(0, 7))")).value == "7"


async def test_a_stream_cannot_be_turned_to_a_socket_of_the_host(session: SandboxSession) -> None:
    name = f"\0arriero-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        listener.setblocking(False)
        done = await session.run(f"import socket; socket.socketpair()[0].connect({name!r})")
        assert done.status == "failed"
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_signals_reach_no_process_outside(session: SandboxSession) -> None:
    supervisor = session.pid
    for pid in (os.getpid(), supervisor, 1):
        assert failed_with(await session.run(f"import os; os.kill({pid}, 0)"), "PermissionError"), pid
    assert failed_with(await session.run(f"os.killpg({os.getpgid(0)}, 0)"), "PermissionError")
    assert (await session.run("1 + 1")).value == "2"


async def test_a_session_cannot_touch_another(sandbox: Sandbox) -> None:
    async with await sandbox.open() as first, await sandbox.open() as second:
        await first.run("open('mine', 'w').write('the secret of the first')")
        told = await first.run("import os; print(os.getpid(), os.getcwd())")
        pid, folder = told.stdout.split()
        for code in (
            f"import os; os.kill({pid}, 0)",
            f"import os; os.listdir({folder!r})",
            f"open('{folder}/mine').read()",
            f"open('/proc/{pid}/status').read()",
            f"import os; os.sched_setaffinity({pid}, [0])",
        ):
            assert failed_with(await second.run(code), "Error: "), code


async def test_a_daemon_ends_with_its_session(sandbox: Sandbox) -> None:
    word = f"{secrets.randbelow(10**9)}.5"
    async with await sandbox.open() as session:
        done = await session.run(
            "import os\n"
            "if os.fork() == 0:\n"
            "    try: os.setsid()\n"
            "    except PermissionError: pass\n"
            f"    if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '{word}'])\n"
            "    os._exit(0)\n"
        )
        assert done.status == "completed"
        await until(lambda: bool(processes_with(word)))
    assert not processes_with(word)


async def test_what_a_worker_that_ended_itself_leaves_behind_is_ended_too(session: SandboxSession) -> None:
    word = f"{secrets.randbelow(10**9)}.5"
    done = await session.run(f"import os, subprocess\nsubprocess.Popen(['sleep', '{word}'])\nos._exit(3)")
    assert (done.status, done.reason, done.state_lost) == ("killed", "exit", True)
    assert "exit status 3" in (done.error or "")
    assert not processes_with(word)
    crashed = await session.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "SIGSEGV" in (crashed.error or "")


async def test_nothing_outlives_a_server_that_is_killed() -> None:
    word = f"{secrets.randbelow(10**9)}.5"
    with server_with_a_session(
        f"import subprocess; p = subprocess.Popen(['sleep', '{word}']); open('{word}', 'w').close()"
    ):
        sleeping = f"sleep\0{word}"
        assert processes_with(sleeping)
        assert folders_with(word)
    await until(lambda: not processes_with(sleeping))
    await until(lambda: not folders_with(word))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("for i in range(64): open(f'f{i}', 'wb').write(bytes(1 << 20))", id="many files"),
        pytest.param(
            "import os\nkept = []\n"
            "for i in range(64):\n"
            "    kept.append(open('f', 'wb')); os.unlink('f'); kept[-1].write(bytes(1 << 20)); kept[-1].flush()",
            id="deleted files",
        ),
        pytest.param(
            "import os\n"
            "if os.fork() == 0:\n"
            "    while True:\n"
            "        if os.fork() == 0: os._exit(0)\n"
            "        os.wait()\n"
            "for i in range(64): open(f'f{i}', 'wb').write(bytes(1 << 20))",
            id="many files while children come and go",
        ),
        pytest.param("import os\nfor i in range(2000): os.mkdir(f'd{i}')", id="many folders"),
        pytest.param("import os\nfor i in range(1500): os.mkdir('d'); os.chdir('d')", id="deep folders"),
        pytest.param("import os\nos.mkdir('d', 0o300)\nopen('d/f', 'wb').write(bytes(64 << 20))", id="closed folder"),
    ],
)
async def test_a_session_that_fills_the_disk_is_killed_and_its_files_removed(sandbox: Sandbox, code: str) -> None:
    async with await sandbox.open() as session:
        folder = Path((await session.run("import os; print(os.getcwd())")).stdout.strip()).parent
        done = await session.run(f"{code}\nimport time; time.sleep(4)")
        assert (done.status, done.reason) in {("killed", "disk"), ("failed", None)}, done
        if done.status == "failed":  # RLIMIT_FSIZE, for one large file
            assert "File too large" in (done.error or "")
        assert (await session.run("1 + 1")).value == "2"
    await until(lambda: not folder.exists())


async def test_processes_of_a_session_have_a_limit_in_sum(session: SandboxSession) -> None:
    done = await session.run(
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    while len(children) < 200:\n"
        "        child = os.fork()\n"
        "        if child == 0: time.sleep(30); os._exit(0)\n"
        "        children.append(child)\n"
        "except BlockingIOError: pass\n"
        "for child in children: os.kill(child, signal.SIGKILL); os.waitpid(child, 0)\n"
        "len(children)"
    )
    assert 32 < int(done.value or 0) < 100


async def test_memory_of_all_processes_together_is_limited() -> None:
    async with Sandbox(Landlock(), limits=Limits(memory=256 * MIB), warm=0) as sandbox, await sandbox.open() as session:
        done = await session.run(
            "import os, time\n"
            "for _ in range(3):\n"
            "    if os.fork() == 0: os.fork(); held = b'x' * (150 << 20); time.sleep(30)\n"
            "time.sleep(4)"
        )
        assert (done.status, done.reason) == ("killed", "memory")


async def test_the_worker_has_no_rights_and_is_nobody_of_the_server(session: SandboxSession) -> None:
    worker = json.loads((await session.run("import os; print(os.getpid())")).stdout)
    status = status_of(worker)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    uids = set(map(int, status["Uid"].split()))
    assert len(uids) == 1
    assert uids != {0}
    if os.geteuid() == 0:
        assert uids.isdisjoint({os.getuid(), 65534})
        assert not set(status["Groups"].split())


async def test_a_folder_for_workspaces_can_be_chosen_and_is_left_empty() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        async with Sandbox(Landlock(folder), warm=0) as sandbox, await sandbox.open() as session:
            where = (await session.run("open('x', 'w').close(); import os; print(os.getcwd())")).stdout
            assert where.startswith(folder)
        await until(lambda: not os.listdir(folder))


async def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    async with Sandbox(Landlock(str(tmp_path / "none")), warm=0) as sandbox:
        with pytest.raises(SandboxUnavailable, match=f"{tmp_path}/none"):
            await sandbox.open()


ORDINARY = """
import anyio, json, os
from arriero.tools.sandbox import Sandbox
from arriero.tools.sandbox.landlock import Landlock
async def main():
    said = {}
    async with Sandbox(Landlock(), warm=0) as sandbox, await sandbox.open() as session:
        for name, code in json.loads(os.environ["CODES"]).items():
            done = await session.run(code.replace("SERVER", str(os.getpid())))
            said[name] = [done.status, done.value, (done.error or "").strip().splitlines()[-1:]]
    print(json.dumps(said))
anyio.run(main)
"""


async def test_a_server_of_an_ordinary_user_is_safe_from_code_of_the_same_user(tmp_path: Path) -> None:
    codes = {
        "runs": "6 * 7",
        "same user": "import os; os.getuid()",
        "signal": "import os; os.kill(SERVER, 0)",
        "environment": "open('/proc/SERVER/environ').read()",
        "limits": "import resource; resource.prlimit(SERVER, resource.RLIMIT_NOFILE)",
        "mode": "import os; os.chmod('/tmp', 0o777)",
        "mode by descriptor": "import os; os.fchmod(os.open('/usr', 0), 0o777)",
        "times": "import os; os.utime('/tmp')",
        "attributes": "import os; os.setxattr('/tmp', 'user.x', b'')",
        "hides": "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)",
        "file": "open('note', 'w').write('x')",
    }
    said = json.loads(python_of_an_ordinary_user(ORDINARY, CODES=json.dumps(codes)))
    assert said["runs"] == ["completed", "42", []]
    assert said["file"] == ["completed", "1", []]
    assert said["hides"] == ["completed", "-1", []]
    assert said["same user"][1] != "0"
    for name in ("signal", "environment", "limits", "mode", "mode by descriptor", "times", "attributes"):
        assert said[name][0] == "failed", name
        assert "PermissionError" in said[name][2][0], name


async def test_without_landlock_in_the_kernel_the_tier_says_so() -> None:
    code = NO_LANDLOCK + (
        "import anyio\n"
        "from arriero.tools.sandbox import Sandbox, SandboxUnavailable\n"
        "from arriero.tools.sandbox.landlock import Landlock\n"
        "async def main():\n"
        "    async with Sandbox(Landlock(), warm=0) as sandbox:\n"
        "        try: await sandbox.open()\n"
        "        except SandboxUnavailable as error: print(error)\n"
        "anyio.run(main)\n"
    )
    assert "the kernel has no Landlock" in await anyio.to_thread.run_sync(python, code)


async def test_an_interpreter_that_is_none_is_named(tmp_path: Path) -> None:
    async with Sandbox(Landlock(), warm=0, python=str(tmp_path / "python")) as sandbox:
        with pytest.raises(SandboxUnavailable, match=f"{tmp_path}/python"):
            await sandbox.open()


async def test_a_session_starts_within_a_second(sandbox: Sandbox) -> None:
    took = []
    for _ in range(3):
        started = time.perf_counter()
        async with await sandbox.open():
            took.append(time.perf_counter() - started)
    assert min(took) < 1
