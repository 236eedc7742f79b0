import io
import re

import every_event
from rich.console import Console

from arriero.agents.tree import Node, print_tree, tree
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallStarted,
    DecisionAsked,
    Event,
    PromptAppended,
    StepFinished,
    TurnFinished,
    TurnPaused,
    TurnStarted,
)
from arriero.stack.log import Record

WAITING: list[Event] = [
    TurnStarted((Message("user", "Erase it."),), "llama"),
    PromptAppended(1, (1, 2)),
    StepFinished(1, (3,), "", (every_event.ERASE,), "end_of_turn", Usage(2, 1), 0.5),
    DecisionAsked(1, 0, every_event.ERASE, "approval"),
    TurnPaused(("1.0",), Usage(2, 1), 0.5),
]


def logged(*events: Event) -> list[Record]:
    return [Record("alice", "t1", seq, 100.0 + seq, event) for seq, event in enumerate(events)]


def shown(nodes: tuple[Node, ...], *, full: bool = False) -> str:
    file = io.StringIO()
    print_tree(Console(file=file), nodes, full=full)
    return file.getvalue()


def labels(node: Node) -> list[str]:
    return [child.label for child in node.children]


def child(node: Node, *path: str) -> Node:
    for label in path:
        node = next(one for one in node.children if one.label == label)
    return node


def test_everything_that_is_logged_is_in_the_tree() -> None:
    text = shown(tree(every_event.records("CANARY")))
    for word in ("system", "user", "tools  erase", "step  1", "verdict", "says", "web_search", "drafts", "Which one?"):
        assert word in text, word
    for word in ("paused", "resumed", "rewritten", "handoff", "limit", "failed", "done  refused", "fork", "read[0]"):
        assert word in text, word
    assert text.count("CANARY") >= 20


def test_calls_stand_in_their_step_with_their_decisions_and_results() -> None:
    turn, _ = tree(every_event.records())
    step = child(turn, "step")
    calls = [one for one in step.children if one.label == "call"]
    assert [call.text for call in calls] == [
        'web_search(query="Orla")',
        'erase(path="drafts")',
        'ask_user(question="Which one?")',
    ]
    assert labels(calls[1]) == ["asks", "decided", "result"]
    assert "other arguments than the model wrote" in calls[1].note
    assert calls[1].children[-1].tone == "bad"


def test_a_turn_says_where_it_stands() -> None:
    assert tree(logged(*WAITING))[0].state == "waiting"
    assert tree(logged(*WAITING[:3]), {"t1": "interrupted"})[0].state == "interrupted"
    assert tree(logged(*WAITING, TurnFinished("", "cancelled", Usage(), 1.0)))[0].state == "cancelled"


def test_a_call_that_was_cut_off_has_no_result_and_one_that_ran_twice_says_so() -> None:
    call = ToolCall("erase", {})
    said = StepFinished(1, (3,), "", (call,), "end_of_turn", Usage(2, 1), 0.5)
    (turn,) = tree(logged(PromptAppended(1, (1,)), said, CallStarted(1, call), CallStarted(1, call)))
    assert child(turn, "step", "call").note == "started 2 times, no result is logged"


def test_a_step_without_an_answer_says_so() -> None:
    (turn,) = tree(logged(*WAITING[:2]))
    assert "no answer is logged" in child(turn, "step").note


def test_times_are_counted_from_the_beginning_of_the_turn() -> None:
    text = shown(tree(every_event.records()))
    assert re.search(r"resumed .*\+1 d 1 h", text)


def test_long_texts_are_cut_unless_they_are_wanted_whole() -> None:
    nodes = tree(logged(TurnStarted((Message("user", "\n".join(["line"] * 30)),))))
    assert "23 more lines" in shown(nodes)
    assert shown(nodes, full=True).count("line") == 30


def test_nothing_in_a_log_controls_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\r\x9b1m\u202e[bold]"
    text = shown(tree(every_event.records(evil, evil)), full=True)
    assert not set(text) & set("\x1b\x07\r\x9b\u202e")
    assert "[bold]" in text
