"""Turns pages and PDFs into text: the program of a child process that may be killed at any time.

It is run by its path, without this package: `python -I extraction_worker.py MODULE_PATHS`. It imports each parser
once, when it is first needed, and forks for every document, so that a hostile one meets a process with limits, no
secrets and nothing of another document in it. `extraction.py` speaks to it in frames: four bytes of length, big endian,
then the frame. A job is a JSON frame (`kind`, `charset`, `url`, limits) and a frame with the document; an answer is a
JSON frame, either `{"title", "text", "links", "cut"}` or `{"error"}`. A job with `prepare` has no document and gets no
answer: it only imports.
"""

import contextlib
import ctypes
import io
import json
import math
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

_LINKS = 100
_ANCHORS = 2000
_TITLE = 300
_SHORT = 200  # characters; an extraction below this is compared with the whole page's text
_HIDDEN_TAGS = ("script", "style", "template", "noscript", "iframe", "object", "svg", "canvas", "head")
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|font-size\s*:\s*0(?![.\d]*[1-9])|opacity\s*:\s*0(?![.\d]*[1-9])"
)
_BLOCKS = frozenset(
    "address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header"
    " hr li main nav ol option p pre section table td th tr ul".split()
)
_CHARSET = re.compile(
    r"(?:utf-?(?:8|16|32)|iso-?(?:8859|2022)|windows-|cp\d|koi8|shift|euc|gb|big5|latin|(?:us-)?ascii|mac|tis).{0,20}"
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# text that no reader sees: tags and variation selectors beyond the planes of letters, joiners of nothing, direction
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff"
    "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff]"  # controls, halves, private use
)


class Unreadable(Exception):
    """The document gives no text; the message says why."""


