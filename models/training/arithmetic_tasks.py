"""Arithmetic for the code interpreter, alone and on what a search found."""

import random

from arriero.models.training.dialogue import Dialogue
from arriero.models.training.passage_tasks import Fact, facts, search_result
from arriero.models.training.tool_tasks import INSTRUCTIONS, offer, search_declaration
from arriero.models.training.words import Split, decimal, name, number, word
from arriero.prompts.code_result import format_code_result

_TIMES = {"twice": 2, "two times": 2, "three times": 3, "four times": 4, "five times": 5, "ten times": 10, "half": 0}


def _operand(rng: random.Random) -> str:
    return decimal(rng) if rng.random() < 0.12 else str(number(rng, 4))


def expression(rng: random.Random) -> tuple[str, str]:
    """An arithmetic question's subject and the Python expression for it."""
    a, b, c = (_operand(rng) for _ in range(3))
    return rng.choice(
        (
            (f"{a} plus {b}", f"{a} + {b}"),
            (f"{a} + {b}", f"{a} + {b}"),
            (f"{a} minus {b}", f"{a} - {b}"),
            (f"{a} - {b}", f"{a} - {b}"),
            (f"{a} times {b}", f"{a} * {b}"),
            (f"{a} * {b}", f"{a} * {b}"),
            (f"{a} multiplied by {b}", f"{a} * {b}"),
            (f"{a} divided by {b}", f"{a} / {b}"),
            (f"{a} / {b}", f"{a} / {b}"),
            (f"{a} percent of {b}", f"{a} / 100 * {b}"),
            (f"the sum of {a} and {b}", f"{a} + {b}"),
            (f"the sum of {a}, {b} and {c}", f"{a} + {b} + {c}"),
            (f"the product of {a} and {b}", f"{a} * {b}"),
            (f"the difference between {a} and {b}", f"{a} - {b}"),
            (f"the average of {a} and {b}", f"({a} + {b}) / 2"),
            (f"the square of {a}", f"{a} ** 2"),
            (f"the remainder of {a} divided by {b}", f"{a} % {b}"),
            (f"({a} + {b}) * {c}", f"({a} + {b}) * {c}"),
            (f"{a} plus {b} times {c}", f"{a} + {b} * {c}"),
            (f"{a} times {b} plus {c}", f"{a} * {b} + {c}"),
            (f"{a} times {b} minus {c}", f"{a} * {b} - {c}"),
        )
    )


def story(rng: random.Random, split: Split) -> tuple[str, str]:
    """A word problem of one operation and the expression for it."""
    who, thing, a, b = name(rng, split), word(rng, split, real=0.5) + "s", number(rng, 3), number(rng, 3)
    return rng.choice(
        (
            (f"{who} has {a} {thing} and buys {b} more. How many are there now?", f"{a} + {b}"),
            (f"{who} has {a} {thing} and sells {b}. How many are left?", f"{a} - {b}"),
            (f"{who} loads {a} mules with {b} {thing} each. How many {thing} is that?", f"{a} * {b}"),
            (f"{who} shares {a} {thing} among {b} people. How many does each get?", f"{a} / {b}"),
        )
    )


def evaluate(formula: str) -> str:
    """What `print` shows for an expression of this module's own making."""
    try:
        return str(eval(formula, {"__builtins__": {}}))  # noqa: S307 - only ever the literals and operators above
    except ZeroDivisionError:
        return "0"


