"""What a docstring says about a function and its parameters."""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Summary and parameter descriptions of a docstring in Google, NumPy or reST form.

    Args:
        function: The documented function.

    Returns:
        The first paragraph on one line, and a line for each documented parameter.

    Example:
        >>> def double(number: float) -> float:
        ...     '''Double a number.
        ...
        ...     Args:
        ...         number: The number to
        ...             double.
        ...     '''
        >>> read_docstring(double)
        ('Double a number.', {'number': 'The number to double.'})
    """
    function = original(function)
    text = inspect.getdoc(function)
    method = type(function).__call__
    if inspect.isfunction(method):  # an object that can be called: its class tells less than the method
        text = inspect.getdoc(method) or text
    if not text:
        return "", {}
    import griffe

    quiet: Any = {"warnings": False}  # griffe's logger would complain about types that stand in the signature
    sections = griffe.parse_auto(
        griffe.Docstring(text),
        default=griffe.Parser.google,
        per_style_options={"google": quiet, "numpy": quiet, "sphinx": quiet},
    )
    summary = ""
    parameters: dict[str, str] = {}
    for section in sections:
        if isinstance(section, griffe.DocstringSectionText) and not summary:
            summary = _one_line(section.value.strip().split("\n\n")[0])
        elif isinstance(section, griffe.DocstringSectionParameters | griffe.DocstringSectionOtherParameters):
            parameters |= {entry.name: _one_line(entry.description) for entry in section.value}
    return summary, parameters


def original(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside of partials, whose name, types and docstring tell what they do."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _one_line(text: str) -> str:
    return " ".join(text.split())
