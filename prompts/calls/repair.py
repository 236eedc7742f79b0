"""What a call that is not written as documented is taken for, and when.

A reader calls `Repairs.fix` wherever it goes beyond the documented form. With repair switched off that ends the
reading: the text is no call. So there is one reader for each syntax, and the strict one is the same without its fixes.
"""

from collections.abc import Collection
from dataclasses import dataclass

from arriero.prompts.messages import ToolCall


class NotACall(Exception):
    """The text is no call. Stays inside this package: parsing never raises."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was read in spite of how it was written.

    Args:
        what: What was done, in words.
        calls: Names of the calls that it made readable, or that were left out.
    """

    what: str
    calls: tuple[str, ...] = ()


class Repairs:
    """What may be repaired in one piece of text, and what was.

    Args:
        allowed: Whether anything may be.
        offered: Names of the offered tools; None when they are not known.
        declared: Names of those whose parameters are known.

    Example:
        >>> repairs = Repairs(True, ["now"])
        >>> repairs.fix("added the missing }")
        >>> repairs.made_for((ToolCall("now", {}),))
        (Repair(what='added the missing }', calls=('now',)),)
    """

    def __init__(self, allowed: bool, offered: Collection[str] | None, declared: Collection[str] = ()) -> None:
        self.allowed = allowed
        self._offered = offered
        self._declared = declared
        self._made: dict[str, None] = {}

    def fix(self, what: str) -> None:
        """Note a repair.

        Args:
            what: What was done, in words.

        Raises:
            NotACall: Nothing may be repaired.
        """
        if not self.allowed:
            raise NotACall(what)
        self._made[what] = None

    def knows(self, name: str) -> bool:
        """Whether the tool is offered, as far as that is known."""
        return self._offered is None or name in self._offered

    def offers(self, name: str) -> bool:
        """Whether the tool is known to be offered."""
        return self._offered is not None and name in self._offered

    def declares(self, name: str) -> bool:
        """Whether the tool's parameters are known."""
        return name in self._declared

    @property
    def count(self) -> int:
        """How many repairs were noted."""
        return len(self._made)

    def take_back(self, count: int) -> None:
        """Forget all but the first repairs: what they were made for is no call after all."""
        while len(self._made) > count:
            self._made.popitem()

    def made_for(self, calls: tuple[ToolCall, ...]) -> tuple[Repair, ...]:
        """The repairs, once these calls came of them.

        Raises:
            NotACall: There are repairs, and a call to a tool that is not offered (FORMATS.md section 10, rule 10).
        """
        if self._made and not all(self.knows(call.name) for call in calls):
            raise NotACall("repaired calls must be to offered tools")
        names = tuple(call.name for call in calls)
        return tuple(Repair(what, names) for what in self._made)
