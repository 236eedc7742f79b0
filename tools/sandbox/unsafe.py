"""No sandbox at all: a child process with limits."""

import os
import tempfile
from pathlib import Path

from arriero.tools.sandbox.errors import SandboxUnavailable
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.tier import ENVIRONMENT, Launched, spawn, stage


class Unsafe:
    """A plain child process in a temporary folder. It stops accidents and nothing else.

    Code in it can read and write the user's files, look at the user's processes and reach the network.
    """

    name = "none"

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        """Start a worker.

        Args:
            limits: What it may use; limits of a session as a whole do not hold.
            python: The interpreter; None for the server's own.

        Returns:
            The worker.

        Raises:
            SandboxUnavailable: The process cannot be started.
        """
        scratch = Path(tempfile.mkdtemp(prefix="arriero-code-"))
        confine = {"rlimits": process_limits(limits)}
        folders = {"HOME": str(scratch), "TMPDIR": str(scratch), "MPLCONFIGDIR": str(scratch / ".matplotlib")}
        try:
            return spawn(
                (),
                python,
                [stage("worker_confine.py")],
                {"workspace": str(scratch), "confine": confine},
                limits=limits,
                environment={**ENVIRONMENT, "PATH": os.defpath, **folders},
                scratch=scratch,
            )
        except OSError as error:
            os.rmdir(scratch)
            raise SandboxUnavailable(f"the interpreter cannot be started: {error}") from error


def process_limits(limits: Limits) -> dict[str, list[int]]:
    """The limits of each process, as setrlimit(2) takes them.

    Args:
        limits: What a session may use.

    Returns:
        Soft and hard limit by the name in the `resource` module.
    """
    fixed = {
        "RLIMIT_AS": limits.memory,
        "RLIMIT_NPROC": limits.tasks,
        "RLIMIT_FSIZE": limits.workspace,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_RTPRIO": 0,
    }
    return {name: [value, value] for name, value in fixed.items()} | {"RLIMIT_CPU": [limits.cpu, 60 * limits.cpu]}
