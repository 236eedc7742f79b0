"""The server's end of a worker's control socket, against peers that lie."""

import json
import os
import socket
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.tools.sandbox import Bubblewrap, Limits, Sandbox, SandboxError, SandboxSession
from arriero.tools.sandbox.channel import Channel, ChannelBroken, ChannelClosed, decode_head, encode_frame
from arriero.tools.sandbox.output import Kept, cut_to
from arriero.tools.sandbox.reply import read_entries, read_path, read_reply, show_path
from arriero.tools.sandbox.tier import Launched

pytestmark = pytest.mark.anyio

MOST = 4 << 20
FINE: dict[str, Any] = {"status": "completed", "value": "1", "error": None, "cut": False, "files": []}


def frame(head: object, body: bytes = b"") -> bytes:
    data = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("!II", len(data), len(body)) + data + body


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
    await anyio.to_thread.run_sync(process.wait)
    with ours, theirs:
        yield Channel(Launched(process=process, control=ours, stdout=-1, stderr=-1), MOST), theirs


async def feed(peer: socket.socket, data: bytes) -> None:
    """Send without blocking the loop that is to receive."""
    peer.setblocking(False)
    while data:
        try:
            data = data[peer.send(data) :]
        except BlockingIOError:
            await anyio.wait_writable(peer)


async def receive(data: bytes) -> Any:
    async with connected() as (channel, peer):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        with anyio.fail_after(5):
            return await channel.receive()


async def test_a_frame_has_a_head_and_a_body() -> None:
    assert await receive(frame({"a": 1}, b"bytes")) == ({"a": 1}, b"bytes")
    assert await receive(encode_frame({"é": "\ud800"}, most=MOST)) == ({"é": "\ud800"}, b"")


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", 0xFFFFFFFF, 0),
        struct.pack("!II", 2, 0xFFFFFFFF) + b"{}",
        struct.pack("!II", (512 << 10) + 1, 0),
        frame(b"[" * 400_000),
        frame(b'{"a":' * 80_000),
        frame(b"[1]"),
        frame(b"null"),
        frame(b""),
        frame(b"{'a': 1}"),
        frame(b'{"a": ' + b"9" * 100_000 + b"}"),
        frame(b"\xff\xfe"),
        frame(b"\x80\x04K\x01."),
    ],
)
async def test_what_is_no_frame_is_refused_before_its_body_is_awaited(data: bytes) -> None:
    async with connected() as (channel, peer), anyio.create_task_group() as group:
        group.start_soon(feed, peer, data)
        with anyio.fail_after(5), pytest.raises(ChannelBroken):
            await channel.receive()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("data", [b"", b"\0\0", struct.pack("!II", 10, 0) + b"{}", struct.pack("!II", 2, 9) + b"{}abc"])
async def test_a_frame_that_ends_early_is_the_end(data: bytes) -> None:
    with pytest.raises(ChannelClosed):
        await receive(data)


async def test_an_announced_length_takes_no_memory() -> None:
    async with connected() as (channel, peer):
        tracemalloc.start()
        peer.sendall(struct.pack("!II", 2, MOST - 2) + b"{}")
        with anyio.move_on_after(0.1):
            await channel.receive()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


async def test_the_costliest_head_stays_small_in_memory() -> None:
    head = b'{"a":[' + b"[]," * 170_000 + b"1]}"
    tracemalloc.start()
    decode_head(head)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with connected() as (channel, peer):
        whole = frame({"a": 1}, b"body")
        for cut in (3, 8, 10, len(whole) - 1):
            peer.sendall(whole[:cut])
            with anyio.move_on_after(0.02) as scope:
                await channel.receive()
            assert scope.cancelled_caught
            peer.sendall(whole[cut:])
            assert await channel.receive() == ({"a": 1}, b"body")


async def test_a_message_that_is_too_large_is_not_sent() -> None:
    async with connected() as (channel, _):
        with pytest.raises(SandboxError, match="too large"):
            await channel.send({}, b"x" * MOST)


async def test_a_peer_that_does_not_read_can_be_given_up() -> None:
    async with connected() as (channel, _):
        with anyio.move_on_after(0.1) as scope:
            await channel.send({}, b"x" * (MOST - 10))
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    "change",
    [
        {"status": "perfect"},
        {"status": None},
        {"status": ["completed"]},
        {"value": 1},
        {"value": {"a": 1}},
        {"error": [1]},
        {"files": None},
        {"files": [["a", -1]]},
        {"files": [["a", True]]},
        {"files": [["a", 1.5]]},
        {"files": [["a", 1 << 70]]},
        {"files": [[1, 1]]},
        {"files": [["a"]]},
        {"files": [["a", 1]] * 201},
        {"files": {"a": 1}},
    ],
)
async def test_an_answer_with_a_field_of_another_type_is_refused(change: dict[str, Any]) -> None:
    async with connected() as (channel, peer):
        peer.sendall(frame(FINE | change))
        with pytest.raises(ChannelBroken):
            await read_reply(channel, Limits())


async def test_pictures_that_are_none_are_left_out_and_too_many_refused() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    async with connected() as (channel, peer):
        for data in (b"<svg onload=alert(1)>", png + b"rest", b""):
            peer.sendall(frame({"figure": 0}, data))
        peer.sendall(frame(FINE))
        reply = await read_reply(channel, Limits())
        assert [figure.data for figure in reply.figures] == [png + b"rest"]
        for _ in range(17):
            peer.sendall(frame({"figure": "x"}, png))
        with pytest.raises(ChannelBroken, match="pictures"):
            await read_reply(channel, Limits())


