"""The model folder's chat template, for users of transformers and of vLLM's chat route."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from arriero.models import DEMO

VECTORS = [
    vector
    for line in (Path(__file__).parent.parent / "data" / "render_vectors.jsonl").read_text("utf-8").splitlines()
    if (vector := json.loads(line))["format"] == "hf-llama-3.1"
    and "continue_final_message" not in vector["input"]["options"]
]


def _openai_shape(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [{"type": "function", "function": call} for call in message["tool_calls"]]}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(DEMO)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_it_writes_what_the_published_template_writes(vector: dict[str, Any], tokenizer: Any) -> None:
    messages = [_openai_shape(message) for message in vector["input"]["messages"]]
    tools, options = vector["input"]["tools"], vector["input"]["options"]
    if vector["expected"] is None:
        with pytest.raises(Exception, match=r"one call|user message"):
            tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **options)
        return
    assert tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **options) == vector["expected"]
