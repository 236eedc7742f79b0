"""Servers and clients of MCP as separate processes."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from arriero.tools.mcp import McpPolicy, McpServer, Pins
from arriero.tools.web.policy import NetworkPolicy

HERE = Path(__file__).resolve().parent
EXAMPLES = Path(sys.prefix) / "mcp-examples"
READY_WITHIN = 60.0
EVERYTHING = "from mcp_everything_server.server import mcp; mcp.run('stdio')"


def example(name: str) -> dict[str, str]:
    """Environment in which an example server of the SDK is found."""
    folder = EXAMPLES / "servers" / name
    if not folder.is_dir():
        pytest.fail(f"there are no example servers in {EXAMPLES}: run `make env`", pytrace=False)
    return {"PYTHONPATH": str(folder)}


def faulty(
    fault: str, *, folder: Path | None = None, policy: McpPolicy | None = None, pins: Pins | None = None
) -> McpServer:
    """A server of our own that does something wrong; `folder` is where it writes what it received and counted."""
    env = {"RECEIVED": str(folder / "received"), "COUNTS": str(folder / "counts")} if folder else {}
    args = [str(HERE / "servers" / "faulty.py"), fault]
    return McpServer.stdio("f", sys.executable, args, env=env, policy=policy, pins=pins)


def at(url: str, *, policy: McpPolicy | None = None, headers: Mapping[str, str] | None = None) -> McpServer:
    """A server on this machine."""
    return McpServer.http("h", url, network=NetworkPolicy.only(url), policy=policy, headers=headers)


@contextmanager
def listening(command: Sequence[str], env: Mapping[str, str] | None = None, *, port: int) -> Iterator[str]:
    """Run a server until the block ends; gives its address when it listens."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | dict(env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def free_port() -> int:
    """A port that is free, and below those that the system gives to connections: nobody takes it by chance."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the server ended: {process.stderr.read().decode()[-2000:] if process.stderr else ''}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"no server on port {port} within {READY_WITHIN:g} s")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes while we read
        return False
    return state != "Z"
