import io
import json

import pytest
from every_event import every_event
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


def shown(*events: Event, steps: bool = True, folded: bool = False) -> str:
    file = io.StringIO()
    screen = Screen(Console(file=file), steps=steps, folded=folded)
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


def test_whatever_happens_is_shown_with_the_words_that_came_with_it() -> None:
    events = [event for _, _, event in every_event("CANARY")]
    silent = [type(event).__name__ for event in events if not shown(event)]
    assert silent == ["TurnStarted"]
    lines = shown(*events)
    for word in ("asks", "decided", "paused", "resumed", "rewritten", "handoff", "fork", "message", "workflow", "node"):
        assert f"\n  {word:<10}" in lines, word
    assert "1.1: approved with changes by CANARY" in lines
    assert lines.count("CANARY") >= 20


def test_a_reader_of_the_conversation_is_spared_what_the_prompt_asks_anyway() -> None:
    lines = shown(*(event for turn, _, event in every_event() if turn == "turn-1"), steps=False)
    for word in ("asks", "decided", "paused", "resumed", "prompt", "model", "done"):
        assert f"  {word:<10}" not in lines, word


def test_a_folded_call_is_one_line_that_ends_with_its_time() -> None:
    assert shown(TURN[3], TURN[5], folded=True).startswith('  web_search(query="the \\"height\\"")  12 ms\n')
    failed = CallFinished(1, ToolResult(SEARCH, "error: no", "no", 0.2))
    assert shown(CallStarted(1, SEARCH), failed, folded=True).endswith("  failed, 0.20 s\n")


def test_folded_calls_that_run_at_once_each_get_their_line() -> None:
    other = ToolCall("look", {})
    lines = shown(
        CallStarted(1, SEARCH, 0),
        CallStarted(1, other, 1),
        CallFinished(1, ToolResult(SEARCH, "x", None, 0.01), 0),
        CallFinished(1, ToolResult(other, "x", None, 0.02), 1),
        TextDelta(2, "Done."),
        folded=True,
        steps=False,
    ).splitlines()
    assert lines == [
        '  web_search(query="the \\"height\\"")',
        "  look()",
        "  web_search  10 ms",
        "  look  20 ms",
        "Done.",
    ]


def test_an_answer_begins_on_a_line_of_its_own_while_a_call_still_runs() -> None:
    assert shown(CallStarted(1, SEARCH), TextDelta(2, "So"), folded=True, steps=False).splitlines()[-1] == "So"


@pytest.mark.parametrize("text", ["plain", "two\nlines\twith tabs", "Größe – 山 🐴"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert visible(text) == text
