"""Tool calls: are they the right ones? By the rules of the Berkeley Function Calling Leaderboard."""

from pathlib import Path

from arriero.evals.toolcalls.asking import Prompting, ToolCallSystem, questions_of
from arriero.evals.toolcalls.comparing import VariantComparison, compare_variants, planned
from arriero.evals.toolcalls.items import Step, ToolItem, read_tool_items
from arriero.evals.toolcalls.matching import CallMatch, Pairing, match_call, pair_calls
from arriero.evals.toolcalls.recorded import read_recorded_calls
from arriero.evals.toolcalls.running import ToolCallReport, Variant, ask_variant, report_of, run_toolcalls, scored
from arriero.evals.toolcalls.scoring import CallMeasures, ItemScore, by_category, measure, score_item

SAMPLE = Path(__file__).parent / "sample.jsonl"
"""Questions of the bundled model's own domain: single calls, no call, chains of calls. Own work, Apache-2.0."""

__all__ = [
    "SAMPLE",
    "CallMatch",
    "CallMeasures",
    "ItemScore",
    "Pairing",
    "Prompting",
    "Step",
    "ToolCallReport",
    "ToolCallSystem",
    "ToolItem",
    "Variant",
    "VariantComparison",
    "ask_variant",
    "by_category",
    "compare_variants",
    "match_call",
    "measure",
    "pair_calls",
    "planned",
    "questions_of",
    "read_recorded_calls",
    "read_tool_items",
    "report_of",
    "run_toolcalls",
    "score_item",
    "scored",
]
