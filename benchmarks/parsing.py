"""Streaming parse, ours and vLLM's: the half of `prompts.py` that runs in vLLM's environment. Prints one JSON object.

PYTHONPATH=. .venv-vllm/bin/python benchmarks/parsing.py [--repeats N]
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from comparison import Comparison, Row, Work, versions

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.parser import Parser
from arriero.prompts.tokens import Tokenizer

END = "<|eot_id|>"
MAIL = "The mules have left the valley with forty loads of salt and will be at the pass before the snow does. " * 20
WRITTEN: Mapping[str, tuple[str, str]] = {
    "JSON, a call": ("llama3_json", '{"name": "weather", "parameters": {"city": "Bogotá", "days": 3}}'),
    "JSON, three calls": (
        "llama3_json",
        "; ".join(f'{{"name": "weather", "parameters": {{"city": "{city}"}}}}' for city in ("Bogotá", "Cali", "Lima")),
    ),
    "JSON, a long argument": ("llama3_json", json.dumps({"name": "mail", "parameters": {"to": "ana", "text": MAIL}})),
    "pythonic, a call": ("pythonic", "[weather(city='Bogotá', days=3)]"),
    "pythonic, three calls": (
        "pythonic",
        "[" + ", ".join(f"weather(city='{city}')" for city in ("Bogotá", "Cali", "Lima")) + "]",
    ),
    "pythonic, a long argument": ("pythonic", f"[mail(to='ana', text='{MAIL}')]"),
    "text, no call": ("llama3_json", MAIL),
}
"""What models write, by the parser of vLLM that has to read it."""
PARSERS = {
    "llama3_json": ("vllm.tool_parsers.llama_tool_parser", "Llama3JsonToolParser", "llama3.1"),
    "pythonic": ("vllm.tool_parsers.pythonic_tool_parser", "PythonicToolParser", "llama3.2"),
}
OFFERED = ("weather", "mail")
"""Names only, since vLLM's parsers know no schemas either."""


def parsing(repeats: int) -> list[Row]:
    """Streaming parse, ours and vLLM's; runs in vLLM's environment."""
    transformers = import_module("transformers")
    vocabulary = import_module("vllm.tokenizers").cached_get_tokenizer(str(DEMO))
    protocol = import_module("vllm.entrypoints.openai.chat_completion.protocol")
    request = protocol.ChatCompletionRequest(model="demo", messages=[])
    transformers.logging.set_verbosity_error()
    tokenizer = Tokenizer.from_folder(DEMO)
    rows = []
    for what, (parser_name, text) in WRITTEN.items():
        module, class_name, dialect_name = PARSERS[parser_name]
        peer, dialect = getattr(import_module(module), class_name), Dialect.get(dialect_name)
        ids = tokenizer.encode(text)
        deltas = as_text(ids, tokenizer)
        steps = vllm_steps(ids, deltas)
        expected = [(call.name, call.arguments) for call in dialect.parse(text + END, OFFERED).tool_calls]

        def by_text(_: str, dialect: Dialect = dialect, deltas: list[str] = deltas) -> Work:
            return lambda: feed(dialect.parser(OFFERED), deltas)

        def by_ids(_: str, dialect: Dialect = dialect, ids: list[int] = ids) -> Work:
            ended = [*ids, tokenizer.special_id(END)]
            return lambda: feed_ids(dialect.parser(OFFERED, tokenizer), ended)

        def theirs(_: str, peer: Any = peer, steps: list[Any] = steps) -> Work:
            return lambda: vllm_calls(peer(vocabulary), steps, request)

        read = vllm_calls(peer(vocabulary), steps, request)
        beside = {"tokens": len(ids), "calls": len(expected), "calls_vllm_read": matching(read, expected)}
        rows.append(Comparison(f"{what}, from text", by_text, theirs, 3).run(repeats) | beside)
        rows.append(Comparison(f"{what}, from ids", by_ids, theirs).run(repeats) | beside)
    return rows


def as_text(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """The text that each id completes."""
    stream = tokenizer.stream()
    return [stream.feed(id_) for id_ in ids]


def feed(parser: Parser, deltas: Sequence[str]) -> None:
    """Stream text to our parser."""
    for delta in deltas:
        parser.feed(delta)
    parser.feed(END)
    parser.finish()


def feed_ids(parser: Parser, ids: Sequence[int]) -> None:
    """Stream ids to our parser."""
    for id_ in ids:
        parser.feed_ids([id_])
    parser.finish()


def vllm_steps(ids: Sequence[int], deltas: Sequence[str]) -> list[Any]:
    """What vLLM's server hands its parser for each token; made beforehand, so that it is not timed."""
    steps, text = [], ""
    for at, delta in enumerate(deltas):
        steps.append((text, text + delta, delta, ids[:at], ids[: at + 1], [ids[at]]))
        text += delta
    return steps


def vllm_calls(parser: Any, steps: Sequence[Any], request: Any) -> dict[int, list[str]]:
    """Stream to vLLM's parser; name and arguments of each call that it tells."""
    calls: dict[int, list[str]] = {}
    for step in steps:
        told = parser.extract_tool_calls_streaming(*step, request)
        for call in told.tool_calls if told is not None else ():
            known = calls.setdefault(call.index, ["", ""])
            known[0] += call.function.name or ""
            known[1] += call.function.arguments or ""
    return calls


def matching(read: Mapping[int, Sequence[str]], expected: Sequence[tuple[str, Any]]) -> int:
    """How many calls were told whole."""
    return sum(
        name == read[index][0] and json.dumps(arguments, ensure_ascii=False) == read[index][1]
        for index, (name, arguments) in enumerate(expected)
        if index in read
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=50, help="how often each thing is done (50)")
    print(json.dumps({"rows": parsing(parser.parse_args().repeats), "versions": versions()}))


if __name__ == "__main__":
    main()
