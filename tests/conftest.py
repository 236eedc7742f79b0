"""What the whole suite shares: the event loop, and one real vLLM server over the model that ships with the project."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from postgres_server import PostgresServer, postgres_server
from transcript_law import transcripts_only_grow as transcripts_only_grow

from arriero.models import DEMO

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with Ctrl-C ignored

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 300.0
STOPPED_WITHIN = 30.0
BLOCK_SIZE = 32
"""Ids in one block of the prefix cache: the smallest that vLLM's CPU attention takes."""


@dataclass(frozen=True, slots=True)
class VLLMServer:
    """A running vLLM."""

    url: str
    model: str
    block_size: int
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it at once, as an operator's `kill -9` would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOPPED_WITHIN)


StartVLLM = Callable[..., AbstractContextManager[VLLMServer]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def start_vllm(tmp_path_factory: pytest.TempPathFactory) -> StartVLLM:
    """Start a vLLM of one's own: `with start_vllm("--api-key", "k") as server`."""

    @contextmanager
    def start(*options: str, folder: Path = DEMO) -> Iterator[VLLMServer]:
        if not (folder / "config.json").is_file():
            pytest.fail(f"there is no model at {folder}: check out the repository with its models", pytrace=False)
        log = tmp_path_factory.mktemp("vllm") / "server.log"
        port = _free_port()
        with log.open("wb") as out:
            process = subprocess.Popen(
                _command(folder, port, options),
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
                preexec_fn=_end_with_this_process,
            )
        server = VLLMServer(f"http://127.0.0.1:{port}/v1", "arriero-demo", BLOCK_SIZE, log, process)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            _stop(process)

    return start


@pytest.fixture(scope="session")
def vllm_server(start_vllm: StartVLLM) -> Iterator[VLLMServer]:
    """The server that all tests share. Do not stop it."""
    with start_vllm() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL that all tests share. Do not stop it; `postgres_server()` gives one of one's own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: PostgresServer) -> str:
    """Address of a database in a real PostgreSQL. Add `?schema=` with a name of one's own to be alone there."""
    return postgres.dsn


@pytest.fixture(scope="session")
def never_ending_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, with an end token that it never writes: its answers last until they are cut."""
    folder = tmp_path_factory.mktemp("models") / "never-ending"
    shutil.copytree(DEMO, folder)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {"eos_token_id": settings["pad_token_id"]}))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": settings["pad_token"]}))
    return folder


def _command(folder: Path, port: int, options: tuple[str, ...]) -> list[str]:
    python = Path(os.environ.get("ARRIERO_VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.is_file():
        pytest.fail(f"no vLLM: {python} does not exist; run `make vllm-env`", pytrace=False)
    return [
        str(python), "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(folder), "--served-model-name", "arriero-demo", "--host", "127.0.0.1", "--port", str(port),
        "--max-model-len", "2048", "--block-size", str(BLOCK_SIZE), "--enforce-eager", "--dtype", "float32",
        "--enable-prompt-tokens-details", *options,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    outer = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return outer | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",  # threads would only wait for each other over a model this small
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _end_with_this_process() -> None:
    if sys.platform == "linux":  # elsewhere a killed pytest leaves its server behind
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: VLLMServer) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            pytest.fail(
                f"vLLM ended with {server.process.returncode} while starting:\n{_tail(server.log)}", pytrace=False
            )
        try:
            with urllib.request.urlopen(server.url.removesuffix("/v1") + "/health", timeout=5.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"vLLM was not ready within {READY_WITHIN:g} s:\n{_tail(server.log)}", pytrace=False)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOPPED_WITHIN)
    try:
        os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it
    except ProcessLookupError:
        return


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])
