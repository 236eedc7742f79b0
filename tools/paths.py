"""Paths in the settings of tools."""

from pathlib import Path

from arriero.tools.errors import ToolDefinitionError


def read_path(setting: str, value: object) -> Path:
    """A setting as a path.

    Args:
        setting: Tool and setting, for the error's text.
        value: Text or a path.

    Returns:
        The path.

    Raises:
        ToolDefinitionError: It is neither text nor a path, or empty.
    """
    if not isinstance(value, str | Path) or value == "":
        raise ToolDefinitionError(f"{setting} is {value!r}; give a path")
    return Path(value)


def existing_folder(setting: str, value: object) -> Path:
    """A setting as the path of a folder.

    Raises:
        ToolDefinitionError: It is no path, or there is no such folder.
    """
    path = read_path(setting, value)
    if not path.is_dir():
        raise ToolDefinitionError(f"{setting}: there is no folder {path}; give one that exists")
    return path


def existing_file(setting: str, value: object) -> Path:
    """A setting as the path of a file.

    Raises:
        ToolDefinitionError: It is no path, or there is no such file.
    """
    path = read_path(setting, value)
    if not path.is_file():
        raise ToolDefinitionError(f"{setting}: there is no file {path}; give one that exists")
    return path
