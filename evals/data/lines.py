"""Lines of data files: JSON lines and CSV, plain or compressed, with their numbers."""

import csv
import gzip
import io
import json
import lzma
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Never, cast

from arriero.evals.errors import InvalidData

SHOWN = 20
"""Bad lines that a message names; the others are counted."""

_LONGEST = 16 << 20
_SHORT = 60
_WRITTEN = (".jsonl", ".ndjson")
_LINES = (*_WRITTEN, ".json", "")
_TABLES = (".csv", ".tsv")
_PACKED = (".gz", ".xz")
_DELIMITERS = ",;\t"  # spreadsheets write semicolons where commas stand in numbers
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


class Problems:
    """Collects what is wrong with a file, so that one reading tells all of it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, field: str, what: str) -> None:
        """Note one.

        Args:
            line: Number of the line, from 1.
            field: The field; empty where it is the whole line.
            what: What is wrong with it and what to write.
        """
        self._found.append((line, f"{field}: {what}" if field else what))

    def check(self) -> None:
        """Raise what was found.

        Raises:
            InvalidData: There are problems: their lines and fields, the first 20 of them.
        """
        if not self._found:
            return
        lines = len({line for line, _ in self._found})
        shown = [f"{self._path}:{line}: {what}" for line, what in sorted(self._found)[:SHOWN]]
        if len(self._found) > SHOWN:
            shown.append(f"and {len(self._found) - SHOWN} more")
        count = "1 line is wrong" if lines == 1 else f"{lines} lines are wrong"
        raise InvalidData(f"{self._path}: {count}, so nothing was read:\n" + ";\n".join(shown))


def read_rows(path: Path, problems: Problems) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Objects of a `.jsonl` file, or rows of a `.csv` file with a header; either may end in `.gz` or `.xz`.

    A file `.json` or without an ending is read as JSON lines, and `.tsv` as CSV. What divides the cells of a table is
    told by its first line: commas, semicolons or tabs.

    Args:
        path: The file, in UTF-8.
        problems: Takes the lines that are no JSON object.

    Yields:
        Number of the line where the object starts, and the object. All values of a CSV are text.

    Raises:
        InvalidData: The file is missing, of another kind, damaged, empty, or no table.
    """
    table = is_csv(path)
    empty = True
    for row in _rows(path, problems) if table else _objects(path, problems):
        empty = False
        yield row
    if empty:
        problems.check()
        raise InvalidData(f"{path}: holds no lines; write one {'row' if table else 'JSON object'} a line")


def is_csv(path: Path) -> bool:
    """Whether a file is read as CSV, by its name.

    Args:
        path: The file.

    Returns:
        Whether it is.

    Raises:
        InvalidData: It is neither CSV nor JSON lines.
    """
    return _kind(path) in _TABLES


def _kind(path: Path) -> str:
    kind = Path(path.stem).suffix.lower() if path.suffix.lower() in _PACKED else path.suffix.lower()
    if kind not in _LINES + _TABLES:
        raise InvalidData(f"{path}: its name must end in .jsonl or .csv, or in .gz or .xz after that")
    return kind


def stem(path: Path) -> str:
    """A file's name without what says its form.

    Args:
        path: The file.

    Returns:
        `NAME` for `NAME.jsonl`, `NAME.csv.gz` and the like.

    Example:
        >>> stem(Path("pass.v2.jsonl.xz"))
        'pass.v2'
    """
    return Path(path.stem).stem if path.suffix.lower() in _PACKED else path.stem


def _objects(path: Path, problems: Problems) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, raw in _raw(path):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            problems.add(number, "", f"is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8")
            continue
        if not line.strip():
            continue
        try:
            value = parsed(line)
        except ValueError as error:
            problems.add(number, "", f"{error}; write one JSON object a line")
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                problems.add(number, "", f"is {type_name(value)}; write one JSON object a line")


def parsed(text: str, *, strict: bool = True) -> object:
    """A JSON value that can be written again: its numbers are finite and its texts have no half characters.

    Args:
        text: The JSON.
        strict: Whether line breaks inside of its texts are refused.

    Returns:
        The value.

    Raises:
        ValueError: It is none; the message says why.
    """
    try:
        value: object = json.loads(text, strict=strict, parse_constant=_no_number, parse_float=_finite)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair, which is no character") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON that can be read: {error}") from error
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no JSON number")


def _rows(path: Path, problems: Problems) -> Iterator[tuple[int, Mapping[str, object]]]:
    # the default of 128 KiB is less than many documents; it is not put back, since another thread may be reading
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    lines = _text(path)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=max(_DELIMITERS, key=first.count), strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InvalidData(f"{path}:{start}: is no CSV: {error}") from error
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = [name.strip() for name in row]
            twice = sorted({name for name in header if name and header.count(name) > 1})
            if twice:
                raise InvalidData(f"{path}:{start}: two columns are named {', '.join(twice)}; rename one")
        elif len(row) != len(header):
            problems.add(start, "", f"has {len(row)} cells where the header has {len(header)}")
        elif any(cell.strip() for name, cell in zip(header, row, strict=True) if not name):
            problems.add(start, "", "has a cell in a column without a name")
        else:
            yield start, {name: cell for name, cell in zip(header, row, strict=True) if name}


def _text(path: Path) -> Iterator[str]:
    for number, raw in _raw(path):
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            raise InvalidData(f"{path}:{number}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _raw(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with open_data(path) as stream:
            while raw := stream.readline(_LONGEST):
                number += 1
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise InvalidData(f"{path}: is UTF-16; save it as UTF-8")
                if len(raw) >= _LONGEST:
                    raise InvalidData(f"{path}:{number}: is longer than {_LONGEST:,} bytes; write one object a line")
                yield number, raw
    except _DAMAGE as error:
        raise InvalidData(f"{path}: is damaged after line {number}: {error}; write it again") from error
    except OSError as error:
        raise InvalidData(f"{path}: cannot be read: {error.strerror or error}") from error


def open_data(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing `.gz` and `.xz`.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        OSError: It cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix == ".xz":
        return lzma.open(path)
    return cast("IO[bytes]", gzip.open(path)) if suffix == ".gz" else path.open("rb")


def write_rows(path: Path, rows: Iterator[Mapping[str, object]]) -> None:
    """Write objects as JSON lines, compressed where the name ends in `.gz` or `.xz`; the file appears when it is whole.

    Args:
        path: The file.
        rows: The objects.

    Raises:
        InvalidData: It cannot be written.
    """
    if _kind(path) not in _WRITTEN:
        raise InvalidData(f"{path}: only JSON lines are written; let its name end in .jsonl")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    write_whole(path, text)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears when it is whole, compressed by its name.

    Args:
        path: The file.
        data: Its bytes before compression.

    Raises:
        InvalidData: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    buffer = io.BytesIO()
    if path.suffix.lower() == ".gz":
        with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed:  # the same bytes every time
            packed.write(data)
    else:
        buffer.write(lzma.compress(data) if path.suffix.lower() == ".xz" else data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(buffer.getvalue())
        part.replace(path)
    except OSError as error:
        raise InvalidData(f"{path}: cannot be written: {error.strerror or error}") from error


def quoted(text: str) -> str:
    """A text as a message shows it: with quotes, without control characters, not at length.

    Args:
        text: The text.

    Returns:
        What is shown.
    """
    return repr(text if len(text) <= _SHORT else f"{text[:_SHORT]}...")


def type_name(value: object) -> str:
    """What a JSON value is, in words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
