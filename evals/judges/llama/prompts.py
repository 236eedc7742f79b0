"""What the judging model reads. Passages and claims are JSON strings in a message, and cannot get out of them."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.stack.summary import Model

_FOLDER = Path(__file__).parent.parent / "templates"
_NAMES = ("system", "verdict", "claims")

OPTIONS = RenderOptions(date_string="26 Jul 2024", repair=True)
"""One day for all: a prompt that names today's date would make today's judge another one than yesterday's."""


class PassageTooLong(EvalError):
    """Not even one whole passage of an item, or a claim by itself, has room in the judging model's context."""


@cache
def digest() -> str:
    """SHA-256 of all prompts."""
    return hashlib.sha256(b"\0".join((_FOLDER / f"{name}.txt.jinja").read_bytes() for name in _NAMES)).hexdigest()


def verdict_prompt(model: Model, item: GroundingItem, passages: Sequence[str], claim: str) -> list[int]:
    """Ids of the prompt that asks about one claim. All before the claim is the same for all claims of an item.

    Args:
        model: The judging model.
        item: The item.
        passages: Those of its passages that are shown.
        claim: The claim.

    Returns:
        The ids.

    Raises:
        ArrieroError: A text cannot be rendered.
    """
    return _ids(model, _text("verdict", passages=passages, question=item.question, claim=claim))


def claims_prompt(model: Model, item: GroundingItem, most: int) -> list[int]:
    """Ids of the prompt that asks for the claims of a response. It shows no passages, which would colour them.

    Args:
        model: The judging model.
        item: The item.
        most: Most claims.

    Returns:
        The ids.

    Raises:
        ArrieroError: A text cannot be rendered.
    """
    return _ids(model, _text("claims", question=item.question, response=item.response, most=most))


def fitted(model: Model, item: GroundingItem, claims: Sequence[str], room: int) -> tuple[list[list[int]], int]:
    """Prompts for all claims of an item, all with the same passages: as many of the first ones as fit, whole.

    Args:
        model: The judging model.
        item: The item.
        claims: Its claims.
        room: Tokens that an answer takes.

    Returns:
        The prompts, one for each claim, and how many passages they show.

    Raises:
        PassageTooLong: Not even the first passage fits.
        ArrieroError: A text cannot be rendered.
    """
    most = model.engine.context_length - room
    longest = max(claims, key=lambda claim: len(model.engine.tokenizer.encode(_json(claim))))
    least = min(1, len(item.context))

    def length(shown: int) -> int:
        return len(verdict_prompt(model, item, item.context[:shown], longest))

    shown = len(item.context)
    if length(shown) > most:
        fits, shown = least - 1, shown - 1
        while fits < shown:  # the most passages that fit lie in fits..shown
            middle = (fits + shown + 1) // 2
            fits, shown = (middle, shown) if length(middle) <= most else (fits, middle - 1)
    while shown >= least:
        prompts = [verdict_prompt(model, item, item.context[:shown], claim) for claim in claims]
        if max(map(len, prompts)) <= most:
            return prompts, shown
        shown -= 1  # pieces are encoded together, so another claim may take a token more than the longest
    if length(0) > most:
        raise PassageTooLong(
            f"a claim takes {length(0)} tokens with the question and without any passage, and the judge's context has"
            f" room for {most}: use a judge with a longer context"
        )
    raise PassageTooLong(
        f"the prompt with one of {len(item.context)} passages takes {length(least)} tokens, and the judge's context has"
        f" room for {most}: split passages, or use a judge with a longer context"
    )


def _ids(model: Model, text: str) -> list[int]:
    asked = [Message("system", _text("system")), Message("user", text)]
    return model.dialect.render(asked, (), OPTIONS).encode(model.engine.tokenizer)


def _text(name: str, **values: object) -> str:
    return str(_environment().get_template(f"{name}.txt.jinja").render(values)).strip()


@cache
def _environment() -> Any:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(_FOLDER), trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["json"] = _json
    return environment


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
