"""A conversation within a budget: whole messages go, the oldest first, and calls go with their results."""

from itertools import pairwise, takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import BudgetExceeded, InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.tokens import Tokenizer

LLAMA = Dialect.get("llama3.1")
SYSTEM = Message("system", "Be brief.")


def tool(name: str, description: str = "") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {}}}


def step(number: int) -> tuple[Message, Message]:
    return (
        Message("assistant", tool_calls=(ToolCall("f", {"n": number}),)),
        Message("tool", f"result {number}"),
    )


def messages_of(prompt: Prompt) -> tuple[Message, ...]:
    assert prompt.conversation is not None
    return prompt.conversation.messages


def test_a_prompt_counts_its_tokens(tokenizer: Tokenizer) -> None:
    prompt = LLAMA.render([Message("user", "hello")])
    assert prompt.count(tokenizer) == len(prompt.encode(tokenizer)) > 5


def test_a_prompt_within_the_budget_stays_as_it_is(tokenizer: Tokenizer) -> None:
    prompt = LLAMA.render([Message("user", "hello")])
    assert prompt.truncate(tokenizer, prompt.count(tokenizer)) is prompt


def test_no_more_goes_than_has_to(tokenizer: Tokenizer) -> None:
    talk = [SYSTEM, *(Message(role, f"{role} {n}") for n in range(5) for role in ("user", "assistant"))]
    talk.append(Message("user", "last"))
    allowed = LLAMA.render([SYSTEM, *talk[5:]]).count(tokenizer)
    shorter = LLAMA.render(talk).truncate(tokenizer, allowed)
    assert messages_of(shorter) == (SYSTEM, *talk[5:])
    assert shorter == LLAMA.render([SYSTEM, *talk[5:]])
    assert messages_of(LLAMA.render(talk).truncate(tokenizer, allowed - 1)) == (SYSTEM, *talk[7:])


def test_the_question_stays_and_old_steps_after_it_go_with_their_results(tokenizer: Tokenizer) -> None:
    question = Message("user", "Do it five times.")
    talk = [SYSTEM, question, *(message for n in range(5) for message in step(n))]
    least = LLAMA.render([SYSTEM, question, *step(4)])
    shorter = LLAMA.render(talk).truncate(tokenizer, least.count(tokenizer))
    assert messages_of(shorter) == (SYSTEM, question, *step(4))


def test_tools_move_to_the_first_user_message_that_is_left(tokenizer: Tokenizer) -> None:
    tools = [tool("f")]
    talk = [Message("user", "first"), Message("assistant", "yes"), Message("user", "second")]
    whole = LLAMA.render(talk, tools)
    shorter = whole.truncate(tokenizer, whole.count(tokenizer) - 1)
    assert shorter == LLAMA.render(talk[2:], tools)
    assert '"name": "f"' in shorter.text


def test_the_options_stay(tokenizer: Tokenizer) -> None:
    options = RenderOptions(date_string="01 Jan 2026", add_generation_prompt=False)
    talk = [Message("user", "first"), Message("assistant", "yes"), Message("user", "second")]
    whole = LLAMA.render(talk, (), options)
    assert whole.truncate(tokenizer, whole.count(tokenizer) - 1) == LLAMA.render(talk[2:], (), options)


def test_a_later_system_message_stays_in_its_place(tokenizer: Tokenizer) -> None:
    late = Message("system", "Now in verse.")
    talk = [SYSTEM, Message("user", "a"), Message("assistant", "b"), late, Message("user", "c")]
    whole = LLAMA.render(talk)
    assert messages_of(whole.truncate(tokenizer, whole.count(tokenizer) - 1)) == (SYSTEM, late, talk[-1])


@pytest.mark.parametrize("talk", [[SYSTEM], [SYSTEM, Message("user", "hi")], [Message("assistant", "hi")]])
def test_what_cannot_be_shortened_is_refused_with_the_least_it_takes(talk: list[Message], tokenizer: Tokenizer) -> None:
    prompt = LLAMA.render(talk)
    with pytest.raises(BudgetExceeded, match=f"{prompt.count(tokenizer)} tokens are the least, 3 were allowed"):
        prompt.truncate(tokenizer, 3)


