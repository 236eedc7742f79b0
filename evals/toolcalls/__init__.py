"""Tool calls: are they the right ones? By the rules of the Berkeley Function Calling Leaderboard."""

from pathlib import Path

from arriero.evals.toolcalls.asking import Prompting, ToolCallSystem, questions_of
from arriero.evals.toolcalls.items import InvalidToolItems, Step, ToolItem, read_tool_items
from arriero.evals.toolcalls.matching import CallMatch, Pairing, match_call, pair_calls
from arriero.evals.toolcalls.scoring import CallMeasures, ItemScore, by_category, measure, score_item

SAMPLE = Path(__file__).parent / "sample.jsonl"
"""Questions of the bundled model's own domain: single calls, no call, chains of calls. Own work, Apache-2.0."""

__all__ = [
    "SAMPLE",
    "CallMatch",
    "CallMeasures",
    "InvalidToolItems",
    "ItemScore",
    "Pairing",
    "Prompting",
    "Step",
    "ToolCallSystem",
    "ToolItem",
    "by_category",
    "match_call",
    "measure",
    "pair_calls",
    "questions_of",
    "read_tool_items",
    "score_item",
]
