"""What an agent's step costs beside a bare HTTP client, and beside other frameworks.

    python benchmarks/agents.py [--steps N ...] [--agents N] [--repeats N] [--peers FOLDER] [--json]

A server in another process answers at once: a tool call in every step but the last. One agent runs turns of that
many steps, without a log and with one on disk; a bare `httpx2` loop sends the same requests and decodes the same
answers. The figure is the ratio of their CPU times, medians over the repeats, taken in turn. `--peers` names a folder
of virtual environments, `openai-agents`, `pydantic-ai-slim`, `langgraph` and `smolagents`: each runs the same turn over
chat completions, beside a bare client with its own requests. Memory is what a session holds when its turn is over, at
the peak of many such turns.
"""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from stub_server import ANSWER, QUESTION, serving

from arriero import Agent, Limits, Sampling, SQLiteLog, Stack, tool
from arriero.prompts.dialect import Dialect
from arriero.stack.engines.completions import request_body
from arriero.stack.engines.vllm import VLLMEngine

PEERS = {
    "openai-agents": "with_openai_agents.py",
    "pydantic-ai-slim": "with_pydantic_ai.py",
    "langgraph": "with_langgraph.py",
    "smolagents": "with_smolagents.py",
}
HERE = Path(__file__).parent
IDLE_SESSIONS = 200
"""A stack keeps the transcripts of the last 256 sessions in memory, and reads others again from its log."""


@tool
async def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


def agent_of(stack: Stack, steps: int) -> Agent:
    """The agent whose turn is measured."""
    return Agent(
        stack,
        instructions="You are a helpful assistant.",
        tools=[double],
        # The same call with the same result in every step is what the benchmark wants.
        limits=Limits(steps=steps, calls=steps, tokens=1_000_000, repeats=steps),
        sampling=Sampling(max_tokens=256),
    )


async def open_stack(url: str, log: Path | None) -> Stack:
    """A stack over the stub."""
    engine = await VLLMEngine.connect(url)
    return Stack(engine, Dialect.get("llama3.1"), log=SQLiteLog(log or ":memory:"))


async def turn_of(agent: Agent) -> None:
    """Run one turn."""
    turn = await agent.run(QUESTION)
    if turn.text != ANSWER:
        raise SystemExit(f"the turn went wrong: {turn}")


async def bare_turn(client: httpx2.AsyncClient, bodies: Sequence[bytes]) -> None:
    """Send the same requests and decode the answers."""
    for body in bodies:
        async with client.stream("POST", "/v1/completions", content=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    json.loads(line[6:])


async def bodies_of(url: str, steps: int) -> list[bytes]:
    """What the agent sends in a turn: read back from its log, where all ids are."""
    async with await open_stack(url, None) as stack:
        turn = await agent_of(stack, steps).run(QUESTION)
        records = await stack.log.read(turn.session)
    bodies, ids = [], list[int]()
    sampling = Sampling(max_tokens=256, stop_ids=(128001, 128008, 128009))
    for event in (record.event for record in records):
        if hasattr(event, "token_ids"):
            ids = [*ids, *event.token_ids]
            if type(event).__name__ == "PromptAppended":
                bodies.append(request_body("stub", ids, sampling, 256))
    return bodies


async def cpu_of(work: Callable[[], Awaitable[None]], steps: int) -> float:
    """CPU of it, in milliseconds for one step."""
    gc.collect()
    started = time.process_time()
    await work()
    return (time.process_time() - started) * 1e3 / steps


async def one_agent(steps: int, repeats: int, folder: Path, tokens_per_event: int) -> dict[str, Any]:
    """Turns of one agent, one after the other."""
    with serving(steps, tokens_per_event) as url:
        bodies = await bodies_of(url, steps)
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        client = httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False)
        async with client, await open_stack(url, None) as plain, await open_stack(url, folder / f"{steps}") as logged:
            ways: dict[str, Callable[[], Awaitable[None]]] = {
                "bare": lambda: bare_turn(client, bodies),
                "without_log": lambda: turn_of(agent_of(plain, steps)),
                "with_log": lambda: turn_of(agent_of(logged, steps)),
            }
            costs: dict[str, list[float]] = {name: [] for name in ways}
            for repeat in range(repeats + 1):
                for name, work in ways.items():
                    cost = await cpu_of(work, steps)
                    if repeat:
                        costs[name].append(cost)
    medians = {name: statistics.median(values) for name, values in costs.items()}
    return {
        "steps": steps,
        **{f"{name}_cpu_ms_per_step": round(value, 3) for name, value in medians.items()},
        "ratio_without_log": round(medians["without_log"] / medians["bare"], 2),
        "ratio_with_log": round(medians["with_log"] / medians["bare"], 2),
    }


