"""Where nodes and edges of a drawing go: in layers, from top to bottom."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from arriero.agents.workflow.draw import Arrow, Box, Drawing

LETTER = 7.4
"""Width of a letter, in pixels: the widest that 13 px of a system's sans-serif has on average."""
LINE = 17.0
_PADDING = 14.0
_GAP = 28.0
_LAYER_GAP = 54.0
_PASSAGE = 12.0
_SWEEPS = 8
MARGIN = 20.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """A node with its place.

    Args:
        box: The node.
        x: Its left edge.
        y: Its upper edge.
        width: Its width.
        height: Its height.
    """

    box: Box
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Where it is from left to right."""
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Line:
    """An edge with its way.

    Args:
        arrow: The edge.
        points: Where it begins, the middles of the layers that it passes, where it ends.
        label_at: Middle of its label.
    """

    arrow: Arrow
    points: tuple[Point, ...]
    label_at: Point


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing with all places.

    Args:
        width: Its width.
        height: Its height.
        boxes: Its nodes.
        lines: Its edges.
    """

    width: float
    height: float
    boxes: tuple[Placed, ...]
    lines: tuple[Line, ...]


def layout(drawn: Drawing) -> Layout:
    """Find places for everything in a drawing.

    Each node is one layer below the lowest of those that lead to it. An edge over several layers passes each one
    between the nodes there. The order in a layer follows the middles of the neighbours above and below, in turn
    (Sugiyama, Tagawa and Toda, 1981).

    Args:
        drawn: The drawing.

    Returns:
        The places.
    """
    layers, ways = _layers(drawn)
    _order(layers, ways)
    sizes = {box.name: _size(box) for box in drawn.boxes}
    xs, ys, heights = _coordinates(layers, sizes)
    boxes = tuple(Placed(box, xs[box.name], ys[box.name], *sizes[box.name]) for box in drawn.boxes)
    by_name = {placed.box.name: placed for placed in boxes}
    right = max(xs[item] + sizes.get(item, (_PASSAGE, 0.0))[0] for layer in layers for item in layer)
    lines: list[Line] = []
    for number, arrow in enumerate(drawn.arrows):
        start, end = by_name[arrow.start], by_name[arrow.end]
        if arrow.back:
            line, right = _around(arrow, start, end, right)
        else:
            bends = [
                point
                for item in ways[number][1:-1]
                for point in ((xs[item] + _PASSAGE / 2, ys[item]), (xs[item] + _PASSAGE / 2, ys[item] + heights[item]))
            ]
            line = _down(arrow, start, end, bends)
        lines.append(line)
    labels = [line.label_at[0] + len(line.arrow.label) * LETTER / 2 for line in lines if line.arrow.label]
    lowest = max(placed.y + placed.height for placed in boxes)
    return Layout(max([right, *labels]) + MARGIN, lowest + MARGIN, boxes, tuple(lines))


def _layers(drawn: Drawing) -> tuple[list[list[str]], dict[int, list[str]]]:
    """The layers, and for each edge what it leads through. Names with a bar are places where an edge passes."""
    depth: dict[str, int] = {}
    for box in drawn.boxes:
        above = [depth[arrow.start] for arrow in drawn.arrows if arrow.end == box.name and not arrow.back]
        depth[box.name] = max(above, default=-1) + 1
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for box in drawn.boxes:
        layers[depth[box.name]].append(box.name)
    ways: dict[int, list[str]] = {}
    for number, arrow in enumerate(drawn.arrows):
        if arrow.back:
            continue
        between = range(depth[arrow.start] + 1, depth[arrow.end])
        passed = [f"|{number}.{layer}" for layer in between]
        for layer, item in zip(between, passed, strict=True):
            layers[layer].append(item)
        ways[number] = [arrow.start, *passed, arrow.end]
    return layers, ways


def _order(layers: list[list[str]], ways: Mapping[int, list[str]]) -> None:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for way in ways.values():
        for upper, lower in pairwise(way):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    for sweep in range(_SWEEPS):
        downward = sweep % 2 == 0
        for layer in layers[1:] if downward else layers[-2::-1]:
            place = {item: number / len(one) for one in layers for number, item in enumerate(one)}
            neighbours = above if downward else below
            middles = {item: _mean([place[other] for other in neighbours.get(item, [item])]) for item in layer}
            layer.sort(key=middles.__getitem__)


def _coordinates(
    layers: list[list[str]], sizes: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Left edges, upper edges, and heights of the layers, by node and passage. Each layer is in the middle."""
    widths = {item: sizes.get(item, (_PASSAGE, 0.0))[0] for layer in layers for item in layer}
    wide = [sum(widths[item] + _GAP for item in layer) for layer in layers]
    xs: dict[str, float] = {}
    ys: dict[str, float] = {}
    heights: dict[str, float] = {}
    y = MARGIN
    for layer, width in zip(layers, wide, strict=True):
        x = MARGIN + (max(wide) - width) / 2
        height = max(sizes.get(item, (0.0, 0.0))[1] for item in layer)
        for item in layer:
            own = sizes[item][1] if item in sizes else height
            xs[item], ys[item], heights[item] = x, y + (height - own) / 2, height
            x += widths[item] + _GAP
        y += height + _LAYER_GAP
    return xs, ys, heights


def _down(arrow: Arrow, start: Placed, end: Placed, bends: list[Point]) -> Line:
    points = ((start.middle, start.y + start.height), *bends, (end.middle, end.y))
    (x, y), (next_x, next_y) = points[-2:]
    return Line(arrow, points, ((x + next_x) / 2, (y + next_y) / 2))


def _around(arrow: Arrow, start: Placed, end: Placed, right: float) -> tuple[Line, float]:
    """An edge that leads back, on the right of everything, and to there between the layers."""
    x, leaves, reaches = right + _GAP, start.x + start.width - _PADDING, end.x + end.width - _PADDING
    bottom, top = start.y + start.height, end.y
    below, above = bottom + _LAYER_GAP / 3, top - _LAYER_GAP / 3
    points = ((leaves, bottom), (leaves, below), (x, below), (x, above), (reaches, above), (reaches, top))
    label_x = x + 6 + len(arrow.label) * LETTER / 2
    return Line(arrow, points, (label_x, (top + bottom) / 2)), label_x + len(arrow.label) * LETTER / 2


def _size(box: Box) -> tuple[float, float]:
    letters = max(map(len, box.lines))
    extra = LINE if box.shape in ("choice", "map") else 0.0
    return letters * LETTER + 2 * _PADDING + extra, len(box.lines) * LINE + _PADDING


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
