"""What one step of the turn loop costs on top of the engine request, and what `import arriero` costs.

    python benchmarks/overhead.py [--steps N] [--repeats N] [--json] [--vllm URL]

A server in another process answers vLLM's `/v1/completions` at once with scripted ids. The same turn is run
twice: by the loop (render, generate, parse, dispatch a tool, append, log on disk) and by a bare `httpx2`
client that sends the same bodies and reads the same streams. The difference, divided by the steps, is what
the loop adds. Medians over the repeats; the log is a SQLite file with full synchronization.

With `--vllm` it also runs a turn of several steps on a real server and reads vLLM's own counters of its
prefix cache: every full block of the transcript that the server has already seen should be a hit.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from stub_server import ANSWER, QUESTION, serving

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.engines.completions import request_body
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.events import StepFinished, TurnFinished
from arriero.stack.log import SQLiteLog
from arriero.stack.stack import Stack
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, tool

TARGETS = {"added_cpu_ms_per_step": "  (target: at most 1.5)", "import_cpu_s": "  (target: below 0.25)"}


@tool
async def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU and wall time of one turn, in milliseconds."""

    cpu: float
    wall: float


class Recording:
    """An engine that keeps the prompts it is asked, so that the bare client can send the same."""

    def __init__(self, engine: VLLMEngine) -> None:
        self._engine = engine
        self.model, self.tokenizer, self.context_length = engine.model, engine.tokenizer, engine.context_length
        self.prompts: list[list[int]] = []
        self.samplings: list[Sampling] = []

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Hand on, and keep the prompt."""
        self.prompts.append(list(prompt_ids))
        self.samplings.append(sampling)
        async with aclosing(self._engine.generate(prompt_ids, sampling)) as deltas:
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Close the engine."""
        await self._engine.aclose()


def terms(steps: int) -> Terms:
    """The terms of the scripted turn."""
    return Terms(
        registry=Registry([double]),
        instructions="You are a helpful assistant.",
        limits=Limits(steps=steps, calls=steps, tokens=100_000, repeats=steps),
        sampling=Sampling(max_tokens=256),
    )


