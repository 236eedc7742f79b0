"""What happened in a session, as a tree: turns, their steps, the calls of a step, what came of each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from arriero.agents.show import STYLES
from arriero.agents.wording import (
    Line,
    Tone,
    call_text,
    cut,
    line_of,
    message_text,
    node_text,
    question_text,
    time_text,
    tokens_text,
    value_text,
)
from arriero.prompts.messages import Message
from arriero.prompts.visible import visible
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    MessageAdded,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    SessionForked,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    VerdictGiven,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)
from arriero.stack.log import Record

if TYPE_CHECKING:
    from rich.console import Console

E = TypeVar("E")

_ID_CHARS = 8
_PAUSES = (TurnPaused, WorkflowPaused, TurnResumed)
_ENDS = (TurnFinished, WorkflowFinished, TurnPaused, WorkflowPaused)
_TONES: Mapping[str, Tone] = {"answer": "good", "failed": "bad", "cancelled": "bad", "finished": "good"}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of what happened.

    Args:
        label: What it is, in one word.
        text: What it says, whole.
        tone: What kind of news it is.
        note: Figures: tokens, times.
        time: Seconds since the epoch when it was over; None for what has no time of its own.
        took: Seconds that it took; None where it took none, or nobody knows.
        state: Where a turn stands, or why it is over; empty for its parts.
        seq: Position of its event in the session; None for what has no event of its own.
        appended: Ids that the prompt gained.
        generated: Ids that the model wrote.
        children: Its parts.
    """

    label: str
    text: str = ""
    tone: Tone = ""
    note: str = ""
    time: float | None = None
    took: float | None = None
    state: str = ""
    seq: int | None = None
    appended: tuple[int, ...] = ()
    generated: tuple[int, ...] = ()
    children: "tuple[Node, ...]" = ()


def tree(records: Iterable[Record], states: Mapping[str, str] | None = None) -> tuple[Node, ...]:
    """What happened in a session, turn by turn.

    Args:
        records: Events of the session, or of some of its turns.
        states: Where turns that are not over stand, by their ids, as the log's summaries say.

    Returns:
        A node for each turn, each run of a workflow and each fork.

    Example:
        >>> from arriero.stack.events import LimitReached
        >>> (turn,) = tree([Record("alice", "t1", 0, 0.0, LimitReached("steps", "8 of 8"))])
        >>> turn.children[0].text
        'steps: 8 of 8'
    """
    turns: dict[str, list[Record]] = {}
    for record in records:
        turns.setdefault(record.turn, []).append(record)
    return tuple(_turn(turn, events, (states or {}).get(turn, "unfinished")) for turn, events in turns.items())


