"""Python files that `arriero run` runs."""

import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.agents.agent import Agent
from arriero.prompts.errors import ArrieroError
from arriero.stack.stack import Opening, Stack


class UnusableProgram(ArrieroError):
    """A file does not define what `arriero run` runs."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a file defines.

    Args:
        agent: Makes the agent; None for a file that does everything itself.
        questions: What the agent is asked.
        main: The file's own main function, where there is no agent. It takes the stack or nothing.
    """

    agent: Callable[[Stack], Agent[Any, Any]] | None
    questions: tuple[str, ...] = ()
    main: Callable[..., Awaitable[object]] | None = None


def load(file: Path, question: str | None = None) -> Program:
    """Read a file: `agent(stack)` with `QUESTIONS`, or else an async `main()` or `main(stack)`.

    Args:
        file: The Python file. It is executed, and may import its neighbours.
        question: What to ask in place of the file's questions.

    Returns:
        What it defines.

    Raises:
        UnusableProgram: It does not define what can be run.
    """
    found = vars(execute(file))
    agent, main = found.get("agent"), found.get("main")
    if callable(agent):
        questions = (question,) if question is not None else found.get("QUESTIONS", ())
        questions = (questions,) if isinstance(questions, str) else tuple(questions)
        if not questions:
            raise UnusableProgram(f"{file} has no QUESTIONS: give a question on the command line")
        return Program(agent, questions)
    if not inspect.iscoroutinefunction(main):
        raise UnusableProgram(f"{file} defines neither agent(stack) nor an async main(): define one of them")
    if question is not None:
        raise UnusableProgram(f"{file} defines no agent(stack) that could be asked: leave the question out")
    return Program(None, main=main)


async def run_main(main: Callable[..., Awaitable[object]], opening: Opening) -> None:
    """Run a file's own main function.

    Args:
        main: The function, which takes the stack or nothing.
        opening: The stack to open for it.

    Raises:
        ArrieroError: The stack cannot be opened, or as from the function.
    """
    if not inspect.signature(main).parameters:
        await main()
        return
    async with opening as stack:
        await main(stack)


def execute(file: Path) -> object:
    """Run a Python file as a module, which may import its neighbours.

    Args:
        file: The file.

    Returns:
        The module.

    Raises:
        UnusableProgram: Its name does not end in .py.
    """
    # dataclasses and typing look the module up by its name; no import statement can mean a name like this one
    name = f"<{file.resolve()}>"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UnusableProgram(f"{file} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