async def loop_turn(stack: Stack, steps: int) -> Cost:
    """Run the turn through the loop."""
    cpu, wall = time.process_time(), time.perf_counter()
    async for event in stack.run_turn([Message("user", QUESTION)], terms(steps)):
        last = event
    cost = Cost((time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3)
    if not (isinstance(last, TurnFinished) and last.text == ANSWER):
        raise SystemExit(f"the scripted turn went wrong: {last}")
    return cost


async def bare_turn(client: httpx2.AsyncClient, bodies: Sequence[bytes]) -> Cost:
    """Send the same requests and read the answers, without a look at them."""
    cpu, wall = time.process_time(), time.perf_counter()
    for body in bodies:
        async with client.stream("POST", "/v1/completions", content=body) as response:
            async for _ in response.aiter_raw():
                continue
    return Cost((time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3)


async def measure(url: str, steps: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Run both kinds of turns alternately and compare them."""
    bodies = await recorded_bodies(url, steps)
    engine = await VLLMEngine.connect(url)
    stack = Stack(engine, Dialect.get("llama3.1"), log=SQLiteLog(folder / "events.sqlite"))
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    loops, bares = [], []
    async with stack, httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        await loop_turn(stack, steps)
        await bare_turn(client, bodies)
        for _ in range(repeats):
            loops.append(await loop_turn(stack, steps))
            bares.append(await bare_turn(client, bodies))
    return {
        "steps": steps,
        "repeats": repeats,
        "loop_cpu_ms_per_step": per_step([cost.cpu for cost in loops], steps),
        "bare_cpu_ms_per_step": per_step([cost.cpu for cost in bares], steps),
        "added_cpu_ms_per_step": per_step([a.cpu - b.cpu for a, b in zip(loops, bares, strict=True)], steps),
        "added_wall_ms_per_step": per_step([a.wall - b.wall for a, b in zip(loops, bares, strict=True)], steps),
        "commit_wall_ms": round(await commit_time(folder), 3),
    }


async def recorded_bodies(url: str, steps: int) -> list[bytes]:
    """What the loop sends in a turn."""
    engine = Recording(await VLLMEngine.connect(url))
    async with Stack(engine, Dialect.get("llama3.1"), log=SQLiteLog(":memory:")) as stack:
        await loop_turn(stack, steps)
    return [
        request_body(engine.model, prompt, sampling, sampling.max_tokens)
        for prompt, sampling in zip(engine.prompts, engine.samplings, strict=True)
    ]


def per_step(turns: Sequence[float], steps: int) -> float:
    """Median of turns, for one step."""
    return round(statistics.median(turns) / steps, 3)


async def commit_time(folder: Path) -> float:
    """Median wall time of a commit to the log, in milliseconds."""
    log = SQLiteLog(folder / "commits.sqlite")
    event = StepFinished(1, tuple(range(40)), ANSWER, (), "end_of_turn", Usage(400, 40), 0.1)
    times = []
    for position in range(50):
        started = time.perf_counter()
        await log.append("s", "t", position, [event])
        times.append((time.perf_counter() - started) * 1e3)
    await log.aclose()
    return statistics.median(times)


def import_seconds(repeats: int) -> float:
    """CPU time of `import arriero` in a fresh interpreter, beyond that of the interpreter."""
    script = "import time; t = time.process_time(); import arriero; print(time.process_time() - t)"
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True) for _ in range(repeats)]
    return round(statistics.median(float(run.stdout) for run in runs), 4)


async def prefix_cache(url: str) -> dict[str, Any]:
    """Hits among the full blocks that the server had seen before, over a session of several steps."""
    engine = await VLLMEngine.connect(url)
    async with httpx2.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(url.rstrip("/").removesuffix("/v1") + "/metrics")).text
    block = int(re.search(r'block_size="(\d+)"', metrics).group(1))  # type: ignore[union-attr]
    async with await Stack.connect(url) as stack:
        # A word of its own keeps the session's first request out of what earlier runs left in the cache.
        unique = replace(terms(6), instructions=f"Session {uuid4().hex}. You are a helpful assistant.")
        transcript, expected, requests, before = 0, 0, 0, await engine.prefix_cache_counters()
        for text in (QUESTION, "And of 34?", "Thank you.", "Good bye."):
            async for event in stack.run_turn([Message("user", text)], unique, session="cache"):
                if isinstance(event, StepFinished):
                    if requests == 0:
                        before = await engine.prefix_cache_counters()
                    expected += transcript // block * block
                    # The last id of an answer was sampled, but never computed.
                    transcript = event.usage.prompt_tokens + len(event.token_ids) - 1
                    requests += 1
        after = await engine.prefix_cache_counters()
    await engine.aclose()
    hits = after.hits - before.hits
    return {
        "vllm_requests": requests,
        "vllm_block_size": block,
        "vllm_queries": after.queries - before.queries,
        "vllm_hits": hits,
        "vllm_full_block_tokens_seen_before": expected,
        "vllm_share_of_full_blocks_hit": round(hits / expected, 4) if expected else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--repeats", type=int, default=30, help="turns to run")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--vllm", metavar="URL", help="also count prefix-cache hits on this server")
    chosen = parser.parse_args()
    with serving(chosen.steps) as url, tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(measure(url, chosen.steps, chosen.repeats, Path(folder)))
    report["import_cpu_s"] = import_seconds(5)
    if chosen.vllm:
        report |= asyncio.run(prefix_cache(chosen.vllm))
    if chosen.json:
        print(json.dumps(report))
        return
    width = max(map(len, report))
    for name, value in report.items():
        print(f"{name:<{width}}  {value}{TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
