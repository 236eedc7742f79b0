"""What a response claims, one claim after the other, and where it says so."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pydantic

from arriero.evals.items import GroundingItem
from arriero.evals.judges.claims import Sentence, claims_of
from arriero.evals.judges.llama.prompts import claims_prompt
from arriero.evals.systems.refusal import RefusalRule
from arriero.prompts.grammar import Grammar, answer_grammar
from arriero.stack.engine import Sampling, takes_grammars
from arriero.stack.generation import request, stop_ids
from arriero.stack.summary import Model

_LIST = pydantic.TypeAdapter(list[str])
_WORD = re.compile(r"\w+")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
EMPTY = "the response is empty: nothing is claimed, so nothing is hallucinated"
"""Caveat of a judgement of a response without text."""

_LEAST_SHARED = 0.5
"""Share of a claim's words that a sentence must hold to be where the claim is made."""


@dataclass(frozen=True, slots=True)
class Found:
    """A claim, and the part of the response that makes it; None where that is not known."""

    text: str
    place: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a response.

    Args:
        found: The claims, in order.
        caveats: What a reader must know: claims left out, sentences in place of claims.
    """

    found: tuple[Found, ...]
    caveats: tuple[str, ...] = ()


def by_sentence(response: str, most: int) -> Claims:
    """The sentences of a response, but those that say that something is not known.

    Args:
        response: The response.
        most: Most claims.

    Returns:
        The claims, with their places.
    """
    rule = RefusalRule()
    every = [Found(one.text, (one.start, one.end)) for one in claims_of(response) if not rule.refuses(one.text)]
    left_out = len(every) - most
    said = (f"{left_out} of {len(every)} claims were not judged: the limit is {most}",) if left_out > 0 else ()
    return Claims(tuple(every[:most]), said)


async def by_model(model: Model, item: GroundingItem, most: int) -> Claims:
    """The facts that a response states, in the judging model's words; its sentences where the model gives no list.

    Args:
        model: The judging model.
        item: The item.
        most: Most claims.

    Returns:
        The claims, with their places as far as the response has their words.

    Raises:
        ArrieroError: The engine did not answer, or a text cannot be rendered.
    """
    tokenizer, ends = model.engine.tokenizer, stop_ids(model.dialect, model.engine.tokenizer)
    prompt = claims_prompt(model, item, most)
    room = 64 + 3 * len(tokenizer.encode(item.response))
    if len(prompt) + room > model.engine.context_length:
        return _instead(item, most, "the response is too long for the judge's context to list its claims")
    grammar = _grammar(most) if takes_grammars(model.engine) else None
    ids: list[int] = []
    cut = False
    async with request(model.engine, prompt, Sampling(room, stop_ids=ends, grammar=grammar)) as deltas:
        async for delta in deltas:
            ids += delta.token_ids
            cut = cut or delta.finish_reason == "length"
    if cut:
        return _instead(item, most, "the judging model's list of claims did not end")
    try:
        texts = _listed(tokenizer.decode([id_ for id_ in ids if id_ not in ends]))
    except pydantic.ValidationError:
        return _instead(item, most, "the judging model gave no list of claims")
    sentences = claims_of(item.response)
    found = tuple(Found(text, _place(text, item.response, sentences)) for text in texts[:most])
    full = (f"claims beyond {most} may be missing: that is the limit",) if len(texts) >= most else ()
    return Claims(found, full)


def _instead(item: GroundingItem, most: int, reason: str) -> Claims:
    claims = by_sentence(item.response, most)
    return Claims(claims.found, (f"sentences are judged in place of claims: {reason}", *claims.caveats))


@lru_cache(maxsize=8)
def _grammar(most: int) -> Grammar:
    return answer_grammar({"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": most})


def _listed(text: str) -> list[str]:
    fenced = _FENCE.fullmatch(text.strip())
    texts = [one.strip() for one in _LIST.validate_json(fenced[1] if fenced else text)]
    return list(dict.fromkeys(one for one in texts if _WORD.search(one)))


def _place(claim: str, response: str, sentences: Sequence[Sentence]) -> tuple[int, int] | None:
    """Where a response makes a claim: its very words, or the sentence that holds most of them."""
    if (at := response.find(claim)) >= 0:
        return at, at + len(claim)
    words = set(_words(claim))
    if not words or not sentences:
        return None
    shares = [len(words.intersection(_words(one.text))) / len(words) for one in sentences]
    best = max(range(len(sentences)), key=shares.__getitem__)
    return (sentences[best].start, sentences[best].end) if shares[best] >= _LEAST_SHARED else None


def _words(text: str) -> Iterator[str]:
    return (found.group().lower() for found in _WORD.finditer(text))
