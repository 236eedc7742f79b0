"""Search in a folder of documents, by meaning."""

import hashlib
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio.to_thread

from arriero.tools.declared import Tool, describe
from arriero.tools.embedding import MODEL, embed
from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.passages import Passage, read_passages
from arriero.tools.paths import existing_folder, read_path

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

SAMPLE_DOCUMENTS = Path(__file__).resolve().parent / "samples" / "documents"
"""The documents that ship with the project."""

_BATCH = 1_000


def knowledge_search(
    folder: str | Path | None = None, *, count: int = 3, store: str | Path | None = None, timeout: float = 120.0
) -> Tool:
    """A tool that finds passages in a folder of documents, by meaning.

    The documents are read, embedded (MiniLM, from its package) and stored in Chroma at the first search. Nothing is
    downloaded and nothing is reported to anyone.

    Args:
        folder: Folder of `.md` and `.txt` documents. None is the sample documents that ship.
        count: Passages to give.
        store: Folder to keep the vectors in, so that they are computed anew only when the documents change. None
            keeps them in memory.
        timeout: Seconds for one search; the first one loads the model.

    Returns:
        The tool. Documents that cannot be read, a store that cannot be used and a missing extra `rag` are said in
        its result.

    Raises:
        ToolDefinitionError: `count` is not positive, or there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as handbook:
        ...     tool = knowledge_search(handbook)
        >>> tool.declaration["function"]["description"]
        'Search the documents.'
    """
    if count < 1:
        raise ToolDefinitionError(f"knowledge_search: count is {count}; use 1 or more")
    index = PassageIndex(
        SAMPLE_DOCUMENTS if folder is None else existing_folder("knowledge_search: folder", folder),
        None if store is None else read_path("knowledge_search: store", store),
    )

    def knowledge_search(query: str) -> str:
        """Search the documents.

        Args:
            query: What to look for.
        """
        passages = index.nearest(query, count) if query.strip() else []
        lines = [f"[{number}] {passage.file}: {passage.text}" for number, passage in enumerate(passages, start=1)]
        return "\n".join(lines) or "no results"

    async def close() -> None:
        await anyio.to_thread.run_sync(index.close)

    made = describe(knowledge_search, timeout=timeout, idempotent=True, source="documents", close=close)
    return replace(made, digest=index.digest)


class PassageIndex:
    """Passages of a folder in Chroma, built at the first search. Its methods block.

    Args:
        folder: Folder of documents.
        store: Folder for the vectors; None for memory.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self._folder = folder
        self._store = store
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._collection: Collection | None = None

    def nearest(self, query: str, count: int) -> list[Passage]:
        """The passages nearest in meaning, nearest first.

        Raises:
            ToolError: There is nothing to search, the store cannot be used, or the extra `rag` is not installed.
        """
        with self._lock:
            if self._collection is None:
                self._collection = self._build()
            collection = self._collection
        found = collection.query(
            query_embeddings=cast("list[Sequence[float]]", embed([query])),
            n_results=count,
            include=["documents", "metadatas"],
        )
        documents, metadatas = (found["documents"] or [[]])[0], (found["metadatas"] or [[]])[0]
        return [Passage(str(about["file"]), text) for text, about in zip(documents, metadatas, strict=True)]

    def digest(self) -> str:
        """SHA-256 of the documents, and of the model that finds them.

        Raises:
            ToolError: There is nothing to search.
        """
        return _digest(read_passages(self._folder))

    def close(self) -> None:
        """Release the store. A later search opens it again."""
        with self._lock:
            if self._client is not None:
                if self._store is None and self._collection is not None:
                    self._client.delete_collection(self._collection.name)
                self._client.close()
            self._client = self._collection = None

    def _build(self) -> "Collection":
        passages = read_passages(self._folder)
        digest = _digest(passages)
        self._client = self._client or _open(self._store)
        name = "passages" if self._store else f"passages-{uuid.uuid4().hex}"
        if self._store:
            kept = self._kept(name, digest, len(passages))
            if kept is not None:
                return kept
        collection = self._client.create_collection(
            name,
            embedding_function=None,  # Chroma's own would download a model
            configuration={"hnsw": {"space": "cosine"}},
            metadata={"digest": digest},
        )
        for start in range(0, len(passages), _BATCH):
            batch = passages[start : start + _BATCH]
            collection.add(
                ids=[str(start + offset) for offset in range(len(batch))],
                embeddings=cast("list[Sequence[float]]", embed([passage.text for passage in batch])),
                documents=[passage.text for passage in batch],
                metadatas=[{"file": passage.file} for passage in batch],
            )
        return collection

    def _kept(self, name: str, digest: str, passages: int) -> "Collection | None":
        """The stored collection if it is complete and of these documents; an older one is deleted."""
        if self._client is None or name not in {collection.name for collection in self._client.list_collections()}:
            return None
        collection = self._client.get_collection(name, embedding_function=None)
        if (collection.metadata or {}).get("digest") == digest and collection.count() == passages:
            return collection
        self._client.delete_collection(name)
        return None


def _digest(passages: list[Passage]) -> str:
    content = [MODEL, *(part for passage in passages for part in (passage.file, passage.text))]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()


def _open(store: Path | None) -> "Client":
    try:
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError
    except ImportError as error:
        raise ToolError(f"searching documents needs the extra 'rag': pip install 'arriero[rag]' ({error})") from error
    settings = Settings(anonymized_telemetry=False)
    try:
        if store is not None:
            store.mkdir(parents=True, exist_ok=True)
        client = chromadb.EphemeralClient(settings) if store is None else chromadb.PersistentClient(store, settings)
    except (OSError, ChromaError, ValueError) as error:
        raise ToolError(f"the store {store} cannot be used: {error}; give a folder that can be written") from error
    return cast("Client", client)  # the declared type lacks close()
