import re
from html.parser import HTMLParser

import every_event
import pytest

from arriero.agents.page import session_page, timeline
from arriero.agents.painting import paint_prompt, said_before
from arriero.agents.tree import Node
from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Usage
from arriero.stack.events import CallFinished, Event, PromptAppended, StepFinished, TurnStarted
from arriero.stack.log import Record
from arriero.tools import ToolResult

TOKENIZER = Tokenizer.from_folder(DEMO)
EVIL = """</script></style></title><img src=x onerror="alert(1)">'"><svg onload=alert(1)>&lt;b&gt;{{ 7*7 }}"""
EVIL += "\x1b[31m\u202e"


class Page(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def logged(*events: Event) -> list[Record]:
    return [Record("alice", "t1", seq, 100.0 + seq, event) for seq, event in enumerate(events)]


def test_hostile_content_stays_text() -> None:
    page = session_page(EVIL, every_event.records(EVIL, EVIL), tokenizer=TOKENIZER)
    plain = Page(session_page("alice", every_event.records(), tokenizer=TOKENIZER))
    parsed = Page(page)
    assert set(parsed.tags) == set(plain.tags)
    assert not {"script", "img", "svg", "iframe", "link", "a", "form"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name in ("src", "href")]
    assert parsed.text.count('<img src=x onerror="alert(1)">') >= 15
    assert not set(page) & set("\x1b\u202e")
    assert "{{ 7*7 }}" in parsed.text


def test_the_page_needs_nothing_else_and_may_load_nothing() -> None:
    page = session_page("alice", every_event.records(), tokenizer=TOKENIZER)
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_page_tells_all_that_the_tree_tells() -> None:
    text = Page(session_page("alice", every_event.records("CANARY"))).text
    for word in ("web_search", "drafts", "approved with changes", "it waits for 1.1", "compaction", "takes over"):
        assert word in text, word
    for word in ("EngineError", "refused", "fork", "read[0]", "2 attempts", "System text", "without 1 d 0 h"):
        assert word in text, word


@pytest.mark.parametrize("name", ["llama3", "llama3.1", "llama3.2"])
def test_ids_are_told_apart_by_who_wrote_them(name: str) -> None:
    messages = (Message("system", "Be user friendly."), Message("user", "user"))
    dialect = Dialect.get(name)
    ids = tuple(dialect.render(messages).encode(TOKENIZER))
    contents = said_before(enumerate([TurnStarted(messages), PromptAppended(1, ids)]))[1]
    painted = paint_prompt(ids, contents, TOKENIZER)
    special = set(TOKENIZER.special_ids.values())
    assert [one.id for one in painted] == list(ids)
    assert {one.kind for one in painted if one.id in special} == {"special"}
    assert "".join(one.text or "" for one in painted if one.kind == "content") == "Be user friendly.user"
    assert "".join(one.text or "" for one in painted if one.kind == "scaffolding").startswith("system")


def test_results_are_content_though_the_template_writes_them_as_json() -> None:
    call = ToolCall("look", {})
    result = ToolResult(call, 'two\nlines, "quoted"')
    history = [Message("user", "x"), Message("assistant", "", (call,)), Message("tool", result.content)]
    dialect = Dialect.get("llama3.1")
    whole, before = dialect.render(history).encode(TOKENIZER), dialect.render(history[:2]).encode(TOKENIZER)
    assert len(whole) > len(before)
    events: list[Event] = [
        StepFinished(1, (1,), "", (call,), "end_of_turn", Usage(), 0.1),
        CallFinished(1, result),
        PromptAppended(2, tuple(whole)),
    ]
    painted = paint_prompt(whole, said_before(enumerate(events))[2], TOKENIZER)
    text = "".join(one.text or "" for one in painted if one.kind == "content")
    assert 'two\\nlines, \\"quoted\\"' in text


def test_without_the_tokenizer_ids_have_no_texts() -> None:
    page = session_page("alice", logged(PromptAppended(1, (128000, 9))))
    assert '<i class="prompt">128000</i>' in page
    assert "texts in place of ids" not in page


def test_each_id_has_its_text() -> None:
    ids = tuple(TOKENIZER.encode("Orla"))
    page = session_page("alice", logged(PromptAppended(1, ids)), tokenizer=TOKENIZER)
    assert "".join(re.findall(r'<i class="scaffolding" title="([^"]*)">', page)) == "Orla"


def test_a_wait_of_days_does_not_fill_the_timeline() -> None:
    step = Node("step", "1", time=10.0, took=1.0)
    calls = Node("call", "a", time=90_001.0, took=1.0), Node("call", "b", time=90_000.5, took=0.5)
    drawn = timeline(Node("turn", "t1", time=9.0, children=(step, *calls)))
    assert drawn is not None
    assert drawn.span < 3
    assert drawn.cut > 89_000
    assert [bar.row for bar in drawn.lanes["tools"]] == [0, 1]
    for bars in drawn.lanes.values():
        assert all(0 <= bar.left <= bar.left + bar.width <= 100.01 for bar in bars)


def test_a_session_in_which_nothing_took_time_has_no_timeline() -> None:
    assert timeline(Node("turn", "t1", time=9.0)) is None
    assert 'class="timeline"' not in session_page("alice", logged(TurnStarted((Message("user", "Hi"),))))
