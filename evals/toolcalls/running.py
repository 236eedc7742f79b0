"""Tool-call questions put to a model in several ways, and what came of it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.agents.map_progress import Progress
from arriero.evals.errors import EvalError
from arriero.evals.runs.running import run_system
from arriero.evals.systems.system import Answer, System
from arriero.evals.toolcalls.asking import questions_of
from arriero.evals.toolcalls.comparing import Outcomes, VariantComparison, compare_variants, planned
from arriero.evals.toolcalls.items import ToolItem
from arriero.evals.toolcalls.scoring import CallMeasures, ItemScore, by_category, measure, score_item

MEASURE = "tool calls right"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of asking, and what came of it.

    Args:
        name: Short name.
        system: What decided the answers.
        measures: Rates over all items.
        categories: Rates by category.
        scores: Every item.
    """

    name: str
    system: Mapping[str, object]
    measures: CallMeasures
    categories: Mapping[str, CallMeasures]
    scores: tuple[ItemScore, ...]

    @property
    def outcomes(self) -> Outcomes:
        """Which items went wrong."""
        return Outcomes(self.name, {score.item_id: not score.right for score in self.scores if score.error is None})


@dataclass(frozen=True, slots=True)
class ToolCallReport:
    """What an evaluation of tool calls found.

    Args:
        name: Name of the set.
        variants: Each way of asking; the first is the baseline.
        comparisons: The others against it.
        margin: Largest loss that counts as not worse.
        level: How often each interval is to hold the truth.
        caveats: All that a reader must know before they believe a number.
    """

    name: str
    variants: tuple[Variant, ...]
    comparisons: tuple[VariantComparison, ...]
    margin: float
    level: float
    caveats: tuple[str, ...] = ()


async def run_toolcalls(
    items: Sequence[ToolItem],
    systems: Sequence[System],
    *,
    folder: str | Path | None = None,
    concurrency: int = 4,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: Progress = True,
    retry_errors: bool = False,
    margin: float = 0.05,
    level: float = 0.95,
    name: str = "tool calls",
    file: str | Path | None = None,
) -> ToolCallReport:
    """Ask each system every item, score the answers, compare the systems with the first.

    Args:
        items: The items.
        systems: What is asked, such as `ToolCallSystem`s with several promptings. Their names must differ; their
            owners close them.
        folder: Where answers are kept, a folder for each system in it; asked again, a run goes on from there. None
            keeps nothing.
        concurrency: How many items are asked at once.
        seed: Seed of the sampling, and of the bootstrap.
        cache: File of answers that runs share; None for none.
        progress: Whether to show progress on stderr, or who hears of it.
        retry_errors: Whether to ask again what failed before.
        margin: Largest loss that still counts as not worse; chosen before looking.
        level: How often each interval is to hold the truth.
        name: Name of the set.
        file: Where the items came from, for the record.

    Returns:
        What was found.

    Raises:
        EvalError: Nothing to ask, two systems of one name, or the folder has another run.

    Example:
        >>> import anyio
        >>> from arriero import Stack
        >>> from arriero.evals.toolcalls import SAMPLE, ToolCallSystem, read_tool_items, run_toolcalls
        >>> items = read_tool_items(SAMPLE)[:3]
        >>> async def found() -> ToolCallReport:
        ...     async with Stack.local() as stack:
        ...         return await run_toolcalls(items, [ToolCallSystem(stack, items)], progress=False)
        >>> anyio.run(found).variants[0].measures.items
        3
    """
    names = [system.name for system in systems]
    if not systems or len(set(names)) < len(names):
        raise EvalError(
            f"the systems are called {', '.join(names) or 'nothing'}: give at least one, with different names"
        )
    how: dict[str, Any] = {"cache": cache, "progress": progress, "retry_errors": retry_errors, "file": file}
    variants = [
        await ask_variant(
            items, system, folder=folder, concurrency=concurrency, seed=seed, level=level, name=name, **how
        )
        for system in systems
    ]
    return report_of(name, variants, margin=margin, level=level, seed=seed)


