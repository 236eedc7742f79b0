"""A labelling page that is served while a test runs."""

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
from anyio.from_thread import start_blocking_portal

from arriero.evals.human.labelling import Labelling
from arriero.evals.human.server import serve_labelling
from arriero.evals.items import GroundingItem

EVIL = """</script><img src=x onerror="document.title='owned'"><b>bold</b>'">\x1b[31m"""

FALSE = "Anselm Quispe lost 93 llamas in Cusco."


def mules(count: int = 12) -> tuple[GroundingItem, ...]:
    """Answers about a mule train; every third one says what no passage does."""
    passages = ("The train left Vesk at 05:40 with 14 mules.", "The pass was reached at noon. " * 20)
    return tuple(
        GroundingItem(
            f"mule-{n}",
            passages,
            f"The train left Vesk at 05:40. {FALSE if n % 3 == 0 else 'It had 14 mules.'}",
            question=f"When did train {n} leave?",
            doc_id=f"day-{n // 2}",
            label=1 if n % 3 == 0 else 0,
        )
        for n in range(count)
    )


@dataclass(slots=True)
class Served:
    """A page that is served.

    Args:
        labelling: What is labelled.
        client: What asks.
        pages: Address of each person's page.
        visited: The address that a browser was to open.
    """

    labelling: Labelling
    client: httpx.Client
    pages: dict[str, str]
    visited: str = ""

    def ask(self, annotator: str, method: str, path: str = "", **options: object) -> httpx.Response:
        """Send what the page of a person sends."""
        address = self.pages[annotator]
        parts = urlsplit(address)
        headers = {} if method == "GET" else {"origin": f"http://{parts.netloc}", "content-type": "application/json"}
        headers |= options.pop("headers", {})  # type: ignore[arg-type, operator]
        return self.client.request(method, address + path, headers=headers, **options)  # type: ignore[arg-type]

    def label(self, annotator: str, at: int, value: int | None, note: str = "") -> httpx.Response:
        """Label an item."""
        return self.ask(annotator, "PUT", f"labels/{at}", json={"value": value, "note": note})

    def label_all(self, annotator: str, values: Sequence[int | None]) -> None:
        """Label all items."""
        for at, value in enumerate(values):
            assert self.label(annotator, at, value).status_code == 200


def plain_client() -> httpx.Client:
    """A client for this machine, made quickly: it needs no certificates."""
    return httpx.Client(verify=False, timeout=30)


@contextmanager
def served(labelling: Labelling, *annotators: str) -> Iterator[Served]:
    """Serve a page; it is ended with the block.

    Args:
        labelling: What is labelled.
        annotators: Who labels.
    """
    said: queue.Queue[tuple[str, str]] = queue.Queue()

    async def serve() -> None:
        await serve_labelling(
            labelling, annotators, announce=lambda name, at: said.put((name, at)), visit=lambda at: said.put(("", at))
        )

    with start_blocking_portal() as portal, plain_client() as client:
        found = Served(labelling, client, {})
        running = portal.start_task_soon(serve)
        for _ in annotators:
            name, address = said.get(timeout=20)
            found.pages[name] = address
        found.visited = said.get(timeout=20)[1]
        try:
            yield found
        finally:
            running.cancel()


def kept_in(folder: Path, items: Sequence[GroundingItem] | None = None) -> Labelling:
    """Items to label, with their labels in a folder."""
    return Labelling("mules", tuple(mules() if items is None else items), folder / "labels.jsonl")
