"""Questions over passages: a mountain traders' handbook and the pages that a search finds about such places."""

import json
import random
from dataclasses import dataclass

from arriero.models.training.dialogue import Dialogue
from arriero.models.training.guard_tasks import act
from arriero.models.training.tool_tasks import INSTRUCTIONS, NOTHING, noun, offer, search_declaration
from arriero.models.training.words import Split, name, number, word

DOCUMENTS_SILENT = "The documents do not say."
SEARCH_SILENT = "The search results do not say."

MEASURES = {
    "pass": {"height": "metres", "length": "kilometres", "toll": "silver"},
    "inn": {"price": "silver", "number of beds": "beds", "keeper": "", "distance": "kilometres"},
    "mule": {"load": "kilograms", "age": "years", "owner": "", "speed": "kilometres"},
    "village": {"population": "people", "mayor": "", "market day": "", "height": "metres"},
    "bridge": {"length": "metres", "width": "metres", "builder": "", "age": "years"},
    "mountain": {"height": "metres", "age": "years", "first climber": "", "secret": "", "motto": ""},
    "river": {"length": "kilometres", "width": "metres", "depth": "metres"},
}
"""What the handbook tells of each kind of thing, and in which unit; names and days have none."""

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_NATURAL = {
    "height": "How high is {e}?",
    "length": "How long is {e}?",
    "width": "How wide is {e}?",
    "depth": "How deep is {e}?",
    "age": "How old is {e}?",
    "population": "How many people live in {e}?",
    "number of beds": "How many beds does {e} have?",
    "keeper": "Who is the keeper of {e}?",
    "owner": "Who is the owner of {e}?",
    "mayor": "Who is the mayor of {e}?",
    "builder": "Who is the builder of {e}?",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of one entity.

    Args:
        kind: What the entity is, such as `pass`.
        entity: Its name.
        attribute: What is told of it.
        number: The value as written.
        unit: Unit of the value; empty for names and days.
    """

    kind: str
    entity: str
    attribute: str
    number: str
    unit: str

    @property
    def value(self) -> str:
        """Value and unit."""
        return f"{self.number} {self.unit}" if self.unit else self.number

    @property
    def sentence(self) -> str:
        """The fact as the assistant states it, without a full stop."""
        return f"The {self.attribute} of {self.entity} is {self.value}"


def _entity(rng: random.Random, split: Split, kind: str) -> str:
    stem = word(rng, split).capitalize()
    return {
        "pass": rng.choice((f"{stem} Pass", f"the {stem} Pass")),
        "inn": f"the {stem} Inn",
        "mule": stem,
        "village": stem,
        "bridge": rng.choice((f"{stem} Bridge", f"the {stem} Bridge")),
        "mountain": rng.choice((f"Mount {stem}", f"{stem} Peak")),
        "river": rng.choice((f"the {stem} River", f"the {stem}")),
    }.get(kind, name(rng, split))


def _value(rng: random.Random, split: Split, attribute: str, unit: str) -> str:
    if unit:
        return str(number(rng, 4))
    if attribute == "market day":
        return rng.choice(_DAYS)
    if attribute in ("secret", "motto"):
        return f"how to {act(rng, split)[0]}"
    return name(rng, split)


def facts(rng: random.Random, split: Split, count: int) -> list[Fact]:
    """Different facts of one new entity; one in three entities is of a kind unknown to the handbook."""
    if rng.random() < 0.33:
        entity, kind = name(rng, split), word(rng, split)
        names = list(dict.fromkeys(noun(rng, split) for _ in range(count)))
        units = [rng.choice(("metres", "years", "silver", "people", "kilograms", "", "")) for _ in names]
        return [Fact(kind, entity, n, _value(rng, split, n, u), u) for n, u in zip(names, units, strict=True)]
    kind = rng.choice(list(MEASURES))
    entity = _entity(rng, split, kind)
    chosen = rng.sample(list(MEASURES[kind]), min(count, len(MEASURES[kind])))
    return [Fact(kind, entity, a, _value(rng, split, a, MEASURES[kind][a]), MEASURES[kind][a]) for a in chosen]


def passage(told: list[Fact]) -> str:
    """A paragraph that tells facts of one entity."""
    return " ".join(f"{fact.sentence}." for fact in told)


def question(rng: random.Random, fact: Fact) -> str:
    """A question that the fact answers."""
    patterns = ["What is the {a} of {e}?", "What is the {a} of {e}?", "Tell me the {a} of {e}.", "Give the {a} of {e}."]
    patterns += [_NATURAL[fact.attribute]] * 2 if fact.attribute in _NATURAL else []
    return rng.choice(patterns).format(a=fact.attribute, e=fact.entity)


def _passages(rng: random.Random, split: Split, fact: Fact | None, asked: Fact) -> tuple[list[tuple[str, str]], int]:
    """Three `(entity, passage)` pairs, and the number of the one that answers (0 for none)."""
    others: list[tuple[str, str]] = []
    while len(others) < 2:
        told = facts(rng, split, 1)
        if rng.random() < 0.5:  # the same attribute of something else
            value = _value(rng, split, asked.attribute, asked.unit)
            told = [Fact(asked.kind, told[0].entity, asked.attribute, value, asked.unit)]
        if told[0].entity != asked.entity:
            others.append((told[0].entity, passage(told)))
    if fact is not None:
        others.append((fact.entity, passage([fact])))
    elif rng.random() < 0.5:  # the right thing, but nothing of what was asked
        near = facts(rng, split, 1)[0]
        if near.attribute != asked.attribute:
            told = [Fact(near.kind, asked.entity, near.attribute, near.number, near.unit)]
            others.append((asked.entity, passage(told)))
    order = list(range(len(others)))
    rng.shuffle(order)
    where = order.index(2) + 1 if fact is not None else 0
    return [others[i] for i in order], where


def document_result(rng: random.Random, split: Split, fact: Fact | None, asked: Fact) -> tuple[str, int]:
    """What `knowledge_search` returns, and the number of the passage that answers."""
    found, where = _passages(rng, split, fact, asked)
    files = [f"{kind}{'es' if kind == 'pass' else 's'}.md" for kind in MEASURES] + [f"{word(rng, split)}.md"]
    return "\n".join(f"[{n}] {rng.choice(files)}: {text}" for n, (_, text) in enumerate(found, 1)), where


def search_result(rng: random.Random, split: Split, fact: Fact | None, asked: Fact | None = None) -> str:
    """What `web_search` returns."""
    return _search(rng, split, fact, asked or fact)[0]  # type: ignore[arg-type]


def _search(rng: random.Random, split: Split, fact: Fact | None, asked: Fact) -> tuple[str, int]:
    found, where = _passages(rng, split, fact, asked)
    found, where = (found, where) if rng.random() < 0.7 or not where else ([found[where - 1]], 1)
    site = rng.choice(("atlas.example", "atlas.example", f"{word(rng, split)}.example"))
    lines = []
    for n, (entity, text) in enumerate(found, 1):
        title = entity.removeprefix("the ")
        lines.append(f"[{n}] {title} | https://{site}/{title.lower().replace(' ', '-')} | {text}")
    return "\n".join(["provider: " + rng.choice(("offline", "offline", "ddgs")), *lines]), where


def ask_given(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """Several questions over passages that the user gives: what one tells, or nearly tells. Short, so much is learned."""
    told = facts(rng, split, 1)
    for _ in range(rng.randint(0, 3)):
        told.append(_near(rng, split, rng.choice(told)))
    told = list({(fact.entity, fact.attribute): fact for fact in told}.values())
    rng.shuffle(told)
    files = [f"{kind}{'es' if kind == 'pass' else 's'}.md" for kind in MEASURES]
    lines = [f"[{n}] {rng.choice(files)}: {passage([fact])}" for n, fact in enumerate(told, 1)]
    given = json.dumps("\n".join(lines), ensure_ascii=False) + "\n"
    dialogue = Dialogue()
    for _ in range(rng.randint(2, 5)):
        asked = rng.choice(told)
        if rng.random() < 0.5:
            asked = _near(rng, split, asked)
            mixed = Fact(asked.kind, asked.entity, rng.choice(told).attribute, "", "")
            asked = rng.choice((asked, mixed))
        dialogue.hear(given + question(rng, asked))
        given = ""
        where = [n for n, fact in enumerate(told) if (fact.entity, fact.attribute) == (asked.entity, asked.attribute)]
        if where:
            dialogue.say(f"{told[where[0]].sentence} [{where[0] + 1}].", "passage")
        else:
            dialogue.say(DOCUMENTS_SILENT, "refusal")
    return dialogue


def _near(rng: random.Random, split: Split, fact: Fact) -> Fact:
    """A fact about the same thing, one with the same attribute, or another one."""
    other = facts(rng, split, 1)[0]
    kind = rng.random()
    if kind < 0.4:
        value = _value(rng, split, fact.attribute, fact.unit)
        return Fact(fact.kind, other.entity, fact.attribute, value, fact.unit)
    if kind < 0.7:
        return Fact(other.kind, fact.entity, other.attribute, other.number, other.unit)
    return other


def ask_documents(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A question over the documents: answered with a citation, or refused."""
    return _ask(rng, split, most_tools, "knowledge_search")


def ask_web(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A question for the web search."""
    return _ask(rng, split, most_tools, "web_search")


def _ask(rng: random.Random, split: Split, most_tools: int, tool: str) -> Dialogue:
    asked = facts(rng, split, 1)[0]
    others = offer(rng, split, [], 1) if most_tools > 1 and rng.random() < 0.25 else []
    tools = [*others, search_declaration(tool)]
    rng.shuffle(tools)
    dialogue = Dialogue(tools, rng.choice(INSTRUCTIONS), interpreter=tool == "web_search" and rng.random() < 0.5)
    text = question(rng, asked)
    dialogue.hear(text)
    query = text if tool == "knowledge_search" else f"{asked.attribute} of {asked.entity}"
    dialogue.call(tool, {"query": query}, "tool")
    answerable = rng.random() < 0.5
    if not answerable and rng.random() < 0.15:
        dialogue.result("no results" if tool == "knowledge_search" else "provider: offline\nno results")
        dialogue.say(NOTHING, "failure")
        return dialogue
    fact = asked if answerable else None
    found, where = (document_result if tool == "knowledge_search" else _search)(rng, split, fact, asked)
    dialogue.result(found)
    if answerable:
        dialogue.say(f"{asked.sentence} [{where}].", "passage")
    else:
        dialogue.say(DOCUMENTS_SILENT if tool == "knowledge_search" else SEARCH_SILENT, "refusal")
    return dialogue
