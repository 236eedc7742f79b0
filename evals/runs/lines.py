"""Files of JSON lines that only grow, and survive the death of who writes them."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import pydantic
from pydantic_core import PydanticSerializationError

from arriero.evals.errors import EvalError

Value = TypeVar("Value")


class DamagedRun(EvalError):
    """A file of a run holds what no run has written."""


class RunBusy(EvalError):
    """Another process writes the file."""


class Lines(Generic[Value]):
    """A file with one value a line. One process at a time appends to it; anybody reads.

    Each line is written at once, so that a process that is killed leaves whole lines and at most one begun one, which
    readers pass over and the next writer takes away.

    Args:
        path: The file, which need not exist.
        kind: A dataclass, or a union of dataclasses that their fields tell apart.

    Example:
        >>> import tempfile
        >>> from arriero.evals.labels import Label
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = Lines(Path(folder) / "labels.jsonl", Label)
        ...     with lines.appending() as append:
        ...         append(Label("a", "ana", 1))
        ...     [label.value for label in lines.read()]
        [1]
    """

    def __init__(self, path: Path, kind: type[Value]) -> None:
        self.path = path
        self._type: pydantic.TypeAdapter[Value] = pydantic.TypeAdapter(kind)

    def read(self) -> list[Value]:
        """All values, in the order written; none where there is no file.

        Raises:
            DamagedRun: The file cannot be read, or a line holds no such value.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DamagedRun(f"{self.path} cannot be read: {error.strerror}") from error
        *lines, _begun = content.split(b"\n")
        return [self._value(line, number) for number, line in enumerate(lines, 1) if line.strip()]

    @contextmanager
    def appending(self) -> Iterator["Append[Value]"]:
        """Write to the file while the block runs.

        Yields:
            Appends a value. It is with the operating system when that returns, and on disk when the block is left.

        Raises:
            RunBusy: Another process is at it.
            DamagedRun: The file cannot be written.
        """
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise DamagedRun(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunBusy(f"another process writes {self.path}: wait for it, or end it") from error
            _mend(file)
            yield Append(file, self._type, self.path)
            try:
                os.fsync(file)
            except OSError as error:
                raise DamagedRun(f"{self.path} cannot be written: {error.strerror}; run again") from error
        finally:
            os.close(file)

    def _value(self, line: bytes, number: int) -> Value:
        try:
            return self._type.validate_json(line)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedRun(
                f"{self.path}:{number}: {f'{where}: ' if where else ''}{first['msg']}; correct or delete the line"
            ) from error


class Append(Generic[Value]):
    """Appends values to a file; see `Lines.appending`."""

    def __init__(self, file: int, kind: "pydantic.TypeAdapter[Value]", path: Path) -> None:
        self._file, self._type, self._path = file, kind, path

    def __call__(self, *values: Value) -> None:
        """Append values, all or none of them.

        Args:
            values: The values.

        Raises:
            DamagedRun: The disk is full, or the file cannot be written.
        """
        content = b"".join(self._line(value) for value in values)
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = os.write(self._file, content)
            if written < len(content):
                raise OSError(0, "no space left")
        except OSError as error:
            os.ftruncate(self._file, end)  # no half of a line stays in front of what comes next
            raise DamagedRun(f"{self._path} cannot be written: {error.strerror}; free space and run again") from error

    def _line(self, value: Value) -> bytes:
        try:
            return self._type.dump_json(value, exclude_defaults=True) + b"\n"
        except PydanticSerializationError:  # half of a surrogate pair, or what is no JSON: one answer stops no run
            plain = self._type.dump_python(value, exclude_defaults=True)
            return json.dumps(plain, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


def _mend(file: int) -> None:
    """Take a begun last line away."""
    size = end = os.lseek(file, 0, os.SEEK_END)
    block = 65536
    while end > 0:
        start = max(0, end - block)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
