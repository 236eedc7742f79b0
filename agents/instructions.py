"""The system text of an agent: text, a template, or a function."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from arriero.agents.context import Context, Deps
from arriero.prompts.errors import ArrieroError

if TYPE_CHECKING:
    import jinja2

_KEPT_TEMPLATES = 256


class InvalidInstructions(ArrieroError, ValueError):
    """Instructions that give no text: a template with a mistake, or a function that returns something else."""


@dataclass(frozen=True, slots=True)
class Template:
    """Instructions as a Jinja template. Plain text is no template: its braces stay what they are.

    It is rendered in a sandbox, with `deps`, `session`, `agent` and `turn` of the `Context`. What is not there is an
    error. What it gives is content: it cannot become a special token of the model.

    Args:
        text: The template.

    Raises:
        InvalidInstructions: It is no Jinja template.

    Example:
        >>> Template("You help {{ deps.name }}{% if turn > 1 %} again{% endif %}.").render(
        ...     Context({"name": "Ana"}, turn=2)
        ... )
        'You help Ana again.'
    """

    text: str

    def __post_init__(self) -> None:
        _compiled(self.text)

    def render(self, context: Context[Any]) -> str:
        """The text for a turn.

        Args:
            context: The turn.

        Returns:
            The text.

        Raises:
            InvalidInstructions: Something that it names is not there, or must not be touched.
        """
        try:
            return _compiled(self.text).render(
                deps=context.deps, session=context.session, agent=context.agent, turn=context.turn
            )
        except Exception as error:  # a name that is not there, the sandbox's refusal, whatever its expressions raise
            raise InvalidInstructions(
                f"the instructions' template cannot be rendered: {error}; it has deps, session, agent and turn"
            ) from error


Instructions = str | Template | Callable[[Context[Deps]], str | Awaitable[str]]
"""Text, a template, or a function of the turn's context, async or not."""


def usable(instructions: Instructions[Deps]) -> Instructions[Deps]:
    """The instructions, if they can give a text.

    Args:
        instructions: The agent's.

    Returns:
        The same.

    Raises:
        InvalidInstructions: They are no text, no template and no function.
    """
    if isinstance(instructions, str | Template) or callable(instructions):
        return instructions
    raise InvalidInstructions(f"instructions are text, a Template or a function of the context, not {instructions!r}")


async def written(instructions: Instructions[Deps], context: Context[Deps]) -> str:
    """The system text for a turn.

    Args:
        instructions: The agent's.
        context: The turn.

    Returns:
        The text.

    Raises:
        InvalidInstructions: They give no text.
    """
    if isinstance(instructions, str):
        return instructions
    if isinstance(instructions, Template):
        return instructions.render(context)
    text = instructions(context)
    if isawaitable(text):
        text = await text
    if not isinstance(text, str):
        raise InvalidInstructions(
            f"the instructions' function {getattr(instructions, '__name__', instructions)!r} gave"
            f" {type(text).__name__}: return text"
        )
    return text


@lru_cache(_KEPT_TEMPLATES)
def _compiled(text: str) -> "jinja2.Template":
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not isinstance(text, str):
        raise InvalidInstructions(f"a template is text, not {type(text).__name__}")
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    try:
        return environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise InvalidInstructions(f"the instructions' template, line {error.lineno}: {error.message}") from error
