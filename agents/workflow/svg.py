"""A drawing of a workflow as an image that stands by itself."""

from html import escape
from xml.sax.saxutils import quoteattr

from arriero.agents.workflow.draw import Drawing
from arriero.agents.workflow.layout import LETTER, LINE, Line, Placed, layout

_STYLE = """
text{font:13px system-ui,sans-serif;fill:#111827;text-anchor:middle}
.second{font-size:11px;fill:#4b5563}
.box{fill:#fff;stroke:#4b5563;stroke-width:1.5}
.line{fill:none;stroke:#6b7280;stroke-width:1.5}
.back{stroke-dasharray:5 4}
.head{fill:#6b7280}
.plate{fill:#fff}
.running .box{fill:#dbeafe;stroke:#1d4ed8}
.finished .box{fill:#dcfce7;stroke:#15803d}
.failed .box{fill:#fee2e2;stroke:#b91c1c}
.waiting .box{fill:#fef3c7;stroke:#b45309}
@media (prefers-color-scheme:dark){
text{fill:#f3f4f6}
.second{fill:#d1d5db}
.box{fill:#1f2937;stroke:#9ca3af}
.line{stroke:#9ca3af}
.head{fill:#9ca3af}
.plate{fill:#111827}
.running .box{fill:#1e3a8a;stroke:#93c5fd}
.finished .box{fill:#14532d;stroke:#86efac}
.failed .box{fill:#7f1d1d;stroke:#fca5a5}
.waiting .box{fill:#78350f;stroke:#fcd34d}
}
"""


def svg(drawn: Drawing) -> str:
    """A drawing as SVG, with its own style for light and dark pages, and without a script.

    Args:
        drawn: The drawing.

    Returns:
        The image.
    """
    placed = layout(drawn)
    width, height = round(placed.width), round(placed.height)
    label = quoteattr(f"workflow {drawn.title}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label={label}>',
        f"<title>{escape(drawn.title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
        f'<rect class="plate" width="{width}" height="{height}"/>',
        *map(_line, placed.lines),
        *map(_box, placed.boxes),
        *(_label(line) for line in placed.lines if line.arrow.label),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(placed: Placed) -> str:
    box = placed.box
    x, y, width, height = placed.x, placed.y, placed.width, placed.height
    shape = f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{{}}"/>'
    outline = shape.format(f"{height / 2:.1f}" if box.shape == "end" else "4")
    if box.shape == "choice":
        cut, middle = LINE / 2, y + height / 2
        corners = [(x, middle), (x + cut, y), (x + width - cut, y), (x + width, middle), (x + width - cut, y + height)]
        corners.append((x + cut, y + height))
        outline = f'<polygon class="box" points="{" ".join(f"{cx:.1f},{cy:.1f}" for cx, cy in corners)}"/>'
    if box.shape == "map":
        inner = f"M{x + 6:.1f} {y:.1f}v{height:.1f}M{x + width - 6:.1f} {y:.1f}v{height:.1f}"
        outline += f'<path class="box" d="{inner}"/>'
    first = y + height / 2 - (len(box.lines) - 1) * LINE / 2 + 4.5
    texts = "".join(
        f'<text{" class=" + chr(34) + "second" + chr(34) if number else ""} x="{placed.middle:.1f}"'
        f' y="{first + number * LINE:.1f}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    )
    return f'<g class="{box.standing or "still"}">{outline}{texts}</g>'


def _line(line: Line) -> str:
    (x, y), *others = line.points
    path = f"M{x:.1f} {y:.1f}"
    if line.arrow.back:
        path += "".join(f"L{cx:.1f} {cy:.1f}" for cx, cy in others)
    else:
        for next_x, next_y in others:
            middle = (y + next_y) / 2
            path += f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}"
            x, y = next_x, next_y
    kind = "line back" if line.arrow.back else "line"
    return f'<path class="{kind}" d="{path}" marker-end="url(#head)"/>'


def _label(line: Line) -> str:
    x, y = line.label_at
    width = len(line.arrow.label) * LETTER * 0.85 + 6
    plate = f'<rect class="plate" x="{x - width / 2:.1f}" y="{y - 8:.1f}" width="{width:.1f}" height="16"/>'
    return f'{plate}<text class="second" x="{x:.1f}" y="{y + 4:.1f}">{escape(line.arrow.label)}</text>'
