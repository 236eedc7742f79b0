"""A model that drafts questions about the handbook, as a good one would, or with faults."""

import json
import re
from collections.abc import Callable

from arriero.testing import Rule, Say, when
from arriero.testing.script import Asked

FACT = re.compile(r"The ([a-z ]+?) of ((?:the |Old )?[A-Z][\w ]+?) is ([\w ]+)\.")
Bend = Callable[[dict[str, str]], dict[str, str] | str | Say]


def drafts(bend: Bend = lambda draft: draft) -> Rule:
    """Answer every request with a draft about its passage, after something was done to it."""

    def answer(asked: Asked) -> str | Say:
        found = FACT.search(asked.prompt, asked.prompt.index("<|start_header_id|>user"))
        assert found is not None, asked.prompt
        what, whose, value = found.groups()
        draft = {"question": f"What is the {what} of {whose}?", "answer": value, "quote": found.group()}
        bent = bend(draft)
        return json.dumps(bent) if isinstance(bent, dict) else bent

    return when(lambda _: True, answer)
