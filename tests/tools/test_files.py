"""Each behaviour is checked with both ways to open folders: openat2, and one folder after the other."""

import contextlib
import ctypes
import errno
import gc
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, Tool, ToolDefinitionError, ToolError
from arriero.tools.files import file_tools
from arriero.tools.root_folder import Opener, OutsideRoot, RootFolder, open_at_once, open_by_steps, shown

SECRET = "outside and secret"
OPENERS = [open_at_once, open_by_steps]
both_ways = pytest.mark.parametrize("opener", OPENERS, ids=["openat2", "steps"])


class Place:
    """A folder for the tools, with a folder beside it that they must not touch."""

    def __init__(self, folder: Path, opener: Opener) -> None:
        self.root, self.outside = folder / "root", folder / "outside"
        (self.root / "docs" / "deep").mkdir(parents=True)
        self.outside.mkdir()
        (self.root / "a.txt").write_text("one\ntwo\nthree\n")
        (self.root / "docs" / "guide.md").write_text("Mules eat hay.")
        (self.root / "docs" / "deep" / "notes.md").write_text("Salt.")
        (self.outside / "secret.txt").write_text(SECRET)
        self.opener = opener
        self.tools = {tool.name: tool for tool in self.offered()}

    def offered(self, **settings: Any) -> tuple[Tool, ...]:
        return file_tools(RootFolder(self.root, opener=self.opener), write=True, **settings)

    def __call__(self, tool: str, **arguments: Any) -> str:
        return str(anyio.run(self.tools[tool].invoke, arguments))

    def refuses(self, tool: str, error: type[ToolError] = ToolError, **arguments: Any) -> str:
        with pytest.raises(error) as caught:
            self(tool, **arguments)
        return str(caught.value)

    def untouched(self) -> bool:
        return {path.name: path.read_text() for path in self.outside.iterdir()} == {"secret.txt": SECRET}


