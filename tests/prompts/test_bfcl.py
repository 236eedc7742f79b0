"""The reference calls of BFCL, written in each syntax, are read back: all of them, in one piece and in many."""

import json
from functools import cache

import pytest
from call_writers import WRITERS, agree, pieces, plain, read
from vectors import DATA

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import ToolCall

SMALLEST_SHARE = 0.999
STREAMED = 4
"""One in so many of the single calls is also read in pieces; of the parallel ones all are."""


@cache
def _items() -> tuple[tuple[list[str], tuple[ToolCall, ...]], ...]:
    with (DATA / "bfcl" / "reference_calls.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return tuple(
        (line["tools"], tuple(ToolCall(call["name"], call["arguments"]) for call in line["calls"])) for line in lines
    )


@pytest.mark.parametrize("parallel", [False, True], ids=["single", "parallel"])
@pytest.mark.parametrize("syntax", WRITERS)
def test_reference_calls_are_read_back_in_one_piece_and_in_many(syntax: str, parallel: bool) -> None:
    llama, write = WRITERS[syntax]
    items = [(tools, calls) for tools, calls in _items() if (len(calls) > 1) == parallel]
    assert len(items) == (312 if parallel else 1340)
    read_back = 0
    for at, (tools, calls) in enumerate(items):
        text = write(calls)
        whole = Dialect.get(llama).parse(text, tools)
        read_back += plain(whole.tool_calls) == plain(calls) and not whole.unknown and not whole.content
        if not parallel and at % STREAMED:
            continue
        streamed, events = read(Dialect.get(llama).parser(tools), pieces(text, 5))
        agree(streamed, events)
        assert streamed == whole
    assert read_back / len(items) >= SMALLEST_SHARE
