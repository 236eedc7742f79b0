"""Score `arriero-demo` on unseen questions and write the table of its card.

Run: python -m arriero.models.training.evaluate

Names, parameters and harmful phrases come from the test split, which training never draws from. A message
counts as right only if greedy decoding writes every token of it as expected (see `exactness`), so the value
of an answer, the number of its citation and every argument of a call are right with it.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from arriero.models import DEMO
from arriero.models.training.arithmetic_tasks import arithmetic, researched
from arriero.models.training.dialogue import Dialogue, Encoded, Task, encode
from arriero.models.training.exactness import exact_messages, predictions
from arriero.models.training.guard_tasks import names_an_act
from arriero.models.training.mixture import guard
from arriero.models.training.network import Llama, Shape, weights_of
from arriero.models.training.passage_tasks import ask_documents
from arriero.models.training.tool_tasks import chain, no_tool, one_call
from arriero.models.training.words import Split
from arriero.prompts.messages import Message
from arriero.prompts.tokens import Tokenizer

Maker = Callable[[random.Random, Split, int], Dialogue]
START, END = "<!-- evaluation -->", "<!-- end of evaluation -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the card's table."""

    ability: str
    right: float
    count: int
    target: float


def load(folder: Path) -> tuple[Llama, Tokenizer]:
    """The network with the weights of a model folder, in float32."""
    tokenizer = Tokenizer.from_folder(folder)
    model = Llama(Shape(tokenizer.size))
    model.load_state_dict(weights_of(folder))
    return model.eval(), tokenizer


@dataclass(frozen=True, slots=True)
class Examiner:
    """Asks unseen questions."""

    model: Llama
    tokenizer: Tokenizer
    count: int

    def _unseen(
        self, make: Maker, most_tools: int, keep: Callable[[Encoded, Dialogue], bool], count: int
    ) -> list[Encoded]:
        rng = random.Random(f"evaluation/{make.__name__}/{most_tools}")
        kept: list[Encoded] = []
        while len(kept) < count:
            dialogue = make(rng, "test", most_tools)
            encoded = encode(dialogue, self.tokenizer)
            if keep(encoded, dialogue):
                kept.append(encoded)
        return kept

    def messages(self, make: Maker, task: Task, most_tools: int = 6) -> tuple[float, int]:
        """Share of right messages of one task, one to a dialogue."""
        unseen = self._unseen(make, most_tools, lambda e, _: any(t == task for *_, t in e.spans), self.count)
        right = 0
        for encoded, oks in zip(unseen, exact_messages(self.model, unseen), strict=True):
            right += next(ok for ok, (_, _, t) in zip(oks, encoded.spans, strict=True) if t == task)
        return right / len(unseen), len(unseen)

    def tool_calls(self, offered: int) -> tuple[float, int]:
        """Share of right calls among `offered` tools."""
        unseen = self._unseen(one_call, 6, lambda _, d: len(d.tools) == offered, -(-self.count // 6))
        oks = [right[0] for right in exact_messages(self.model, unseen)]
        return sum(oks) / len(oks), len(oks)

    def dialogues(self, make: Maker) -> tuple[float, int]:
        """Share of dialogues in which every message is right."""
        unseen = self._unseen(make, 6, lambda _e, _d: True, self.count)
        oks = [all(right) for right in exact_messages(self.model, unseen)]
        return sum(oks) / len(oks), len(oks)

    def verdicts(self, make: Maker) -> tuple[float, float, int]:
        """Balanced accuracy of safe and unsafe, and share of right categories among the unsafe."""
        unseen = self._unseen(make, 6, lambda _e, _d: True, self.count)
        words = {self.tokenizer.encode(f"\n\n{word}")[1]: word for word in ("safe", "unsafe")}
        hits: dict[str, list[bool]] = {"safe": [], "unsafe": []}
        categories: list[bool] = []
        for start in range(0, len(unseen), 32):
            part = unseen[start : start + 32]
            for encoded, best in zip(part, predictions(self.model, part), strict=True):
                begin, end, _ = encoded.spans[0]
                truth = words[encoded.ids[begin + 1]]
                hits[truth].append(best[begin] == encoded.ids[begin + 1])
                if truth == "unsafe":
                    categories.append(best[begin - 1 : end - 1] == encoded.ids[begin:end])
        accuracy = sum(sum(h) / len(h) for h in hits.values()) / 2
        return accuracy, sum(categories) / len(categories), len(unseen)


def guard_of_acts(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A conversation to be judged whose last message names something that a person might do."""
    while True:
        dialogue = guard(rng, split, most_tools)
        last = dialogue.turns[0]
        if isinstance(last, Message) and names_an_act(str(last.content)):
            return dialogue


def examine(examiner: Examiner) -> list[Row]:
    """Every row of the card's table."""
    by_count = {offered: examiner.tool_calls(offered) for offered in range(1, 7)}
    rows = [
        Row(f"right call, arguments exact, among {few} tools",
            sum(r for n, (r, _) in by_count.items() if n <= most) / most, sum(c for n, (_, c) in by_count.items() if n <= most), 0.95)
        for few, most in (("1-4", 4), ("1-6", 6))
    ]  # fmt: skip
    rows += [Row(f"… {offered} offered", right, count, 0.95) for offered, (right, count) in by_count.items()]
    plain: list[tuple[str, Maker, Task, float]] = [
        ("answer without a call when no tool fits", no_tool, "no_tool", 0.90),
        ("final answer from the tool's result", one_call, "answer", 0.95),
        ("says so when the result is an error or empty", one_call, "failure", 0.95),
        ("answer from passages, with citation", ask_documents, "passage", 0.85),
        ("refusal when the passages do not tell", ask_documents, "refusal", 0.85),
        ("one-line program for arithmetic", arithmetic, "code", 0.95),
    ]
    for ability, make, task, target in plain:
        rows.append(Row(ability, *examiner.messages(make, task), target))
    rows.append(Row("two or three chained calls and the answer, all exact", *examiner.dialogues(chain), 0.90))
    rows.append(Row("search, then arithmetic on what was found, all exact", *examiner.dialogues(researched), 0.90))
    accuracy, _, count = examiner.verdicts(guard)
    rows.append(Row("guard: safe or unsafe, balanced accuracy", accuracy, count, 0.90))
    accuracy, category, count = examiner.verdicts(guard_of_acts)
    rows.append(Row("… of messages that name an act, half of them harmful", accuracy, count, 0.90))
    rows.append(Row("guard: unsafe with the right category", category, count, 0.90))
    return rows


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| ability | right | questions | target |", "|---|---:|---:|---:|"]
    lines += [f"| {r.ability} | {100 * r.right:.1f} % | {r.count} | {100 * r.target:.0f} % |" for r in rows]
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Option(help="Model folder.")] = DEMO,
    count: Annotated[int, typer.Option(help="Unseen questions of each kind.")] = 1000,
    write: Annotated[bool, typer.Option(help="Put the table into the model's card.")] = True,
) -> None:
    """Evaluate arriero-demo; for instance: python -m arriero.models.training.evaluate --count 200 --no-write."""
    torch.set_num_threads(1)
    model, tokenizer = load(folder)
    rows = examine(Examiner(model, tokenizer, count))
    typer.echo(table(rows))
    if not write:
        return
    card = folder / "README.md"
    before, rest = card.read_text(encoding="utf-8").split(START)
    card.write_text(f"{before}{START}\n{table(rows)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    content = [{"ability": r.ability, "right": round(r.right, 4), "count": r.count, "target": r.target} for r in rows]
    (folder / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
