"""Questions with tools of the demo model's own domain, as its evaluation asks them; words that its training never saw.

Run: python tests/evals/made_toolcalls.py > evals/toolcalls/sample.jsonl
"""

import json
import random
import sys
from collections.abc import Callable
from typing import Any

from arriero.models.training.dialogue import Dialogue, Said
from arriero.models.training.tool_tasks import chain, no_tool, one_call
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message

_LLAMA = Dialect.get("llama3.1")


def lines(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Items of each category, as lines of a file."""
    return [
        made
        for category, make, most in (
            ("simple", one_call, 1),
            ("multiple", one_call, 4),
            ("irrelevance", no_tool, 4),
            ("multi_step", chain, 4),
        )
        for made in _made(category, make, most, count, seed)
    ]


def _made(category: str, make: Callable[..., Dialogue], most: int, count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"{category}/{seed}")
    return [_line(f"{category}_{at}", category, make(rng, "test", most)) for at in range(count)]


def _line(name: str, category: str, dialogue: Dialogue) -> dict[str, Any]:
    system = [{"role": "system", "content": dialogue.system}] if dialogue.system else []
    heard = [turn for turn in dialogue.turns if isinstance(turn, Message) and turn.role == "user"]
    line: dict[str, Any] = {
        "id": name,
        "category": category,
        "messages": [*system, {"role": "user", "content": heard[0].content}],
        "tools": [tool["function"] for tool in dialogue.tools],
    }
    names = [tool["function"]["name"] for tool in dialogue.tools]
    said = [_LLAMA.parse(turn.text, names).tool_calls for turn in dialogue.turns if isinstance(turn, Said)]
    calls = [calls[0] for calls in said if calls]
    accepted = [{call.name: {key: [value] for key, value in call.arguments.items()}} for call in calls]
    results = [turn.content for turn in dialogue.turns if isinstance(turn, Message) and turn.role == "tool"]
    if category != "multi_step":
        return {**line, "accepted": accepted}
    if len({call.name for call in calls}) == 1:  # one tool for several things: any order is right
        return {**line, "steps": [{"accepted": accepted, "results": results}]}
    steps = [{"accepted": [call], "results": [result]} for call, result in zip(accepted, results, strict=True)]
    return {**line, "steps": steps}


if __name__ == "__main__":
    for each in lines(int(sys.argv[1]) if len(sys.argv) > 1 else 15):
        sys.stdout.write(json.dumps(each, ensure_ascii=False) + "\n")
