"""Splits by document."""

import math
import random
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from arriero.evals.errors import EvalError


class OfDocument(Protocol):
    """An item or a question: something that was made from a document."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def doc_id(self) -> str:
        """Its document; empty where it stands for itself."""
        ...


Part = TypeVar("Part", bound=OfDocument)


def split(items: Iterable[Part], shares: Mapping[str, float], seed: int = 0) -> dict[str, tuple[Part, ...]]:
    """Divide items or questions so that all of one document are on the same side.

    What one document's items have in common, a judge would learn on one side and be praised for on the other.

    Args:
        items: Items or questions.
        shares: Share of the documents by name; they add up to 1.
        seed: Decides which documents go where; the order of the items does not.

    Returns:
        The items of each share, in their order.

    Raises:
        EvalError: The shares do not add up to 1, one is not positive, or there are too few documents for one.

    Example:
        >>> from arriero.evals.items import GroundingItem
        >>> items = [GroundingItem(f"i{n}", ("...",), "...", doc_id=f"d{n // 2}") for n in range(8)]
        >>> {name: len(part) for name, part in split(items, {"train": 0.75, "test": 0.25}).items()}
        {'train': 6, 'test': 2}
    """
    if not shares or any(not share > 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        given = ", ".join(f"{name} {share:g}" for name, share in shares.items()) or "none"
        raise EvalError(f"the shares are {given}: give positive ones that add up to 1")
    items = tuple(items)
    documents = sorted({_document(item) for item in items})
    random.Random(seed).shuffle(documents)  # noqa: S311 - chance of an experiment, not of a secret
    side: dict[str, str] = {}
    start = 0
    for (name, share), end in zip(shares.items(), _ends(shares, len(documents)), strict=True):
        if end == start:
            count = f"{share:g} of {len(documents)} documents"
            raise EvalError(f"the share {name} would be empty: it is {count}; give more documents or a larger share")
        side.update(dict.fromkeys(documents[start:end], name))
        start = end
    return {name: tuple(item for item in items if side[_document(item)] == name) for name in shares}


def _ends(shares: Mapping[str, float], count: int) -> list[int]:
    total, ends = 0.0, []
    for share in shares.values():
        total += share
        ends.append(math.floor(total * count + 0.5))
    return ends


def _document(item: OfDocument) -> str:
    return item.doc_id or item.id
