"""Answers by what was asked, shared by runs."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Self

import pydantic

from arriero.evals.errors import EvalError
from arriero.evals.items import Question
from arriero.evals.runs.judging import digest
from arriero.evals.systems.system import Answer, System

_PATIENCE = 10.0
_ANSWER: "pydantic.TypeAdapter[Answer]" = pydantic.TypeAdapter(Answer)


class CacheUnusable(EvalError):
    """The file is no cache of answers, or cannot be read or written."""


class AnswerCache:
    """A file of answers. Several processes may use it at once.

    An answer is found again by the system's fingerprint, the question with its history and passages, the seed and the
    repeat: whatever else has changed, the answer would be another.

    Args:
        path: The file, made if absent.

    Raises:
        CacheUnusable: It cannot be used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, AnswerCache(Path(folder) / "answers.sqlite") as cache:
        ...     cache.put("key", Answer("high", "2140 metres."))
        ...     cache.get("key").text, cache.get("key").cached, cache.get("other")
        ('2140 metres.', True, None)
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")  # what a crash of the machine loses is asked again
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB NOT NULL)")
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    @staticmethod
    def key(system: System, question: Question, seed: int, repeat: int) -> str:
        """What an answer is found by.

        Args:
            system: The system.
            question: The question.
            seed: Seed of this generation.
            repeat: Which generation it is, from 0.

        Returns:
            16 hexadecimal digits.
        """
        history = [[one.role, one.text] for one in question.history]
        passages = [[passage.id, passage.title, passage.text] for passage in question.passages]
        return digest([system.fingerprint, question.question, history, passages, seed, repeat])

    def get(self, key: str) -> Answer | None:
        """The answer of that key.

        Args:
            key: The key.

        Returns:
            The answer, as a cached one; None where there is none. It may be one to another question of the same text.

        Raises:
            CacheUnusable: The file cannot be read.
        """
        try:
            row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else replace(_ANSWER.validate_json(row[0]), cached=True)
        except (sqlite3.Error, pydantic.ValidationError) as error:
            raise self._unusable(error) from error

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer.

        Args:
            key: The key.
            answer: The answer.

        Raises:
            CacheUnusable: The file cannot be written.
        """
        content = _ANSWER.dump_json(replace(answer, cached=False), exclude_defaults=True)
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, content))
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unusable(self, error: Exception) -> CacheUnusable:
        text = "it holds something else" if isinstance(error, pydantic.ValidationError) else str(error)
        return CacheUnusable(f"the cache {self._path} cannot be used ({text}): give another file, or delete this one")
