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
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison import Comparison, Row, Work, spread, timed, versions

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.parser import Parser
from arriero.prompts.tokens import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
PARSING = Path(__file__).with_name("parsing.py")
EXAMPLES = """examples:
  python benchmarks/prompts.py
  python benchmarks/prompts.py --repeats 200 --json > prompts.json
"""
MESSAGES, TOOLS = 30, 10
DELTAS = 20
"""Messages that are added in one measurement, which is divided by them: one takes too short to be timed alone."""
PIECE = 1000
"""Characters of a hostile answer that are fed at once."""

Tools = Sequence[Mapping[str, Any]]


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


class Rendering:
    """Rendering to ids, ours and transformers'. Names of what is compared make its texts unique."""

    def __init__(self) -> None:
        import transformers

        self._dialect, self._tokenizer = Dialect.get("llama3.1"), Tokenizer.from_folder(DEMO)
        self._theirs: Any = transformers.AutoTokenizer.from_pretrained(DEMO, model_max_length=10**9)
        self._tools = declarations("every conversation")

    def compared(self) -> Iterator[Comparison]:
        """What is compared.

        Raises:
            SystemExit: Both do not give the same ids.
        """
        same = (conversation("check"), declarations("check"))
        if self._ours(*same)() != self._transformers(*same)():
            raise SystemExit("ours and transformers' ids differ: there is nothing to compare")
        what = f"{MESSAGES} messages, {TOOLS} tools"
        yield Comparison(f"{what}: nothing seen before", self._fresh, self._peer, 3)
        yield Comparison(f"{what}: the tools seen", self._tools_seen, self._peer, 3)
        yield Comparison(f"{what}: all but the last step seen", self._grown, self._peer, 3)
        yield Comparison("one more message / transformers renders all", self._more, self._peer, batch=DELTAS)
        yield Comparison("one more message / ours renders all, none seen", self._more, self._fresh, 50, DELTAS)
        yield Comparison("one more message / ours renders all, most seen", self._more, self._grown, batch=DELTAS)

    def _ours(self, messages: Sequence[Message], tools: Tools) -> Callable[[], list[int]]:
        return lambda: self._dialect.render(messages, tools).encode(self._tokenizer)

    def _transformers(self, messages: Sequence[Message], tools: Tools) -> Callable[[], list[int]]:
        shaped = in_openai_shape(messages)
        options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": False}
        apply: Callable[..., list[int]] = self._theirs.apply_chat_template
        return lambda: apply(shaped, tools=tools, **options)

    def _peer(self, unique: str) -> Work:
        return self._transformers(conversation(unique), declarations(unique))

    def _fresh(self, unique: str) -> Work:
        return self._ours(conversation(unique), declarations(unique))

    def _tools_seen(self, unique: str) -> Work:
        return self._ours(conversation(unique), self._tools)

    def _grown(self, unique: str) -> Work:
        messages = conversation(unique)
        self._ours(messages[:-2], self._tools)()
        return self._ours(messages, self._tools)

    def _more(self, unique: str) -> Work:
        asked = [Message("user", f"And how was it {years} years before that ({unique})?") for years in range(DELTAS)]

        def work() -> None:
            for message in asked:
                self._dialect.render_delta([message]).encode(self._tokenizer)

        return work


HOSTILE: Mapping[str, tuple[str, Callable[[int], str]]] = {
    "objects in arguments": ("llama3.1", lambda size: '{"name": "f", "parameters": ' + '{"a": ' * (size // 6)),
    "lists in arguments": ("llama3.1", lambda size: '{"name": "f", "parameters": {"a": ' + "[" * size),
    "braces": ("llama3.1", lambda size: "{" * size),
    "brackets": ("llama3.2", lambda size: "[" * size),
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


def beside_vllm(python: Path, repeats: int) -> Row:
    """The half that runs in vLLM's environment; why not, where it cannot."""
    if not python.is_file():
        return {"left_out": f"no vLLM: {python} does not exist; make vllm-env, or give --vllm-python"}
    command = [str(python), str(PARSING), "--repeats", str(repeats)]
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
    chosen = parser.parse_args()
    if chosen.repeats < 2:
        parser.error("--repeats must be at least 2: one repeat has no spread")
    report: Row = {
        "rendering": [comparison.run(chosen.repeats) for comparison in Rendering().compared()],
        "parsing": beside_vllm(chosen.vllm_python, chosen.repeats),
        "hostile": hostile(3),
        "repeats": chosen.repeats,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    print(json.dumps(report)) if chosen.json else show(report)


if __name__ == "__main__":
    main()
