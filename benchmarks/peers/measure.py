"""What all peers are measured by: CPU of a turn, beside a bare client that sends the same chat requests."""

import asyncio
import gc
import inspect
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx2


def measure(make: Callable[[str, int], Callable[[], object]], version: str) -> None:
    """Measure the turn that `make(url, steps)` gives, and print the figures as JSON."""
    url, steps, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    asyncio.run(_measure(make(url, steps), url, steps, repeats, version))


async def _measure(turn: Callable[[], object], url: str, steps: int, repeats: int, version: str) -> None:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        await _cpu(turn)
        bodies = (await client.get("/bodies")).content.split(b"\n")
        if len(bodies) != steps:
            raise SystemExit(f"{len(bodies)} requests instead of {steps}")

        async def bare() -> None:
            for body in bodies:
                response = await client.post(
                    "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
                )
                response.json()

        await bare()
        turns, bares = [], []
        for _ in range(repeats):
            turns.append(await _cpu(turn))
            bares.append(await _cpu(bare))
    peer, alone = statistics.median(turns) / steps * 1e3, statistics.median(bares) / steps * 1e3
    print(json.dumps({"version": version, "cpu_ms_per_step": peer, "bare_cpu_ms_per_step": alone}))


async def _cpu(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    if inspect.iscoroutinefunction(work):
        await work()
    else:
        await asyncio.to_thread(work)
    return time.process_time() - started


Turn = Callable[[], Awaitable[None]]
