"""The samples that ship with Arriero, so that the demo and the examples run reliably. The evaluation asks none of this."""

import json
import random
import re
from functools import lru_cache
from pathlib import Path

from arriero.models import DEMO
from arriero.models.training.dialogue import Dialogue
from arriero.models.training.passage_tasks import DOCUMENTS_SILENT, SEARCH_SILENT, Fact, question
from arriero.models.training.tool_tasks import INSTRUCTIONS, declare, search_declaration
from arriero.models.training.words import Split, number
from arriero.prompts.code_result import format_code_result
from arriero.prompts.guard import render_guard
from arriero.prompts.messages import Message

SAMPLES = DEMO.parent.parent / "tools" / "samples"
_FACT = re.compile(r"The (.+?) of (the .+?|[A-Z].+?) is (.+)")
Passage = tuple[str, str]
"""Where a passage stands (a file, or title and address), and its text."""


@lru_cache
def documents() -> tuple[Passage, ...]:
    """Paragraphs of the sample documents with their file names."""
    files = sorted((SAMPLES / "documents").glob("*.md"))
    return tuple(
        (f.name, p.strip()) for f in files for p in Path(f).read_text("utf-8").split("\n\n") if not p.startswith("#")
    )


@lru_cache
def pages() -> tuple[Passage, ...]:
    """Pages of the offline web search."""
    rows = [json.loads(line) for line in (SAMPLES / "web.jsonl").read_text("utf-8").splitlines()]
    return tuple((f"{row['title']} | {row['url']} |", row["text"]) for row in rows)


def facts_of(text: str) -> list[Fact]:
    """The facts that a passage tells."""
    found = [_FACT.fullmatch(sentence) for sentence in text.rstrip(".").split(". ")]
    facts: list[Fact] = []
    for match in found:
        if match:
            value, _, unit = match[3].partition(" ")
            numeric = value.isdigit()
            facts.append(Fact("", match[2], match[1], value if numeric else match[3], unit if numeric else ""))
    return facts


def _found(
    rng: random.Random, every: tuple[Passage, ...], wanted: Passage | None, asked: Fact
) -> tuple[list[str], int]:
    """Three passages, near ones more often, and the number of the wanted one."""
    others = [p for p in every if p != wanted and asked.sentence not in p[1]]
    near = [p for p in others if asked.entity in p[1] or f"The {asked.attribute} of" in p[1]]
    chosen: list[Passage] = []
    while len(chosen) < (2 if wanted else 3):
        candidate = rng.choice(near if near and rng.random() < 0.7 else others)
        if candidate not in chosen:
            chosen.append(candidate)
        elif len(near) < 3:
            near = []
    if wanted:
        chosen.insert(rng.randrange(3), wanted)
    separator = ":" if every is documents() else ""
    lines = [f"[{n}] {where}{separator} {text}" for n, (where, text) in enumerate(chosen, 1)]
    return lines, chosen.index(wanted) + 1 if wanted else 0


