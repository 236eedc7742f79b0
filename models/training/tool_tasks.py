"""Questions that one of the offered tools answers, chains of them, and questions that none answers."""

import random
from dataclasses import dataclass
from typing import Any

from arriero.models.training.dialogue import Dialogue
from arriero.models.training.words import Split, code, date, decimal, name, number, word

NO_TOOL = "None of the tools can answer that."
NOTHING = "The tool returned nothing."
INSTRUCTIONS = (
    "",
    "",
    "",
    "You are a helpful assistant.",
    "Answer with the tools you are given.",
    "Use the tools. Be brief.",
    "Search the web for facts and use the code interpreter for arithmetic.",
    "Answer from the documents and cite them.",
)
SEARCH_TOOLS = {
    "web_search": ("Search the web.", "What to look for."),
    "knowledge_search": ("Search the documents.", "What to look for."),
}

_VERBS = (
    "book send create delete open close start stop order add move rent reserve cancel update print build clean".split()
)
_PAIRS = [
    ("base", "quote", "to convert from", "to convert to"),
    ("source", "target", "to start from", "to go to"),
    ("origin", "destination", "Where it starts from", "Where it goes to"),
    ("from_place", "to_place", "The place to leave from", "The place to go to"),
]
_ERRORS = [
    "timed out after {n} s",
    "no such {t}",
    "access denied",
    "service unavailable",
    "unknown {t} {v}",
    "code {n}",
]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a made-up tool: its JSON name and type, its words in a question, its description."""

    name: str
    type: str
    words: str
    description: str | None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Made:
    """A made-up tool and how people ask for it.

    Args:
        name: The tool's name.
        description: Its description.
        parameters: Its parameters, in the order of the schema.
        noun: What it gives or acts on.
        verb: The action, or empty for a look-up.
        pair: Whether its first two parameters are asked for by "from … to …".
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    noun: str
    verb: str = ""
    pair: bool = False

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool as the prompt shows it."""
        properties = {
            p.name: {"type": p.type} | ({"description": p.description} if p.description else {})
            for p in self.parameters
        }
        return declare(self.name, self.description, properties, [p.name for p in self.parameters if p.required])


def declare(tool: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """A tool declaration in the OpenAI shape, keys in the order that `@tool` writes them."""
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": tool, "description": description, "parameters": parameters}}


def search_declaration(tool: str) -> dict[str, Any]:
    """Declaration of `web_search` or `knowledge_search`."""
    description, query = SEARCH_TOOLS[tool]
    return declare(tool, description, {"query": {"type": "string", "description": query}}, ["query"])


def noun(rng: random.Random, split: Split) -> str:
    """What a tool is about: one word, or two."""
    first = word(rng, split, real=0.35)
    return first if rng.random() < 0.9 else f"{first} {word(rng, split, real=0.35)}"


def _parameter(rng: random.Random, split: Split, *, words: str | None = None, kind: str | None = None) -> Parameter:
    words = words or (
        word(rng, split, real=0.4) if rng.random() < 0.92 else f"{word(rng, split)} {word(rng, split, real=0.5)}"
    )
    kind = kind or rng.choices(("string", "integer", "number"), (6, 3, 1))[0]
    described = rng.choice((f"The {words}.", f"Which {words}.", f"The {words} to use.", words.capitalize() + ".", None))
    return Parameter(words.replace(" ", "_"), kind, words, described)


def lookup_tool(rng: random.Random, split: Split, *, subject: str | None = None, extras: int | None = None) -> Made:
    """A tool that looks up something of a thing, with up to three further parameters."""
    thing, about = word(rng, split, real=0.3), subject or noun(rng, split)
    snake, snake_thing = about.replace(" ", "_"), thing
    patterns = (
        "get_{}",
        "find_{}",
        "lookup_{}",
        "{}_lookup",
        "{}",
        "read_{}",
        "{}_of",
        "fetch_{}",
        "{}_finder",
        "show_{}",
        f"{snake_thing}_{{}}",
    )
    described = rng.choice(
        ("Get the {n} of a {t}.", "Look up the {n} of a {t}.", "Returns the {n} for a {t}.", "The {n} of a {t}.",
         "Find the {n} of a given {t}.", "{N} of one {t}.", "Gives the {n} of any {t}.")
    ).format(n=about, t=thing, N=about.capitalize())  # fmt: skip
    key = rng.choice((thing, thing, "name", "id", f"{thing}_name"))
    first = Parameter(
        key, "string", thing, rng.choice((f"The {thing}.", f"Name of the {thing}.", f"Which {thing}.", None))
    )
    count = extras if extras is not None else rng.choices((0, 1, 2, 3), (12, 6, 2, 0.5))[0]
    others = [_parameter(rng, split) for _ in range(count)]
    if others and rng.random() < 0.25:
        last = others[-1]
        others[-1] = Parameter(last.name, last.type, last.words, last.description, required=False)
    return Made(rng.choice(patterns).format(snake), described, _distinct([first, *others]), about)


def action_tool(rng: random.Random, split: Split, *, about: str | None = None) -> Made:
    """A tool that does something."""
    verb, about = rng.choice(_VERBS), about or noun(rng, split)
    parameters = [_parameter(rng, split) for _ in range(rng.choices((1, 2, 3), (5, 4, 1))[0])]
    described = rng.choice(("{v} a {n}.", "{v} the {n}.", "{v} one {n}.")).format(v=verb.capitalize(), n=about)
    return Made(f"{verb}_{about.replace(' ', '_')}", described, _distinct(parameters), about, verb=verb)


def pair_tool(rng: random.Random, split: Split) -> Made:
    """A tool from something to something."""
    about, (first, second, leave, reach) = noun(rng, split), rng.choice(_PAIRS)
    lead = "" if leave[0].isupper() else rng.choice(("Code ", "Name ", "What "))
    ends = [
        Parameter(first, "string", first, f"{lead}{leave}."),
        Parameter(second, "string", second, f"{lead}{reach}."),
    ]
    others = [_parameter(rng, split)] if rng.random() < 0.4 else []
    described = rng.choice(("Get the {n} between two places.", "The {n} from one to another.", "Look up the {n}."))
    snake = about.replace(" ", "_")
    called = rng.choice(("get_{}", "{}", "find_{}", "{}_lookup")).format(snake)
    return Made(called, described.format(n=about), _distinct([*ends, *others]), about, pair=True)


def _distinct(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    seen: set[str] = set()
    return tuple(p for p in parameters if not (p.name in seen or seen.add(p.name)))  # type: ignore[func-returns-value]


def any_tool(rng: random.Random, split: Split) -> Made:
    """A tool of any kind."""
    return rng.choices((lookup_tool, action_tool, pair_tool), (6, 3, 1))[0](rng, split)


def _value(rng: random.Random, split: Split, kind: str) -> tuple[str, Any]:
    """A value as the question writes it and as JSON carries it."""
    if kind == "integer":
        value = number(rng)
        return str(value), value
    if kind == "number":
        text = decimal(rng)
        return text, float(text)
    text = rng.choices((name(rng, split), code(rng), date(rng)), (7, 2, 1))[0]
    return text, text


def ask(rng: random.Random, split: Split, made: Made) -> tuple[str, dict[str, Any], str]:
    """A question for a tool.

    Returns:
        The question, the arguments it asks for, and the first value as the question writes it.
    """
    given = [p for p in made.parameters if p.required or rng.random() < 0.5]
    values = {p.name: _value(rng, split, p.type) for p in given}
    arguments = {key: value for key, (_, value) in values.items()}
    lead = 0 if made.verb else 2 if made.pair else 1
    extras = [f"{p.words} {values[p.name][0]}" for p in given[lead:]]
    if not made.verb:
        rng.shuffle(extras)
    tail = _join(rng, extras)
    first = next(iter(values.values()))[0]
    if made.verb:
        text = rng.choice(("{v} a {n}{x}.", "Please {l} the {n}{x}.", "{v} one {n}{x}.", "Can you {l} a {n}{x}?"))
        return text.format(v=made.verb.capitalize(), l=made.verb, n=made.noun, x=tail), arguments, first
    if made.pair:
        second = values[given[1].name][0]
        text = rng.choice(
            ("What is the {n} from {a} to {b}{x}?", "Tell me the {n} from {a} to {b}{x}.", "{n} from {a} to {b}{x}?")
        )
        text = text.format(n=made.noun, a=first, b=second, x=tail)
        return text[0].upper() + text[1:], arguments, first
    text = rng.choice(
        ("What is the {n} of {a}{x}?", "Tell me the {n} of {a}{x}.", "Find the {n} for {a}{x}.", "I need the {n} of {a}{x}.",
         "Give me the {n} of {a}{x}.", "What is the {n} for {a}{x}?", "Look up the {n} of {a}{x}.", "Do you know the {n} of {a}{x}?")
    )  # fmt: skip
    return text.format(n=made.noun, a=first, x=tail), arguments, first


def _join(rng: random.Random, extras: list[str]) -> str:
    if not extras:
        return ""
    lead = rng.choice((" with ", " for ", ", ", " at "))
    return lead + (
        extras[0] if len(extras) == 1 else rng.choice((", ", " and ")).join(extras[:-1]) + " and " + extras[-1]
    )


def offer(rng: random.Random, split: Split, wanted: list[Made], count: int) -> list[dict[str, Any]]:
    """Declarations of the wanted tools among others, shuffled; one in five near-misses the first."""
    tools = list(wanted)
    nouns, names = {made.noun for made in wanted}, {made.name for made in wanted}
    if wanted and not wanted[0].verb and len(tools) < count and rng.random() < 0.2:
        rival = action_tool(rng, split, about=wanted[0].noun)
        tools.append(rival)
        names.add(rival.name)
    while len(tools) < count:
        other = any_tool(rng, split)
        if other.noun not in nouns and other.name not in names:
            tools.append(other)
            names.add(other.name)
    rng.shuffle(tools)
    return [made.declaration for made in tools]


def tool_count(rng: random.Random, most: int) -> int:
    """How many tools are offered: 1 to `most`, fewer more often."""
    return rng.choices(range(1, most + 1), [6, 6, 5, 4, 2, 2][:most])[0]


def result_text(rng: random.Random, split: Split) -> str:
    """What a look-up returns."""
    return rng.choices((str(number(rng)), decimal(rng), name(rng, split), code(rng), date(rng)), (6, 3, 6, 2, 1))[0]


def one_call(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """One question, one call, one answer (or one failure)."""
    made = any_tool(rng, split)
    dialogue = Dialogue(
        offer(rng, split, [made], tool_count(rng, most_tools)), rng.choice(INSTRUCTIONS), rng.random() < 0.15
    )
    converse(rng, split, dialogue, made)
    return dialogue


def converse(rng: random.Random, split: Split, dialogue: Dialogue, made: Made) -> None:
    """Add a question for `made`, the call, the result and the answer."""
    question, arguments, first = ask(rng, split, made)
    dialogue.hear(question)
    dialogue.call(made.name, arguments, "tool")
    if rng.random() < 0.2:
        _fail(rng, dialogue, made, first)
        return
    value = result_text(rng, split)
    dialogue.result({made.noun.replace(" ", "_"): value} if rng.random() < 0.2 else value)
    dialogue.say(_answer(made, first, value), "answer")


def _answer(made: Made, first: str, value: str) -> str:
    if made.verb:
        return f"Done: {value}."
    return f"The {made.noun} is {value}." if made.pair else f"The {made.noun} of {first} is {value}."


def _fail(rng: random.Random, dialogue: Dialogue, made: Made, first: str) -> None:
    if rng.random() < 0.4:
        dialogue.result(rng.choice(("", "null", "no results", "[]", [], {})))
        dialogue.say(NOTHING, "failure")
        return
    problem = rng.choice(_ERRORS).format(n=number(rng, 3), t=made.parameters[0].words, v=first)
    dialogue.result(f"error: {problem}")
    dialogue.say(f"That did not work: {problem}.", "failure")


def chain(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """Two or three calls, each from the result of the one before or one after the other."""
    if rng.random() < 0.4:
        return _one_tool_twice(rng, split, most_tools)
    length = rng.choice((2, 2, 3))
    steps = [lookup_tool(rng, split, extras=0) for _ in range(length)]
    if len({made.noun for made in steps}) < length or len({made.name for made in steps}) < length:
        return chain(rng, split, most_tools)
    declarations = offer(rng, split, steps, max(length, tool_count(rng, most_tools)))
    dialogue = Dialogue(declarations, rng.choice(INSTRUCTIONS), rng.random() < 0.1)
    given = name(rng, split)
    path = " of the ".join(made.noun for made in reversed(steps))
    dialogue.hear(
        rng.choice(("What is the {p} of {v}?", "Tell me the {p} of {v}.", "Find the {p} of {v}.")).format(
            p=path, v=given
        )
    )
    for made in steps:
        dialogue.call(made.name, {made.parameters[0].name: given}, "chain")
        given = name(rng, split) if made is not steps[-1] else result_text(rng, split)
        dialogue.result(given)
    dialogue.say(f"The {steps[-1].noun} is {given}.", "chain")
    return dialogue


def _one_tool_twice(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    made = lookup_tool(rng, split, extras=0)
    dialogue = Dialogue(offer(rng, split, [made], tool_count(rng, most_tools)), rng.choice(INSTRUCTIONS))
    things = [name(rng, split) for _ in range(rng.choice((2, 2, 2, 3)))]
    listed = ", ".join(things[:-1]) + " and " + things[-1]
    dialogue.hear(
        rng.choice(("What is the {n} of {v}?", "Find the {n} of {v}.", "Compare the {n} of {v}.")).format(
            n=made.noun, v=listed
        )
    )
    values = []
    for thing in things:
        dialogue.call(made.name, {made.parameters[0].name: thing}, "chain")
        values.append(result_text(rng, split))
        dialogue.result(values[-1])
    told = [f"{thing} is {value}" for thing, value in zip(things, values, strict=True)]
    dialogue.say(f"The {made.noun} of " + ", of ".join(told[:-1]) + f" and of {told[-1]}.", "chain")
    return dialogue


def no_tool(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A question that none of the offered tools answers."""
    absent = any_tool(rng, split)
    declarations = offer(rng, split, [], tool_count(rng, most_tools))
    if any(absent.noun in tool["function"]["description"] for tool in declarations):
        return no_tool(rng, split, most_tools)
    dialogue = Dialogue(declarations, rng.choice(INSTRUCTIONS))
    dialogue.hear(ask(rng, split, absent)[0])
    dialogue.say(NO_TOOL, "no_tool")
    return dialogue


