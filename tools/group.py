"""Named sets of tools."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from arriero.tools.declared import Tool
from arriero.tools.errors import ToolDefinitionError


@dataclass(frozen=True, slots=True, init=False)
class ToolGroup:
    """Tools that are offered, or kept from an agent, together.

    Args:
        name: Name of the group.
        tools: Its tools.
        namespaced: Whether the tools' names begin with the group's, so that they do not clash with others.

    Raises:
        ToolDefinitionError: Something is not a tool, or a name gets too long.

    Example:
        >>> from arriero.tools import tool
        >>> @tool
        ... def read(path: str) -> str:
        ...     '''Read a file.'''
        ...     return ""
        >>> [(tool.name, tool.group) for tool in ToolGroup("notes", [read], namespaced=True)]
        [('notes_read', 'notes')]
    """

    name: str
    tools: tuple[Tool, ...]

    def __init__(self, name: str, tools: Iterable[Tool], *, namespaced: bool = False) -> None:
        members = []
        for tool in tools:
            if not isinstance(tool, Tool):
                raise ToolDefinitionError(f"group {name!r}: {tool!r} is not a tool: put @tool on the function")
            members.append(replace(tool, group=name, name=f"{name}_{tool.name}" if namespaced else tool.name))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "tools", tuple(members))

    def __iter__(self) -> Iterator[Tool]:
        """The tools, each of which knows its group."""
        return iter(self.tools)
