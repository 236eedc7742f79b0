"""Python files that `arriero run` runs."""

import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arriero.agents.agent import Agent
from arriero.agents.show import Presenter, show_turn
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


async def run_program(program: Program, opening: Opening, presenter: Presenter) -> bool:
    """Run a program.

    Args:
        program: The program.
        opening: The stack to open for it.
        presenter: Shows its turns.

    Returns:
        Whether every turn ended with an answer or a refusal.

    Raises:
        UnusableProgram: `agent(stack)` does not return an agent.
        ArrieroError: As from `Agent.run`.
    """
    if program.main is not None and not inspect.signature(program.main).parameters:
        await program.main()
        return True
    async with opening as stack:
        if program.agent is None:
            if program.main is not None:
                await program.main(stack)
            return True
        agent: Any = program.agent(stack)
        if not isinstance(agent, Agent):
            raise UnusableProgram(f"agent(stack) must return an Agent, not {type(agent).__name__}")
        well = True
        try:
            for question in program.questions:
                presenter.begin("", question)
                turn = await show_turn(agent, question, presenter)
                well = well and turn.reason in ("answer", "refused")
        finally:
            await agent.aclose()
    return well


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