def arithmetic(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A question whose answer a one-line program prints."""
    count = rng.choice((0, 0, 0, 1, 2, 3))
    tools = offer(rng, split, [], min(count, most_tools)) if count else []
    if rng.random() < 0.3:
        tools.append(search_declaration("web_search"))
    dialogue = Dialogue(tools, rng.choice(INSTRUCTIONS), interpreter=True)
    if rng.random() < 0.25:
        question, formula = story(rng, split)
    else:
        subject, formula = expression(rng)
        question = rng.choice(("What is {}?", "How much is {}?", "Calculate {}.", "Compute {}.", "{}?")).format(subject)
        question = question[0].upper() + question[1:]
    dialogue.hear(question)
    dialogue.run(f"print({formula})", "code")
    _conclude(rng, dialogue, formula)
    return dialogue


def _conclude(rng: random.Random, dialogue: Dialogue, formula: str) -> None:
    if rng.random() < 0.1:
        problem = rng.choice(("ZeroDivisionError: division by zero", "MemoryError", "timed out after 5 s"))
        dialogue.result(format_code_result(failed=True, stdout="", stderr=problem))
        dialogue.say(f"That did not work: {problem}.", "failure")
        return
    value = evaluate(formula)
    if len(value) > 12:
        value = str(round(float(value), 4))
    dialogue.result(format_code_result(failed=False, stdout=f"{value}\n", stderr=""))
    dialogue.say(f"The result is {value}.", "answer")


def researched(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A search, then arithmetic on what was found, then an answer; or two searches and their difference."""
    tools = [
        *(offer(rng, split, [], 1) if rng.random() < 0.3 and most_tools > 1 else []),
        search_declaration("web_search"),
    ]
    rng.shuffle(tools)
    dialogue = Dialogue(tools, rng.choice(INSTRUCTIONS), interpreter=True)
    if rng.random() < 0.35:
        return _compared(rng, split, dialogue)
    fact = _numeric(rng, split)
    words, factor = rng.choice(list(_TIMES.items()))
    other = number(rng, 3)
    subject, formula = rng.choice(
        (
            (
                f"{words} the {fact.attribute} of {fact.entity}",
                f"{fact.number} / 2" if not factor else f"{factor} * {fact.number}",
            ),
            (f"the {fact.attribute} of {fact.entity} plus {other}", f"{fact.number} + {other}"),
            (f"the {fact.attribute} of {fact.entity} minus {other}", f"{fact.number} - {other}"),
            (f"the {fact.attribute} of {fact.entity} times {other}", f"{fact.number} * {other}"),
            (f"{other} percent of the {fact.attribute} of {fact.entity}", f"{other} / 100 * {fact.number}"),
        )
    )
    dialogue.hear(rng.choice(("What is {}?", "How much is {}?", "Find out: what is {}?")).format(subject))
    dialogue.call("web_search", {"query": f"{fact.attribute} of {fact.entity}"}, "chain")
    dialogue.result(search_result(rng, split, fact))
    dialogue.run(f"print({formula})", "chain")
    value = evaluate(formula)
    value = value if len(value) <= 12 else str(round(float(value), 4))
    dialogue.result(format_code_result(failed=False, stdout=f"{value}\n", stderr=""))
    dialogue.say(f"The result is {value}.", "chain")
    return dialogue


def _compared(rng: random.Random, split: Split, dialogue: Dialogue) -> Dialogue:
    first = _numeric(rng, split)
    second = Fact(first.kind, name(rng, split), first.attribute, str(number(rng, 4)), first.unit)
    joined, sign = rng.choice((("difference between", "-"), ("sum of", "+")))
    dialogue.hear(
        f"What is the {joined} the {first.attribute} of {first.entity} and the {first.attribute} of {second.entity}?"
    )
    for fact in (first, second):
        dialogue.call("web_search", {"query": f"{fact.attribute} of {fact.entity}"}, "chain")
        dialogue.result(search_result(rng, split, fact))
    formula = f"{first.number} {sign} {second.number}"
    dialogue.run(f"print({formula})", "chain")
    value = evaluate(formula)
    dialogue.result(format_code_result(failed=False, stdout=f"{value}\n", stderr=""))
    dialogue.say(f"The result is {value}.", "chain")
    return dialogue


def _numeric(rng: random.Random, split: Split) -> Fact:
    while True:
        fact = facts(rng, split, 1)[0]
        if fact.unit:
            return fact
