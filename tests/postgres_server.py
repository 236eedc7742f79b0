"""A real PostgreSQL for the tests: a server of its own in a private folder, gone with the process that started it."""

import ctypes
import os
import pwd
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

READY_WITHIN = 60.0
STOPPED_WITHIN = 30.0
USERS = ("postgres", "nobody")  # the server refuses to run as root
FOLDERS = "arriero-postgres-"
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "listen_addresses": "127.0.0.1",
}


@dataclass
class PostgresServer:
    """A server that can be stopped and started again."""

    folder: Path
    port: int
    password: str
    account: Mapping[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    largest_file: int | None = None
    """Bytes after which writing a file fails, as on a full disk."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://arriero:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in (SETTINGS | self.settings).items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("postgres"), "-D", self.folder / "data", "-k", self.folder, "-p", str(self.port), *settings],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
                preexec_fn=partial(_begin, self.largest_file),
                start_new_session=True,
                **self.account,
            )
        deadline = time.monotonic() + READY_WITHIN
        while not (self.folder / "data/postmaster.pid").exists() or "ready" not in self._pid_file():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2000:]}", pytrace=False)
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT closes connections and ends it in order; SIGQUIT ends it as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(STOPPED_WITHIN)

    def _pid_file(self) -> str:
        return (self.folder / "data/postmaster.pid").read_text()


@contextmanager
def postgres_server(largest_file: int | None = None) -> Iterator[PostgresServer]:
    """Make a database and serve it, on a free port of the loopback and on a socket in its folder."""
    _remove_folders_of_the_dead()
    account = _account()
    where = "/tmp" if account else None  # a folder of root's own could not be reached
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=where))
    server = PostgresServer(folder, _free_port(), secrets.token_hex(8), account, largest_file=largest_file)
    try:
        (folder / "password").write_text(server.password)
        if account:
            for path in (folder, folder / "password"):
                os.chown(path, account["user"], account["group"])
        subprocess.run(
            [program("initdb"), "-D", folder / "data", "-U", "arriero", f"--pwfile={folder / 'password'}", "--no-sync",
             "--auth-local=trust", "--auth-host=scram-sha-256", "--wal-segsize=1", "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, cwd="/", **account,
        )  # fmt: skip
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> str:
    """Where a program of PostgreSQL's is. Distributions keep them out of the path."""
    found = shutil.which(name) or next((str(path) for path in _elsewhere(name)), None)
    if found is None:
        pytest.fail(
            f"no PostgreSQL: {name} was not found; install the server (Debian, Ubuntu: apt-get install postgresql;"
            " Fedora: dnf install postgresql-server; macOS: brew install postgresql@17)",
            pytrace=False,
        )
    return found


def _elsewhere(name: str) -> list[Path]:
    patterns = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
    return [path / name for pattern in patterns for path in sorted(Path("/").glob(pattern)) if (path / name).exists()]


def _account() -> dict[str, Any]:
    """Another user to run as, where this one is root."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.fail(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(USERS)}", pytrace=False)


def _remove_folders_of_the_dead() -> None:
    for folder in Path("/tmp").glob(f"{FOLDERS}*"):
        try:
            os.kill(int(folder.name.removeprefix(FOLDERS).split("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _begin(largest_file: int | None) -> None:
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    if sys.platform == "linux":  # elsewhere a killed pytest leaves its server behind
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
