"""A folder that no path given by a model can leave.

Everything is opened relative to a descriptor of the folder, never by a path from `/`. A path is first resolved as text,
so the kernel never sees `..`; links are not followed anywhere, so what is opened lies where the path says, whatever
another process does to the folder in the meantime.
"""

import ctypes
import errno
import json
import os
import stat
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.paths import existing_folder

Opener = Callable[[int, Sequence[str]], int]
"""Opens the folder at the end of some names, below an open folder and through no link; raises OSError."""

_MOST_BYTES = 4_000
_MOST_DEPTH = 64
_SHOWN_CHARS = 200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# openat2(2), linux/openat2.h. The number is the same on every architecture that Python's wheels are built for.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class OutsideRoot(ToolError):
    """A path leads out of the folder that a tool may use, or through a link."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_at_once(folder: int, names: Sequence[str]) -> int:
    """An `Opener` that leaves it to the kernel (Linux 5.6 and later).

    Raises:
        OSError: There is no such folder, a link is in the way, or the system has no openat2.
    """
    how = _OpenHow(_FOLDER, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    path = os.fsencode("/".join(names) or ".")
    libc = ctypes.CDLL(None, use_errno=True)
    opened = int(libc.syscall(_SYS_OPENAT2, folder, path, ctypes.byref(how), ctypes.sizeof(how)))
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return opened


def open_by_steps(folder: int, names: Sequence[str]) -> int:
    """An `Opener` for systems without openat2: one folder after the other, none of them through a link.

    Raises:
        OSError: There is no such folder, or a link is in the way.
    """
    here = os.open(".", _STEP, dir_fd=folder)
    try:
        for name in names:
            below = os.open(name, _STEP, dir_fd=here)
            os.close(here)
            here = below
        return os.open(".", _FOLDER, dir_fd=here)
    finally:
        os.close(here)


class RootFolder:
    """A folder, held open, and what lies in it.

    Args:
        path: The folder. A link here is followed, once: the path is the operator's.
        setting: Tool and setting, for the error's text.
        opener: How folders in it are opened; None for what the system can do.

    Raises:
        ToolDefinitionError: There is no such folder, or the system cannot open files relative to one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     RootFolder(folder).names("notes/../drafts/./a.md")
        ('drafts', 'a.md')
    """

    __slots__ = ("__weakref__", "_open", "fd", "path")

    def __init__(self, path: str | Path, *, setting: str = "root", opener: Opener | None = None) -> None:
        if os.open not in os.supports_dir_fd:
            raise ToolDefinitionError(f"{setting}: this system cannot open files relative to a folder (openat)")
        self.path = existing_folder(setting, path)
        try:
            self.fd = os.open(self.path, _FOLDER)
        except OSError as error:
            raise ToolDefinitionError(f"{setting}: {self.path} cannot be opened: {error.strerror}") from error
        weakref.finalize(self, os.close, self.fd)  # several tools share it, and each may be closed by itself
        self._open = opener or _best_opener(self.fd)

    def names(self, path: str) -> tuple[str, ...]:
        """The names that a path consists of, resolved as text.

        Args:
            path: A path relative to the folder, as a model wrote it.

        Returns:
            Names of folders and, last, of the thing itself; none for the folder itself.

        Raises:
            OutsideRoot: It leads out of the folder, or begins with `/`.
            ToolError: No file can have such a path.
        """
        try:
            size = len(os.fsencode(path))
        except UnicodeEncodeError as error:
            raise ToolError(f"path {shown(path)}: no file name can hold the character at {error.start}") from error
        if "\0" in path or size > _MOST_BYTES:
            problem = "holds a NUL" if "\0" in path else f"is longer than {_MOST_BYTES} bytes"
            raise ToolError(f"path {shown(path)} {problem}; give a shorter, plain one")
        if path.startswith("/"):
            raise OutsideRoot(f"path {shown(path)} begins with '/'; give one in the folder, such as notes/a.md")
        names: list[str] = []
        for name in path.split("/"):
            if name == ".." and not names:
                raise OutsideRoot(f"path {shown(path)} leads out of the folder; give one inside it")
            if name == "..":
                names.pop()
            elif name not in ("", "."):
                names.append(name)
        if len(names) > _MOST_DEPTH:
            raise ToolError(f"path {shown(path)} has more than {_MOST_DEPTH} folders; give a shorter one")
        return tuple(names)

    @contextmanager
    def folder(self, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder for as long as the context lasts.

        Args:
            names: Where it is, from `names`.
            make: Make it, and the folders on the way, where there is none.

        Yields:
            Its descriptor; it goes with names of one component only.

        Raises:
            OutsideRoot: A link is in the way.
            ToolError: There is no such folder, or it cannot be opened or made.
        """
        try:
            fd = self._made(names) if make else self._open(self.fd, names)
        except OSError as error:
            raise self._explained(names, error) from error
        try:
            yield fd
        finally:
            os.close(fd)

    def _made(self, names: Sequence[str]) -> int:
        here = self._open(self.fd, ())
        try:
            for name in names:
                try:
                    below = self._open(here, (name,))
                except FileNotFoundError:
                    _make_folder(name, here)
                    below = self._open(here, (name,))
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def _explained(self, names: Sequence[str], error: OSError) -> ToolError:
        """What the model reads, with the first name that was in the way."""
        for depth in range(len(names)):
            try:
                below = self._open(self.fd, names[: depth + 1])
            except OSError:
                return self._named(names[: depth + 1], error)
            os.close(below)
        return unusable("/".join(names) or ".", error)

    def _named(self, names: Sequence[str], error: OSError) -> ToolError:
        path = "/".join(names)
        try:
            parent = self._open(self.fd, names[:-1])
        except OSError:
            return unusable(path, error)
        try:
            mode = os.stat(names[-1], dir_fd=parent, follow_symlinks=False).st_mode
        except OSError as inner:
            return unusable(path, inner)
        finally:
            os.close(parent)
        return unusable(path, error) if stat.S_ISDIR(mode) else refused(path, mode, "folder")


