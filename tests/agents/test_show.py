import io
import json

import pytest
from rich.console import Console

from arriero.agents.show import JSONLines, Screen
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.visible import visible
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    LimitReached,
    PromptAppended,
    StepFinished,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictGiven,
)
from arriero.stack.shields import Verdict
from arriero.tools import ToolResult

SEARCH = ToolCall("web_search", {"query": 'the "height"'})
TURN: list[Event] = [
    TurnStarted((Message("user", "How high?"),)),
    PromptAppended(1, (1, 2, 3)),
    StepFinished(1, (4,), "", (SEARCH,), "end_of_turn", Usage(3, 1, 2), 0.25),
    CallStarted(1, SEARCH),
    CallProgressed(1, SEARCH, "asking", 1, 3),
    CallFinished(1, ToolResult(SEARCH, "provider: offline\n[1] Orla", None, 0.012)),
    VerdictGiven("output", Verdict(True, (), 0.01), 0.03, "llama-guard"),
    TextDelta(2, "It is "),
    TextDelta(2, "2140\nmetres."),
    TurnFinished("It is 2140\nmetres.", "answer", Usage(12, 4), 1.5),
]
SHOWN = """\

research: How high?
  prompt    step 1: 3 tokens appended
  model     step 1: 3 tokens read (2 cached), 1 written, 0.25 s
  call      web_search(query="the \\"height\\"")
  progress  web_search 1 of 3: asking
  result    provider: offline
            [1] Orla
            web_search: 12 ms
  verdict   output: safe (0.01)
            llama-guard: 30 ms
  answer    It is 2140
            metres.
  done      answer, 12 tokens read, 4 written, 1.50 s
"""


def shown(*events: Event, steps: bool = True) -> str:
    file = io.StringIO()
    screen = Screen(Console(file=file), steps=steps)
    for event in events:
        screen.show(event)
    return file.getvalue()


def test_a_screen_shows_every_step() -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file))
    screen.begin("research", "How high?")
    for event in TURN:
        screen.show(event)
    assert file.getvalue() == SHOWN


def test_text_is_on_the_screen_as_soon_as_it_is_there() -> None:
    assert shown(TextDelta(1, "It is ")).endswith("answer    It is ")


def test_a_screen_without_steps_shows_what_a_reader_of_the_conversation_needs() -> None:
    text = shown(*TURN, steps=False)
    assert "tokens" not in text
    assert 'web_search(query="the \\"height\\"")' in text
    assert text.endswith("It is 2140\nmetres.\n")


def test_a_refusal_is_shown() -> None:
    refused = Verdict(False, ("S9",), 0.99, "unsafe: S9")
    text = shown(VerdictGiven("input", refused, 0.03, "llama-guard"), TurnFinished("No.", "refused", Usage(), 0.05))
    assert "verdict   input: unsafe: S9 (0.99)" in text
    assert "answer    No." in text


def test_a_failure_and_a_limit_are_shown() -> None:
    text = shown(TurnFailed("EngineInterrupted", "it broke off"), LimitReached("steps", "8 of 8"))
    assert "failed    EngineInterrupted: it broke off" in text
    assert "limit     steps: 8 of 8" in text


def test_nothing_that_a_model_or_a_tool_writes_controls_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\r\x9b1m\u202e"
    call = ToolCall(evil, {evil: evil})
    text = shown(
        TextDelta(1, evil),
        CallStarted(1, call),
        CallFinished(1, ToolResult(call, {evil: evil}, evil)),
        VerdictGiven("input", Verdict(False, (), None, evil), 0.1, evil),
        TurnFailed("EngineError", evil),
    )
    assert not set(text) & set("\x1b\x07\r\x9b\u202e")


def test_markup_in_text_stays_text() -> None:
    assert "[bold red]:smile:[/]" in shown(TextDelta(1, "[bold red]:smile:[/]"))


def test_long_results_are_cut_for_the_screen() -> None:
    long = "\n".join(["x" * 1000] * 50)
    lines = shown(CallFinished(1, ToolResult(SEARCH, long))).splitlines()
    assert len(lines) == 9
    assert max(map(len, lines)) < 200
    assert "43 more lines" in lines[-2]


def test_long_lines_are_not_broken_where_there_is_no_terminal() -> None:
    assert "y" * 300 in shown(TextDelta(1, "y" * 300))


def test_json_lines_hold_every_event_and_say_whose_it_is() -> None:
    written: list[dict[str, object]] = []
    lines = JSONLines(lambda value: written.append(dict(value)))
    lines.begin("research", "How high?")
    for event in TURN:
        lines.show(event)
    lines.note("unmet", None)
    assert [entry["kind"] for entry in written] == [*(type(event).__name__ for event in TURN), "unmet"]
    assert {entry["workflow"] for entry in written} == {"research"}
    assert json.loads(json.dumps(written)) == written


@pytest.mark.parametrize("text", ["plain", "two\nlines\twith tabs", "Größe – 山 🐴"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert visible(text) == text