@pytest.fixture(params=OPENERS, ids=["openat2", "steps"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


def test_a_file_is_read_as_it_is(place: Place) -> None:
    assert place("file_read", path="a.txt") == "one\ntwo\nthree\n"
    assert place("file_read", path="./docs/../docs//guide.md") == "Mules eat hay."


def test_lines_are_read_by_number_and_what_is_left_is_told(place: Place) -> None:
    assert place("file_read", path="a.txt", start=2) == "[lines 2 to 3 of 3]\ntwo\nthree"
    assert place("file_read", path="a.txt", lines=2) == "[lines 1 to 2 of 3; read on with start=3]\none\ntwo"
    assert place("file_read", path="a.txt", start=2, lines=1) == "[lines 2 to 2 of 3; read on with start=3]\ntwo"
    assert "the file has 3 lines" in place.refuses("file_read", path="a.txt", start=4)
    assert "start" in place.refuses("file_read", path="a.txt", start=0)


def test_a_long_file_is_read_in_whole_lines_until_its_end(place: Place) -> None:
    lines = [f"line {number}" for number in range(5_000)]
    (place.root / "long.txt").write_text("\n".join(lines))
    seen: list[str] = []
    while len(seen) < len(lines):
        text = place("file_read", path="long.txt", start=len(seen) + 1)
        assert len(text) < 8_100
        seen += text.split("\n")[1:]
    assert seen == lines


def test_a_line_that_is_too_long_is_cut_and_the_cut_is_told(place: Place) -> None:
    (place.root / "long.txt").write_text("x" * 100_000 + "\nend")
    text = place("file_read", path="long.txt")
    assert text.startswith("[lines 1 to 1 of 2; read on with start=2]\nxxx")
    assert text.endswith(f"[... {100_000 - text.count('x')} characters left out ...]")
    assert place("file_read", path="long.txt", start=2) == "[lines 2 to 2 of 2]\nend"


def test_an_empty_file_is_empty(place: Place) -> None:
    (place.root / "empty").touch()
    assert place("file_read", path="empty") == ""


@pytest.mark.parametrize("data", [b"\x7fELF\0\0\0", bytes(range(128, 256)) * 4, b"\0"])
def test_a_binary_file_is_told_to_be_one(place: Place, data: bytes) -> None:
    (place.root / "data.bin").write_bytes(data)
    assert place.refuses("file_read", path="data.bin") == (
        f"data.bin is binary ({len(data)} bytes), and only text can be read"
    )


def test_text_in_another_encoding_is_read_as_far_as_it_goes(place: Place) -> None:
    (place.root / "latin.txt").write_bytes("Der Esel frisst gern im Grünen und ruht am Abend.".encode("latin-1"))
    assert place("file_read", path="latin.txt") == (
        "[not UTF-8: 1 places are shown as \ufffd]\nDer Esel frisst gern im Gr\ufffdnen und ruht am Abend."
    )
    (place.root / "wide.txt").write_bytes("mulet å".encode("utf-16"))
    assert place("file_read", path="wide.txt") == "mulet å"
    (place.root / "marked.txt").write_bytes("mulet å".encode("utf-8-sig"))
    assert place("file_read", path="marked.txt") == "mulet å"


def test_a_file_beyond_the_limit_is_not_read_or_written(place: Place) -> None:
    place.tools = {tool.name: tool for tool in place.offered(max_bytes=100)}
    (place.root / "large.txt").write_text("x" * 101)
    assert "larger than 100 bytes" in place.refuses("file_read", path="large.txt")
    assert "at most 100" in place.refuses("file_write", path="new.txt", content="x" * 101)
    assert not (place.root / "new.txt").exists()


def test_a_file_without_end_is_read_up_to_the_limit(tmp_path: Path) -> None:
    """Files of /proc say that they are empty and are not."""
    read, _ = file_tools("/proc/self", max_bytes=10)
    with pytest.raises(ToolError, match="larger than 10 bytes"):
        anyio.run(read.invoke, {"path": "status"})


def test_a_file_is_written_with_the_folders_on_its_way(place: Place) -> None:
    assert place("file_write", path="new/folder/b.txt", content="é\n") == "wrote new/folder/b.txt (3 bytes)"
    assert (place.root / "new/folder/b.txt").read_text() == "é\n"
    assert place("file_write", path="new/folder/b.txt", content="f") == "replaced new/folder/b.txt (1 bytes)"
    assert (place.root / "new/folder/b.txt").read_text() == "f"
    assert os.listdir(place.root / "new/folder") == ["b.txt"]


def test_a_new_file_has_the_usual_mode_and_an_old_one_keeps_its_own(place: Place) -> None:
    before = os.umask(0o027)
    try:
        place("file_write", path="new.txt", content="x")
        (place.root / "a.txt").chmod(0o4754)
        place("file_write", path="a.txt", content="x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((place.root / "new.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((place.root / "a.txt").stat().st_mode) == 0o754


def test_a_read_only_file_is_left_alone(place: Place) -> None:
    (place.root / "a.txt").chmod(0o444)
    assert "read-only" in place.refuses("file_write", path="a.txt", content="x")
    assert (place.root / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_readers_see_the_old_file_or_the_new_one_and_nothing_between(place: Place) -> None:
    texts = ["a" * 400_000, "b" * 400_000]
    place("file_write", path="a.txt", content=texts[0])
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((place.root / "a.txt").read_text())

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(60):
        place("file_write", path="a.txt", content=texts[number % 2])
    done.set()
    thread.join()
    assert seen <= set(texts)


def test_nothing_is_left_behind_where_a_file_cannot_be_put(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("arriero.tools.files.os.fsync", full)
    assert place.refuses("file_write", path="a.txt", content="x") == "a.txt: No space left on device"
    assert sorted(os.listdir(place.root)) == ["a.txt", "docs"]
    assert (place.root / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_text_that_no_file_can_hold_is_refused(place: Place) -> None:
    assert "surrogate" in place.refuses("file_write", path="b.txt", content="a\ud800")
    assert "surrogate" in place.refuses("file_read", path="b\ud800")
    assert sorted(os.listdir(place.root)) == ["a.txt", "docs"]


def test_a_folder_is_listed_by_name_with_sizes(place: Place) -> None:
    assert place("file_list") == "a.txt (14 bytes)\ndocs/"
    assert place("file_list", path="docs") == "docs/deep/\ndocs/guide.md (14 bytes)"
    assert place("file_list", path="docs/deep/../") == "docs/deep/\ndocs/guide.md (14 bytes)"
    assert place("file_list", recursive=True) == (
        "a.txt (14 bytes)\ndocs/\ndocs/deep/\ndocs/deep/notes.md (5 bytes)\ndocs/guide.md (14 bytes)"
    )


@pytest.mark.parametrize(
    ("pattern", "recursive", "found"),
    [
        ("*.md", False, []),
        ("*.md", True, ["docs/deep/notes.md", "docs/guide.md"]),
        ("**/*.md", False, ["docs/deep/notes.md", "docs/guide.md"]),
        ("**/*", False, ["a.txt", "docs", "docs/deep", "docs/deep/notes.md", "docs/guide.md"]),
        ("docs/*", False, ["docs/deep", "docs/guide.md"]),
        ("docs/**", False, ["docs", "docs/deep", "docs/deep/notes.md", "docs/guide.md"]),
        ("docs/**/notes.md", False, ["docs/deep/notes.md"]),
        ("*/*/*", False, ["docs/deep/notes.md"]),
        ("?.[!t]xt", False, []),
        ("?.[st]xt", False, ["a.txt"]),
        ("[", False, []),
        ("../*", False, []),
    ],
)
def test_a_pattern_selects(place: Place, pattern: str, recursive: bool, found: list[str]) -> None:
    listed = place("file_list", pattern=pattern, recursive=recursive)
    assert [line.split(" (")[0].rstrip("/") for line in listed.splitlines()] == (found or ["nothing"])


def test_a_pattern_full_of_stars_takes_no_time(place: Place) -> None:
    place.root.joinpath(*["a" * 60] * 25).mkdir(parents=True)
    place.tools = {tool.name: tool for tool in place.offered(timeout=5.0)}
    for pattern in ("**/" * 80 + "b", "**/*a*a*a*a*a*a*b/" * 14, "*a" * 120 + "b"):
        assert place("file_list", pattern=pattern, recursive=True) == "nothing"


def test_a_long_listing_ends_and_says_so(place: Place) -> None:
    for number in range(30):
        (place.root / f"file{number:02}").touch()
    place.tools = {tool.name: tool for tool in place.offered(max_entries=3)}
    assert place("file_list", pattern="file*") == (
        "file00 (0 bytes)\nfile01 (0 bytes)\nfile02 (0 bytes)\nand more: only the first 3 are listed"
    )


def test_a_listing_looks_at_so_many_entries_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arriero.tools.files._LOOKED_AT", 10)
    for number in range(30):
        (place.root / f"file{number:02}").touch()
    assert place("file_list", pattern="z").endswith("and perhaps more: only 10 entries were looked at")


def test_names_cannot_write_lines_of_their_own(place: Place) -> None:
    hostile = ["a\nb (5 bytes)", "\x1b[2J", "\u202etxt.exe", " ", '"', "\udcff\udcfe", "back\\slash"]
    for name in hostile:
        (place.root / name).write_text(f"in {name!r}")
    listed = place("file_list").splitlines()
    assert len(listed) == len(hostile) + 2
    assert all(line.isprintable() for line in listed)
    assert '"a\\nb (5 bytes)" (19 bytes)' in listed
    for name in hostile:
        assert shown(name) in "\n".join(listed)
        assert name == "\udcff\udcfe" or place("file_read", path=name) == f"in {name!r}"


ESCAPES = [
    "../outside/secret.txt", "..", "../", "./../x", "docs/../../outside/secret.txt", "/etc/passwd", "/", "//etc/passwd",
    "docs/deep/../../../outside/secret.txt", "/proc/self/root/etc/passwd", "/dev/stdin", "a.txt/../../outside/x",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_out_is_refused(place: Place, path: str) -> None:
    place.refuses("file_list", OutsideRoot, path=path)
    place.refuses("file_read", OutsideRoot, path=path)
    place.refuses("file_write", OutsideRoot, path=path, content="x")
    assert place.untouched()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is a folder"),
        (".", "is a folder"),
        ("docs", "is a folder"),
        ("docs/", "is a folder"),
        ("a.txt/", "is a folder"),
        ("no.txt", "there is no no.txt"),
        ("no/such.txt", "there is no no;"),
        ("a.txt/below", "a.txt is a file, not a folder"),
        ("a\0.txt", "holds a NUL"),
        ("x" * 300, "File name too long"),
        ("x" * 5_000, "longer than"),
        ("a/" * 100 + "a", "more than 64 folders"),
    ],
)
def test_a_path_of_no_file_is_refused_with_the_reason(place: Place, path: str, says: str) -> None:
    problem = place.refuses("file_read", path=path)
    assert says in problem
    assert len(problem) < 400


@pytest.mark.parametrize("target", ["../outside", "{outside}", "docs", "/proc/self/root", "../root/docs"])
def test_a_link_to_a_folder_is_not_followed_wherever_it_leads(place: Place, target: str) -> None:
    (place.root / "link").symlink_to(target.format(outside=place.outside))
    for tool, more in (("file_read", {}), ("file_write", {"content": "x"})):
        for path in ("link/secret.txt", "link/guide.md", "link"):
            assert "link" in place.refuses(tool, OutsideRoot, path=path, **more)
    place.refuses("file_list", OutsideRoot, path="link")
    place.refuses("file_write", OutsideRoot, path="link/new/folder/x", content="x")
    assert "link (link)" in place("file_list", recursive=True)
    assert SECRET not in place("file_list", recursive=True)
    assert place.untouched()


@pytest.mark.parametrize("target", ["../outside/secret.txt", "{outside}/secret.txt", "a.txt", "nowhere", "link"])
def test_a_link_to_a_file_is_neither_read_nor_written_nor_replaced(place: Place, target: str) -> None:
    (place.root / "link").symlink_to(target.format(outside=place.outside))
    place.refuses("file_read", OutsideRoot, path="link")
    place.refuses("file_write", OutsideRoot, path="link", content="x")
    assert (place.root / "link").is_symlink()
    assert (place.root / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert place.untouched()


def test_a_file_with_another_name_outside_is_not_read_unless_that_is_wanted(place: Place) -> None:
    os.link(place.outside / "secret.txt", place.root / "hard.txt")
    assert "hard links" in place.refuses("file_read", OutsideRoot, path="hard.txt")
    read, *_ = file_tools(place.root, hard_links=True)
    assert anyio.run(read.invoke, {"path": "hard.txt"}) == SECRET


def test_writing_to_a_file_with_another_name_outside_leaves_that_as_it_is(place: Place) -> None:
    os.link(place.outside / "secret.txt", place.root / "hard.txt")
    place("file_write", path="hard.txt", content="mine")
    assert (place.root / "hard.txt").read_text() == "mine"
    assert place.untouched()


def test_pipes_sockets_and_devices_are_not_opened(place: Place) -> None:
    os.mkfifo(place.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.root / "sock"))
        assert place.refuses("file_read", path="pipe") == "pipe is a pipe, not a file"
        assert place.refuses("file_read", path="sock") == "sock is a socket, not a file"
        assert place.refuses("file_write", path="pipe", content="x") == "pipe is a pipe, not a file"
        assert place("file_list") == "a.txt (14 bytes)\ndocs/\npipe (pipe)\nsock (socket)"
    read, listing = file_tools("/dev")
    assert "null (device)" in anyio.run(listing.invoke, {"pattern": "null"})
    with pytest.raises(ToolError, match="zero is a device, not a file"):
        anyio.run(read.invoke, {"path": "zero"})


def test_a_pipe_that_takes_the_place_of_a_file_holds_nobody_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def too_late(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if path == "a.txt":
            (place.root / "a.txt").unlink()
            os.mkfifo(place.root / "a.txt")
        return status

    place.tools = {tool.name: tool for tool in place.offered(timeout=3.0)}
    monkeypatch.setattr("arriero.tools.files.os.stat", too_late)
    assert place.refuses("file_read", path="a.txt") == "a.txt is a pipe, not a file"


def test_the_folder_stays_what_it_was_when_another_takes_its_place(place: Place) -> None:
    place.root.rename(place.root.with_name("moved"))
    place.root.symlink_to("outside")
    assert place("file_read", path="a.txt") == "one\ntwo\nthree\n"
    place.refuses("file_read", path="secret.txt")


def test_folders_that_may_not_be_entered_are_told(tmp_path: Path) -> None:
    """In a process without the rights of root, which may enter every folder."""
    program = """
import anyio, os, sys
from arriero.tools.files import file_tools
from arriero.tools.root_folder import RootFolder, open_at_once, open_by_steps
roots = [RootFolder(sys.argv[1], opener=opener) for opener in (open_at_once, open_by_steps)]
tools = [tool for root in roots for tool in file_tools(root, write=True)]
anyio.run(tools[1].invoke, {})  # all is imported now
os.setuid(65534) if os.getuid() == 0 else None
for tool in tools:
    try:
        anyio.run(tool.invoke, {"path": "shut/a"} | ({"content": ""} if tool.name == "file_write" else {}))
    except Exception as error:
        print(type(error).__name__, error)
"""
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(0o755)
    (tmp_path / "shut" / "a").mkdir(parents=True)
    (tmp_path / "shut").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["ToolError shut: Permission denied"] * 6, done.stderr


def test_only_writing_asks_for_approval_and_all_may_be_called_again(tmp_path: Path) -> None:
    assert [tool.name for tool in file_tools(tmp_path)] == ["file_read", "file_list"]
    tools = file_tools(tmp_path, write=True)
    assert [(tool.name, tool.sensitive, tool.idempotent) for tool in tools] == [
        ("file_read", False, True),
        ("file_list", False, True),
        ("file_write", True, True),
    ]
    assert not file_tools(tmp_path, write=True, sensitive=False)[2].sensitive


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolDefinitionError, match=r"there is no folder .*gone"):
        file_tools(tmp_path / "gone")
    with pytest.raises(ToolDefinitionError, match="max_bytes is 0"):
        file_tools(tmp_path, max_bytes=0)


def open_below(folder: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(folder))]


def test_no_descriptor_stays_open_but_that_of_the_folder(place: Place) -> None:
    for path in ("a.txt", "docs/guide.md", "no/such", "../x", "docs", "a.txt/b"):
        for tool, more in (("file_read", {}), ("file_write", {"content": "x"}), ("file_list", {"recursive": True})):
            anyio.run(Registry([place.tools[tool]]).call, ToolCall(tool, {"path": path, **more}))
    assert open_below(place.root) == [str(place.root)]


def test_a_folder_that_nobody_uses_any_more_is_closed(tmp_path: Path) -> None:
    tools = file_tools(tmp_path, write=True)
    assert open_below(tmp_path) == [str(tmp_path)]
    del tools
    gc.collect()
    assert open_below(tmp_path) == []


def test_without_openat2_the_other_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def syscall(self, *_: object) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

    assert RootFolder(tmp_path)._open is open_at_once
    monkeypatch.setattr("arriero.tools.root_folder.ctypes.CDLL", lambda *_, **__: Old())
    assert RootFolder(tmp_path)._open is open_by_steps
    (tmp_path / "a.txt").write_text("found")
    assert anyio.run(file_tools(tmp_path)[0].invoke, {"path": "a.txt"}) == "found"


NAMES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "/",
        "docs",
        "deep",
        "a.txt",
        "guide.md",
        "out",
        "file",
        "up",
        "secret.txt",
        "outside",
        "root",
        "new",
    ]
)
LINKED = st.sampled_from(["out", "out", "up", "file", "docs", "..", "secret.txt", "secret.txt", "outside"])
PATHS = st.one_of(
    st.text(max_size=20),
    st.lists(st.one_of(NAMES, st.text(max_size=4)), max_size=7).map("/".join),
    st.lists(LINKED, min_size=1, max_size=4).map("/".join),
)


@both_ways
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_path_reaches_what_lies_outside(opener: Opener, tmp_path: Path, data: st.DataObject) -> None:
    place = Place(Path(tempfile.mkdtemp(dir=tmp_path)), opener)
    (place.root / "out").symlink_to(place.outside)
    (place.root / "docs" / "up").symlink_to("../..")
    (place.root / "file").symlink_to(place.outside / "secret.txt")
    registry = Registry(place.tools.values())

    async def attack(paths: list[str]) -> None:
        for path in paths:
            for tool, more in (("file_list", {"recursive": True}), ("file_write", {"content": "x"}), ("file_read", {})):
                result = await registry.call(ToolCall(tool, {"path": path, **more}))
                assert SECRET not in str(result.content)
                assert "secret.txt (" not in str(result.content).replace("docs/secret.txt", "")

    anyio.run(attack, data.draw(st.lists(PATHS, min_size=1, max_size=4)))
    assert place.untouched()


@given(path=PATHS)
def test_the_names_of_a_path_are_those_of_things_below(path: str) -> None:
    root = RootFolder("/")
    try:
        names = root.names(path)
    except ToolError:
        return
    assert not {"", ".", ".."} & set(names)
    assert not any("/" in name or "\0" in name for name in names)
    assert names == tuple(os.path.normpath("/" + path).strip("/").split("/")) or not names


class Swapping:
    """Makes a path what it is and a link in turns, as fast as it can."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.count, self._done = path, 0, threading.Event()
        self._link = path.with_name("link")
        self._link.symlink_to(target)
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> "Swapping":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _swap(self) -> None:
        libc, here, exchange = ctypes.CDLL(None), -100, 2  # renameat2(2): at no time is there nothing
        while not self._done.is_set():
            assert libc.renameat2(here, bytes(self.path), here, bytes(self._link), exchange) == 0
            self.count += 1


def checked_and_then_opened(root: Path, path: Path) -> str:
    """What the tools must not be: a path is looked at, then opened by name."""
    try:
        return path.read_text() if path.resolve(strict=True).is_relative_to(root) else ""
    except OSError:
        return ""


def attack(swapping: Swapping, place: Place, calls: list[Callable[[], str]]) -> list[str]:
    """What the calls say while the path is swapped, for as long as it takes to harm one who is less careful."""
    file = swapping.path / "secret.txt" if swapping.path.name == "box" else swapping.path
    seen: list[str] = []
    naive: set[str] = set()
    deadline = time.monotonic() + 60
    with swapping:
        while time.monotonic() < deadline and (swapping.count < 3_000 or len(seen) < 400 or SECRET not in naive):
            naive.update(checked_and_then_opened(place.root, file) for _ in range(20))
            for call in calls:
                try:
                    seen.append(call())
                except ToolError as error:
                    seen.append(f"refused: {error}")
    assert SECRET in naive, "the attack would not harm anybody"
    return seen


def test_a_folder_swapped_for_a_link_leads_nowhere(place: Place) -> None:
    (place.root / "box").mkdir()
    (place.root / "box" / "secret.txt").write_text("inside")
    seen = attack(
        Swapping(place.root / "box", place.outside),
        place,
        [
            lambda: place("file_read", path="box/secret.txt"),
            lambda: place("file_write", path="box/secret.txt", content="inside"),
            lambda: place("file_write", path="box/new/folder/deep.txt", content="inside"),
            lambda: place("file_list", path="box", recursive=True),
            lambda: place("file_list", recursive=True),
        ],
    )
    assert not [text for text in seen if SECRET in text]
    assert any("no link is followed" in text for text in seen)
    assert "inside" in seen
    assert place.untouched()
    assert not list(place.root.rglob("*.tmp"))


def test_a_file_swapped_for_a_link_leads_nowhere(place: Place) -> None:
    (place.root / "box.txt").write_text("inside")
    reads = [lambda: place("file_read", path="box.txt")] * 5
    seen = attack(Swapping(place.root / "box.txt", place.outside / "secret.txt"), place, reads)
    assert set(seen) == {
        "inside",
        "refused: box.txt is a link, and no link is followed; give the path of the thing itself",
    }
    assert place.untouched()


def test_writing_where_a_file_is_swapped_for_a_link_writes_nowhere_else(place: Place) -> None:
    (place.root / "box.txt").write_text("inside")
    with Swapping(place.root / "box.txt", place.outside / "secret.txt"):
        for _ in range(300):
            with contextlib.suppress(ToolError):
                place("file_write", path="box.txt", content="x" * 50)
    assert place.untouched()
