"""What surrounds a server in these tests: secrets to steal, doors to knock at, a process to harm."""

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sandbox.host_processes import status_line
from sandbox.listeners import Listeners, free_port

_VICTIM_SECONDS = "7200"


def token() -> str:
    """A random string in which nothing needs an escape."""
    return "t" + secrets.token_hex(16)


@dataclass(slots=True)
class Victim:
    """A process that sleeps, with a secret in its environment and its command line.

    Args:
        process: It.
        uid: Whom it belongs to.
    """

    process: subprocess.Popen[bytes]
    uid: int
    affinity: frozenset[int] = field(init=False)
    limits: str = field(init=False)

    def __post_init__(self) -> None:
        self.affinity = frozenset(os.sched_getaffinity(self.process.pid))
        self.limits = self._limits()

    def harm(self) -> str:
        """What was done to it; "" if nothing was."""
        if (status := self.process.poll()) is not None:
            return f"the victim ended with status {status}"
        if (state := status_line(self.process.pid, "State"))[:1] in "TtZX":
            return f"the victim was stopped: {state}"
        if status_line(self.process.pid, "TracerPid") not in ("", "0"):
            return "the victim is traced"
        if frozenset(os.sched_getaffinity(self.process.pid)) != self.affinity:
            return "the victim was moved to other processors"
        if os.getpriority(os.PRIO_PROCESS, self.process.pid) != os.getpriority(os.PRIO_PROCESS, 0):
            return "the victim's priority was changed"
        return "" if self._limits() == self.limits else "the victim's limits were changed"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _limits(self) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/limits").read_text(encoding="utf-8")
        except OSError:
            return ""


class Environment:
    """Files, sockets, a home, tokens. Everything is open to every user, so that only a sandbox can stop who tries."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sandbox-cases-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.canary_token, self.env_token, self.netrc_token = token(), token(), token()
        self.key_name = "cases:" + token()
        self.abstract = "cases-" + token()
        self.canary_folder = self._folder("private-" + secrets.token_hex(4))
        self.canary = self._file(self.canary_folder / "canary.txt", self.canary_token + "\n")
        self.outside = self._folder("outside")
        self.outside.chmod(0o777)
        self.home = self._folder("home")
        self.home.chmod(0o777)
        netrc = f"machine example.com login user password {self.netrc_token}\n"
        self.netrc = self._file(self.home / ".netrc", netrc)
        self.python_path = self._folder("pythonpath")
        self._file(self.python_path / "zz_pythonpath_canary.py", "loaded = True\n")
        self._file(self._user_site() / "zz_usersite_canary.py", "loaded = True\n")
        self.temporary = self._folder("tmp")
        self.log = self._file(self.folder / "server.log", "")
        self.log.chmod(0o600)
        self._stack = ExitStack()
        self._victim: Victim | None = None

    def __enter__(self) -> Self:
        self.listeners = self._stack.enter_context(Listeners(self.folder / "host.sock", self.abstract))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._victim is not None:
            self._victim.end()
        self._stack.close()

    @property
    def secrets(self) -> Mapping[str, str]:
        """What may be in no output, by what it is."""
        return {
            "the canary file's token": self.canary_token,
            "the token of the server's environment": self.env_token,
            "the password in .netrc": self.netrc_token,
        }

    def variables(self) -> dict[str, str]:
        """The environment variables of the server."""
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TZ")}
        return kept | {
            "HOME": str(self.home),
            "PYTHONPATH": str(self.python_path),
            "PYTHONUSERBASE": str(self.home / ".local"),
            "TMPDIR": str(self.temporary),
            "LLAMA_TEST_API_KEY": self.env_token,
        }

    @contextmanager
    def descriptors(self) -> Iterator[tuple[int, ...]]:
        """The canary and its folder, opened, to be inherited."""
        opened = tuple(os.open(path, os.O_RDONLY) for path in (self.canary, self.canary_folder))
        try:
            yield opened
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def victim(self, uid: int, gid: int) -> Victim:
        """The victim, of this user where it may be chosen."""
        chosen = (uid, gid) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        if self._victim is None or self._victim.uid != chosen[0] or self._victim.harm():
            if self._victim is not None:
                self._victim.end()
            self._victim = Victim(self._sleeper(*chosen), chosen[0])
        return self._victim

    def placeholders(self, victim: int) -> dict[str, str]:
        """What the code's placeholders stand for; random ones are new each time."""
        sockets = self.listeners
        session_token = token()
        return {
            "CANARY": str(self.canary),
            "CANARY_DIR": str(self.canary_folder),
            "OUTSIDE": str(self.outside),
            "HOST_HOME": str(self.home),
            "PORT": str(sockets.port),
            "UDP_PORT": str(sockets.udp_port),
            "PORT_LIST": str([1, sockets.second_port, free_port(), sockets.port]),
            "BIND_PORT": str(free_port()),
            "EXT_ADDR": sockets.external,
            "UNIX_SOCK": str(self.folder / "host.sock"),
            "ABSTRACT": self.abstract,
            "HOST_PID": str(victim),
            "ENV_TOKEN_HEAD": self.env_token[: len(self.env_token) // 2],
            "KEYNAME": self.key_name,
            "SESSION_TOKEN": session_token,
            "SESSION_TOKEN_HEAD": session_token[:10],
            "TAG": token(),
            "M1": token(),
            "M2": token(),
        }

    def clean(self) -> None:
        """Forget what an earlier case did."""
        self.listeners.reset()
        for folder in (self.outside, self.home):
            for path in folder.iterdir():
                if path not in (self.netrc, self.home / ".local"):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _sleeper(self, uid: int, gid: int) -> subprocess.Popen[bytes]:
        """A victim: `sleep`, called by a name that holds the token."""
        other: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []} if uid != os.geteuid() else {}
        sleeper: subprocess.Popen[bytes] = subprocess.Popen(
            [f"victim-{self.env_token}", _VICTIM_SECONDS],
            executable=shutil.which("sleep"),
            env={"VICTIM_KEY": self.env_token},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **other,
        )
        return sleeper

    def _user_site(self) -> Path:
        path = Path(sysconfig.get_path("purelib", f"{os.name}_user", {"userbase": str(self.home / ".local")}))
        path.mkdir(parents=True)
        return path

    def _folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        path.chmod(0o755)
        return path

    def _file(self, path: Path, text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        return path


def library_folders() -> list[Path]:
    """Where a file would live on into other interpreters."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return [Path(path) for path in sorted(paths)] + [Path(sys.base_prefix), Path(sys.prefix)]
