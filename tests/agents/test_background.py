import os
import signal
import threading
import time

import anyio
import anyio.lowlevel
import pytest

from arriero.agents.background import Background


def test_an_interrupt_cancels_the_work_and_waits_for_its_end() -> None:
    ended = []

    async def work() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await anyio.sleep(30)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            ended.append(True)

    with Background() as loop:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            loop.run(work)
        assert ended == [True]
        assert time.monotonic() - began < 10
        assert loop.run(lambda: answer()) == 42


async def answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with Background() as loop, pytest.raises(LookupError, match="gone"):
        loop.run(fail)
