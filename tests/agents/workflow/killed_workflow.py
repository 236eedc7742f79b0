"""Run by `test_workflow_resume`: a run whose process ends at one of its commits, or in the middle of a step."""

import os
import signal
import sys
from pathlib import Path

import anyio

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "stack")]

from failing_log import FailingLog  # noqa: E402  they are found there
from resumed_flow import Effects, counted  # noqa: E402  they are found there

from arriero.stack.log import open_log  # noqa: E402  they are found there


async def main(address: str, effects: str, at: str, when: str) -> None:
    """Begin the run, or go on with it, and be killed where the arguments say."""
    dies_in = when if when not in ("before", "after") else ""
    log = FailingLog(open_log(address), int(at), "after" if when == "after" else "before", "kill")

    def die(step: str) -> None:
        if step == dies_in:
            os.kill(os.getpid(), signal.SIGKILL)

    deps = Effects(Path(effects), die)
    if await log.length("r"):
        await counted().resume("r", log=log, deps=deps)
    else:
        await counted().run(3, log=log, deps=deps, run="r")
    await log.aclose()


anyio.run(main, *sys.argv[1:])
