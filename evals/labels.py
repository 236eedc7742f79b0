"""What people said of items."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Label:
    """One person's word on one item; a later one of the same person replaces it.

    Args:
        item_id: The item.
        annotator: Who said so.
        value: 1 for hallucinated, 0 for supported, None for "cannot say".
        note: Why.
        time: Seconds since 1970.
    """

    item_id: str
    annotator: str
    value: Literal[0, 1] | None
    note: str = ""
    time: float = 0.0