async def test_a_flood_of_empty_pieces_is_refused() -> None:
    async with connected() as (channel, peer), anyio.create_task_group() as group:
        group.start_soon(feed, peer, frame({"figure": 0, "more": True}) * 100_000)
        with anyio.fail_after(10), pytest.raises(ChannelBroken, match="pictures"):
            await read_reply(channel, Limits())
        group.cancel_scope.cancel()


async def test_long_values_are_cut_again_on_this_side() -> None:
    async with connected() as (channel, peer), anyio.create_task_group() as group:
        group.start_soon(feed, peer, frame(FINE | {"value": "v" * 400_000, "error": "\ud800"}))
        reply = await read_reply(channel, Limits())
        assert reply.cut
        assert len(reply.value or "") < 300_000
        assert reply.error == "?"


@given(st.text())
def test_a_path_can_be_shown_and_read_back(path: str) -> None:
    assert show_path(path).isprintable()
    assert read_path(show_path(path)) == path


@given(st.text())
def test_reading_any_path_never_fails(path: str) -> None:
    assert isinstance(read_path(path), str)


def test_a_listing_keeps_its_order_and_shows_no_controls() -> None:
    entries = read_entries([["b", 1], ["a\x1b[0m\n", 0]], Limits())
    assert [entry.path for entry in entries] == ["b", "a\\x1b[0m\\x0a"]


@given(st.binary(max_size=500), st.binary(max_size=500), st.integers(60, 400), st.integers(0, 9))
def test_cut_text_fits_and_is_valid(head: bytes, tail: bytes, most: int, left_out: int) -> None:
    text, cut = cut_to(head, most, tail, left_out)
    assert len(text.encode()) <= most or (cut and len(text.encode()) <= most + 8)
    assert cut or text == (head + tail).decode("utf-8", "replace")


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 30))
def test_the_nonce_is_found_however_the_pipe_is_split(pieces: list[bytes], step: int) -> None:
    nonce = b"0123456789abcdef"
    data = b"".join(pieces)

    async def drain() -> tuple[str, bool]:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        kept = Kept(read_end, 1_000)
        kept.begin(nonce)
        async with anyio.create_task_group() as group:
            group.start_soon(kept.drain)
            whole = data + nonce + b"later"
            for start in range(0, len(whole), step):
                os.write(write_end, whole[start : start + step])
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(5):
                await kept.wait()
            group.cancel_scope.cancel()
        os.close(read_end)
        os.close(write_end)
        return kept.text(2_000)

    assert anyio.run(drain) == (data.decode("utf-8", "replace"), False)


FIND = """
import json, os, stat, struct
fd = next(fd for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}') and stat.S_ISSOCK(os.fstat(fd).st_mode))
def send(head):
    data = json.dumps(head).encode()
    os.write(fd, struct.pack('!II', len(data), 0) + data)
"""
LIES: dict[str, Callable[[], str]] = {
    "a length that never comes": lambda: "os.write(fd, struct.pack('!II', 2, 4 << 20))",
    "too long a length": lambda: "os.write(fd, b'\\xff' * 8)",
    "no JSON": lambda: "os.write(fd, struct.pack('!II', 4, 0) + b'\\x80\\x04K.')",
    "deep nesting": lambda: "os.write(fd, struct.pack('!II', 400000, 0) + b'[' * 400000)",
    "a flood": lambda: "\nwhile True: os.write(fd, struct.pack('!II', 13, 0) + b'{\"figure\": 1}')",
    "a file elsewhere": lambda: "send({'status': 'completed', 'files': [['../../x', 1]]})",
    "a file of the machine": lambda: "send({'status': 'completed', 'files': [['/etc/x', 1]]})",
    "more than a picture": lambda: "send({'figure': [[]] * 9, 'more': True})",
    "silence": lambda: "os.dup2(os.open('/dev/null', os.O_RDWR), fd)",
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that_lies_is_killed_and_the_next_call_works(lie: str) -> None:
    async with Sandbox(Bubblewrap(), limits=Limits(wall=2), warm=0) as sandbox, await sandbox.open() as session:
        execution = await session.run(FIND + LIES[lie]())
        assert execution.status == "killed"
        assert execution.reason in ("channel", "exit", "time")
        assert execution.duration < 4
        assert (await session.run("6 * 7")).value == "42"


async def test_an_answer_given_ahead_is_never_taken_for_that_to_the_next_request() -> None:
    ahead = "\nfor _ in range(3): send({'status': 'completed', 'value': 'forged', 'files': []})"
    async with Sandbox(Bubblewrap(), warm=0) as sandbox, await sandbox.open() as session:
        assert (await session.run(FIND + ahead)).value == "forged"
        execution = await session.run("6 * 7")
        assert (execution.value, execution.state_lost) == ("42", True)


async def test_a_worker_that_lies_about_a_file_is_killed() -> None:
    code = (
        "import os, stat, struct, threading, json\n"
        "fd = next(fd for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}')"
        " and stat.S_ISSOCK(os.fstat(fd).st_mode))\n"
        "def lie():\n"
        "    import time; time.sleep(.2)\n"
        "    head = json.dumps({'size': 1 << 60}).encode()\n"
        "    while True: os.write(fd, struct.pack('!II', len(head), 1 << 20) + head + b'x' * (1 << 20))\n"
        "threading.Thread(target=lie).start()\n"
    )

    async def fetch(session: SandboxSession) -> bytes:
        return await session.read("a")

    async with Sandbox(Bubblewrap(), warm=0) as sandbox, await sandbox.open() as session:
        await session.run(code)
        await anyio.sleep(0.4)
        with anyio.fail_after(10), pytest.raises(SandboxError):
            await fetch(session)
