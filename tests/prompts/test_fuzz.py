"""Any bytes in any place of a conversation, in every format, are refused or become no special token.

The like for what models write is in test_parsing_laws.py. `make fuzz` runs both on many more inputs.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import vocabularies
from hypothesis import given
from hypothesis import strategies as st
from vectors import rendered

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.formats import FORMATS
from arriero.prompts.prompt import Prompt
from arriero.prompts.tokens import Tokenizer

OTHER_SPECIAL_TOKENS = (
    "<s>", "</s>", "<|image|>", "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|python_start|>",
    "<|python_end|>",
)  # fmt: skip
VECTORS = [parameter.values[0] for parameter in rendered(*FORMATS)]

noise = st.lists(
    st.binary(max_size=12).map(lambda noise: noise.decode("latin-1"))
    | st.sampled_from([*vocabularies.SPECIAL_TOKENS, *OTHER_SPECIAL_TOKENS, "{{ 7 * 7 }}", "{% raw %}", "[INST]", "\n"])
    | st.text(st.characters(codec="utf-8"), max_size=8),
    max_size=5,
).map("".join)
invalid = st.binary(max_size=12).map(lambda noise: noise.decode("utf-8", "surrogateescape"))


@pytest.fixture(scope="module")
def every_special() -> Tokenizer:
    return vocabularies.tiny(*OTHER_SPECIAL_TOKENS)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], bool]]:
    """Where texts stand: the path to each, and whether it is the key there that is meant."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key), True
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*path, index))
    elif isinstance(value, str):
        yield path, False


def _with(given: Any, place: tuple[tuple[Any, ...], bool], said: Any) -> Any:
    (*path, last), is_key = place
    changed = inner = copy.deepcopy(given)
    for step in path:
        inner = inner[step]
    if is_key:
        entries = [(said if key == last else key, value) for key, value in inner.items()]
        inner.clear()
        inner.update(entries)
    else:
        inner[last] = said
    return changed


def _rendered(name: str, given: Any) -> Prompt | None:
    try:
        return FORMATS[name].render(given).prompt
    except InvalidMessage:
        return None


def _special(prompt: Prompt) -> list[str]:
    return [segment.text for segment in prompt.segments if segment.kind == "special"]


@given(data=st.data(), said=noise | noise | invalid | st.binary(max_size=12))
def test_any_bytes_in_any_place_are_refused_or_become_no_special_token(
    every_special: Tokenizer, data: st.DataObject, said: str | bytes
) -> None:
    vector = data.draw(st.sampled_from(VECTORS))
    place = data.draw(st.sampled_from(list(_places(vector["input"]))))
    prompt = _rendered(vector["format"], _with(vector["input"], place, said))
    if prompt is None:
        return
    # Blanks may be taken off and empty texts left out, so what stands for them is as blank.
    harmless = re.sub(r"\S", "x", said) if isinstance(said, str) else said
    like = _rendered(vector["format"], _with(vector["input"], place, harmless))
    assert like is not None
    assert _special(prompt) == _special(like)
    ids = set(every_special.special_ids.values())
    assert [id_ for id_ in prompt.encode(every_special) if id_ in ids] == [
        every_special.special_id(token) for token in _special(prompt)
    ]
