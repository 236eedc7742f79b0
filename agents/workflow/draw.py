"""A workflow's graph as something to draw, and in Mermaid's language."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from arriero.agents.workflow.graph import INPUT, Graph, Step
from arriero.agents.workflow.state import RunState, Standing

OUTPUT = ""  # a name that no step has

Shape = Literal["end", "step", "choice", "map"]
"""An end of the graph, a step, a step on which branches depend, a parallel map."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node as it is drawn.

    Args:
        name: Its name.
        lines: What is written in it.
        shape: What kind of node it is.
        standing: Where it stands in a run; None where it has not run, or where no run is drawn.
    """

    name: str
    lines: tuple[str, ...]
    shape: Shape
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge as it is drawn.

    Args:
        start: Name of the node that it comes from.
        end: Name of the node that it goes to.
        label: What is written at it.
        back: Whether it leads back to the beginning of a loop.
    """

    start: str
    end: str
    label: str = ""
    back: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph to draw.

    Args:
        title: What it is.
        boxes: Its nodes, in an order in which no edge but those of loops leads back.
        arrows: Its edges.
    """

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def drawing(graph: Graph, state: RunState | None = None) -> Drawing:
    """What of a graph is drawn.

    Args:
        graph: The graph.
        state: A run of it.

    Returns:
        The drawing.
    """
    conditions = {step.when.step for step in graph.steps.values() if step.when}
    boxes = [Box(INPUT, (INPUT,), "end", "finished" if state and state.started else None)]
    boxes += [_box(step, state, chosen=step.name in conditions) for step in graph.steps.values()]
    over = state and state.standing in ("finished", "failed")
    boxes.append(Box(OUTPUT, ("output",), "end", state.standing if state and over else None))
    arrows = [arrow for step in graph.steps.values() for arrow in _into(graph, step)]
    arrows += [Arrow(name, OUTPUT) for name in graph.returns]
    return Drawing(graph.name, tuple(boxes), tuple(arrows))


def _box(step: Step[Any], state: RunState | None, *, chosen: bool) -> Box:
    shape: Shape = "map" if step.at_once is not None else "choice" if chosen else "step"
    lines = [step.name]
    if step.at_once is not None:
        lines.append(f"for each, {step.at_once} at once")
    if state is None:
        return Box(step.name, tuple(lines), shape)
    standing = state.of_node(step.name)
    if of := state.items.get(step.name):
        lines[-1] = f"{state.finished(step.name)} of {of}"
    elif (runs := state.runs(step.name)) > 1:
        lines.append(f"{runs} rounds")
    return Box(step.name, (*lines, *([standing] if standing else [])), shape, standing)


def _into(graph: Graph, step: Step[Any]) -> list[Arrow]:
    """The edges to a step: one from each node that it needs, with the condition where it has one."""
    back = graph.back(step)
    found = {name: Arrow(name, step.name) for source in step.sources for name in source.names if name not in back}
    if step.when:
        found[step.when.step] = Arrow(step.when.step, step.name, step.when.label)
    arrows = list(found.values())
    for loop in graph.loops:
        if loop.first == step.name:
            label = f"{loop.again.label}, at most {loop.most} rounds"
            arrows.append(Arrow(loop.last, step.name, label, back=True))
    return arrows


_SHAPES = {"end": ('(["', '"])'), "step": ('["', '"]'), "choice": ('{{"', '"}}'), "map": ('[["', '"]]')}
_COLOURS = {
    "running": "fill:#dbeafe,stroke:#1d4ed8,color:#111827",
    "finished": "fill:#dcfce7,stroke:#15803d,color:#111827",
    "failed": "fill:#fee2e2,stroke:#b91c1c,color:#111827",
    "waiting": "fill:#fef3c7,stroke:#b45309,color:#111827",
}


def mermaid(drawn: Drawing) -> str:
    """A drawing in Mermaid's language.

    Args:
        drawn: The drawing.

    Returns:
        A flowchart; see https://mermaid.js.org/syntax/flowchart.html.
    """
    ids = {box.name: f"n{number}" for number, box in enumerate(drawn.boxes)}
    lines = ["flowchart TD"]
    for box in drawn.boxes:
        opens, closes = _SHAPES[box.shape]
        state = f":::{box.standing}" if box.standing else ""
        lines.append(f"    {ids[box.name]}{opens}{'<br>'.join(map(_text, box.lines))}{closes}{state}")
    for arrow in drawn.arrows:
        label = f'|"{_text(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {ids[arrow.start]} {'-.->' if arrow.back else '-->'}{label} {ids[arrow.end]}")
    used = [standing for standing in _COLOURS if any(box.standing == standing for box in drawn.boxes)]
    lines += [f"    classDef {standing} {_COLOURS[standing]}" for standing in used]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Text that Mermaid takes for nothing else: what is no letter or digit as a numbered entity."""
    return re.sub(r"[^\w ,.:\[\]-]", lambda match: f"#{ord(match[0])};", " ".join(text.split()))
