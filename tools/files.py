"""Files in one folder: to read, to write and to list, and nothing outside it."""

import codecs
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from arriero.tools.declared import Tool, describe
from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.root_folder import OutsideRoot, RootFolder, kind, refused, shown, unusable

_LOOKED_AT = 50_000
"""Most entries of folders that one listing looks at."""

_DEEPEST = 32
_UNDECODABLE = 0.1
"""Share of characters that are no UTF-8 from which on a file is taken for binary."""

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BELOW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    file: int
    chars: int
    entries: int
    hard_links: bool


def file_tools(
    root: str | Path | RootFolder,
    *,
    write: bool = False,
    sensitive: bool = True,
    max_bytes: int = 16 << 20,
    max_chars: int = 8_000,
    max_entries: int = 500,
    hard_links: bool = False,
    timeout: float = 30.0,
) -> tuple[Tool, ...]:
    r"""Tools that read, list and, if wanted, write the files of one folder.

    No path leads out of the folder, whatever another process does to it meanwhile: links are not followed, those
    that stay inside included, and `..` is resolved as text. Pipes, sockets and devices are not opened. A file is
    written as a whole or not at all (a temporary file beside it takes its place), keeps its mode, and is no longer
    what its other names (hard links) name; a file without any write permission is left alone. The folder is opened
    here, once: replacing it later changes nothing.

    Args:
        root: The folder.
        write: Also give `file_write`.
        sensitive: Ask for approval of each write.
        max_bytes: Largest file to read or write.
        max_chars: Most characters of one answer of `file_read`, which says how to read on.
        max_entries: Most entries of one answer of `file_list`.
        hard_links: Also read a file that has more than one name, although another name of it may lie outside.
        timeout: Seconds for one call.

    Returns:
        `file_read`, `file_list` and, if wanted, `file_write`.

    Raises:
        ToolDefinitionError: There is no such folder, or a limit is not positive.

    Example:
        >>> import anyio, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mules.txt").write_text("Zuri\nBo\n")
        ...     read, listing = file_tools(folder)
        ...     anyio.run(listing.invoke, {}), anyio.run(read.invoke, {"path": "mules.txt", "start": 2})
        ('mules.txt (8 bytes)', '[lines 2 to 2 of 2]\nBo')
        >>> anyio.run(file_tools("/tmp")[0].invoke, {"path": "../etc/passwd"})
        Traceback (most recent call last):
        arriero.tools.root_folder.OutsideRoot: path ../etc/passwd leads out of the folder; give one inside it
    """
    for name, limit in (("max_bytes", max_bytes), ("max_chars", max_chars), ("max_entries", max_entries)):
        if limit < 1:
            raise ToolDefinitionError(f"file_tools: {name} is {limit}; use 1 or more")
    folder = root if isinstance(root, RootFolder) else RootFolder(root, setting="file_tools: root")
    limits = _Limits(file=max_bytes, chars=max_chars, entries=max_entries, hard_links=hard_links)
    reading = describe(_reader(folder, limits), timeout=timeout, idempotent=True, source="files")
    listing = describe(_lister(folder, limits), timeout=timeout, idempotent=True, source="files")
    if not write:
        return reading, listing
    writing = describe(_writer(folder, limits), timeout=timeout, idempotent=True, sensitive=sensitive)
    return reading, listing, writing


def _reader(folder: RootFolder, limits: _Limits) -> Callable[..., str]:
    from pydantic import PositiveInt

    def file_read(path: str, start: PositiveInt = 1, lines: PositiveInt | None = None) -> str:
        """Read a text file.

        Args:
            path: Path of the file, relative to the folder.
            start: First line to read; 1 is the beginning.
            lines: How many lines to read. As many as fit if left out.
        """
        names = _file_names(folder, path)
        with folder.folder(names[:-1]) as parent:
            data = _read(parent, names, limits)
        text, note = _decoded(data, "/".join(names))
        return note + _lines(text, start, lines, limits.chars)

    return file_read


def _lister(folder: RootFolder, limits: _Limits) -> Callable[..., str]:
    from pydantic import Field

    def file_list(path: str = ".", pattern: Annotated[str, Field(max_length=256)] = "", recursive: bool = False) -> str:
        """List a folder.

        Args:
            path: Path of the folder, relative to the folder of all files.
            pattern: Names to list, such as *.md, or paths, such as docs/**/*.md.
            recursive: List the folders in it as well.
        """
        names = folder.names(path)
        parts = [part for part in pattern.split("/") if part]
        deep = recursive or len(parts) > 1 or "**" in parts
        wanted = parts if len(parts) > 1 else ["**", *parts]
        found: list[str] = []
        left = [_LOOKED_AT]
        with folder.folder(names) as fd:
            for below, entry in _entries(fd, (), deep, left):
                if _fits(below, wanted):
                    if len(found) == limits.entries:
                        return "\n".join([*found, f"and more: only the first {limits.entries} are listed"])
                    found.append(_line("/".join((*names, *below)), entry))
        if not left[0]:
            found.append(f"and perhaps more: only {_LOOKED_AT} entries were looked at")
        return "\n".join(found) or "nothing"

    return file_list


