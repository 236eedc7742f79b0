"""A session as one HTML page: timeline, messages, calls, and the ids of every prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import jinja2

from arriero.agents.painting import PaintedId, paint_generated, paint_prompt, said_before
from arriero.agents.tree import Node, clock_text, total, tree
from arriero.agents.wording import time_text
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.visible import visible
from arriero.stack.events import StepFinished
from arriero.stack.log import Record

_GAP = 0.08
"""Share of a timeline that a wait may take at most: a person may have taken days to approve."""

_LANES: Mapping[str, str] = {"step": "model", "call": "tools", "verdict": "shields", "node": "nodes"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took time, on a timeline.

    Args:
        left: Where it begins, in percent of the timeline.
        width: How long it is, in percent.
        row: Its row of the lane, from 0: what ran at once stands in several.
        text: What it is, for people to read.
    """

    left: float
    width: float
    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """What took time in a turn.

    Args:
        lanes: Bars by lane: the model, tools, shields, nodes.
        span: Seconds that it shows, waits in their shortened form.
        cut: Seconds of waits that it does not show.
    """

    lanes: Mapping[str, Sequence[Bar]]
    span: float
    cut: float


def session_page(
    session: str,
    records: Sequence[Record],
    *,
    tokenizer: Tokenizer | None = None,
    states: Mapping[str, str] | None = None,
) -> str:
    """A session as one HTML page that needs nothing else: no script, no font, no picture.

    Args:
        session: Its name.
        records: Its events, or those of some of its turns.
        tokenizer: The one that wrote its ids, which gives their texts; None where it is not known.
        states: Where turns that are not over stand, by their ids.

    Returns:
        The page.

    Example:
        >>> from arriero.stack.events import TurnFailed
        >>> page = session_page("alice", [Record("alice", "t1", 0, 0.0, TurnFailed("Broken", "<script>"))])
        >>> "&lt;script&gt;" in page, "<script" in page
        (True, False)
    """
    contents = said_before((record.seq, record.event) for record in records)

    def painted(node: Node) -> list[PaintedId]:
        if node.generated:
            return paint_generated(node.generated, tokenizer)
        return paint_prompt(node.appended, contents.get(node.seq or 0, ()), tokenizer)

    usage = total(record.event.usage for record in records if isinstance(record.event, StepFinished))
    turns = tree(records, states)
    return _template().render(
        session=session,
        turns=turns,
        kind="run" if turns and all(turn.label == "workflow" for turn in turns) else "session",
        asked=lambda turn: next((node.text for node in turn.children if node.label in ("user", "input")), ""),
        usage=usage,
        cached=None if not usage.prompt_tokens else (usage.cached_tokens or 0) / usage.prompt_tokens,
        began=clock_text(records[0].time) if records else "",
        known=tokenizer is not None,
        painted=painted,
        timeline=timeline,
    )


def timeline(turn: Node) -> Timeline | None:
    """What took time in a turn.

    Args:
        turn: The turn.

    Returns:
        The timeline; None where nothing did.

    Example:
        >>> step = Node("step", "1", time=10.0, took=2.0)
        >>> timeline(Node("turn", "t1", time=8.0, children=(step,))).span
        2.0
    """
    timed = sorted(_timed(turn), key=lambda entry: entry[0])
    if not timed:
        return None
    waits = _waits(timed)
    shown = sum(end - start for start, end in _busy(timed))
    most = shown * _GAP
    # Each wait is cut to what it may take at most; what comes after it moves to the left by as much.
    cuts = [(end, end - start - most) for start, end in waits if end - start > most]
    first = timed[0][0]

    def place(time: float) -> float:
        return time - first - sum(length for at, length in cuts if at <= time)

    span = max(place(end) for _, end, _ in timed) or 1e-9
    lanes: dict[str, list[Bar]] = {}
    ends: dict[str, list[float]] = {}
    for start, end, node in timed:
        lane = _LANES[node.label]
        rows = ends.setdefault(lane, [])
        row = next((row for row, until in enumerate(rows) if until <= start), len(rows))
        rows[row:] = [end] if row == len(rows) else [end, *rows[row + 1 :]]
        left, right = 100 * place(start) / span, 100 * place(end) / span
        text = f"{node.label} {node.text.splitlines()[0] if node.text else ''}: {time_text(end - start)}"
        lanes.setdefault(lane, []).append(Bar(round(left, 3), round(right - left, 3), row, text))
    order = [lane for lane in _LANES.values() if lane in lanes]
    return Timeline({lane: lanes[lane] for lane in order}, span, sum(length for _, length in cuts))


_Timed = tuple[float, float, Node]


def _timed(node: Node) -> Iterator[_Timed]:
    if node.label in _LANES and node.time is not None and node.took is not None:
        yield node.time - node.took, node.time, node
    for child in node.children:
        yield from _timed(child)


def _busy(timed: Iterable[_Timed]) -> list[tuple[float, float]]:
    """Spans in which anything ran, in order."""
    spans: list[tuple[float, float]] = []
    for start, end, _ in timed:
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))
    return spans


def _waits(timed: Iterable[_Timed]) -> list[tuple[float, float]]:
    spans = _busy(timed)
    return [(before[1], after[0]) for before, after in pairwise(spans)]


@lru_cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["seconds"] = time_text
    return environment.get_template("session.html.jinja")
