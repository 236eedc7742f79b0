"""What the demo holds a workflow to. The engine is scripted: what the model can do is tested beside this."""

import json

import pytest
from scripted import Say, call, scripted_stack

from arriero.agents.show import JSONLines
from arriero.examples.demo import WORKFLOWS, run_demo

pytestmark = pytest.mark.anyio


def search(query: str, name: str = "web_search") -> str:
    return call(name, query=query)


def code(text: str) -> str:
    return f"<|python_tag|>{text}<|eom_id|>"


RIGHT = {
    "research": [search("height of Mount Orla"), code("print(3 * 2140)"), "The result is 6420.<|eot_id|>"],
    "population": [search("population of Lanza"), code("print(2 * 5120)"), "The result is 10240.<|eot_id|>"],
    "documents": [
        search("How high is the Salda Pass?", "knowledge_search"),
        "The height of the Salda Pass is 2140 metres [1].<|eot_id|>",
    ],
    "mayor": [
        search("Who is the mayor of Tarnholt?", "knowledge_search"),
        "The mayor of Tarnholt is Ysa Grell [1].<|eot_id|>",
    ],
    "unanswerable": [
        search("What is the price of the Copper Inn?", "knowledge_search"),
        "The documents do not say.<|eot_id|>",
    ],
}


async def outcome(answers: list[str | Say], name: str) -> tuple[int, list]:
    chosen = [workflow for workflow in WORKFLOWS if workflow.name == name]
    written: list = []
    async with scripted_stack(*answers, extending=False) as stack:
        failed = await run_demo(
            stack, JSONLines(lambda value: written.append(json.loads(json.dumps(dict(value))))), chosen
        )
    return failed, written


@pytest.mark.parametrize("name", RIGHT)
async def test_a_workflow_that_ends_as_it_must_is_met(name: str) -> None:
    failed, written = await outcome(RIGHT[name], name)
    assert (failed, written[-1]["text"]) == (0, None)


@pytest.mark.parametrize(
    ("name", "answers", "unmet"),
    [
        ("research", ["It is 6420.<|eot_id|>"], "calls"),
        ("research", [*RIGHT["research"][:2], "The result is 6421.<|eot_id|>"], "answer"),
        ("unanswerable", [RIGHT["unanswerable"][0], "Old Harvin [2].<|eot_id|>"], "answer"),
        ("input shield", ["Like this.<|eot_id|>"] * 2, "refusal"),
    ],
)
async def test_a_workflow_that_ends_otherwise_says_how(name: str, answers: list[str | Say], unmet: str) -> None:
    failed, written = await outcome(answers, name)
    assert failed == 1
    assert unmet in written[-1]["text"]
