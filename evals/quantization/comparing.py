"""Variants of a model on the same items: what they answer, how alike they are, what they cost."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from arriero.agents.map_progress import Progress
from arriero.evals.comparing import RunComparison, compare_runs
from arriero.evals.errors import EvalError
from arriero.evals.quantization.asking import Asking, Plan, VariantFound
from arriero.evals.quantization.variants import ModelVariant
from arriero.evals.toolcalls.comparing import VariantComparison, compare_variants, planned
from arriero.stack.stack import Stack

Opened = Callable[[ModelVariant], AbstractAsyncContextManager[Stack]]
"""Opens the stack of a variant."""


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What a comparison of variants found.

    Args:
        variants: The variants; the first is the baseline.
        comparisons: Measure by measure, the others against it.
        flags: The judge's flags of the others against its flags of the baseline; empty without a judge.
        margin: Largest loss that counts as not worse.
        level: How often each interval is to hold the truth.
        caveats: All that a reader must know before they believe a number.
    """

    variants: tuple[VariantFound, ...]
    comparisons: tuple[VariantComparison, ...]
    flags: tuple[RunComparison, ...]
    margin: float
    level: float
    caveats: tuple[str, ...] = ()


async def compare_quantizations(
    base: ModelVariant,
    variants: Sequence[ModelVariant],
    plan: Plan,
    *,
    folder: str | Path | None = None,
    opened: Opened | None = None,
    progress: Progress = True,
    retry_errors: bool = False,
) -> QuantizationReport:
    """Ask a baseline and its variants the same, one after the other, and compare them item by item.

    Args:
        base: The baseline.
        variants: The variants.
        plan: What is asked, and how.
        folder: Where answers are kept; the same comparison goes on from there. None keeps nothing.
        opened: Opens a variant's stack; None for `ModelVariant.open`.
        progress: Whether to show progress on stderr, or who hears of it.
        retry_errors: Whether to ask again what failed before.

    Returns:
        What was found.

    Raises:
        EvalError: Nothing is asked, two variants have one name, or the folder has other runs.
        EngineError: A model cannot be used.

    Example:
        >>> import anyio
        >>> from arriero.evals.toolcalls import SAMPLE, read_tool_items
        >>> plan = Plan(tools=read_tool_items(SAMPLE)[:3], references=2, places=8, repeats=1)
        >>> both = [ModelVariant.parse(f"local:arriero-demo@{bits}") for bits in ("bf16", "int8")]
        >>> found = anyio.run(lambda: compare_quantizations(both[0], both[1:], plan, progress=False))
        >>> found.variants[1].memory.held < found.variants[0].memory.held
        True
    """
    models = [base, *variants]
    if len({one.name for one in models}) < len(models) or not variants:
        raise EvalError(f"the models are {', '.join(one.name for one in models)}: give two or more, each once")
    if not plan.tools and (plan.questions is None or not plan.questions.questions):
        raise EvalError("nothing is asked: give questions, or questions with tools")
    with tempfile.TemporaryDirectory() as scratch:
        first = Asking(plan, Path(folder or scratch), Path(scratch), progress, retry_errors)
        found = []
        for model in models:
            async with (opened or _open)(model) as stack:
                found.append(await first.ask(model.name, stack))
    return _report(found, plan)


def _open(model: ModelVariant) -> AbstractAsyncContextManager[Stack]:
    return model.open()


def _report(found: Sequence[VariantFound], plan: Plan) -> QuantizationReport:
    base, *others = found
    clusters = {item.id: item.doc_id or item.id for item in plan.tools}
    if plan.questions is not None:
        clusters |= {one.id: one.doc_id or one.id for one in plan.questions.questions}
    compared = partial(compare_variants, clusters=clusters, margin=plan.margin, level=plan.level, seed=plan.seed)
    comparisons = [
        one
        for measure, outcomes in base.outcomes.items()
        for one in compared(measure, outcomes, [each.outcomes[measure] for each in others if measure in each.outcomes])
    ]
    judged = [each.answers for each in others if each.answers is not None]
    flags = (
        compare_runs(base.answers, judged, margin=plan.margin, seed=plan.seed)
        if base.answers is not None and judged
        else ()
    )
    return QuantizationReport(
        tuple(found),
        tuple(comparisons),
        flags,
        plan.margin,
        plan.level,
        tuple(_caveats(found, comparisons, flags, plan)),
    )


def _caveats(
    found: Sequence[VariantFound],
    comparisons: Sequence[VariantComparison],
    flags: Sequence[RunComparison],
    plan: Plan,
) -> list[str]:
    said = []
    for one in found:
        if one.calls is not None and one.calls.measures.errors:
            said.append(f"{one.name}: {one.calls.measures.errors} tool-call items have no answer and are in no rate.")
        if one.answers is not None and one.answers.answering is not None and one.answers.answering.errors:
            said.append(f"{one.name}: {one.answers.answering.errors} questions have no answer and are in no rate.")
        if one.apart is not None:
            said.append(f"{one.name}: tokens were not compared: {one.apart}.")
        if isinstance(one.speed, str):
            said.append(f"{one.name}: the speed was not measured: {one.speed}.")
        if one.agreement is not None and not one.agreement.exact:
            said.append(
                f"{one.name}: the divergence is a lower bound: only tokens that a server reports are told apart."
            )
        if one.memory is not None and one.memory.packed < one.memory.held:
            said.append(
                f"{one.name}: this process has no kernel for its weights and keeps four bits in a byte; packed they"
                " would take what is given beside."
            )
    if any(one.memory is not None and one.facts.get("quantization") in ("int8", "int4") for one in found):
        said.append("int8 and int4 round the weights of linear layers here; embeddings stay as they are.")
    said += dict.fromkeys(caveat for one in flags for caveat in one.caveats)
    if comparisons:
        least = min(comparisons, key=lambda one: one.items)
        planning = planned(least.items, margin=plan.margin, level=plan.level)
        said.append(f"Fewest items has {least.measure!r}: {planning}")
    said.append("Speed is of one request at a time on this machine, beside all else that runs on it.")
    return said
