"""Runs of a file's workflow, gone on with from a terminal."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any

from arriero.agents.asking import ask, user_name
from arriero.agents.background import Background
from arriero.agents.keyboard import Keyboard
from arriero.agents.program import UnusableProgram, execute
from arriero.agents.show import Presenter
from arriero.agents.turn import Waiting
from arriero.agents.workflow import Pending, Workflow
from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.stack import Opening, Stack


@dataclass(frozen=True, slots=True)
class FlowProgram:
    """What a file with a workflow defines.

    Args:
        flow: The workflow.
        deps: Makes what its steps find as `deps`, or something async to make or to open it; None where they need none.
    """

    flow: Workflow[Any, Any]
    deps: Callable[[Stack], Any] | None = None


def load_flow(file: Path) -> FlowProgram:
    """Read a file: a workflow as `flow`, and `deps(stack)` where its steps need something.

    Args:
        file: The Python file. It is executed, and may import its neighbours.

    Returns:
        What it defines.

    Raises:
        UnusableProgram: It does not define a workflow.
    """
    found = vars(execute(file))
    flow, deps = found.get("flow"), found.get("deps")
    if not isinstance(flow, Workflow):
        raise UnusableProgram(f"{file} defines no workflow: it must be called flow")
    if deps is not None and not callable(deps):
        raise UnusableProgram(f"deps of {file} must be a function that is given the stack")
    return FlowProgram(flow, deps)


def go_on_with_run(
    opening: Opening,
    program: FlowProgram,
    presenter: Presenter,
    *,
    run: str,
    decisions: Mapping[str, Decision],
    later: Callable[[str], str],
) -> bool:
    """Go on with a run of a workflow, and ask for the decisions that it waits for.

    Args:
        opening: The stack to open, with the run's log.
        program: The workflow, and what its steps need.
        presenter: Shows what happens.
        run: Name of the run.
        decisions: What was decided, by the ids of what waits.
        later: Says how to go on with the run when it is left waiting.

    Returns:
        Whether it has finished.

    Raises:
        ArrieroError: The stack cannot be opened, or as from `Workflow.resume`.
    """
    keyboard = Keyboard()

    def tell(text: str) -> None:
        presenter.note("asks", text, "waits")

    with Background() as loop:
        stack = loop.enter(opening)
        try:
            deps = loop.run(partial(_made, program, stack))
            if isinstance(deps, AbstractAsyncContextManager):
                deps = loop.enter(deps)
            while True:
                resume = partial(program.flow.resume, run, log=stack.log, deps=deps, watch=presenter.show)
                done = loop.run(partial(resume, decisions=decisions))
                if not done.waiting:
                    return True
                try:
                    decisions = ask([*map(_asked, done.waiting)], keyboard.reply, tell, by=user_name())
                except EOFError:
                    presenter.note("waits", later(run), "waits")
                    return False
        except KeyboardInterrupt:
            presenter.note("stopped", "by Ctrl-C")
            return False


async def _made(program: FlowProgram, stack: Stack) -> object:
    made = None if program.deps is None else program.deps(stack)
    return await made if isawaitable(made) else made


def _asked(pending: Pending) -> Waiting:
    """Something that a run waits for, as a call: an interrupted step stands for itself."""
    call = pending.call or ToolCall(pending.node, {})
    return Waiting(pending.id, call, pending.asked, f"{pending.id}: {pending.question}")