def read_document(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The text of one document.

    Args:
        job: `kind` is `"html"`, `"pdf"` or `"text"`; see the module.
        body: The document.

    Returns:
        The answer.
    """
    if job["kind"] == "pdf":
        title, text, links, cut = _read_pdf(body, job)
    elif job["kind"] == "html":
        title, text, links = _read_html(_decode(body, job["charset"]), job["url"], job["cpu"] / 3)
        cut = False
    else:
        title, text, links, cut = "", _decode(body, job["charset"]), [], False
    limit = job["max_chars"]
    clean = _clean(text[: 2 * limit])
    if not clean:
        raise Unreadable("it has no text")
    cut = cut or len(text) > 2 * limit or len(clean) > limit
    return {"title": _line(_clean(title))[:_TITLE], "text": clean[:limit], "links": links, "cut": cut}


def _read_html(source: str, url: str, seconds: float) -> tuple[str, str, list[list[str]]]:
    import trafilatura

    tree = trafilatura.load_html(source)
    if tree is None:  # libxml2 gives up on deep nesting
        return "", _text_between_tags(source), []
    title = next((_line(node.text_content()) for node in tree.iter("title")), "")
    base = next((node.get("href", "") for node in tree.iter("base")), "")
    base = urljoin(url, base) if base else url
    _remove_hidden(tree)
    links = _links(tree, base)
    title = title or next((_line(node.text_content()) for node in tree.iter("h1")), "")
    whole = _flat_text(tree)
    try:
        with _processor_time(seconds):
            found = trafilatura.extract(tree, include_comments=False, favor_recall=True) or ""
    except _TooSlow:
        found = ""
    if len(found) < _SHORT and len(found) < len(whole):  # a page without an article, such as a list or an index
        found = whole
    return title, found, links


def _text_between_tags(source: str) -> str:
    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: list[str] = []
            self.skipped = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.skipped = self.skipped or (tag if tag in ("script", "style", "template", "title") else "")

        def handle_endtag(self, tag: str) -> None:
            self.skipped = "" if tag == self.skipped else self.skipped

        def handle_data(self, data: str) -> None:
            if not self.skipped:
                self.pieces.append(data)

    parser = Text()
    parser.feed(source)
    parser.close()
    text = "".join(parser.pieces).strip()
    if not text:
        raise Unreadable("the page has no text that can be read as HTML")
    return text


class _TooSlow(BaseException):
    """No `Exception`, or the library would catch it."""


@contextlib.contextmanager
def _processor_time(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _remove_hidden(tree: Any) -> None:
    """Remove what a reader does not see, where text for machines alone is put."""
    from lxml import etree  # type: ignore[import-untyped]

    for node in list(tree.iter()):
        if node.getparent() is None:
            continue
        if not isinstance(node.tag, str) or node.tag in _HIDDEN_TAGS or _is_hidden(node):  # no name: a comment
            _drop(node)
    etree.strip_tags(tree, "wbr")


def _is_hidden(node: Any) -> bool:
    if node.get("hidden") is not None or (node.get("aria-hidden") or "").lower() == "true":
        return True
    if node.tag == "input" or (node.tag == "dialog" and node.get("open") is None):
        return True
    return bool(_HIDDEN_STYLE.search((node.get("style") or "").lower()))


def _drop(node: Any) -> None:
    parent = node.getparent()
    if node.tail:
        before = node.getprevious()
        if before is None:
            parent.text = (parent.text or "") + node.tail
        else:
            before.tail = (before.tail or "") + node.tail
    parent.remove(node)


def _links(tree: Any, base: str) -> list[list[str]]:
    """Text and absolute address of the links: those of the main part first, each address once."""
    mains = [node for tag in ("main", "article") for node in tree.iter(tag)]
    found: dict[str, str] = {}
    for root in [*mains, tree]:
        for node in islice(root.iter("a"), _ANCHORS):
            address = _absolute(node.get("href"), base)
            if address and address not in found:
                found[address] = _line(_clean(node.text_content()))[:100]
            if len(found) >= _LINKS:
                return [[text, address] for address, text in found.items()]
    return [[text, address] for address, text in found.items()]


def _absolute(href: object, base: str) -> str | None:
    if not isinstance(href, str) or len(href) > 2000:
        return None
    try:
        address = urljoin(base, href.strip()).partition("#")[0]
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or address == base.partition("#")[0]:
        return None
    return None if re.search(r"[\s\\<>\"\x00-\x1f]", address) else _clean(address)


def _flat_text(tree: Any) -> str:
    pieces: list[str] = []
    from lxml import etree

    for event, node in etree.iterwalk(tree, events=("start", "end")):
        if node.tag in _BLOCKS:
            pieces.append("\n")
        if event == "start" and node.text:
            pieces.append(re.sub(r"\s+", " ", node.text))
        elif event == "end" and node.tail:
            pieces.append(re.sub(r"\s+", " ", node.tail))
    return re.sub(r"[ \t]*\n\s*", "\n", "".join(pieces)).strip()


def _read_pdf(body: bytes, job: dict[str, Any]) -> tuple[str, str, list[list[str]], bool]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(body))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("the PDF is encrypted and cannot be read without its password")
        pages = list(_pdf_pages(reader, job))
        title = str((reader.metadata.title if reader.metadata else "") or "")
    except Unreadable:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        raise Unreadable(f"the PDF is damaged: {_line(str(error))[:150]}") from error
    except NotImplementedError as error:
        raise Unreadable(f"the PDF cannot be read: {_line(str(error))[:150]}") from error
    except ImportError as error:
        raise Unreadable("the PDF is encrypted in a way that cannot be read here") from error
    text = "\n\n".join(f"[page {number}]\n{words}" for number, words, _ in pages)
    links = {address: None for _, _, found in pages for address in found}
    if not any(words.strip() for _, words, _ in pages):
        raise Unreadable("the PDF has no text; it may consist of images")
    return title, text, [["", address] for address in list(links)[:_LINKS]], len(pages) < len(reader.pages)


def _pdf_pages(reader: Any, job: dict[str, Any]) -> Iterator[tuple[int, str, list[str]]]:
    """Number, text and links of each page, until there is enough or time runs out."""
    started, chars = time.process_time(), 0
    for number, page in enumerate(reader.pages, start=1):
        words = page.extract_text()
        chars += len(words)
        yield number, words, _pdf_links(page)
        if chars > job["max_chars"] or time.process_time() - started > job["cpu"] / 2:
            return


def _pdf_links(page: Any) -> list[str]:
    found = []
    for annotation in page.annotations or ():
        action = annotation.get_object().get("/A")
        address = _absolute(str(action.get_object().get("/URI", "")), "") if action is not None else None
        if address:
            found.append(address)
    return found[:_LINKS]


def _decode(body: bytes, declared: str) -> str:
    """The text in the first of these that fits: its byte order mark, UTF-8, what the server or the page declares.

    UTF-8 comes first because other text is hardly ever valid UTF-8, while declarations are often wrong.
    """
    for mark, charset in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return _checked(body.decode(charset, "replace"))
    meta = _META_CHARSET.search(body[:4096])
    candidates = [declared.lower(), meta[1].decode().lower() if meta else ""]
    candidates = [charset for charset in candidates if _CHARSET.fullmatch(charset)]
    if not body.isascii():
        candidates.insert(0, "utf-8")
    for charset in [*candidates, "utf-8"]:
        try:
            return _checked(body.decode(charset))
        except (UnicodeError, LookupError):
            continue
    return _checked(body.decode("cp1252", "replace"))


def _checked(text: str) -> str:
    sample = text[:20_000]
    odd = sum(1 for char in sample if char == "\ufffd" or (char < " " and char not in "\t\n\r\f\x1b") or char == "\x7f")
    if odd > len(sample) / 50:
        raise Unreadable("the server calls it text, but it is binary data")
    return text


def _clean(text: str) -> str:
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def _line(text: str) -> str:
    return " ".join(text.split())


# the process


def _answer(job: dict[str, Any], body: bytes) -> bytes:
    try:
        answer = read_document(job, body)
    except Unreadable as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "the document needs more memory than is allowed"}
    except RecursionError:
        answer = {"error": "the document is nested too deeply"}
    except Exception as error:  # a parser's bug is the document's problem, not the caller's
        answer = {"error": f"the document cannot be read ({type(error).__name__})"}
    return json.dumps(answer).encode()


def _limit(job: dict[str, Any]) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_CPU, math.ceil(job["cpu"])),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _in_child(job: dict[str, Any], body: bytes) -> bytes:
    """Answer in a fork of this process, under limits."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _limit(job)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(_answer(job, body))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read(job["max_answer"] + 1)
    if len(answer) > job["max_answer"]:
        os.kill(child, signal.SIGKILL)
        answer = json.dumps({"error": "the document gives more text than is allowed"}).encode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and not answer:
        slow = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        reason = "takes too long to read" if slow else "crashed its reader"
        answer = json.dumps({"error": f"the document {reason}"}).encode()
    return answer or json.dumps({"error": "the document cannot be read"}).encode()


def _leave_network() -> None:
    """Take the network away where the kernel lets an ordinary process do so; parsers have no need of it."""
    new_user, new_network = 0x10000000, 0x40000000
    ctypes.CDLL(None, use_errno=True).unshare(new_user | new_network)


def _load_parser(kind: str) -> None:
    """Import before the forks, not in each of them."""
    if kind == "html":
        import trafilatura  # noqa: F401
    elif kind == "pdf":
        import pypdf  # noqa: F401


def _frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else None


def main() -> None:
    """Answer jobs until the input ends."""
    sys.path[:] = sys.argv[1].split(os.pathsep)
    output = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)  # a library that prints would break the frames
    os.dup2(nothing, 2)
    _leave_network()
    while (head := _frame(sys.stdin.buffer)) is not None:
        body = _frame(sys.stdin.buffer)
        if body is None:
            return
        job = json.loads(head)
        _load_parser(job["kind"])
        if job.get("prepare"):
            continue
        answer = _in_child(job, body)
        output.write(len(answer).to_bytes(4, "big") + answer)
        output.flush()


if __name__ == "__main__":
    main()