async def many_agents(agents: int, steps: int, repeats: int, folder: Path, tokens_per_event: int) -> dict[str, Any]:
    """Turns of many agents at once in this process."""
    with serving(steps, tokens_per_event) as url:
        bodies = await bodies_of(url, steps)
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=agents)
        client = httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, limits=limits)
        async with client, await open_stack(url, folder / "many") as stack:

            async def bare() -> None:
                await asyncio.gather(*(bare_turn(client, bodies) for _ in range(agents)))

            async def ours() -> None:
                await asyncio.gather(*(turn_of(agent_of(stack, steps)) for _ in range(agents)))

            costs: tuple[list[float], list[float]] = ([], [])
            for repeat in range(repeats + 1):
                for work, values in zip((bare, ours), costs, strict=True):
                    cost = await cpu_of(work, steps * agents)
                    if repeat:
                        values.append(cost)
    alone, together = (statistics.median(values) for values in costs)
    return {
        "agents": agents,
        "agents_cpu_ms_per_step": round(together, 3),
        "agents_bare_cpu_ms_per_step": round(alone, 3),
        "agents_ratio_with_log": round(together / alone, 2),
    }


async def idle_memory(folder: Path) -> float:
    """Python memory that a session holds when its turn of 10 steps is over, in KB: all of them are kept at once."""
    steps = 10
    with serving(steps, 64) as url:
        async with await open_stack(url, folder / "idle") as stack:
            agent = agent_of(stack, steps)
            for _ in range(5):
                await turn_of(agent)
            tracemalloc.start()
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(IDLE_SESSIONS):
                await turn_of(agent)
            gc.collect()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    return round((peak - before) / IDLE_SESSIONS / 1024, 1)


def import_seconds(repeats: int) -> float:
    """CPU time of `import arriero` in a fresh interpreter, beyond that of the interpreter."""
    script = "import time; t = time.process_time(); import arriero; print(time.process_time() - t)"
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True) for _ in range(repeats)]
    return round(statistics.median(float(run.stdout) for run in runs), 4)


def peer(environment: Path, script: str, steps: int, repeats: int) -> dict[str, Any]:
    """The same turn with another framework, in its own environment."""
    with serving(steps) as url:
        command = [str(environment / "bin" / "python"), str(HERE / "peers" / script), url, str(steps), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{environment.name} failed: {done.stderr[-2000:]}")
    measured = json.loads(done.stdout.splitlines()[-1])
    ratio = measured["cpu_ms_per_step"] / measured["bare_cpu_ms_per_step"]
    return {
        "peer": environment.name,
        "version": measured["version"],
        "steps": steps,
        "cpu_ms_per_step": round(measured["cpu_ms_per_step"], 2),
        "bare_cpu_ms_per_step": round(measured["bare_cpu_ms_per_step"], 2),
        "ratio": round(ratio, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[10, 50, 100], help="steps of a turn")
    parser.add_argument("--agents", type=int, default=100, help="agents at once; 0 leaves them out")
    parser.add_argument("--repeats", type=int, default=10, help="turns of each kind")
    parser.add_argument("--tokens-per-event", type=int, default=1, help="tokens in one event of the stream")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="virtual environments of other frameworks")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory of idle sessions out")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    chosen = parser.parse_args()

    def show(measured: dict[str, Any]) -> None:
        print(json.dumps(measured) if chosen.json else "  ".join(f"{k}={v}" for k, v in measured.items()), flush=True)

    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for steps in chosen.steps:
            measured = asyncio.run(one_agent(steps, chosen.repeats, folder, chosen.tokens_per_event))
            ratios.append(measured["ratio_with_log"])
            show(measured)
        if len(ratios) > 1:
            show({"ratio_of_ratios": round(ratios[-1] / ratios[0], 2)})
        if chosen.agents:
            show(
                asyncio.run(
                    many_agents(chosen.agents, 10, max(2, chosen.repeats // 3), folder, chosen.tokens_per_event)
                )
            )
        if not chosen.no_memory:
            show({"idle_session_kb": asyncio.run(idle_memory(folder))})
    show({"import_cpu_s": import_seconds(5)})
    for peer_name, script in PEERS.items():
        if chosen.peers and (chosen.peers / peer_name).is_dir():
            for steps in chosen.steps:
                show(peer(chosen.peers / peer_name, script, steps, max(3, chosen.repeats // 3)))


if __name__ == "__main__":
    main()
