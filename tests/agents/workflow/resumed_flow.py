"""A workflow with every kind of step, whose effects are counted in a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from arriero.agents.workflow import NodeContext, Workflow, either


def _nothing(step: str) -> None:
    return None


@dataclass
class Effects:
    """Where steps leave a line for each time they run."""

    file: Path
    die: Callable[[str], None] = field(default=_nothing)

    def have(self, context: NodeContext["Effects"]) -> None:
        """Leave a line, on disk before the step goes on."""
        name = f"{context.node}[{context.key}]" if context.key else context.node
        with self.file.open("a") as out:
            out.write(name + "\n")
        self.die(name)

    def seen(self) -> list[str]:
        """The lines so far."""
        return self.file.read_text().splitlines() if self.file.exists() else []


def counted(*, idempotent: bool = True, rounds: int = 2) -> Workflow[int, list[int]]:
    """Branches, a map, a loop and a join. What it gives for 3 is [1, 2, 3, 2]."""
    flow = Workflow("counted", takes=int, gives=list[int])

    @flow.step(flow.input, idempotent=idempotent)
    async def size(context: NodeContext[Effects], number: int) -> Literal["small", "large"]:
        context.deps.have(context)
        return "small" if number < 10 else "large"

    @flow.step(flow.input, when=size.gave("small"), idempotent=idempotent)
    async def items(context: NodeContext[Effects], number: int) -> list[int]:
        context.deps.have(context)
        return list(range(1, number + 1))

    @flow.step(flow.input, when=size.gave("large"), idempotent=idempotent)
    async def none(context: NodeContext[Effects], number: int) -> list[int]:
        context.deps.have(context)
        return []

    @flow.map(either(items, none), at_once=2, idempotent=idempotent)
    async def each(context: NodeContext[Effects], number: int) -> int:
        context.deps.have(context)
        return number

    @flow.step(flow.input, "count", idempotent=idempotent)
    async def count(context: NodeContext[Effects], number: int, so_far: int = 0) -> int:
        context.deps.have(context)
        return so_far + 1

    @flow.step(count, idempotent=idempotent)
    async def enough(context: NodeContext[Effects], number: int) -> bool:
        context.deps.have(context)
        return number >= rounds

    flow.loop(count, enough, again=enough.gave(False), most=5)

    @flow.step(each, count, idempotent=idempotent)
    async def together(context: NodeContext[Effects], numbers: list[int], number: int) -> list[int]:
        context.deps.have(context)
        return [*numbers, number]

    flow.returns(together)
    return flow
