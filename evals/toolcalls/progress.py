"""How far a model has come with an item: what it reads next, and whether its calls were right so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from arriero.evals.toolcalls.items import Accepted, ToolItem
from arriero.evals.toolcalls.matching import Pairing, pair_calls
from arriero.prompts.messages import JSON, Message, ToolCall


@dataclass(slots=True, eq=False)
class Progress:
    """An item in the making. The same rules hold while a model is asked and when its recorded calls are scored.

    Args:
        item: The item.

    Example:
        >>> from arriero.evals.toolcalls import SAMPLE
        >>> from arriero.evals.toolcalls.items import read_tool_items
        >>> item = next(item for item in read_tool_items(SAMPLE) if not item.wants_call)
        >>> progress = Progress(item)
        >>> progress.said(()), progress.right
        (None, True)
    """

    item: ToolItem
    step: int = 0
    """The step that it is at; steps before it are right."""
    right: bool = False
    """Whether it has come to the end, and all was right."""
    first: Pairing | None = None
    """How the calls of the first message compare with the accepted ones."""
    problems: tuple[str, ...] = ()
    """What was wrong in the message that ended it."""
    _left: list[tuple[Accepted, JSON]] | None = None
    _over: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more is asked."""
        return self._over

    def said(self, calls: Sequence[ToolCall]) -> tuple[Message, ...] | None:
        """Take in a message of the model.

        Args:
            calls: Its calls, in order; none for an answer in words.

        Returns:
            What the model reads next; None where the item is over.
        """
        if self._over:
            return None
        if self.step == len(self.item.steps):  # the answer after the last results
            return self._end() if not calls else self._wrong(_surplus(calls))
        step = self.item.steps[self.step]
        results = step.results or (None,) * len(step.accepted)
        left = self._left if self._left is not None else list(zip(step.accepted, results, strict=True))
        pairing = pair_calls(calls, [accepted for accepted, _ in left], self.item.tools)
        self.first = self.first or pairing
        if not step.accepted:
            return self._wrong(_surplus(calls)) if calls else self._next(())
        if step.results is None:
            return self._next(()) if pairing.exact else self._wrong(_problems(pairing, calls, left))
        paired = {pair[0]: at for at, pair in enumerate(pairing.pairs) if pair is not None and pair[1].exact}
        if not calls or len(paired) < len(calls):
            return self._wrong(_problems(pairing, calls, left))
        returned = tuple(Message("tool", left[paired[at]][1]) for at in range(len(calls)))
        self._left = [each for at, each in enumerate(left) if at not in paired.values()]
        return returned if self._left else self._next(returned)

    def _next(self, returned: tuple[Message, ...]) -> tuple[Message, ...] | None:
        self.step += 1
        self._left = None
        if self.step < len(self.item.steps):
            return (*returned, *self.item.steps[self.step].messages)
        return returned if returned else self._end()

    def _end(self) -> tuple[Message, ...] | None:
        self.right = self._over = True
        return None

    def _wrong(self, problems: tuple[str, ...]) -> tuple[Message, ...] | None:
        self._over = True
        self.problems = problems
        return None


def _surplus(calls: Sequence[ToolCall]) -> tuple[str, ...]:
    return tuple(f"{call.name}: no call was wanted" for call in calls)


def _problems(pairing: Pairing, calls: Sequence[ToolCall], left: Sequence[tuple[Accepted, JSON]]) -> tuple[str, ...]:
    found = [f"{calls[at].name}: too many" for at in pairing.surplus]
    for (accepted, _), pair in zip(left, pairing.pairs, strict=True):
        name = next(iter(accepted))
        if pair is None:
            found.append(f"{name}: not called")
        elif not pair[1].name:
            found.append(f"{name}: {calls[pair[0]].name} was called in its place")
        else:
            found += [f"{name}.{argument}: {problem}" for argument, problem in pair[1].wrong.items()]
    return tuple(found)
