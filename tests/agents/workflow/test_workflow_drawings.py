"""Graphs as Mermaid and as SVG, with the colours of a run; progress in rows and in lines."""

import io
from typing import Literal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arriero.agents.workflow import InvalidWorkflow, RunState, Workflow, WorkflowProgress, either
from arriero.agents.workflow.draw import Arrow, Box, Drawing
from arriero.agents.workflow.layout import layout
from arriero.agents.workflow.svg import svg
from arriero.stack.events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)

EVENTS: list[Event] = [
    WorkflowStarted("review", "v", "mules"),
    NodeStarted("kind", ""),
    NodeFinished("kind", "", "long", 0.5),
    NodeStarted("part", "1", 1, of=3),
    NodeFinished("part", "1", "a", 0.1),
    NodeStarted("part", "2", 1, of=3),
    NodeFailed("part", "2", 1, "OSError", "no\nanswer"),
    NodeStarted("part", "2", 2, of=3),
]


def review() -> Workflow[str, str]:
    flow = Workflow("review <1>", takes=str, gives=str)

    @flow.step(flow.input)
    def kind(text: str) -> Literal["long", "short"]:
        return "long"

    @flow.step(flow.input, when=kind.gave("long"))
    def parts(text: str) -> list[str]:
        return [text]

    @flow.map(parts, at_once=2)
    def part(text: str) -> str:
        return text

    @flow.step(flow.input, when=kind.gave_other_than("long"))
    def whole(text: str) -> list[str]:
        return [text]

    @flow.step(either(part, whole), "good")
    def join(parts: list[str], before: bool | None = None) -> str:
        return " ".join(parts)

    @flow.step(join)
    def good(text: str) -> bool:
        return True

    flow.loop(join, good, again=good.gave(False), most=3)
    flow.returns(join)
    return flow


MERMAID = """\
flowchart TD
    n0(["input"])
    n1{{"kind"}}
    n2["parts"]
    n3[["part<br>for each, 2 at once"]]
    n4["whole"]
    n5["join"]
    n6["good"]
    n7(["output"])
    n0 --> n1
    n0 --> n2
    n1 -->|"long"| n2
    n2 --> n3
    n0 --> n4
    n1 -->|"not long"| n4
    n3 --> n5
    n4 --> n5
    n6 -.->|"False, at most 3 rounds"| n5
    n5 --> n6
    n5 --> n7
"""


def test_a_graph_in_mermaid_has_its_steps_conditions_and_loops() -> None:
    assert review().mermaid() == MERMAID


def test_a_run_in_mermaid_has_its_states_in_words_and_colours() -> None:
    drawn = review().mermaid(RunState.of(EVENTS))
    assert 'n1{{"kind<br>finished"}}:::finished' in drawn
    assert 'n3[["part<br>1 of 3<br>running"]]:::running' in drawn
    assert 'n4["whole"]\n' in drawn
    assert "classDef finished fill:" in drawn
    assert "classDef failed" not in drawn


def test_only_a_graph_that_can_be_run_is_drawn() -> None:
    for draw in (Workflow("empty", takes=str, gives=str).mermaid, Workflow("empty", takes=str, gives=str).svg):
        with pytest.raises(InvalidWorkflow):
            draw()


def test_an_image_stands_by_itself_for_light_and_dark() -> None:
    image = review().svg(RunState.of(EVENTS))
    root = ET.fromstring(image)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"input", "kind", "part", "1 of 3", "running", "not long", "output"} <= set(texts)
    assert root.attrib["aria-label"] == "workflow review <1>"
    assert "prefers-color-scheme:dark" in image
    assert "<script" not in image
    assert image.count("http") == image.count("http://www.w3.org/2000/svg") == 1


def test_a_state_is_told_in_words_as_well_as_in_colour() -> None:
    state = RunState.of([*EVENTS, WorkflowPaused(("part[2]",), 1.0)])
    assert "part<br>1 of 3<br>waiting" in review().mermaid(state)
    ended = RunState.of([*EVENTS, NodeFailed("part", "2", 2, "OSError", "no"), WorkflowFinished(None, "no", 1.0)])
    assert 'n7(["output"]):::failed' in review().mermaid(ended)


