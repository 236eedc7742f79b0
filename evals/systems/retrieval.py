"""Finding passages for a question: BM25 or embeddings over a corpus."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import anyio
import anyio.to_thread

from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question
from arriero.evals.systems.facts import version_of

if TYPE_CHECKING:
    import numpy as np

RetrieverName = Literal["bm25", "embeddings"]

_QUERY = "the question after the user's turn before it"


class Retriever(Protocol):
    """Finds passages."""

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides what it finds: corpus, method, versions. JSON values."""
        ...

    async def find(self, question: Question, k: int) -> Sequence[Passage]:
        """The best passages, best first.

        Args:
            question: The question.
            k: Most passages.

        Returns:
            The passages, k or fewer.
        """
        ...


def query_of(question: Question) -> str:
    """What is searched for a question: the question, after what the user said just before it.

    In a conversation a question alone often does not say what it is about.

    Args:
        question: The question.

    Returns:
        The query.

    Example:
        >>> from arriero.evals.items import Said
        >>> query_of(Question("q", "And how high?", history=(Said("user", "Where is the Salda Pass?"),)))
        'Where is the Salda Pass? And how high?'
    """
    before = [one.text for one in question.history if one.role == "user"][-1:]
    return " ".join([*before, question.question])


def corpus_digest(corpus: Mapping[str, Passage]) -> str:
    """SHA-256 of a corpus, whatever its order.

    Args:
        corpus: The passages by id.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for id_, passage in sorted(corpus.items()):
        digest.update("\0".join((id_, passage.title, passage.text, "")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class BM25:
    """Passages that share words with the question.

    Args:
        corpus: The passages by id.

    Raises:
        EvalError: There are none.

    Example:
        >>> bm25 = BM25({"hay": Passage("hay", "Mules eat hay."), "pass": Passage("pass", "The pass is closed.")})
        >>> [passage.id for passage in anyio.run(bm25.find, Question("q", "What do mules eat?"), 3)]
        ['hay']
    """

    def __init__(self, corpus: Mapping[str, Passage]) -> None:
        from arriero.tools.ranking import Ranking

        self._passages = _passages(corpus)
        self._ranking = Ranking([f"{passage.title} {passage.text}" for passage in self._passages])
        self.fingerprint: Mapping[str, object] = {
            "retriever": "bm25",
            "query": _QUERY,
            "corpus": corpus_digest(corpus),
            "passages": len(corpus),
        }

    async def find(self, question: Question, k: int) -> list[Passage]:
        """The passages that share the rarest words with the question, best first; see `Retriever.find`."""
        best = await anyio.to_thread.run_sync(self._ranking.best, query_of(question), k)
        return [self._passages[at] for at in best]


class Embeddings:
    """Passages nearest to the question in meaning (MiniLM).

    The corpus is embedded at the first question.

    Args:
        corpus: The passages by id.

    Raises:
        EvalError: There are none.
    """

    def __init__(self, corpus: Mapping[str, Passage]) -> None:
        from arriero.tools.embedding import MODEL

        self._passages = _passages(corpus)
        self._vectors: np.ndarray | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.fingerprint: Mapping[str, object] = {
            "retriever": "embeddings",
            "query": _QUERY,
            "corpus": corpus_digest(corpus),
            "passages": len(corpus),
            "embedder": {"model": MODEL, **version_of(MODEL, "sentence-transformers")},
        }

    async def find(self, question: Question, k: int) -> list[Passage]:
        """The nearest passages, nearest first; see `Retriever.find`.

        Raises:
            ToolError: The extra `rag` is not installed.
        """
        best = await anyio.to_thread.run_sync(self._nearest, query_of(question), k, limiter=self._one_at_a_time)
        return [self._passages[at] for at in best]

    def _nearest(self, text: str, k: int) -> list[int]:
        import numpy as np

        from arriero.tools.embedding import embed

        if self._vectors is None:
            told = [f"{passage.title}\n{passage.text}".strip() for passage in self._passages]
            self._vectors = np.asarray(embed(told), dtype=np.float32)
        scores = self._vectors @ np.asarray(embed([text])[0], dtype=np.float32)
        return [int(at) for at in np.argsort(-scores, kind="stable")[:k]]


def retriever_named(name: RetrieverName, corpus: Mapping[str, Passage]) -> Retriever:
    """The retriever of that name.

    Args:
        name: `bm25` or `embeddings`.
        corpus: The passages by id.

    Returns:
        The retriever.

    Raises:
        EvalError: The corpus is empty.
    """
    return BM25(corpus) if name == "bm25" else Embeddings(corpus)


def _passages(corpus: Mapping[str, Passage]) -> list[Passage]:
    if not corpus:
        raise EvalError("there is no passage to search: give a corpus, or a folder of documents")
    return list(corpus.values())