def unusable(path: str, error: OSError) -> ToolError:
    """An error of the system, in words for the model."""
    match error.errno:
        case errno.ENOENT:
            return ToolError(f"there is no {shown(path)}; file_list shows what there is")
        case errno.ELOOP | errno.EXDEV:
            return OutsideRoot(f"{shown(path)} is a link, and no link is followed; give the path of the thing itself")
        case errno.ENOTDIR:
            return ToolError(f"{shown(path)}: not a folder")
        case _:
            return ToolError(f"{shown(path)}: {error.strerror}")


def refused(path: str, mode: int, wanted: str) -> ToolError:
    """Why a thing of another kind is left alone.

    Args:
        path: Where it is.
        mode: Its `st_mode`.
        wanted: What it should have been: a file or a folder.

    Returns:
        The error to raise.
    """
    if stat.S_ISLNK(mode):
        return unusable(path, OSError(errno.ELOOP, ""))
    return ToolError(f"{shown(path)} is a {kind(mode)}, not a {wanted}")


def kind(mode: int) -> str:
    """What an `st_mode` says a thing is, in one or two words."""
    return _KINDS.get(stat.S_IFMT(mode), "special file")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def shown(path: str) -> str:
    r"""A path as a model may read it: whoever chose a file's name writes no lines of ours.

    Args:
        path: Any text; bytes that are no UTF-8 stand as surrogates, as `os.fsdecode` gives them.

    Returns:
        The path, in JSON's quotes and escapes unless it is plain; a model can give it back so.

    Example:
        >>> shown("notes/a b.md"), shown("a\nb"), shown("\udcff")
        ('notes/a b.md', '"a\\nb"', '"\\udcff"')
    """
    if len(path) > _SHOWN_CHARS:
        return f"{json.dumps(path[:_SHOWN_CHARS])}..."
    plain = path and path.isprintable() and path == path.strip() and not {'"', "\\"} & set(path)
    return path if plain else json.dumps(path)


def _best_opener(folder: int) -> Opener:
    try:
        os.close(open_at_once(folder, ()))
    except (OSError, AttributeError):  # an older kernel, a container that forbids it, another system
        return open_by_steps
    return open_at_once


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:  # somebody was faster; what it is shows when it is opened
        return
