"""A question set from one's own documents: a model writes the questions, a person reviews them."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from arriero.evals.data.drafts import INSTRUCTIONS, Draft, fault
from arriero.evals.data.wording import Lookup, tells, tokens
from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, QuestionSet

if TYPE_CHECKING:
    from arriero.agents.map import Item
    from arriero.agents.map_progress import Progress
    from arriero.stack.stack import Stack

ANSWERED, NEAR_MISS = "answered", "near miss"
"""Kinds of the questions: one that the corpus answers, and one whose passage was withheld."""

_FEWEST_WORDS = 5
_TRIES = 3
_CLOSE = 10
_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Drafted:
    """A question set that nobody has reviewed, and how it came about.

    Args:
        questions: The questions; the corpus lacks the withheld passages.
        tried: How many passages the model was asked about.
        dropped: Drafts that were dropped, by what was wrong with them.
        withheld: Passages that unanswerable questions are about, by id.
        notes: What a user should know, such as that there are fewer questions than were asked for.
    """

    questions: QuestionSet
    tried: int
    dropped: Mapping[str, int]
    withheld: Mapping[str, Passage]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept:
    drafts: list[tuple[Passage, Draft]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    last: Exception | None = None


async def draft_questions(
    stack: "Stack",
    passages: Mapping[str, Passage],
    *,
    count: int = 50,
    unanswerable: float = 0.25,
    seed: int = 0,
    name: str = "questions",
    concurrency: int = 8,
    progress: "Progress" = True,
) -> Drafted:
    """Let a model write questions about passages.

    Passages are taken at random, spread over the documents. The model is held to the form of a draft by a grammar,
    and asked once more where its answer does not fit. A draft with a fault is dropped and counted, and another passage
    taken. A question becomes unanswerable by its passage: that is withheld from the corpus, and the most similar one
    that is left is its near miss.

    Args:
        stack: The model. With a log on disk the work is resumable: called again, it goes on.
        passages: The passages by id; what stands before `#` in an id is the document.
        count: How many questions.
        unanswerable: Share of them that the corpus is not to answer.
        seed: Decides which passages are taken, and which are withheld.
        name: Name of the set.
        concurrency: How many drafts are written at once.
        progress: Whether to show progress on stderr, or who hears of it.

    Returns:
        The questions.

    Raises:
        EvalError: A number is out of range, no passage holds enough text, or the model wrote no usable question.
        ArrieroError: The model's engine fails for all passages.
    """
    if count < 1 or not 0 <= unanswerable < 1:
        raise EvalError(f"{count} questions, {unanswerable:g} of them unanswerable: give 1 or more, and 0 to below 1")
    order = list(_spread(passages, seed))
    if not order:
        raise EvalError(f"no passage has {_FEWEST_WORDS} words or more: give documents that hold text")
    kept = _Kept()
    while order and len(kept.drafts) < count and kept.tried < _TRIES * count:
        taken, order = order[: count - len(kept.drafts)], order[count - len(kept.drafts) :]
        failed = await _write(
            stack,
            taken,
            kept,
            f"{name}-{seed}-{stack.engine.model}",
            concurrency=concurrency,
            progress=progress,
            seed=seed,
        )
        if failed == len(taken) and not kept.drafts:  # the engine is gone
            break
    if not kept.drafts:
        if kept.last is not None:
            raise kept.last
        raise EvalError(
            f"the model wrote no usable question about {kept.tried} passages: {_listed(kept.dropped)}; use a larger one"
        )
    return _set(name, passages, kept, count, unanswerable, random.Random(f"{seed}:withheld"), stack.engine.model)  # noqa: S311


async def _write(
    stack: "Stack",
    passages: Sequence[Passage],
    kept: _Kept,
    name: str,
    *,
    concurrency: int,
    progress: "Progress",
    seed: int,
) -> int:
    """Write drafts, keep those without a fault; the number of requests that failed."""
    from arriero.agents.agent import Agent
    from arriero.stack.engine import Sampling

    writer = Agent(
        stack,
        instructions=INSTRUCTIONS,
        output=Draft,
        retries=1,
        sampling=Sampling(max_tokens=_MAX_TOKENS, seed=seed),
        name="question writer",
    )
    texts = [_shown(passage) for passage in passages]
    items = await writer.map(texts, name=name, concurrency=concurrency, progress=progress)
    for item in items:
        passage = passages[item.position]
        draft = _draft(item, kept)
        wrong = None if draft is None else fault(draft, passage, [other for _, other in kept.drafts])
        kept.tried += 1
        if wrong is not None:
            kept.dropped[wrong] += 1
        elif draft is not None:
            kept.drafts.append((passage, draft))
    return sum(item.turn is None for item in items)


def _shown(passage: Passage) -> str:
    return f"{passage.title}\n\n{passage.text}" if passage.title else passage.text


def _draft(item: "Item[Draft]", kept: _Kept) -> Draft | None:
    from arriero.agents.output import OutputInvalid

    if item.turn is None:
        kept.last = item.error
        kept.dropped[f"the request failed ({type(item.error).__name__})"] += 1
        return None
    try:
        return item.output
    except OutputInvalid:
        kept.dropped["the answer had not the form of a draft"] += 1
        return None


def _spread(passages: Mapping[str, Passage], seed: int) -> Iterator[Passage]:
    """Passages in a random order that takes one of every document before a second one of any."""
    chance = random.Random(f"{seed}:passages")  # noqa: S311 - chance of an experiment, not of a secret
    documents: dict[str, list[Passage]] = {}
    for passage in passages.values():
        if len(tokens(passage.text)) >= _FEWEST_WORDS:
            documents.setdefault(_document(passage), []).append(passage)
    for shuffled in documents.values():
        chance.shuffle(shuffled)
    order = sorted(documents)
    chance.shuffle(order)
    for turn in range(max(map(len, documents.values()), default=0)):
        for document in order:
            if turn < len(documents[document]):
                yield documents[document][turn]


def _document(passage: Passage) -> str:
    return passage.id.rpartition("#")[0] or passage.title or passage.id


def _set(
    name: str,
    passages: Mapping[str, Passage],
    kept: _Kept,
    count: int,
    unanswerable: float,
    chance: random.Random,
    model: str,
) -> Drafted:
    wanted = round(unanswerable * len(kept.drafts))
    withheld = _withheld(passages, kept.drafts, wanted, chance)
    left = {id_: passage for id_, passage in passages.items() if id_ not in withheld}
    lookup = Lookup(left)
    questions = []
    for number, (passage, draft) in enumerate(kept.drafts, start=1):
        make = _unanswerable if passage.id in withheld else _answered
        questions.append(make(f"{name}-{number:03}", passage, draft, model, lookup))
    notes = []
    if len(kept.drafts) < count:
        notes.append(f"{len(kept.drafts)} questions in place of {count}: {_listed(kept.dropped) or 'no more passages'}")
    if len(withheld) < wanted:
        notes.append(f"{len(withheld)} unanswerable questions in place of {wanted}: other passages tell the answers")
    if withheld:
        notes.append(f"{len(withheld)} passages are withheld: index the corpus that is written, not the documents")
    held = {id_: passages[id_] for id_ in passages if id_ in withheld}
    return Drafted(QuestionSet(name, tuple(questions), left), kept.tried, dict(kept.dropped), held, tuple(notes))


def _withheld(
    passages: Mapping[str, Passage], drafts: Sequence[tuple[Passage, Draft]], wanted: int, chance: random.Random
) -> set[str]:
    """Ids of passages whose questions nothing else seems to answer."""
    lookup = Lookup(passages)
    withheld: set[str] = set()
    for passage, draft in chance.sample(drafts, len(drafts)):
        if len(withheld) == wanted:
            break
        query = f"{draft.question} {passage.text}"
        others = [other for other in lookup.similar(query) if other.id != passage.id]
        close = [other for other in others if other.id not in withheld][:_CLOSE]
        if close and not any(tells(other.text, draft.answer) for other in others[:_CLOSE]):
            withheld.add(passage.id)
    return withheld


def _answered(id_: str, passage: Passage, draft: Draft, model: str, lookup: Lookup) -> Question:
    return Question(
        id_,
        draft.question,
        answers=(draft.answer,),
        gold_ids=(passage.id,),
        answerable=True,
        doc_id=_document(passage),
        kind=ANSWERED,
        extra={"quote": draft.quote, "written_by": model, "reviewed": False},
    )


def _unanswerable(id_: str, passage: Passage, draft: Draft, model: str, lookup: Lookup) -> Question:
    near = islice(lookup.similar(f"{draft.question} {passage.text}"), 1)
    held = {"id": passage.id, "text": passage.text, "title": passage.title}
    extra = {"quote": draft.quote, "written_by": model, "reviewed": False}
    return Question(
        id_,
        draft.question,
        near_miss_ids=tuple(other.id for other in near),
        answerable=False,
        doc_id=_document(passage),
        kind=NEAR_MISS,
        extra={**extra, "withheld": held, "withheld_answer": draft.answer},
    )


def _listed(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({count})" for what, count in sorted(dropped.items(), key=lambda each: -each[1]))
