"""From answers to what was right, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arriero.evals.measures.rates import share
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.systems.system import Answer
from arriero.evals.toolcalls.asking import calls_by_message
from arriero.evals.toolcalls.items import ToolItem
from arriero.evals.toolcalls.progress import Progress


@dataclass(frozen=True, slots=True)
class ItemScore:
    """What is right about the answer to one item.

    Args:
        item_id: The item.
        category: Its category.
        right: Whether all of it is right.
        multi_step: Whether it has several steps.
        wants_call: Whether any call is right.
        names: Whether the first message calls the right tools, each as often as is right.
        arguments: Of the arguments of the tools that were rightly called in the first message, whether each is right.
        called: Whether there is any readable call.
        unparsable: Whether a message tries to call and cannot be read.
        unoffered: Whether a tool is called that was not offered.
        steps: Steps that are right, of how many.
        problems: What is wrong.
        error: Why there is no answer; such items are in no rate.
        cluster: What it is counted with.
    """

    item_id: str
    category: str
    right: bool
    multi_step: bool
    wants_call: bool
    names: bool
    arguments: tuple[bool, ...]
    called: bool
    unparsable: bool
    unoffered: bool
    steps: tuple[int, int]
    problems: tuple[str, ...] = ()
    error: str | None = None
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class CallMeasures:
    """How often tool calls are right. Shares of the items with an answer, of the kind that is named.

    Args:
        right: Of all: the whole item is right, be it calls, steps, or no call.
        exact: Of the single questions that want calls: all calls right, none absent, none too many.
        names: Of the same: the right tools, each as often as is right.
        arguments: Of the arguments of rightly named calls; counted by item.
        irrelevance: Of the items that want no call: none was made.
        multi_step: Of the items of several steps: all steps right.
        items: All items.
        errors: Items without an answer, which are in no rate.
        unparsable: Items with a message that tries to call and cannot be read.
        unoffered: Items that call a tool which was not offered.
    """

    right: Estimate | None
    exact: Estimate | None
    names: Estimate | None
    arguments: Estimate | None
    irrelevance: Estimate | None
    multi_step: Estimate | None
    items: int
    errors: int
    unparsable: int
    unoffered: int


def score_item(item: ToolItem, answer: Answer) -> ItemScore:
    """Score one answer.

    Args:
        item: The item.
        answer: Its answer.

    Returns:
        What is right about it.

    Example:
        >>> from arriero.evals.toolcalls import SAMPLE
        >>> from arriero.evals.toolcalls.items import read_tool_items
        >>> item = next(item for item in read_tool_items(SAMPLE) if item.wants_call)
        >>> score_item(item, Answer(item.id, "I cannot do that.")).right
        False
    """
    progress = Progress(item)
    messages = calls_by_message(answer)
    for calls in messages:
        progress.said(calls)
    while not progress.over:  # messages without a call leave nothing behind
        progress.said(())
    first = [pair[1] for pair in (progress.first.pairs if progress.first else ()) if pair is not None and pair[1].name]
    offered = {tool["function"]["name"] for tool in item.tools}
    made = [call for message in messages for call in message]
    return ItemScore(
        item_id=item.id,
        category=item.category,
        right=progress.right and answer.error is None,
        multi_step=item.multi_step,
        wants_call=item.wants_call,
        names=progress.first is not None and progress.first.names,
        arguments=tuple(ok for match in first for ok in (*[True] * len(match.right), *[False] * len(match.wrong))),
        called=bool(made),
        unparsable=any(not call["name"] for call in answer.calls),
        unoffered=any(call.name not in offered for call in made),
        steps=(min(progress.step, len(item.steps)), len(item.steps)),
        problems=progress.problems,
        error=answer.error,
        cluster=item.doc_id or item.id,
    )


def measure(scores: Sequence[ItemScore], *, level: float = 0.95) -> CallMeasures:
    """Rates of scored items, with intervals by document where items share some, else Wilson's.

    Args:
        scores: The scores.
        level: How often each interval is to hold the truth.

    Returns:
        The rates; None where no item is of the kind.

    Example:
        >>> from arriero.evals.toolcalls import SAMPLE
        >>> from arriero.evals.toolcalls.items import read_tool_items
        >>> items = read_tool_items(SAMPLE)
        >>> print(measure([score_item(item, Answer(item.id, "I cannot do that.")) for item in items]).irrelevance)
        100.0 % [79.6, 100.0]
    """
    answered = [score for score in scores if score.error is None]
    single = [score for score in answered if score.wants_call and not score.multi_step]
    nothing = [score for score in answered if not score.wants_call]
    chains = [score for score in answered if score.multi_step and score.wants_call]
    arguments = [(ok, score.cluster) for score in single for ok in score.arguments]
    return CallMeasures(
        right=_rate([(score.right, score.cluster) for score in answered], level),
        exact=_rate([(score.right, score.cluster) for score in single], level),
        names=_rate([(score.names, score.cluster) for score in single], level),
        arguments=_rate(arguments, level),
        irrelevance=_rate([(score.right, score.cluster) for score in nothing], level),
        multi_step=_rate([(score.right, score.cluster) for score in chains], level),
        items=len(scores),
        errors=len(scores) - len(answered),
        unparsable=sum(score.unparsable for score in answered),
        unoffered=sum(score.unoffered for score in answered),
    )


def by_category(scores: Sequence[ItemScore], *, level: float = 0.95) -> Mapping[str, CallMeasures]:
    """The rates of each category.

    Args:
        scores: The scores.
        level: How often each interval is to hold the truth.

    Returns:
        Rates by category, in the order in which categories come.
    """
    groups: dict[str, list[ItemScore]] = {}
    for score in scores:
        groups.setdefault(score.category, []).append(score)
    return {category: measure(group, level=level) for category, group in groups.items()}


def _rate(events: Sequence[tuple[bool, str]], level: float) -> Estimate | None:
    if not events:
        return None
    return share([float(event) for event, _ in events], [cluster for _, cluster in events], level=level)