def print_tree(console: "Console", nodes: Sequence[Node], *, full: bool = False) -> None:
    """Write a tree for people to read.

    Args:
        console: Where to write. Colour is its decision.
        nodes: The turns.
        full: Whether to write long texts whole.

    Example:
        >>> from rich.console import Console
        >>> said = Node("user", "Hello"), Node("done", "answer")
        >>> print_tree(Console(width=80), [Node("turn", "t1", children=said)])
        turn  t1
        ├─ user  Hello
        └─ done  answer
    """
    for node in nodes:
        for guide, text, style in _printed(node, "", "", node.time, full):
            console.print(guide, style="dim", end="", markup=False, highlight=False, emoji=False, soft_wrap=True)
            for position, (piece, own) in enumerate(zip(text, style, strict=True)):
                end = "\n" if position == len(text) - 1 else ""
                piece = visible(piece)
                console.print(piece, style=own, end=end, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _printed(
    node: Node, first: str, others: str, began: float | None, full: bool
) -> Iterator[tuple[str, list[str], list[str]]]:
    head, *more = (node.text if full else cut(node.text)).split("\n")
    after = "" if node.time is None or not first else f"+{time_text(node.time - (began or 0.0))}"
    note = ", ".join(filter(None, (node.note, after)))
    yield (
        first,
        [node.label, f"  {head}" if head else "", f"  {note}" if note else ""],
        ["bold" if not first else "dim", STYLES[node.tone] + (" bold" if not first else ""), "dim"],
    )
    margin = ("│  " if node.children else "   ") + " " * (len(node.label) - 1)
    for line in more:
        yield others + margin, [line], [STYLES[node.tone]]
    for child in node.children:
        last = child is node.children[-1]
        yield from _printed(
            child, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  "), began, full
        )


def _turn(turn: str, records: Sequence[Record], state: str) -> Node:
    events = [record.event for record in records]
    if isinstance(events[0], SessionForked):
        return _plain(records[0])
    began = records[0].time
    children: list[Node] = []
    for places in _by_place(records).values():
        children += _nodes(places)
    over = next((event for event in reversed(events) if isinstance(event, TurnFinished | WorkflowFinished)), None)
    last = next((event for event in reversed(events) if isinstance(event, _PAUSES)), None)
    if isinstance(over, TurnFinished):
        state = over.reason
    elif over is not None:
        state = "failed" if over.error else "finished"
    elif isinstance(last, TurnPaused | WorkflowPaused):
        state = "waiting"
    note = ", ".join(filter(None, (_heading(events), state, clock_text(began), *_figures(events))))
    flow = any(isinstance(event, WorkflowStarted) for event in events)
    took = over.duration if over else None
    tone = _TONES.get(state, "waits")
    label, parts = "workflow" if flow else "turn", tuple(children)
    return Node(label, turn[:_ID_CHARS], tone, note, began, took, state, records[0].seq, children=parts)


def clock_text(time: float) -> str:
    """A moment, in UTC.

    Example:
        >>> clock_text(0)
        '1970-01-01 00:00:00 UTC'
    """
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _heading(events: Sequence[Event]) -> str:
    for event in events:
        if isinstance(event, TurnStarted):
            return " on ".join(filter(None, (event.agent, event.model)))
        if isinstance(event, WorkflowStarted):
            return event.workflow
    return ""


def _figures(events: Sequence[Event]) -> Iterator[str]:
    steps = [event for event in events if isinstance(event, StepFinished)]
    calls = sum(isinstance(event, CallFinished) for event in events)
    if steps:
        yield f"{len(steps)} {'step' if len(steps) == 1 else 'steps'}"
    if calls:
        yield f"{calls} {'call' if calls == 1 else 'calls'}"
    if steps:
        usage = total(step.usage for step in steps)
        yield tokens_text(usage)
    ends = [event.duration for event in events if isinstance(event, _ENDS)]
    if ends:
        yield time_text(ends[-1])


def total(usages: Iterable[Usage]) -> Usage:
    """Tokens of several requests together.

    Example:
        >>> total([Usage(4, 1), Usage(6, 2, 4)])
        Usage(prompt_tokens=10, completion_tokens=3, cached_tokens=4)
    """
    given = list(usages)
    cached = [usage.cached_tokens for usage in given if usage.cached_tokens is not None]
    return Usage(
        sum(usage.prompt_tokens for usage in given),
        sum(usage.completion_tokens for usage in given),
        sum(cached) if cached else None,
    )


_Place = tuple[str, str]


def _by_place(records: Sequence[Record]) -> dict[_Place, list[Record]]:
    """What belongs together: the events of a step, those of a node, and each other event by itself."""
    places: dict[_Place, list[Record]] = defaultdict(list)
    step = ""
    for record in records:
        place = str(record.seq), ""
        match record.event:
            case PromptAppended(number) | StepFinished(number) | CallStarted(number) | CallFinished(number):
                step = str(number)
                place = "step", step
            case DecisionAsked(number) | DecisionGiven(number):
                place = "step", str(number)
            case VerdictGiven() if step:
                place = "step", step
            case NodeStarted(node, key) | NodeFinished(node, key) | NodeFailed(node, key):
                place = f"node {node}", key
            case _:
                pass
        places[place].append(record)
    return places


def _nodes(records: Sequence[Record]) -> Iterator[Node]:
    """The nodes of one place."""
    first = records[0].event
    match first:
        case TurnStarted(messages, _, _, tools, builtins):
            yield from (_message(message, records[0]) for message in messages)
            names = [*builtins, *(str(tool.get("function", tool).get("name", "?")) for tool in tools)]
            if names:
                yield Node("tools", ", ".join(names), "quiet")
        case PromptAppended() | StepFinished() | CallStarted() | CallFinished() | DecisionAsked() | DecisionGiven():
            yield _step(first.step, records)
        case NodeStarted(node, key) | NodeFinished(node, key) | NodeFailed(node, key):
            yield _node(node_text(node, key), records)
        case _:
            yield _plain(records[0])


def _message(message: Message, record: Record, label: str = "") -> Node:
    calls = [call_text(call) for call in message.tool_calls]
    return Node(label or message.role, "\n".join(filter(None, (message_text(message), *calls))), seq=record.seq)


def _plain(record: Record) -> Node:
    event = record.event
    line = line_of(event) or Line(type(event).__name__, "")
    node = Node(line.label, line.text, line.tone, line.note, record.time, seq=record.seq)
    match event:
        case MessageAdded(_, message, source):
            return replace(_message(message, record, source if source != "output" else "retry"), time=record.time)
        case VerdictGiven():
            return replace(node, took=event.duration)
        case TranscriptRewritten(_, _, messages, token_ids):
            stays = tuple(_message(message, record) for message in messages)
            return replace(node, appended=token_ids, children=stays)
        case TurnFinished(text, reason):
            refusal = (Node("answer", text),) if reason == "refused" and text else ()
            return replace(node, text=reason, tone=_TONES.get(reason, "waits"), children=refusal)
        case WorkflowStarted(_, _, given):
            return replace(node, label="input", text=value_text(given))
        case WorkflowFinished(output, error):
            return node if error else replace(node, text=value_text(output))
        case _:
            return node


def _step(number: int, records: Sequence[Record]) -> Node:
    said = next(iter(_of(StepFinished, records)), None)
    children = [
        Node("prompt", f"{len(prompt.token_ids)} tokens appended", "quiet", seq=record.seq, appended=prompt.token_ids)
        for record, prompt in _of(PromptAppended, records)
    ]
    verdicts = [(record, _plain(record)) for record, _ in _of(VerdictGiven, records)]
    children += [node for record, node in verdicts if said is None or record.seq < said[0].seq]
    if said is not None and said[1].content:
        label = "says" if said[1].tool_calls else "answer"
        children.append(Node(label, said[1].content, seq=said[0].seq))
    children += _calls(records, said[1] if said else None)
    children += [node for record, node in verdicts if said is not None and record.seq > said[0].seq]
    if said is None:
        return Node("step", str(number), "waits", "no answer is logged", children=tuple(children))
    record, step = said
    note = f"{tokens_text(step.usage)}, {time_text(step.duration)}"
    return Node(
        "step",
        str(number),
        note=note,
        time=record.time,
        took=step.duration,
        seq=record.seq,
        generated=step.token_ids,
        children=tuple(children),
    )


def _calls(records: Sequence[Record], said: StepFinished | None) -> Iterator[Node]:
    written = dict(enumerate(said.tool_calls if said else ()))
    by_position: dict[int, list[Record]] = {position: [] for position in written}
    for record in records:
        if isinstance(record.event, CallStarted | CallFinished | DecisionAsked | DecisionGiven):
            by_position.setdefault(record.event.position, []).append(record)
    for position, events in by_position.items():
        starts, ends = _of(CallStarted, events), _of(CallFinished, events)
        call = starts[-1][1].call if starts else ends[-1][1].result.call if ends else written.get(position)
        children = []
        for record in events:
            match record.event:
                case CallFinished(_, result):
                    tone: Tone = "bad" if result.error else ""
                    children.append(Node("result", value_text(result.content), tone, seq=record.seq))
                case DecisionAsked():
                    text = question_text(record.event)
                    children.append(Node("asks", text, "waits", record.event.asked, record.time, seq=record.seq))
                case DecisionGiven():
                    children.append(_plain(record))
                case _:
                    pass
        notes = [f"started {len(starts)} times"] if len(starts) > 1 else []
        left = "waits" if events and isinstance(events[-1].event, DecisionAsked) else "no result is logged"
        notes += [time_text(ends[-1][1].result.duration) if ends else left]
        changed = starts and position in written and starts[-1][1].call.arguments != written[position].arguments
        notes += ["other arguments than the model wrote"] if changed else []
        yield Node(
            "call",
            call_text(call) if call else "?",
            "call",
            ", ".join(notes),
            ends[-1][0].time if ends else None,
            ends[-1][1].result.duration if ends else None,
            seq=events[0].seq if events else None,
            children=tuple(children),
        )


def _node(name: str, records: Sequence[Record]) -> Node:
    starts, ends = _of(NodeStarted, records), _of(NodeFinished, records)
    children = [_plain(record) for record, _ in _of(NodeFailed, records)]
    children += [Node("output", value_text(end.output), seq=record.seq) for record, end in ends]
    notes = [f"{len(starts)} attempts"] if len(starts) > 1 else []
    notes += [time_text(ends[-1][1].duration) if ends else "not finished"]
    return Node(
        "node",
        name,
        "call" if ends else "waits",
        ", ".join(notes),
        ends[-1][0].time if ends else None,
        ends[-1][1].duration if ends else None,
        seq=records[0].seq,
        children=tuple(children),
    )


def _of(kind: type[E], records: Sequence[Record]) -> list[tuple[Record, E]]:
    return [(record, record.event) for record in records if isinstance(record.event, kind)]