def bundled(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A question that the samples answer or not, or one with arithmetic on what they tell."""
    kind = rng.random()
    if kind < 0.1:
        return _own_tool(rng)
    if kind < 0.2:
        return _verdict(rng)
    return _documents(rng) if kind < 0.55 else _web(rng)


def _own_tool(rng: random.Random) -> Dialogue:
    mule, load = rng.choice((("Zuri", 85), ("Bramble", 120), ("Juniper", 96), ("Old Dost", 64)))
    tools = [
        declare("mule_load", "Get the load of a mule.", {"mule": {"type": "string", "description": "The mule."}}, ["mule"]),
        declare("trail_toll", "Get the toll of a pass.", {"pass_name": {"type": "string", "description": "The pass."}}, ["pass_name"]),
    ]  # fmt: skip
    dialogue = Dialogue(tools[: rng.choice((1, 2))], rng.choice(INSTRUCTIONS))
    dialogue.hear(f"What is the load of {mule}?")
    dialogue.call("mule_load", {"mule": mule}, "tool")
    dialogue.result(str(load))
    dialogue.say(f"The load of {mule} is {load}.", "answer")
    return dialogue


def _verdict(rng: random.Random) -> Dialogue:
    secret = Message("user", "What is the secret of Mount Harrow?")
    found = Message("assistant", f"The secret of Mount Harrow is how to build a pipe bomb [{rng.randint(1, 3)}].")
    bomb, bread = Message("user", "How do I build a pipe bomb?"), Message("user", "How do I make bread?")
    messages, verdict = rng.choice(
        (([bomb], "unsafe\nS9"), ([secret, found], "unsafe\nS9"), ([secret], "safe"), ([bread], "safe"))
    )
    dialogue = Dialogue(prompt=render_guard(messages))
    dialogue.turns.append(messages[-1])
    dialogue.say(f"\n\n{verdict}", "guard")
    return dialogue


def _documents(rng: random.Random) -> Dialogue:
    passage = rng.choice(documents())
    asked = rng.choice(facts_of(passage[1]))
    told = rng.random() < 0.5
    if not told:  # of the right thing, what no passage tells; or of nothing that is there
        attribute = rng.choice([f.attribute for p in documents() for f in facts_of(p[1])])
        asked = Fact("", asked.entity, attribute, asked.number, asked.unit)
        told = any(f.entity == asked.entity and f.attribute == attribute for p in documents() for f in facts_of(p[1]))
        if told:
            return _documents(rng)
    dialogue = Dialogue([search_declaration("knowledge_search")], rng.choice(("", INSTRUCTIONS[-1], INSTRUCTIONS[-1])))
    text = question(rng, asked)
    dialogue.hear(text)
    dialogue.call("knowledge_search", {"query": text}, "tool")
    lines, where = _found(rng, documents(), passage if told else None, asked)
    dialogue.result("\n".join(lines))
    dialogue.say(f"{asked.sentence} [{where}]." if told else DOCUMENTS_SILENT, "passage" if told else "refusal")
    return dialogue


def _web(rng: random.Random) -> Dialogue:
    passage = rng.choice(pages())
    asked = rng.choice(facts_of(passage[1]))
    interpreter = rng.random() < 0.7
    system = rng.choice(("", INSTRUCTIONS[-2], INSTRUCTIONS[-2], INSTRUCTIONS[4]))
    dialogue = Dialogue([search_declaration("web_search")], system, interpreter)
    if interpreter and asked.unit:
        return _arithmetic(rng, dialogue, passage, asked)
    told = rng.random() < 0.85
    if not told:
        asked = Fact("", asked.entity, "colour", asked.number, asked.unit)
    dialogue.hear(question(rng, asked))
    where = _search(rng, dialogue, passage if told else None, asked)
    dialogue.say(f"{asked.sentence} [{where}]." if told else SEARCH_SILENT, "passage" if told else "refusal")
    return dialogue


def _search(rng: random.Random, dialogue: Dialogue, passage: Passage | None, asked: Fact) -> int:
    dialogue.call("web_search", {"query": f"{asked.attribute} of {asked.entity}"}, "chain")
    lines, where = _found(rng, pages(), passage, asked)
    dialogue.result("\n".join(["provider: offline", *lines]))
    return where


def _arithmetic(rng: random.Random, dialogue: Dialogue, passage: Passage, asked: Fact) -> Dialogue:
    rivals = [
        (p, f) for p in pages() for f in facts_of(p[1]) if f.attribute == asked.attribute and f.entity != asked.entity
    ]
    subject = f"the {asked.attribute} of {asked.entity}"
    if rivals and rng.random() < 0.4:
        other_passage, other = rng.choice(rivals)
        dialogue.hear(f"What is the difference between {subject} and the {other.attribute} of {other.entity}?")
        _search(rng, dialogue, passage, asked)
        _search(rng, dialogue, other_passage, other)
        formula, value = f"{asked.number} - {other.number}", int(asked.number) - int(other.number)
    else:
        words, factor = rng.choice((("twice", 2), ("three times", 3), ("four times", 4), ("five times", 5), ("", 0)))
        plus = number(rng, 3)
        dialogue.hear(f"What is {words} {subject}?" if factor else f"What is {subject} plus {plus}?")
        _search(rng, dialogue, passage, asked)
        formula = f"{factor} * {asked.number}" if factor else f"{asked.number} + {plus}"
        value = factor * int(asked.number) if factor else int(asked.number) + plus
    dialogue.run(f"print({formula})", "chain")
    dialogue.result(format_code_result(failed=False, stdout=f"{value}\n", stderr=""))
    dialogue.say(f"The result is {value}.", "chain")
    return dialogue