async def ask_variant(
    items: Sequence[ToolItem],
    system: System,
    *,
    folder: str | Path | None = None,
    level: float = 0.95,
    name: str = "tool calls",
    **how: Any,
) -> Variant:
    """Ask one system every item, and score the answers.

    Args:
        items: The items.
        system: What is asked; its owner closes it.
        folder: Where a folder with its answers is kept; None keeps nothing.
        level: How often each interval is to hold the truth.
        name: Name of the set.
        how: As for `run_system`.

    Returns:
        The scores and rates.

    Raises:
        EvalError: There is nothing to ask, or the folder has another run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(folder or scratch) / folder_name(system.name)
        run = await run_system(home, system, questions_of(items, name), name=system.name, **how)
        return scored(system.name, system.fingerprint, items, run.answered().answers, level=level)


def scored(
    name: str,
    system: Mapping[str, object],
    items: Sequence[ToolItem],
    answers: Sequence[Answer],
    *,
    level: float = 0.95,
) -> Variant:
    """Score the answers of one system.

    Args:
        name: Its name.
        system: What decided the answers.
        items: The items.
        answers: The answers. An item without one counts as an error.
        level: How often each interval is to hold the truth.

    Returns:
        The scores and rates.
    """
    known = {answer.question_id: answer for answer in answers if answer.repeat == 0}
    absent = {item.id: Answer(item.id, "", error="there is no answer") for item in items if item.id not in known}
    scores = tuple(score_item(item, (known | absent)[item.id]) for item in items)
    return Variant(name, system, measure(scores, level=level), by_category(scores, level=level), scores)


def report_of(
    name: str, variants: Sequence[Variant], *, margin: float = 0.05, level: float = 0.95, seed: int = 0
) -> ToolCallReport:
    """Compare variants with the first.

    Args:
        name: Name of the set.
        variants: The variants.
        margin: Largest loss that counts as not worse.
        level: How often each interval is to hold the truth.
        seed: Seed of the bootstrap.

    Returns:
        The report.

    Raises:
        EvalError: The margin is not above 0.
    """
    first, *others = variants
    clusters = {score.item_id: score.cluster for score in first.scores}
    comparisons = compare_variants(
        MEASURE,
        first.outcomes,
        [one.outcomes for one in others],
        clusters=clusters,
        margin=margin,
        level=level,
        seed=seed,
    )
    return ToolCallReport(name, tuple(variants), comparisons, margin, level, tuple(_caveats(variants, margin, level)))


def _caveats(variants: Sequence[Variant], margin: float, level: float) -> list[str]:
    found = []
    for one in variants:
        errors = [score for score in one.scores if score.error is not None]
        if errors:
            found.append(
                f"{one.name}: {len(errors)} of {len(one.scores)} items have no answer and are in no rate; the first:"
                f" {errors[0].item_id}: {errors[0].error}"
            )
        if one.measures.unparsable:
            found.append(
                f"{one.name}: {one.measures.unparsable} items hold a call that cannot be read; it counts as no call."
            )
    clusters = {score.cluster for score in variants[0].scores}
    if len(clusters) == 1 < len(variants[0].scores):
        found.append("All items are of one document: the intervals are for this document, not for others.")
    if len(variants) > 1:
        found.append(planned(len(variants[0].scores), margin=margin, level=level))
    return found


def folder_name(variant: str) -> str:
    """Name of the folder with a variant's answers.

    Args:
        variant: Name of the variant.

    Returns:
        The same, but for what folders cannot be called.

    Example:
        >>> folder_name("http://gpu1:8000/v1")
        'http---gpu1-8000-v1'
    """
    kept = "".join(letter if letter.isalnum() or letter in "-_.+@" else "-" for letter in variant)
    return kept.strip(".") or "variant"
