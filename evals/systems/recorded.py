"""Answers that were recorded elsewhere as the system under test."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.evals.data.lines import Problems, read_rows, type_name
from arriero.evals.items import Passage, Question
from arriero.evals.systems.citations import cited_ids, numbered
from arriero.evals.systems.facts import digest_of_text, version_of
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import corpus_digest
from arriero.evals.systems.system import Answer

_IDS = ("id", "question_id")
_TEXTS = ("answer", "response", "text")
_PASSAGES = ("passages", "context", "contexts")


class RecordedSystem:
    """Gives the answers of a file: JSON lines or CSV of `{"id", "answer", "passages"}`.

    `id` (or `question_id`) is the question's. `answer` may be called `response` or `text`, and `passages` `context` or
    `contexts`: a list of texts, or of `{"id", "text", "title"}`; in a CSV, JSON or one text. Where a line names none,
    the question's own passages are taken.

    Args:
        path: The file; it may end in `.gz` or `.xz`.
        corpus: Passages by id, so that what a line names by its text or its id alone is known.
        model: What wrote the answers, where that is known.
        name: Short name for tables; None for the file's.
        rule: Tells refusals.

    Raises:
        InvalidData: Lines are wrong; all of them are named.

    Example:
        >>> import anyio, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "answers.jsonl"
        ...     _ = file.write_text('{"id": "high", "answer": "2140 metres [1].", "passages": ["It is 2140 metres."]}')
        ...     recorded = RecordedSystem(file)
        ...     anyio.run(recorded.answer, Question("high", "How high is it?")).text
        '2140 metres [1].'
    """

    def __init__(
        self,
        path: str | Path,
        *,
        corpus: Mapping[str, Passage] | None = None,
        model: str | None = None,
        name: str | None = None,
        rule: RefusalRule | None = None,
    ) -> None:
        path = Path(path)
        self._path, self._rule = path, rule or RefusalRule()
        self._corpus = dict(corpus or {})
        self._by_text = {passage.text: passage for passage in self._corpus.values()}
        self._answers = self._read()
        self.name = name or path.name.split(".", 1)[0]
        self.fingerprint: Mapping[str, object] = {
            "kind": "recorded",
            "model": model,
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "index": {"corpus": corpus_digest(self._corpus)} if self._corpus else None,
            "refusal": self._rule.digest,
            "versions": version_of("arriero"),
        }

    @property
    def ids(self) -> frozenset[str]:
        """Questions that it has answers to."""
        return frozenset(self._answers)

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """The recorded answer; see `System.answer`. Where there is none, its `error` says so."""
        recorded = self._answers.get(question.id)
        if recorded is None:
            return Answer(question.id, "", error=f"{self._path.name} has no answer with this id")
        text, passages = recorded
        known = question.passages if passages is None else passages
        return Answer(
            question.id,
            text,
            passages=known,
            cited=cited_ids(text, numbered(known)),
            refused=self._rule.refuses(text),
        )

    async def aclose(self) -> None:
        """Nothing to release."""

    def _read(self) -> dict[str, tuple[str, tuple[Passage, ...] | None]]:
        problems = Problems(self._path)
        found: dict[str, tuple[str, tuple[Passage, ...] | None]] = {}
        for line, row in read_rows(self._path, problems):
            id_ = next((row[name] for name in _IDS if row.get(name) not in (None, "")), None)
            text = next((row[name] for name in _TEXTS if name in row), None)
            if isinstance(id_, int) and not isinstance(id_, bool):
                id_ = str(id_)
            if not isinstance(id_, str):
                problems.add(line, "id", "is missing; write the id of the question")
            elif id_ in found:
                problems.add(line, "id", f"{id_!r} is there twice; keep one answer a question")
            elif not isinstance(text, str):
                problems.add(line, "answer", f"is {type_name(text)}; write the text of the answer")
            else:
                found[id_] = (text, self._passages(row, line, problems))
        problems.check()
        return found

    def _passages(self, row: Mapping[str, object], line: int, problems: Problems) -> tuple[Passage, ...] | None:
        field = next((name for name in _PASSAGES if row.get(name) not in (None, "")), None)
        if field is None:
            return None
        value: Any = row[field]
        if isinstance(value, str):
            value = _listed(value)
        if not isinstance(value, list):
            problems.add(line, field, f"is {type_name(value)}; write a list of texts")
            return None
        passages = [self._passage(one) for one in value]
        if any(passage is None for passage in passages):
            problems.add(line, field, 'holds what is no passage; write a text, or {"id", "text"}')
        return tuple(passage for passage in passages if passage is not None)

    def _passage(self, value: object) -> Passage | None:
        if isinstance(value, str):
            known = self._corpus.get(value) or self._by_text.get(value)
            return known or Passage(f"text-{digest_of_text(value)[:8]}", value)
        if not isinstance(value, Mapping):
            return None
        id_, text, title = value.get("id"), value.get("text"), value.get("title", "")
        if text is None and isinstance(id_, str):
            return self._corpus.get(id_)
        if not isinstance(text, str):
            return None
        return Passage(str(id_ or f"text-{digest_of_text(text)[:8]}"), text, str(title or ""))


def _listed(text: str) -> object:
    """A cell of a CSV: a JSON list, or one text."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return [text]
    return [text]