def several_turns(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """Two to four questions in one conversation, for different tools, the same one, or none."""
    wanted = [any_tool(rng, split) for _ in range(rng.randint(2, max(2, min(3, most_tools))))]
    absent = any_tool(rng, split)
    if len({made.noun for made in [*wanted, absent]}) <= len(wanted) or len({m.name for m in wanted}) < len(wanted):
        return several_turns(rng, split, most_tools)
    declarations = offer(rng, split, wanted, max(len(wanted), tool_count(rng, most_tools)))
    if any(absent.noun in tool["function"]["description"] for tool in declarations):
        return several_turns(rng, split, most_tools)
    dialogue = Dialogue(declarations, rng.choice(INSTRUCTIONS))
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.2:
            dialogue.hear(ask(rng, split, absent)[0])
            dialogue.say(NO_TOOL, "no_tool")
        else:
            converse(rng, split, dialogue, rng.choice(wanted))
    return dialogue


def small_talk(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A greeting or thanks, with or without tools."""
    count = rng.choice((0, 0, 1, 2))
    dialogue = Dialogue(offer(rng, split, [], count) if count else (), rng.choice(INSTRUCTIONS))
    heard, said = rng.choice(
        (("Hello", "Hello! What would you like to know?"), ("Hi there!", "Hello! What would you like to know?"),
         ("Thanks!", "You are welcome."), ("Thank you.", "You are welcome."),
         ("Who are you?", "I am arriero-demo, a very small Llama."), ("What can you do?", "I can use the tools that you give me."))
    )  # fmt: skip
    dialogue.hear(heard)
    dialogue.say(said, "chat")
    return dialogue


def copying(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """Warm-up: say what stood behind a key. It makes copying appear early in training."""
    keys = list({word(rng, split, real=0.2) for _ in range(rng.randint(2, 6))})
    values = [_value(rng, split, rng.choice(("string", "integer")))[0] for _ in keys]
    wanted = rng.randrange(len(keys))
    listed = ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
    dialogue = Dialogue()
    dialogue.hear(f"{listed}. {keys[wanted]}?")
    dialogue.say(f"{keys[wanted]} {values[wanted]}", "copy")
    return dialogue
