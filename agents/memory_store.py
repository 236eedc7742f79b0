"""What agents remember, in a file: short texts by owner, found by their words, and by meaning where that is wanted."""

import re
import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Any

from arriero.stack.log.layout import use_wal
from arriero.tools import ToolError, ToolUnavailable
from arriero.tools.ranking import Ranking
from arriero.tools.values import strict

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Gives a unit vector for each text; `arriero.tools.embedding.embed` is one."""

_LAYOUT = 1
_TABLE = (
    "CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL, text TEXT NOT NULL,"
    " time REAL NOT NULL, vector BLOB, UNIQUE (scope, text)) STRICT"
)
# porter: "mules" finds "mule"; https://www.sqlite.org/fts5.html#porter_tokenizer
_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2')"
_WORD = re.compile(r"\w+")
# Scripts without spaces between words: Thai to Myanmar, Khmer, Chinese and Japanese. Each character is a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MOST_WORDS = 64
_FUSION = 60  # of reciprocal rank fusion: Cormack, Clarke, Buettcher (SIGIR 2009)


@dataclass(frozen=True, slots=True)
class Memory:
    """Something remembered.

    Args:
        id: Its number in the store.
        text: The text, as it was given.
        time: Seconds since the epoch when it was first given.
    """

    id: int
    text: str
    time: float


class MemoryStore:
    """Memories in one SQLite file, which several processes may use. Its methods block.

    Each memory belongs to a scope, and nothing of one scope is ever found in another.

    Args:
        path: The file; it is made when something is to be remembered.
        embed: Finds memories by meaning too; None finds them by their words alone.
        most: Most memories of a scope.
        longest: Most characters of one.
        busy_timeout: Seconds to wait for another process that writes.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = MemoryStore(folder.name + "/memory.sqlite")
        >>> store.remember("ana", "Zuri is afraid of bridges.")
        1
        >>> [memory.text for memory in store.recall("ana", "Which mule fears a bridge?")]
        ['Zuri is afraid of bridges.']
        >>> store.recall("luis", "bridge")
        []
        >>> store.close()
        >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        embed: Embed | None = None,
        most: int = 10_000,
        longest: int = 2_000,
        busy_timeout: float = 5.0,
    ) -> None:
        self._path = Path(path)
        self._embed = embed
        self._most = most
        self._longest = longest
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._full_text = False

    def remember(self, scope: str, text: str) -> int:
        """Keep a text. One that is known already is kept once.

        Args:
            scope: Whose it is.
            text: The text.

        Returns:
            Its number.

        Raises:
            ToolError: The text is empty or too long, the scope is full, or the file cannot be written.
        """
        scope, text = _clean(scope), _clean(text)
        if not text:
            raise ToolError("there is nothing to remember: the text is empty")
        if len(text) > self._longest:
            raise ToolError(f"the text has {len(text)} characters, {self._longest} are the most: remember the gist")
        vector = array("f", self._embed([text])[0]).tobytes() if self._embed else None
        with self._writing() as run:
            known = run("SELECT id FROM memories WHERE scope = ? AND text = ?", (scope, text)).fetchone()
            if known:
                return int(known[0])
            if run("SELECT count(*) FROM memories WHERE scope = ?", (scope,)).fetchone()[0] >= self._most:
                raise ToolError(f"{self._most} memories are the most, and as many are kept: forget some first")
            row = (scope, text, time.time(), vector)
            added = run("INSERT INTO memories (scope, text, time, vector) VALUES (?, ?, ?, ?)", row).lastrowid
            if self._full_text:
                run("INSERT INTO words (rowid, text) VALUES (?, ?)", (added, _spaced(text)))
            return int(added or 0)

    def recall(self, scope: str, query: str = "", count: int = 5) -> list[Memory]:
        """Memories that share words with a query, or are near it in meaning where there is an embedder.

        Args:
            scope: Whose they are.
            query: What they are about; empty for the latest.
            count: Most of them.

        Returns:
            The memories, best first.

        Raises:
            ToolError: The file cannot be read.
        """
        scope, query = _clean(scope), _clean(query)[: self._longest]
        if self._opened is None and not self._path.exists():
            return []
        near = self._embed([query])[0] if self._embed and query else None
        with self._open() as run:
            if not query:
                found = run("SELECT id FROM memories WHERE scope = ? ORDER BY id DESC LIMIT ?", (scope, count))
                return _read(run, [row[0] for row in found])
            ranked = [self._by_words(run, scope, query, count)]
            if near is not None:
                ranked.append(_by_meaning(run, scope, near, count))
            return _read(run, _fused(ranked)[:count])

    def forget(self, scope: str, id: int) -> bool:  # noqa: A002  its name in the store
        """Give up a memory.

        Args:
            scope: Whose it is.
            id: Its number.

        Returns:
            Whether it was there.

        Raises:
            ToolError: The file cannot be written.
        """
        scope = _clean(scope)
        with self._writing() as run:
            there = run("DELETE FROM memories WHERE scope = ? AND id = ?", (scope, id)).rowcount > 0
            if there and self._full_text:
                run("DELETE FROM words WHERE rowid = ?", (id,))
            return there

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @contextmanager
    def _open(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """The connection, for one thread at a time. SQLite's errors leave it as errors of a tool."""
        with self._lock:
            try:
                if self._opened is None:
                    self._opened = self._connect()
                yield self._opened.execute
            except (sqlite3.Error, OverflowError) as error:  # an id of more than 64 bits
                busy = (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_BUSY")
                kind = ToolUnavailable if busy else ToolError
                raise kind(f"the memory cannot be used: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._open() as run:
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                if self._opened is not None and self._opened.in_transaction:
                    run("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            run = connection.execute
            use_wal(connection)
            run("BEGIN IMMEDIATE")  # two processes may open a new file at once: one of them makes the tables
            tables = {row[0] for row in run("SELECT name FROM sqlite_master")}
            layout = run("PRAGMA user_version").fetchone()[0]
            if not tables and not layout:
                run(_TABLE)
                if _has_full_text(connection):
                    run(_WORDS)
                    tables = {"words"}
                run(f"PRAGMA user_version = {_LAYOUT}")
            elif layout != _LAYOUT or "memories" not in tables:
                raise ToolError(f"{self._path.name} is not a memory of layout {_LAYOUT}: give another file")
            run("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._full_text = "words" in tables
        return connection

    def _by_words(self, run: Callable[..., sqlite3.Cursor], scope: str, query: str, count: int) -> list[int]:
        if not self._full_text:  # the file was made by an SQLite without it
            rows = run("SELECT id, text FROM memories WHERE scope = ? ORDER BY id", (scope,)).fetchall()
            return [rows[at][0] for at in Ranking([text for _, text in rows]).best(query, count)]
        words = _WORD.findall(_spaced(query))[:_MOST_WORDS]
        if not words:
            return []
        wanted = " OR ".join(f'"{word}"' for word in words)  # in quotes, no word is an operator
        found = run(
            "SELECT memories.id FROM words JOIN memories ON memories.id = words.rowid"
            " WHERE words MATCH ? AND scope = ? ORDER BY bm25(words), memories.id LIMIT ?",
            (wanted, scope, count),
        )
        return [row[0] for row in found]


def _has_full_text(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT count(*) FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    return bool(found[0])


def _by_meaning(run: Callable[..., sqlite3.Cursor], scope: str, near: Sequence[float], count: int) -> list[int]:
    scored: list[tuple[float, int]] = []
    for id_, stored in run("SELECT id, vector FROM memories WHERE scope = ? AND vector IS NOT NULL", (scope,)):
        vector = array("f", stored)
        if len(vector) == len(near):  # another embedder's are not compared
            scored.append((-sum(map(mul, vector, near)), id_))
    return [id_ for _, id_ in sorted(scored)[:count]]


def _fused(ranked: Sequence[Sequence[int]]) -> list[int]:
    """One order out of several: what stands high in one, or in both, comes first."""
    scores: dict[int, float] = {}
    for ids in ranked:
        for place, id_ in enumerate(ids):
            scores[id_] = scores.get(id_, 0.0) + 1 / (_FUSION + place)
    return sorted(scores, key=lambda id_: -scores[id_])


def _read(run: Callable[..., Any], ids: Sequence[int]) -> list[Memory]:
    rows = (run("SELECT id, text, time FROM memories WHERE id = ?", (id_,)).fetchone() for id_ in ids)
    return [Memory(*row) for row in rows]


def _spaced(text: str) -> str:
    """The text with words apart, for the index."""
    return _UNSPACED.sub(r" \g<0> ", text)


def _clean(text: str) -> str:
    """The text without what UTF-8 or SQLite cannot hold."""
    return str(strict(text)).replace("\0", "").strip()