def said(kinds: list[str]) -> list[Message]:
    talk = [SYSTEM]
    for number, kind in enumerate(kinds):
        call, result = step(number)
        if kind == "step":
            talk += [call, result]
        elif kind == "two calls":
            talk += [Message("assistant", tool_calls=call.tool_calls * 2), result, result]
        else:
            talk.append(Message("assistant" if kind == "answer" else kind, f"m {number}"))
    return talk


talks = st.lists(st.sampled_from(["user", "answer", "step", "two calls", "system"]), min_size=1, max_size=8).map(said)


@given(talk=talks, share=st.floats(0, 1))
def test_a_truncated_prompt_fits_and_is_a_conversation(talk: list[Message], share: float, tokenizer: Tokenizer) -> None:
    whole = LLAMA.render(talk, (), RenderOptions(repair=True))
    budget = int(share * whole.count(tokenizer))
    try:
        shorter = whole.truncate(tokenizer, budget)
    except BudgetExceeded:
        return
    left = messages_of(shorter)
    assert shorter.count(tokenizer) <= budget
    assert [message for message in left if message.role == "system"] == [m for m in talk if m.role == "system"]
    others = iter(talk)
    assert all(message in others for message in left)
    assert left[-1] == talk[-1]
    for before, after in pairwise([message for message in left if message.role != "system"]):
        assert (after.role == "tool") == bool(before.tool_calls or (before.role == "tool" and after == before))
    for calls, results in answered(left):
        assert calls == results


@given(talk=talks, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_what_was_truncated_is_truncated_further_as_the_whole_is(
    talk: list[Message], shares: tuple[float, float], tokenizer: Tokenizer
) -> None:
    whole = LLAMA.render(talk, (), RenderOptions(repair=True))
    less, more = sorted(int(share * whole.count(tokenizer)) for share in shares)
    try:
        at_once = whole.truncate(tokenizer, less)
    except BudgetExceeded:
        return
    shorter = whole.truncate(tokenizer, more)
    assert shorter.truncate(tokenizer, more) is shorter
    assert messages_of(shorter.truncate(tokenizer, less)) == messages_of(at_once)


def answered(talk: tuple[Message, ...]) -> list[tuple[int, int]]:
    """For each message with calls how many there are, and how many results follow it."""
    others = [message for message in talk if message.role != "system"]
    counts = []
    for at, message in enumerate(others):
        if message.tool_calls:
            results = list(takewhile(lambda after: after.role == "tool", others[at + 1 :]))
            counts.append((len(message.tool_calls), len(results)))
    return counts


def test_each_tool_has_its_cost(tokenizer: Tokenizer) -> None:
    tools = [tool("f"), tool("g", "A long description, " * 20)]
    talk = [Message("user", "hi")]
    costs = LLAMA.render(talk, tools).tool_costs(tokenizer)
    (first, small), (second, large) = costs.declarations
    assert (first, second) == ("f", "g")
    assert 0 < small < large
    assert costs.frame > 0
    assert costs.total == LLAMA.render(talk, tools).count(tokenizer) - LLAMA.render(talk).count(tokenizer)
    assert large == LLAMA.render(talk, tools).count(tokenizer) - LLAMA.render(talk, tools[:1]).count(tokenizer)


def test_no_tools_cost_nothing(tokenizer: Tokenizer) -> None:
    assert LLAMA.render([Message("user", "hi")]).tool_costs(tokenizer).total == 0


def test_a_part_of_a_prompt_has_nothing_to_leave_out(tokenizer: Tokenizer) -> None:
    part = Prompt(LLAMA.render([Message("user", "hi")]).segments)
    with pytest.raises(InvalidMessage, match="a part of a prompt"):
        part.truncate(tokenizer, 1)
