"""One constrained verdict: how likely the model says each of three words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from arriero.evals.errors import EvalError
from arriero.evals.judgement import Support
from arriero.prompts.grammar import Grammar
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Sampling, takes_grammars
from arriero.stack.generation import request, stop_ids
from arriero.stack.summary import Model

VERDICTS: tuple[Support, ...] = get_args(Support)

ROOM = 16
"""Most tokens of an answer: a verdict's, where no grammar ends the answer with the first."""

_NEGLIGIBLE = 0.001
"""Share of the verdicts' probability that a verdict outside of the reported alternatives may have unasked."""


class UnreadableAnswer(EvalError):
    """The judging model gave no verdict, which a grammar would have made impossible."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says of a claim.

    Args:
        shares: Probability of each verdict, of all three together.
        weight: Probability of all three together, of all that the model could have written first; None where the
            engine reports no probabilities.
        unseen: Verdicts that may be likelier than their share of 0 says: the engine reported no token of theirs.
    """

    shares: Mapping[Support, float]
    weight: float | None
    unseen: tuple[Support, ...] = ()

    @property
    def said(self) -> Support:
        """The likeliest verdict."""
        return max(self.shares, key=self.shares.__getitem__)

    @property
    def score(self) -> float:
        """Probability that the claim is not supported."""
        return 1.0 - self.shares["supported"]


async def ask(model: Model, prompt: Sequence[int], alternatives: int) -> Verdict:
    """Ask for a verdict.

    The three words differ in their first letter, so the first token tells them apart: a verdict's probability is that
    of the likeliest token that begins its word. Engines report alternatives as the model has them, before the grammar
    rules any out. A verdict with no token among them is asked for by itself, with a grammar that allows nothing else:
    its likeliest token is then reported whatever its rank, so the number of alternatives does not change a share. It
    is left out where it cannot matter.

    Args:
        model: The judging model.
        prompt: Ids of the prompt.
        alternatives: How many alternatives the engine reports.

    Returns:
        The verdict.

    Raises:
        EngineError: The engine refused, broke off, or cannot be reached.
        UnreadableAnswer: The engine takes no grammars, and the answer is none of the three words.
    """
    tokenizer = model.engine.tokenizer
    bound = takes_grammars(model.engine)
    text, reported = await _answer(model, prompt, VERDICTS if bound else (), alternatives)
    said = _read(text, whole=not bound)
    mass = {one: _mass(one, reported, tokenizer) for one in VERDICTS}
    if not sum(mass.values()):  # nothing is reported, or the word follows something else, such as a quotation mark
        return Verdict({one: float(one == said) for one in VERDICTS}, None)
    ceiling = math.exp(sorted(reported.values(), reverse=True)[:alternatives][-1])
    if bound and ceiling > _NEGLIGIBLE * sum(mass.values()):
        for one in [verdict for verdict in VERDICTS if not mass[verdict]]:
            _, alone = await _answer(model, prompt, (one,), 1)
            mass[one] = _mass(one, alone, tokenizer)
    total = sum(mass.values())
    unseen = tuple(one for one in VERDICTS if not mass[one] and ceiling > _NEGLIGIBLE * total)
    return Verdict({one: mass[one] / total for one in VERDICTS}, min(1.0, total), unseen)


async def _answer(
    model: Model, prompt: Sequence[int], allowed: Sequence[Support], alternatives: int
) -> tuple[str, Mapping[int, float]]:
    """What the model wrote, and the reported alternatives to its first token that is no space."""
    tokenizer = model.engine.tokenizer
    ends = stop_ids(model.dialect, tokenizer)
    grammar = Grammar("root ::= " + " | ".join(f'"{one}"' for one in allowed)) if allowed else None
    sampling = Sampling(1 if allowed else ROOM, stop_ids=ends, logprobs=alternatives, grammar=grammar)
    ids: list[int] = []
    reported: list[Mapping[int, float]] = []
    async with request(model.engine, prompt, sampling) as deltas:
        async for delta in deltas:
            ids += delta.token_ids
            reported += delta.logprobs
    written = [id_ for id_ in ids if id_ not in ends]
    first = next((at for at, id_ in enumerate(ids) if id_ not in ends and tokenizer.decode([id_]).strip()), len(ids))
    return tokenizer.decode(written).strip(), reported[first] if first < len(reported) else {}


def _read(text: str, *, whole: bool) -> Support:
    """The verdict that was written: a word's beginning where a grammar ends it with the first token, else the word."""
    word = text.strip("\"'`*.").lower()
    for one in VERDICTS:
        if one == word or (not whole and word and one.startswith(word)):
            return one
    raise UnreadableAnswer(
        f"the judging model answered {text[:40]!r} and not one of {', '.join(VERDICTS)}: use an engine that takes"
        " grammars, or a model that follows instructions"
    )


def _mass(verdict: Support, alternatives: Mapping[int, float], tokenizer: Tokenizer) -> float:
    special = set(tokenizer.special_ids.values())
    texts = {id_: tokenizer.decode([id_]).strip() for id_ in alternatives if id_ not in special}
    begin = (alternatives[id_] for id_, text in texts.items() if text and verdict.startswith(text))
    return math.exp(max(begin, default=-math.inf))
