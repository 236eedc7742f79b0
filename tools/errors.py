"""What goes wrong with tools."""

from arriero.prompts.errors import ArrieroError


class ToolDefinitionError(ArrieroError):
    """A function cannot become a tool, or a set of tools cannot be offered together."""


class ToolError(ArrieroError):
    """A tool could not do its work. The text is written for the model, which reads it as the result.

    Raise it inside a tool to tell the model what went wrong in words of your own.

    Example:
        >>> raise ToolError("no exchange rate is known for 1850")
        Traceback (most recent call last):
            ...
        arriero.tools.errors.ToolError: no exchange rate is known for 1850
    """


class ToolArgumentError(ToolError):
    """The arguments of a call do not fit the tool's parameters."""


class ToolTimeout(ToolError):
    """A tool ran longer than it may."""