def _writer(folder: RootFolder, limits: _Limits) -> Callable[..., str]:
    def file_write(path: str, content: str) -> str:
        """Write a text file; what it held before is replaced.

        Args:
            path: Path of the file, relative to the folder. Missing folders are made.
            content: All that the file shall hold.
        """
        names = _file_names(folder, path)
        data = content.encode()
        if len(data) > limits.file:
            raise ToolError(f"content is {len(data)} bytes; at most {limits.file} can be written")
        with folder.folder(names[:-1], make=True) as parent:
            existed = _replace(parent, names, data)
        return f"{'replaced' if existed else 'wrote'} {shown('/'.join(names))} ({len(data)} bytes)"

    return file_write


def _file_names(folder: RootFolder, path: str) -> tuple[str, ...]:
    names = folder.names(path)
    if not names or path.endswith(("/", "/.", "/..")):
        raise ToolError(f"path {shown(path)} is a folder; give the path of a file")
    return names


def _read(parent: int, names: tuple[str, ...], limits: _Limits) -> bytes:
    path = "/".join(names)
    try:
        mode = os.stat(names[-1], dir_fd=parent, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):  # opening a device may already have an effect
            raise refused(path, mode, "file")
        fd = os.open(names[-1], _READ, dir_fd=parent)
    except OSError as error:
        raise unusable(path, error) from error
    with open(fd, "rb") as file:
        status = os.fstat(fd)  # of what was opened in the end
        if not stat.S_ISREG(status.st_mode):
            raise refused(path, status.st_mode, "file")
        if status.st_nlink > 1 and not limits.hard_links:
            raise OutsideRoot(f"{shown(path)} has other names (hard links), which may lie outside; it is not read")
        data = file.read(limits.file + 1)
    if len(data) > limits.file:
        raise ToolError(f"{shown(path)} is larger than {limits.file} bytes; it cannot be read")
    return data


def _decoded(data: bytes, path: str) -> tuple[str, str]:
    """The text of a file, and a note about it where it is not quite one."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            return data.decode("utf-16"), ""
    text = data.decode("utf-8-sig", "replace")
    with suppress(UnicodeDecodeError):
        if "\0" not in text:
            return data.decode("utf-8-sig"), ""
    lost = text.count("\ufffd")
    if "\0" in text or lost > len(text) * _UNDECODABLE:
        raise ToolError(f"{shown(path)} is binary ({len(data)} bytes), and only text can be read")
    return text, f"[not UTF-8: {lost} places are shown as \ufffd]\n"


def _lines(text: str, start: int, count: int | None, limit: int) -> str:
    """Whole lines from `start`, as many as fit; what is left out is said before them."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if start > max(len(lines), 1):
        raise ToolError(f"start is {start}, and the file has {len(lines)} lines")
    wanted = lines[start - 1 :] if count is None else lines[start - 1 : start - 1 + count]
    kept: list[str] = []
    for line in wanted:
        limit -= len(line) + 1
        if limit < -1 and kept:
            break
        kept.append(line if limit >= -1 else f"{line[:limit]}[... {-limit} characters left out ...]")
    end = start - 1 + len(kept)
    if start == 1 and end == len(lines) and kept == lines:
        return text
    go_on = f"; read on with start={end + 1}" if end < len(lines) else ""
    return "\n".join([f"[lines {start} to {end} of {len(lines)}{go_on}]", *kept])


def _entries(
    fd: int, above: tuple[str, ...], deep: bool, left: list[int]
) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    """What lies in a folder, sorted by name, each folder before what lies in it; at most `left[0]` entries."""
    names = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if not left[0]:
                break
            left[0] -= 1
            names.append(entry.name)
    for name in sorted(names):
        with suppress(OSError):  # it is gone by now, or may not be looked at
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            yield (*above, name), status
            if deep and stat.S_ISDIR(status.st_mode) and len(above) < _DEEPEST:
                below = os.open(name, _BELOW, dir_fd=fd)
                try:
                    yield from _entries(below, (*above, name), deep, left)
                finally:
                    os.close(below)


def _fits(names: tuple[str, ...], pattern: list[str]) -> bool:
    """Whether a path matches a glob in which `**` stands for any number of folders; linear in both."""
    reached = {0}
    for name in names:
        reached |= {at + 1 for at in reached if at < len(pattern) and pattern[at] == "**"}
        reached = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if at < len(pattern) and (pattern[at] == "**" or fnmatchcase(name, pattern[at]))
        }
    return bool({len(pattern), *([len(pattern) - 1] if pattern[-1:] == ["**"] else [])} & reached)


def _line(path: str, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return f"{shown(path)}/"
    what = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else kind(status.st_mode)
    return f"{shown(path)} ({what})"


def _replace(parent: int, names: tuple[str, ...], data: bytes) -> bool:
    """Put a file in place of what has its name; whether there was one."""
    path, name = "/".join(names), names[-1]
    temporary = f".{secrets.token_hex(8)}.tmp"
    try:
        before = _status(name, parent)
        if before is not None and not stat.S_ISREG(before.st_mode):
            raise refused(path, before.st_mode, "file")
        if before is not None and not before.st_mode & 0o222:
            raise ToolError(f"{shown(path)} is read-only; it is not replaced")
        fd = os.open(temporary, _CREATE, 0o666 if before is None else before.st_mode & 0o600, dir_fd=parent)
        try:
            with open(fd, "wb") as file:
                if before is not None:
                    _take_over(fd, before)
                file.write(data)
                file.flush()
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise
    except OSError as error:
        raise unusable(path, error) from error
    return before is not None


def _status(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _take_over(fd: int, before: os.stat_result) -> None:
    """Owner and permissions of the file that is replaced; without the bits that lend rights."""
    with suppress(OSError):  # only root may give a file away
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, before.st_mode & 0o777)
