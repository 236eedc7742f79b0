"""What a worker answers to a call, checked field by field: all of it may be a lie."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from arriero.tools.artifacts import Attachment
from arriero.tools.sandbox.channel import Channel, ChannelBroken
from arriero.tools.sandbox.execution import Execution, FileEntry, Reason, Status
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.output import Kept, cut_to

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_MOST = 256 << 10
_STATUSES = ("completed", "failed", "interrupted")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer to a call."""

    status: Literal["completed", "failed", "interrupted"]
    value: str | None
    error: str | None
    cut: bool
    figures: tuple[Attachment, ...]
    files: tuple[FileEntry, ...]


async def read_reply(channel: Channel, limits: Limits) -> Reply:
    """Read the pictures and the answer itself.

    Args:
        channel: The worker's.
        limits: How much of them to take.

    Returns:
        The answer.

    Raises:
        ChannelClosed: The worker is gone.
        ChannelBroken: It said something else, or too much.
    """
    figures: list[bytes] = []
    pieces: list[bytes] = []
    room, frames = limits.figure_bytes, 0
    while True:
        head, body = await channel.receive()
        if "figure" not in head:
            return _check(head, figures, limits)
        if not head.keys() <= {"figure", "more"} or isinstance(head["figure"], list | dict):
            raise ChannelBroken("the worker sent more with a picture than belongs there")
        room, frames = room - len(body), frames + 1
        if room < 0 or len(figures) >= limits.figures or frames > limits.figures + limits.figure_bytes // 4096:
            raise ChannelBroken("the worker sent more pictures than it may")
        pieces.append(body)
        if head.get("more") is not True:
            figures.append(b"".join(pieces))
            pieces.clear()


def read_entries(given: Any, limits: Limits) -> tuple[FileEntry, ...]:
    """Check a listing.

    Args:
        given: Pairs of path and size.
        limits: How many to take.

    Returns:
        The files.

    Raises:
        ChannelBroken: It is something else.
    """
    if not isinstance(given, list) or len(given) > limits.files:
        raise ChannelBroken("the worker's file listing is none")
    entries = []
    for pair in given:
        match pair:
            case [str(path), int(size)] if not isinstance(size, bool) and 0 <= size < 1 << 63 and _is_below(path):
                entries.append(FileEntry(show_path(path), size))
            case _:
                raise ChannelBroken("the worker's file listing is none")
    return tuple(entries)


def _is_below(path: str) -> bool:
    """Whether a path leads into the folder that it is read in; who keeps files by their names may rely on it."""
    return all(part not in ("", ".", "..") for part in path.split("/"))


def show_path(path: str) -> str:
    r"""A path as it can be shown: what cannot be printed is escaped, and so is the backslash.

    Args:
        path: A path with any characters.

    Returns:
        It, printable.

    Example:
        >>> show_path("a\nb.png")
        'a\\x0ab.png'
    """
    if path.isprintable() and "\\" not in path:
        return path
    return "".join(_escaped(character) for character in path)


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


def read_path(shown: str) -> str:
    r"""The path that `show_path` showed.

    Args:
        shown: The shown path.

    Returns:
        The path.

    Example:
        >>> read_path(show_path("\x1b\\n")) == "\x1b\\n"
        True
    """

    def character(found: "re.Match[str]") -> str:
        digits = found[1] or found[2] or found[3]
        return "\\" if digits is None else chr(min(int(digits, 16), 0x10FFFF))

    return _ESCAPE.sub(character, shown)


def finish(
    reply: Reply | None,
    killed_for: Reason | None,
    late: bool,
    ending: str,
    outputs: tuple[Kept, Kept],
    limits: Limits,
    duration: float,
) -> Execution:
    """Put an execution together; all its text stays within the output limit.

    Args:
        reply: The worker's answer, if there was one.
        killed_for: Why the worker was killed, if it was.
        late: Whether the call was past its time.
        ending: What happened, in words, when the call was ended.
        outputs: Standard output and error.
        limits: The limits.
        duration: Seconds.

    Returns:
        The execution.
    """
    status: Status
    value: str | None = None
    error: str | None = ending
    reason = killed_for
    if reply is None or killed_for is not None:
        status = "killed"
    elif late:  # even if the code caught the interrupt and went on to its end
        status, error, reason = "killed", f"{reply.error or ''}{ending}", "time"
    else:
        status = "completed" if reply.status == "completed" else "failed"
        value, error = reply.value, reply.error
    room = limits.output - len((value or "").encode()) - len((error or "").encode())
    stderr, cut_stderr = outputs[1].text(room // 4 if outputs[0].total > room // 2 else room // 2)
    stdout, cut_stdout = outputs[0].text(room - len(stderr.encode()))
    return Execution(
        status=status,
        stdout=stdout,
        stderr=stderr,
        value=value,
        error=error,
        reason=reason,
        figures=reply.figures if reply else (),
        files=reply.files if reply else (),
        cut=cut_stdout or cut_stderr or bool(reply and reply.cut),
        duration=duration,
    )


def _check(head: dict[str, Any], figures: list[bytes], limits: Limits) -> Reply:
    status = head.get("status")
    if status not in _STATUSES:
        raise ChannelBroken("the worker's answer has no status")
    value, error = head.get("value"), head.get("error")
    if not isinstance(value, str | None) or not isinstance(error, str | None):
        raise ChannelBroken("the worker's answer has a value or an error that is no text")
    value, cut_value = _clean(value, limits)
    error, cut_error = _clean(error, limits)
    pictures = tuple(
        Attachment(f"figure-{number}.png", "image/png", data)
        for number, data in enumerate(figures, 1)
        if data.startswith(_PNG)
    )
    files = read_entries(head.get("files"), limits)
    return Reply(status, value, error, head.get("cut") is True or cut_value or cut_error, pictures, files)


def _clean(text: str | None, limits: Limits) -> tuple[str | None, bool]:
    if text is None:
        return None, False
    return cut_to(text.encode("utf-8", "replace"), min(_TEXT_MOST, limits.output // 4))