names = st.text("abcxyz", min_size=1, max_size=12)


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    count = draw(st.integers(1, 12))
    shapes = st.sampled_from(["end", "step", "choice", "map"])
    boxes = [
        Box(f"n{number}", tuple(draw(st.lists(names, min_size=1, max_size=3))), draw(shapes)) for number in range(count)
    ]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    arrows = [
        Arrow(f"n{one}", f"n{other}", draw(st.just("") | names), back=one >= other)
        for one, other in draw(st.lists(pairs, max_size=20, unique=True))
    ]
    return Drawing("any", tuple(boxes), tuple(arrows))


@given(drawings())
def test_no_two_nodes_of_a_drawing_overlap_and_all_is_within_it(drawn: Drawing) -> None:
    placed = layout(drawn)
    for number, one in enumerate(placed.boxes):
        assert 0 <= one.x <= one.x + one.width <= placed.width
        assert 0 <= one.y <= one.y + one.height <= placed.height
        for other in placed.boxes[number + 1 :]:
            beside = one.x + one.width <= other.x or other.x + other.width <= one.x
            assert beside or one.y + one.height <= other.y or other.y + other.height <= one.y
    for line in placed.lines:
        assert all(0 <= x <= placed.width and 0 <= y <= placed.height for x, y in line.points)
    ET.fromstring(svg(drawn))


@given(drawings())
def test_an_edge_passes_no_node_on_its_way_down(drawn: Drawing) -> None:
    placed = layout(drawn)
    for line in placed.lines:
        if line.arrow.back:
            continue
        for x, y in line.points[1:-1]:
            assert not any(box.x < x < box.x + box.width and box.y < y < box.y + box.height for box in placed.boxes), (
                line.arrow
            )


def test_progress_is_one_line_for_each_event_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with WorkflowProgress(Console(file=out, width=40)) as progress:
        for event in [*EVENTS, WorkflowPaused(("part[2]",), 1.0), WorkflowFinished(None, "it\nfailed", 2.0)]:
            progress(event)
    assert out.getvalue().splitlines() == [
        "review has begun",
        "kind: begun",
        "kind: finished, 0.50 s",
        "part[1]: begun, of 3",
        "part[1]: finished, 0.10 s",
        "part[2]: begun, of 3",
        "part[2]: failed with OSError: no answer",
        "part[2]: begun, of 3, attempt 2",
        "waits for part[2]",
        "failed: it failed",
    ]


def test_progress_is_a_row_for_each_step_on_a_terminal() -> None:
    out = io.StringIO()
    with WorkflowProgress(Console(file=out, width=80, force_terminal=True)) as progress:
        for event in EVENTS:
            progress(event)
    shown = out.getvalue()
    assert "1 of 3" in shown
    assert "kind" in shown.rpartition("1 of 3")[0]


def test_progress_of_a_run_that_goes_on_counts_what_was_done_before() -> None:
    out = io.StringIO()
    state = RunState.of(EVENTS)
    with WorkflowProgress(Console(file=out, width=80, force_terminal=True), state=state) as progress:
        progress(NodeFinished("part", "2", "b", 0.1))
    assert "2 of 3" in out.getvalue()
    assert state == RunState.of(EVENTS)


def test_a_map_in_a_loop_counts_the_items_of_its_latest_round() -> None:
    state = RunState.of(
        event
        for key in ("1.1", "1.2", "2.1")
        for event in (NodeStarted("part", key, of=2), NodeFinished("part", key, "a", 0.1))
    )
    assert (state.finished("part"), state.of_node("part")) == (1, "running")


def test_a_step_may_have_the_name_of_an_end() -> None:
    flow = Workflow("named", takes=str, gives=str)

    @flow.step(flow.input)
    def output(text: str) -> str:
        return text

    flow.returns(output)
    assert '    n1["output"]\n    n2(["output"])\n' in flow.mermaid()
    ET.fromstring(flow.svg())
