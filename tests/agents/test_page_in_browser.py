from pathlib import Path

import every_event
import pytest
from browser import look

from arriero.agents.page import session_page
from arriero.models import DEMO
from arriero.prompts.tokens import Tokenizer
from arriero.stack.events import PromptAppended
from arriero.stack.log import Record

EVIL = """</script><img src=x onerror="document.body.innerHTML=''"><style>*{display:none}</style>'">"""
LONG = "https://example.org/" + "x" * 300


def page_of(text: str) -> str:
    tokenizer = Tokenizer.from_folder(DEMO)
    prompt = Record("alice", "turn-2", 99, 2e9, PromptAppended(1, tuple(tokenizer.encode(text * 3))))
    return session_page(text, [*every_event.records(text, text), prompt], tokenizer=tokenizer)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_fits_the_window_and_can_be_read(tmp_path: Path, width: int, dark: bool) -> None:
    seen = look(page_of(LONG), tmp_path, width=width, dark=dark, texts=width == 390)
    assert seen.wide == []
    assert seen.width <= width
    assert seen.contrast >= 4.5, seen.faintest
    assert seen.dark is dark
    assert seen.console == []


def test_hostile_content_stays_text(tmp_path: Path) -> None:
    seen = look(page_of(EVIL), tmp_path)
    assert seen.text.count("onerror=") >= 15
    assert not {"img", "script"} & set(seen.tags)
    assert seen.console == []
