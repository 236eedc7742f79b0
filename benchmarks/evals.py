"""What an evaluation costs.

    python benchmarks/evals.py [--repeats N] [--json]

* 1,000 recorded answers: read, judged offline, evaluated with 150 labels, written as a report.
* Statistics of 10,000 paired items in clusters, with 5,000 draws.
* A run of 200 questions over an engine that takes a third of a second for each answer, eight at once, beside the same
  requests sent to the engine alone: what the run adds to their time.
* A report of 10,000 items: its size, and how long Chromium takes until its first items are there.

The answers are the bundled labelled ones, over and over under new ids. Medians over the repeats.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from arriero import SQLiteLog, Stack
from arriero.evals.calibrating import choose
from arriero.evals.data import read_items, sample, write_items
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import Evaluation
from arriero.evals.items import GroundingItem, Passage, Question, QuestionSet
from arriero.evals.judgement import Judgement
from arriero.evals.judges.offline import OfflineJudge
from arriero.evals.reports import write_html
from arriero.evals.runs.running import run_system
from arriero.evals.statistics import compare
from arriero.evals.systems.rag import RagSystem
from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.generation import request, stop_ids

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evals"))
from chromium import chromium

LIMITS = {
    "1,000 recorded answers: judged, evaluated, reported": (20.0, "s"),
    "10,000 paired items, 5,000 draws": (5.0, "s"),
    "overhead of a run beyond the engine": (3.0, "%"),
    "report of 10,000 items: size": (20.0, "MB"),
    "report of 10,000 items: open": (2.0, "s"),
}
SECONDS = 1 / 3
"""What an answer of 60 tokens takes from a model of 8 billion parameters on one GPU, roughly."""
QUESTIONS, AT_ONCE = 200, 8


def recorded(count: int) -> list[GroundingItem]:
    """The bundled answers, as often as it takes."""
    many = islice(cycle(sample("grounding").items()), count)
    return [replace(item, id=f"{item.id}.{number}", doc_id=f"{item.doc_id}.{number // 644}")
            for number, item in enumerate(many)]  # fmt: skip


def found_of(items: Sequence[GroundingItem], said: Sequence[Judgement], judge: OfflineJudge) -> Evaluation:
    """What the judge and 150 labels say."""
    chosen = set(choose(items, 150).ids)
    labels = {item.id: item.label for item in items if item.id in chosen and item.label is not None}
    return evaluate(items, said, judge=judge.fingerprint, threshold=judge.threshold, name="recorded", labels=labels)


def judged_and_reported(folder: Path) -> float:
    """Seconds from a file of answers to its report."""
    file = folder / "answers.jsonl"
    write_items(file, recorded(1_000))
    started = time.perf_counter()
    items, judge = read_items(file), OfflineJudge()
    write_html(found_of(items, anyio.run(judge.judge, items), judge), folder / "report.html")
    return time.perf_counter() - started


def paired_statistics() -> float:
    """Seconds for a comparison of 10,000 items of 2,000 documents."""
    chance = np.random.default_rng(0)
    before, after = (chance.random((2, 10_000)) < 0.1).astype(int)
    clusters = chance.integers(0, 2_000, 10_000)
    started = time.perf_counter()
    compare(before, after, margin=0.02, clusters=clusters, draws=5_000)
    return time.perf_counter() - started


@dataclass
class SlowEngine:
    """Answers with one text, one token after the other, in a fixed time."""

    model: str = "stub"
    context_length: int = 131_072
    grammars: bool = False

    def __post_init__(self) -> None:
        self.tokenizer = Tokenizer.from_folder(DEMO)
        text = "The height of Mount Orla is 2140 metres, as the survey of the pass has it [1]. " * 3
        self.ids = [*self.tokenizer.encode(text), self.tokenizer.special_id("<|eot_id|>")]
        self.prompts: list[Sequence[int]] = []

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The answer; every token in its time."""
        self.prompts.append(prompt_ids)
        started = time.perf_counter()
        for number, id_ in enumerate(self.ids, 1):
            await asyncio.sleep(max(0.0, started + SECONDS * number / len(self.ids) - time.perf_counter()))
            last = number == len(self.ids)
            yield Delta((id_,), finish_reason="stop" if last else None,
                        usage=Usage(len(prompt_ids), number, 0) if last else None)  # fmt: skip

    async def aclose(self) -> None:
        """Nothing to release."""


async def overhead(folder: Path) -> float:
    """Per cent that a run takes longer than its requests to the engine alone."""
    engine = SlowEngine()
    dialect = Dialect.get("llama3.1")
    asked = [
        Question(str(number), f"How high is mount {number}?", passages=(Passage("p", "Mount Orla is high. " * 40),))
        for number in range(QUESTIONS)
    ]
    stack = Stack(engine, dialect, log=SQLiteLog(":memory:"))
    started = time.perf_counter()
    await run_system(
        folder / "run", RagSystem(stack), QuestionSet("mounts", tuple(asked)), concurrency=AT_ONCE, progress=False
    )
    taken = time.perf_counter() - started
    alone = await _alone(engine, list(engine.prompts), Sampling(stop_ids=stop_ids(dialect, engine.tokenizer)))
    return 100 * (taken / alone - 1)


async def _alone(engine: SlowEngine, prompts: list[Sequence[int]], sampling: Sampling) -> float:
    left = iter(prompts)

    async def ask() -> None:
        for prompt in left:
            async with request(engine, prompt, sampling) as deltas:
                async for _ in deltas:
                    pass

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask())
    return time.perf_counter() - started


def big_report(folder: Path) -> tuple[float, float]:
    """Megabytes of a report of 10,000 items, and seconds until its first items are there."""
    items, judge = recorded(10_000), OfflineJudge()
    path = folder / "big.html"
    write_html(found_of(items, anyio.run(judge.judge, items), judge), path)
    return path.stat().st_size / 1e6, _opened(path)


def measure(what: str, once: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Median, range and limit of one figure."""
    taken = []
    for _ in range(repeats):
        gc.collect()
        taken.append(once())
    limit, unit = LIMITS[what]
    return {"what": what, "median": statistics.median(taken), "low": min(taken), "high": max(taken),
            "limit": limit, "unit": unit}  # fmt: skip


def _opened(path: Path) -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, chromium(Path(profile)) as browser:
        started = time.perf_counter()
        browser.open(path.as_uri()).wait("document.querySelectorAll('details.item').length > 0")
        return time.perf_counter() - started


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    names = iter(LIMITS)
    with tempfile.TemporaryDirectory() as home:
        folders = (Path(tempfile.mkdtemp(dir=home)) for _ in range(1_000))
        rows = [
            measure(next(names), lambda: judged_and_reported(next(folders)), wanted.repeats),
            measure(next(names), paired_statistics, wanted.repeats),
            measure(next(names), lambda: anyio.run(overhead, next(folders)), wanted.repeats),
        ]
        reports = [big_report(next(folders)) for _ in range(wanted.repeats)]
        for values in zip(*reports, strict=True):
            rows.append(measure(next(names), iter(values).__next__, wanted.repeats))
    for row in rows:
        if wanted.json:
            print(json.dumps(row))
        else:
            figures = "{what}: {median:.2f} {unit} ({low:.2f} to {high:.2f}; limit {limit:g} {unit})"
            print(figures.format(**row))


if __name__ == "__main__":
    main()
