"""Documents made to hurt their reader."""

import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal

import anyio
import anyio.to_thread
import psutil
import pytest
from pdfs import deep_arrays, deep_page_tree, encrypted, form_in_itself, page_tree_in_itself, pdf

from arriero.tools import ToolError
from arriero.tools.web.extraction import Document, Extraction, ExtractionLimits

pytestmark = pytest.mark.anyio

Kind = Literal["html", "pdf", "text"]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def extraction(anyio_backend: str) -> AsyncIterator[Extraction]:
    # much time by the clock, which a busy machine needs, and little of the processor's
    extraction = Extraction(ExtractionLimits(seconds=30.0, processor=1.5, chars=100_000))
    yield extraction
    await anyio.to_thread.run_sync(extraction.close)


async def read(extraction: Extraction, kind: Kind, body: bytes) -> Document:
    return await extraction.read(kind, body, charset="", url="https://example.org/a/b")


async def problem(extraction: Extraction, kind: Kind, body: bytes) -> str:
    with pytest.raises(ToolError) as caught:
        await read(extraction, kind, body)
    assert "hay" in (await read(extraction, "text", b"Mules eat hay.")).text  # the next document is read
    return str(caught.value)


def children() -> list[psutil.Process]:
    """Living processes of this one that read documents."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("extraction_worker" in part for part in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


# PDF


async def test_a_pdf_gives_its_title_and_the_text_of_its_pages(extraction: Extraction) -> None:
    document = await read(extraction, "pdf", pdf("Mules eat hay.", "They live long.", title="On mules"))
    assert document == Document("On mules", "[page 1]\nMules eat hay.\n\n[page 2]\nThey live long.")


async def test_a_pdf_encrypted_with_a_password_is_told(extraction: Extraction) -> None:
    assert "encrypted" in await problem(extraction, "pdf", encrypted(pdf("secret"), "password"))


async def test_a_pdf_encrypted_with_no_password_is_read(extraction: Extraction) -> None:
    assert "Mules" in (await read(extraction, "pdf", encrypted(pdf("Mules eat hay."), ""))).text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"%PDF-1.7",
        b"%PDF-1.7 rubbish" * 1000,
        pdf("Mules eat hay.")[:300],
        pdf("Mules")[:-40] + b"startxref\n99999999\n%%EOF",
        b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF",
        page_tree_in_itself(),
        deep_page_tree(5000),
        deep_arrays(200_000),
        form_in_itself(),
        pdf(stream=b"this is no compressed stream"),
        pdf(stream=zlib.compress(b"BT (unfinished Tj")),
        pdf(""),
    ],
    ids=lambda body: f"{len(body)} bytes, {body[-30:]!a}",
)
async def test_a_damaged_or_empty_pdf_is_told(extraction: Extraction, body: bytes) -> None:
    told = await problem(extraction, "pdf", body)
    assert any(word in told for word in ("damaged", "nested", "no text", "cannot be"))


async def test_a_bomb_inside_of_a_pdf_does_not_go_off(extraction: Extraction) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join([*(packer.compress(b" " * (1 << 24)) for _ in range(10)), packer.flush()])
    assert await problem(extraction, "pdf", pdf(stream=bomb))


async def test_a_pdf_of_many_pages_is_read_as_far_as_allowed(extraction: Extraction) -> None:
    document = await read(extraction, "pdf", pdf(*["Mules eat hay. " * 60] * 300))
    assert document.cut
    assert len(document.text) == 100_000


async def test_a_pdf_whose_page_never_ends_is_left(extraction: Extraction) -> None:
    endless = zlib.compress(b"BT /F1 1 Tf " + b"(mules) Tj " * 4_000_000 + b"ET")
    assert "takes too long to read" in await problem(extraction, "pdf", pdf(stream=endless))


async def test_a_document_that_takes_too_long_by_the_clock_is_left() -> None:
    hurried = Extraction(ExtractionLimits(seconds=0.01))
    try:
        with pytest.raises(ToolError, match=r"takes longer than 0\.01 s to read"):
            await read(hurried, "pdf", pdf("Mules eat hay."))
    finally:
        hurried.close()


# HTML


@pytest.mark.parametrize("tag", ["div", "b", "table", "ul><li", "blockquote", "span", "font", "svg"])
async def test_a_page_of_very_many_nested_elements_is_read(extraction: Extraction, tag: str) -> None:
    times = 100_000 if tag == "div" else 20_000  # the parser gives up far earlier, and each tag costs time
    document = await read(extraction, "html", f"<{tag}>".encode() * times + b"Mules eat hay.")
    assert document.text == "Mules eat hay."


async def test_a_page_of_very_many_paragraphs_is_read(extraction: Extraction) -> None:
    document = await read(extraction, "html", b"<p>Mules eat hay." * 10_000)
    assert document.text.startswith("Mules eat hay.")
    assert document.cut


@pytest.mark.parametrize(
    "body",
    [
        b"<" * 50_000,
        b"<!--" * 5_000,
        b"<a " + b"x=y " * 200_000 + b">",
        b"&" * 500_000,
        b"&#x110000;&#0;&#xD800;" * 10_000,
        b"<![CDATA[" * 5_000,
        b"<a href='" + b"http://a/" * 100_000,
        b"<!DOCTYPE html [" + b"<!ENTITY a '&a;'>" * 1000 + b"]>&a;",
        b"<base href='javascript:x'><a href=a>A</a>",
        b"<base href='http://[::1'><a href=a>A</a>",
        b"<a href='http://[::1'>A</a><a href='http://a:b/'>B</a><a href='//'>C</a>",
        b"<title>" * 10_000,
        b"<p style='" + b"display:" * 50_000 + b"'>A",
    ],
    ids=lambda body: ascii(body[:20]),
)
async def test_malformed_html_is_read_or_told(extraction: Extraction, body: bytes) -> None:
    document = Document("", "")
    with suppress(ToolError):
        document = await read(extraction, "html", body)
    assert len(document.title) <= 300
    assert len(document.text) <= 100_000
    assert all(link.url.startswith(("http://", "https://")) for link in document.links)
    assert "hay" in (await read(extraction, "html", b"<p>Mules eat hay.")).text


async def test_links_are_few_short_and_absolute(extraction: Extraction) -> None:
    page = "".join(f"<a href='/{number}'>{'word ' * 100}</a>" for number in range(300))
    document = await read(extraction, "html", page.encode())
    assert len(document.links) == 100
    assert document.links[0].url == "https://example.org/0"
    assert all(len(link.text) <= 100 for link in document.links)


async def test_a_links_address_cannot_break_its_line(extraction: Extraction) -> None:
    page = "<p>A<a href='/a&#10;links: http://b/'>x</a><a href='/c'>y\nlinks:\n[z] http://d/</a>"
    document = await read(extraction, "html", page.encode())
    assert all("\n" not in link.url + link.text for link in document.links)


async def test_the_base_of_a_page_counts_for_its_links(extraction: Extraction) -> None:
    document = await read(extraction, "html", b"<base href='https://other.example/x/'><a href='y'>A</a>")
    assert [link.url for link in document.links] == ["https://other.example/x/y"]


# the process


async def test_the_reader_has_nothing_of_this_process_in_its_environment(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARRIERO_CANARY_KEY", "canary-7f3a")
    fresh = Extraction()
    try:
        await read(fresh, "text", b"Mules eat hay.")
        for child in children():
            assert set(child.environ()) <= {"PATH", "LANG", "LC_CTYPE"}
    finally:
        fresh.close()


async def test_a_document_does_not_get_more_memory_than_is_allowed() -> None:
    small = Extraction(ExtractionLimits(memory=300 << 20))
    try:
        with pytest.raises(ToolError, match="needs more memory than is allowed"):
            await read(small, "text", b"Mules eat hay. " * 10_000_000)
        assert "hay" in (await read(small, "text", b"Mules eat hay.")).text
    finally:
        small.close()


async def test_a_reader_that_was_killed_is_replaced() -> None:
    mine = Extraction()
    try:
        before = {child.pid for child in children()}
        await read(mine, "text", b"Mules eat hay.")
        for child in children():
            if child.pid not in before:
                child.kill()
                child.wait(5)
        with pytest.raises(ToolError, match="crashed"):
            await read(mine, "text", b"Mules eat hay.")
        assert "hay" in (await read(mine, "text", b"Mules eat hay.")).text
    finally:
        mine.close()


async def test_closing_leaves_no_process_behind() -> None:
    before = {child.pid for child in children()}
    mine = Extraction()
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(read, mine, "text", b"Mules eat hay.")
    assert {child.pid for child in children()} - before
    mine.close()
    assert not {child.pid for child in children()} - before


async def test_a_caller_that_leaves_does_not_wait(extraction: Extraction) -> None:
    started = time.perf_counter()
    with anyio.move_on_after(0.3) as scope:
        await read(extraction, "pdf", pdf(stream=zlib.compress(b"BT " + b"(mules) Tj " * 4_000_000 + b"ET")))
    assert scope.cancelled_caught
    assert time.perf_counter() - started < 2
    assert "hay" in (await read(extraction, "text", b"Mules eat hay.")).text
