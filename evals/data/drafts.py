"""Questions that a model wrote, and what is wrong with some of them."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from arriero.evals.data.wording import covered, occurs, tells, tokens
from arriero.evals.items import Passage
from arriero.tools.ranking import content_words

INSTRUCTIONS = """You write questions that people might ask about documents, to test a system that answers from them.
You are given one passage. Write one question that the passage answers, the shortest full answer, and the words of the
passage that say so.
The question must be understood by somebody who does not see the passage: name what it asks about. Do not mention the
passage or the document, and do not give the answer away."""

LONGEST = 256
"""Characters of each part: as many as a grammar counts, so that a model that finds no end is brought to one."""

_SPEAKS_OF_IT = re.compile(
    r"\b(?:this|the|that|given|above|following) (?:\w+ )?(?:passage|text|document|excerpt|paragraph|author)\b"
)
_FEWEST, _MOST = 3, 60
_SAME = 0.9
_GROUNDED = 0.5


@dataclass(frozen=True, slots=True)
class Draft:
    """What a model wrote about a passage.

    Args:
        question: The question.
        answer: Its answer.
        quote: Where the passage says so, in its words.
    """

    question: Annotated[str, Field(description="A question that the passage answers.", max_length=LONGEST)]
    answer: Annotated[str, Field(description="Its answer, as short as it can be.", max_length=LONGEST)]
    quote: Annotated[
        str, Field(description="The words of the passage that say so, copied exactly.", max_length=LONGEST)
    ]


def fault(draft: Draft, passage: Passage, before: list[Draft]) -> str | None:
    """What is wrong with a draft, as far as words tell.

    Args:
        draft: The draft.
        passage: What it was written about.
        before: Drafts that are kept.

    Returns:
        A few words that are the same for all drafts with that fault; None for a draft to keep.

    Example:
        >>> high = Passage("a", "The pass is 2140 metres high.")
        >>> good = Draft("How high is the pass?", "2140 metres", "2140 metres high")
        >>> fault(good, high, []), fault(good, high, [good])
        (None, 'the question was asked before')
        >>> fault(Draft("Is the pass 2140 metres high?", "2140 metres", "2140 metres high"), high, [])
        'the question gives the answer away'
    """
    asked = tokens(draft.question)
    quote = draft.quote if len(draft.quote) < LONGEST else draft.quote.rpartition(" ")[0]  # it was cut within a word
    checks = (
        (not _FEWEST <= len(asked) <= _MOST, "it is no question"),
        (not tokens(draft.answer), "there is no answer"),
        (_SPEAKS_OF_IT.search(draft.question.casefold()), "the question speaks of the passage"),
        (not occurs(quote, passage.text), "the quote is not in the passage"),
        (not tells(passage.text, draft.answer) and _unsaid(draft, passage), "the answer is not in the passage"),
        (occurs(draft.answer, draft.question), "the question gives the answer away"),
        (not covered(draft.question, f"{passage.title} {passage.text}"), "the question is about something else"),
        (any(_same(draft.question, other.question) for other in before), "the question was asked before"),
    )
    return next((what for wrong, what in checks if wrong), None)


def _unsaid(draft: Draft, passage: Passage) -> bool:
    """Whether an answer in other words than the passage's has too little of it; yes and no are in no passage."""
    return draft.answer.strip(" .").casefold() not in ("yes", "no") and covered(draft.answer, passage.text) < _GROUNDED


def _same(one: str, other: str) -> bool:
    if tokens(one) == tokens(other):
        return True
    # one word may be all the difference between two questions: the names of things are compared, not their number
    ours, theirs = set(content_words(one)), set(content_words(other))
    return bool(ours | theirs) and len(ours & theirs) / len(ours | theirs) >= _SAME
