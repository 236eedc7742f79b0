"""Verdicts are asked for in the words of each source, and only clear ones count."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import parsed, rendered

from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage, UnreadableVerdict
from arriero.prompts.formats import FORMATS
from arriero.prompts.guard import CATEGORIES, GuardVersion, guard_question, parse_guard, render_guard
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall
from arriero.prompts.tiktoken_vocabulary import Generation
from arriero.prompts.tokens import Tokenizer

VECTORS = rendered("hf-llama-guard", "meta-guard")
GUARDS = {f"{name} {source}": guard for (name, source), guard in DIALECTS.items() if name.startswith("llama-guard")}
PICTURE = Message("user", (TextPart("What is it?"), ImagePart()))
HI = Message("user", "hi")

said = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@pytest.mark.parametrize("vector", VECTORS)
def test_a_question_has_the_words_of_its_source_or_is_refused(vector: dict[str, Any]) -> None:
    if vector["expected"] is None:
        with pytest.raises(InvalidMessage):
            FORMATS[vector["format"]].render(vector["input"])
    else:
        assert FORMATS[vector["format"]].render(vector["input"]).text == vector["expected"]


@pytest.mark.parametrize("vector", [case for case in VECTORS if "token_ids_text_parsed" in case.values[0]])
def test_a_question_has_the_ids_of_its_source(vector: dict[str, Any], meta: Callable[[Generation], Tokenizer]) -> None:
    prompt = FORMATS[vector["format"]].render(vector["input"]).prompt
    ids = vector.get("token_ids_safe", vector["token_ids_text_parsed"])
    assert prompt is not None
    assert ids is None or prompt.encode(meta("llama3")) == ids


@given(guard=st.sampled_from(sorted(GUARDS)), talk=st.lists(said, min_size=1, max_size=4), parts=st.booleans())
def test_what_was_said_stands_in_every_question(guard: str, talk: list[str], parts: bool) -> None:
    takes_parts = parts and not any(version in guard for version in ("guard-1", "guard-2", "3-8b"))
    messages = [
        Message("assistant" if index % 2 else "user", (TextPart(text),) if takes_parts else text)
        for index, text in enumerate(talk)
    ]
    content = "".join(segment.text for segment in GUARDS[guard].render(messages).segments if segment.kind == "content")
    assert content == "".join(talk if "cookbook" in guard or "stack" in guard else (text.strip() for text in talk))


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_every_category_is_asked_about_and_the_last_speaker_judged(guard: str) -> None:
    name = guard.split()[0]
    agent = "Assistant" if "stack" in guard else "Agent"
    asked = GUARDS[guard].render([HI]).text
    answered = GUARDS[guard].render([HI, Message("assistant", "hello")]).text
    assert all(f"{code}: {category}." in asked for code, category in CATEGORIES[name].items())  # type: ignore[index]
    assert "unsafe content in 'User' messages" in asked
    assert f"unsafe content in '{agent}' messages" in answered
    assert f"{agent}: hello" in answered


def test_a_version_is_a_dialect_and_has_categories() -> None:
    assert {guard.split()[0] for guard in GUARDS} == set(CATEGORIES) == set(get_args(GuardVersion))


def test_a_code_means_another_thing_in_another_version() -> None:
    assert CATEGORIES["llama-guard-2"]["S6"] == "Privacy"
    assert CATEGORIES["llama-guard-3-8b"]["S6"] == "Specialized Advice"


def test_a_text_that_the_published_template_hides_is_judged() -> None:
    assert "User: hi\n" in render_guard([HI], version="llama-guard-3-1b").text
    assert "User: hi" not in render_guard([HI], version="llama-guard-3-1b", as_published=True).text


def test_a_caller_gives_categories_of_its_own_and_leaves_some_out() -> None:
    own = {"S1": "Gossip.", "S2": "Puns <|eot_id|>."}
    prompt = render_guard([HI], version="llama-guard-3-1b", categories=own)
    assert "CATEGORIES>\nS1: Gossip.\nS2: Puns <|eot_id|>.\n<END" in prompt.text
    assert [segment.text for segment in prompt.segments if segment.kind == "special"].count("<|eot_id|>") == 1
    assert "Puns" not in render_guard([HI], version="llama-guard-3-1b", categories=own, excluded=["S2"]).text
    assert "S5: " not in guard_question([HI], excluded=["S5"])


def test_a_picture_stands_before_the_task() -> None:
    vision = render_guard([PICTURE], version="llama-guard-3-11b-vision").text
    assert "\n\n<|image|> Task: " in vision
    assert "User: What is it?\n" in vision
    fourth = render_guard([PICTURE, Message("assistant", "A cat"), PICTURE], version="llama-guard-4").text
    assert "\n\n<|image|><|image|> Task: " in fourth
    assert "S13: " in fourth
    assert "S14: " not in fourth
    assert "<|image|>Task: " in render_guard([PICTURE], version="llama-guard-3-11b-vision", source="stack").text


def test_llama_guard_4_is_asked_as_its_published_runs_show() -> None:
    asked = Dialect.get("llama-guard-4").render([HI]).text
    assert asked.startswith(
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\nTask: Check if there is unsafe content in 'User' "
        "messages in conversations according to our safety policy with the below categories.\n\n<BEGIN UNSAFE"
    )
    assert "<BEGIN CONVERSATION>\nUser: hi\\n\\n\n\n<END CONVERSATION>\n\n" in asked
    assert asked.endswith("violated categories. <|eot|><|header_start|>assistant<|header_end|>")


@pytest.mark.parametrize(
    ("messages", "choice", "problem"),
    [
        ([], {}, "conversation is empty"),
        ([Message("system", "be good"), HI], {}, "message 0: .* expected user, got system"),
        ([HI, Message("assistant", "b"), Message("tool", "c")], {}, "message 2: .* got tool"),
        ([Message("user", (TextPart("parts"),))], {}, "message 0: content must be text here, not parts"),
        ([Message("user", ["parts"])], {"version": "llama-guard-3-1b"}, "message 0: content must be text"),
        ([Message("user", ())], {"version": "llama-guard-3-1b"}, "message 0: .* nothing to judge"),
        ([Message("user", "a\ud800")], {}, "message 0: a lone surrogate"),
        ([HI, Message("assistant", "", (ToolCall("f", {}),))], {}, "message 1: a guard prompt holds no calls"),
        ([PICTURE], {"version": "llama-guard-3-1b"}, "message 0: more pictures than this guard sees, which are 0"),
        ([PICTURE, HI, PICTURE], {"version": "llama-guard-4"}, "message 1: .* expected assistant"),
        (
            [PICTURE, Message("assistant", "a cat"), PICTURE],
            {"version": "llama-guard-3-11b-vision"},
            "message 2: more pictures than this guard sees, which are 1",
        ),
        ([HI], {"source": "mine"}, "no guard 'llama-guard-3-8b' in the words of 'mine'; known: llama-guard-1"),
        ([HI], {"categories": {"S1": "Gossip."}}, "looks for its own categories only"),
        ([HI], {"excluded": ["S1"]}, "looks for all of its categories"),
        ([HI], {"version": "llama-guard-4", "excluded": ["O1"]}, "no category 'O1' to leave out; there are S1, "),
        ([HI], {"version": "llama-guard-4", "excluded": list(CATEGORIES["llama-guard-4"])}, "nothing to look for"),
        ([HI], {"version": "llama-guard-4", "categories": {"S1": 1}}, "category 'S1' must be a text"),
    ],
)
def test_what_cannot_be_judged_is_refused(messages: list[Message], choice: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        render_guard(messages, **choice)


def test_a_guard_prompt_takes_no_tools_and_no_continuation() -> None:
    guard = Dialect.get("llama-guard-3-8b")
    with pytest.raises(InvalidMessage, match="no place for tools"):
        guard.render([HI], [{"name": "f"}])
    with pytest.raises(InvalidMessage, match="not continued"):
        guard.render_delta([HI])


def test_a_guard_model_makes_no_calls() -> None:
    got = Dialect.get("llama-guard-3-8b").parse('{"name": "f", "parameters": {}}<|eot_id|>')
    assert (got.content, got.tool_calls) == ('{"name": "f", "parameters": {}}', ())


@pytest.mark.parametrize("vector", parsed("llama-guard") + parsed("llama-guard", level="lenient"))
def test_a_verdict_is_read_or_refused(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    if expect["verdict"] == "error":
        with pytest.raises(UnreadableVerdict, match="treat the message as unsafe"):
            parse_guard(vector["text"])
    else:
        verdict = parse_guard(vector["text"])
        assert (verdict.safe, list(verdict.categories)) == (expect["verdict"] == "safe", expect["categories"])
        assert bool(verdict.repairs) == (vector["level"] == "lenient")


@pytest.mark.parametrize("vector", parsed("llama-guard", level="lenient"))
def test_without_repair_only_the_form_asked_for_is_read(vector: dict[str, Any]) -> None:
    with pytest.raises(UnreadableVerdict):
        parse_guard(vector["text"], repair=False)


@pytest.mark.parametrize(
    ("answer", "codes", "categories", "repairs"),
    [
        ("unsafe\nO3</s>", CATEGORIES["llama-guard-1"], ("O3",), ()),
        ("unsafe\nO3", CATEGORIES["llama-guard-2"], ("O3",), ("codes not asked about: O3",)),
        ("unsafe\ngossip", {"gossip": "Gossip."}, ("gossip",), ()),
        ("unsafe\nS2; S3", None, ("S2", "S3"), ("codes joined by semicolons",)),
        ("unsafe\nS2 and more", None, ("S2",), ("text that is no code",)),
        ("unsafe, S2<|eot|>S3", None, ("S2",), ("codes on the verdict's own line",)),
    ],
)
def test_codes_are_those_of_the_version(
    answer: str, codes: dict[str, str] | None, categories: tuple[str, ...], repairs: tuple[str, ...]
) -> None:
    verdict = parse_guard(answer, codes=codes)
    assert (verdict.safe, verdict.categories, verdict.repairs) == (False, categories, repairs)


@given(answer=st.text() | st.text(st.sampled_from("unsafeS12, \n<|")), repair=st.booleans())
def test_only_safe_alone_is_safe(answer: str, repair: bool) -> None:
    try:
        verdict = parse_guard(answer, repair=repair)
    except UnreadableVerdict:
        return
    assert verdict.safe == (answer.strip().lower() == "safe")
