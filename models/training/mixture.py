"""Which tasks are trained when, and batches of them as a pure function of seed and step."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from arriero.models.training.arithmetic_tasks import arithmetic, researched
from arriero.models.training.bundled_tasks import bundled
from arriero.models.training.dialogue import Dialogue, Encoded, Said, encode
from arriero.models.training.guard_tasks import judged
from arriero.models.training.passage_tasks import ask_documents, ask_given, ask_web
from arriero.models.training.tool_tasks import chain, copying, no_tool, one_call, several_turns, small_talk
from arriero.models.training.words import Split
from arriero.prompts.messages import Message
from arriero.prompts.tokens import Tokenizer


def guard(rng: random.Random, split: Split, most_tools: int) -> Dialogue:
    """A conversation to be judged, the harmless ones partly from the other tasks."""
    makers = (one_call, chain, no_tool, arithmetic, researched, ask_documents, ask_web, small_talk, bundled)
    ordinary: list[tuple[str, str]] = []
    while not ordinary:
        turns = rng.choice(makers)(rng, split, 1).turns
        asked, said = turns[0], turns[-1]
        if isinstance(asked, Message) and isinstance(said, Said) and said.task != "guard" and "how to" not in said.text:
            ordinary.append((str(asked.content), said.text))
    return judged(rng, split, ordinary)


Maker = Callable[[random.Random, Split, int], Dialogue]
FULL: dict[Maker, int] = {
    one_call: 18, several_turns: 14, chain: 16, no_tool: 14, small_talk: 1, arithmetic: 5, researched: 12,
    ask_given: 24, ask_documents: 20, ask_web: 6, guard: 9, copying: 1, bundled: 10,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: until which share of the training, which tasks, how many tools at most."""

    until: float
    weights: dict[Maker, int]
    most_tools: int


LEARNERS_STAGES = 0.15
"""Share of the training in which copying is learned."""

CURRICULUM = (
    Stage(0.04, {copying: 60, one_call: 30, guard: 10}, 1),
    Stage(
        LEARNERS_STAGES,
        {copying: 10, one_call: 30, several_turns: 20, chain: 10, no_tool: 6, arithmetic: 10, ask_given: 20, guard: 10},
        2,
    ),
    Stage(0.60, FULL, 4),
    Stage(0.88, FULL, 6),
    Stage(1.01, FULL | {bundled: 50}, 6),
)


def dialogues(rng: random.Random, progress: float) -> Iterator[Dialogue]:
    """Endless training dialogues for one point of the curriculum."""
    stage = next(stage for stage in CURRICULUM if progress < stage.until)
    makers, weights = list(stage.weights), list(stage.weights.values())
    while True:
        yield rng.choices(makers, weights)[0](rng, "train", stage.most_tools)


LENGTHS = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512, 640, 768)
"""Lengths that dialogues are padded to: few shapes, so that compiled code and kernels are reused."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Dialogues of about one length, padded to `length` ids."""

    length: int
    dialogues: list[Encoded]


def chunk(
    seed: int, number: int, progress: float, dialogue_count: int, tokens: int, tokenizer: Tokenizer
) -> list[Batch]:
    """A chunk of training as shuffled batches; a pure function of its arguments, so training can resume exactly.

    Args:
        seed: Seed of the whole training.
        number: Number of the chunk.
        progress: Share of the training that is done, in [0, 1].
        dialogue_count: How many dialogues to make.
        tokens: How many ids a batch holds at most, padding included.
        tokenizer: The model's tokenizer.
    """
    rng = random.Random(f"{seed}/{number}")
    by_length: dict[int, list[Encoded]] = {length: [] for length in LENGTHS}
    for _, dialogue in zip(range(dialogue_count), dialogues(rng, progress), strict=False):
        encoded = encode(dialogue, tokenizer)
        if len(encoded.ids) <= LENGTHS[-1]:
            by_length[next(length for length in LENGTHS if length >= len(encoded.ids))].append(encoded)
    batches: list[Batch] = []
    for length, waiting in by_length.items():
        rows = tokens // length
        full = [waiting[i : i + rows] for i in range(0, len(waiting), rows)]
        batches += [Batch(length, group) for group in full if len(group) > rows // 2]
    rng.shuffle(batches)
    return batches
