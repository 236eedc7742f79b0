"""The folder of a run: what was asked, what was answered, and all that decided it."""

import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import PydanticSerializationError

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Question, QuestionSet
from arriero.evals.judgement import Judgement
from arriero.evals.runs.judging import Judging, read_judging
from arriero.evals.runs.lines import Append, DamagedRun, Lines
from arriero.evals.systems.system import Answer, Answered

_FORMAT = 1
_QUESTION: "pydantic.TypeAdapter[Question]" = pydantic.TypeAdapter(Question)


class NoRun(EvalError):
    """There is no run in the folder."""


class RunDiffers(EvalError):
    """The folder has a run that something else decided: going on would mix two runs."""


@dataclass(frozen=True, slots=True)
class Head:
    """What decides the numbers of a run: its `run.json`.

    Args:
        name: Name of the run.
        system: The system's fingerprint.
        questions: `name`, `file`, `sha256` and `count` of the questions.
        seed: Seed of the first generation; that of the next is one higher.
        repeats: Generations for each question.
        created: Seconds since 1970.
        python: Version of Python.
        format: Version of this file's format.
    """

    name: str
    system: dict[str, Any]
    questions: dict[str, Any]
    seed: int
    repeats: int
    created: float
    python: str
    format: int = _FORMAT


class RunFolder:
    """A run on disk. Make one with `create`, or `open` one.

    `run.json` says what decides the numbers, `questions.jsonl` holds what is asked, `answers.jsonl` grows by one line
    for each answer, `judgements.JUDGE.jsonl` and `labels.jsonl` by what judges and people say of them.

    Args:
        path: The folder.
        head: What decides its numbers.
        questions: What is asked.

    Example:
        >>> import tempfile
        >>> from arriero.evals.items import Question, QuestionSet
        >>> asked = QuestionSet("pass", (Question("high", "How high is the pass?"),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder.create(Path(folder) / "first", asked, system={"kind": "none"})
        ...     with run.answering() as append:
        ...         append(Answer("high", "2140 metres."))
        ...     [item.response for item in RunFolder.open(Path(folder) / "first").items()]
        ['2140 metres.']
    """

    def __init__(self, path: Path, head: Head, questions: Sequence[Question]) -> None:
        self.path, self.head = path, head
        self.questions = {question.id: question for question in questions}

    @classmethod
    def create(
        cls,
        path: str | Path,
        questions: QuestionSet,
        *,
        system: Mapping[str, object],
        name: str | None = None,
        seed: int = 0,
        repeats: int = 1,
        file: str | Path | None = None,
    ) -> "RunFolder":
        """Make the folder of a run, or go on with the same run.

        Args:
            path: The folder, which is new, empty, or that of this very run.
            questions: What is asked.
            system: The system's fingerprint.
            name: Name of the run; None for the folder's.
            seed: Seed of the first generation.
            repeats: Generations for each question.
            file: Where the questions came from.

        Returns:
            The folder.

        Raises:
            RunDiffers: The folder has another run; the differences are named.
            NoRun: The folder holds something else, or cannot be made.
            EvalError: `repeats` is not above 0, there is no question, or two have one id.
        """
        path = Path(path)
        content = _content(questions.questions, repeats)
        about = {
            "name": questions.name,
            "file": None if file is None else str(file),
            "sha256": hashlib.sha256(content).hexdigest(),
            "count": len(questions.questions),
        }
        plain = json.loads(json.dumps(system, default=str))
        version = platform.python_version()
        head = Head(name or path.resolve().name, plain, about, seed, repeats, time.time(), version)
        with _alone(path):
            if (path / "run.json").is_file():
                found = cls.open(path)
                _check_same(found.head, head, path)
                return found
            _make(path, content, head)
        return cls(path, head, questions.questions)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open the folder of a run.

        Args:
            path: The folder.

        Returns:
            The run.

        Raises:
            NoRun: There is none.
            DamagedRun: A file of it cannot be read.
        """
        path = Path(path)
        try:
            head = pydantic.TypeAdapter(Head).validate_json((path / "run.json").read_bytes())
        except OSError as error:
            raise NoRun(f"{path} holds no run ({error.strerror}: run.json): `arriero eval run` makes one") from error
        except pydantic.ValidationError as error:
            raise DamagedRun(f"{path / 'run.json'} is no head of a run: {error.errors()[0]['msg']}") from error
        if head.format != _FORMAT:
            raise DamagedRun(f"{path / 'run.json'} has format {head.format}, this version reads {_FORMAT}")
        asked = Lines(path / "questions.jsonl", Question)
        found = cls(path, head, asked.read())
        if hashlib.sha256(asked.path.read_bytes()).hexdigest() != head.questions.get("sha256"):
            raise DamagedRun(f"{asked.path} is not what was asked: it was changed since the run began; put it back")
        return found

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.head.name

    def answers(self) -> dict[tuple[str, int], Answer]:
        """The answers by question and repeat. Of several the last counts: the one of a retry."""
        found = {(one.question_id, one.repeat): one for one in Lines(self.path / "answers.jsonl", Answer).read()}
        wanted = ((id_, repeat) for id_ in self.questions for repeat in range(self.head.repeats))
        return {key: found[key] for key in wanted if key in found}

    def answered(self) -> Answered:
        """The answers so far, with what is known of them.

        Returns:
            The answers in the order of the questions, failed ones among them.

        Raises:
            DamagedRun: A line holds no answer.
        """
        head = self.head
        about = {
            "questions": head.questions,
            "seed": head.seed,
            "repeats": head.repeats,
            "created": head.created,
            "python": head.python,
        }
        return Answered(head.name, head.system, self.questions, tuple(self.answers().values()), about)

    def items(self) -> tuple[GroundingItem, ...]:
        """The answers as items to judge. Failed ones are none: they have no text.

        Returns:
            The items, in the order of the questions.

        Raises:
            DamagedRun: A line holds no answer.
        """
        model = str(self.head.system.get("model") or "")
        kept = (answer for answer in self.answers().values() if answer.error is None)
        return tuple(answer.item(self.questions[answer.question_id], model) for answer in kept)

    def judgements(self, judge: str) -> Mapping[str, Judgement]:
        """What a judge said.

        Args:
            judge: The judge's name.

        Returns:
            Its judgements by the items' ids; empty where it said nothing.

        Raises:
            DamagedRun: A line holds no judgement.
        """
        judging = self.judging(judge)
        return {} if judging is None else judging.judgements

    def judging(self, judge: str) -> Judging | None:
        """A judge with what it said.

        Args:
            judge: The judge's name.

        Returns:
            The judge; None where it said nothing.

        Raises:
            DamagedRun: A line holds no judgement.
        """
        file = self.path / f"judgements.{judge.replace('/', '-')}.jsonl"
        return read_judging(file, {item.id: item for item in self.items()})

    @contextmanager
    def answering(self) -> Iterator[Append[Answer]]:
        """Write answers while the block runs. One process at a time does.

        Yields:
            Appends an answer.

        Raises:
            RunBusy: Another process is at it.
            DamagedRun: It cannot be written.
        """
        with Lines(self.path / "answers.jsonl", Answer).appending() as append:
            yield append


def _content(questions: Sequence[Question], repeats: int) -> bytes:
    """The questions as they are kept."""
    if repeats < 1:
        raise EvalError(f"repeats is {repeats}: give 1 or more")
    if not questions:
        raise EvalError("there is no question to ask: give a file that holds some")
    seen: set[str] = set()
    for question in questions:
        names = {question.id, *(f"{question.id}#{repeat}" for repeat in range(1, repeats))}
        if taken := names & seen:
            raise EvalError(f"the id {min(taken)!r} is there twice: answers could not be told apart; rename one")
        seen |= names
    return b"".join(map(_kept, questions))


def _kept(question: Question) -> bytes:
    try:
        return _QUESTION.dump_json(question, exclude_defaults=True) + b"\n"
    except PydanticSerializationError as error:
        raise EvalError(f"the question {question.id!r} holds half of a surrogate pair, or what is no JSON") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time make the folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NoRun(f"{path} cannot be made a run's folder: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _make(path: Path, content: bytes, head: Head) -> None:
    try:
        if others := sorted(file.name for file in path.iterdir() if file.name not in _OURS):
            raise NoRun(f"{path} holds {others[0]} and no run: give a new folder")
        (path / "questions.jsonl").write_bytes(content)
        begun = path / "run.json.begun"
        begun.write_bytes(pydantic.TypeAdapter(Head).dump_json(head, indent=2) + b"\n")
        os.replace(begun, path / "run.json")  # the folder is a run only once all of it is there
    except OSError as error:
        raise NoRun(f"{path} cannot be made a run's folder: {error.strerror}") from error


_OURS = ("questions.jsonl", "run.json.begun")


def _check_same(old: Head, new: Head, path: Path) -> None:
    differences = list(_differences("system", old.system, new.system))
    for name in ("seed", "repeats"):
        differences += _differences(name, getattr(old, name), getattr(new, name))
    differences += _differences("questions", old.questions["sha256"][:12], new.questions["sha256"][:12])
    if differences:
        raise RunDiffers(
            f"{path} has a run with {'; '.join(differences)}: ask as it did to go on with it, or give a new folder"
        )


def _differences(name: str, old: object, new: object) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(f"{name}.{key}", old.get(key), new.get(key))
    else:
        yield f"{name} {_short(old)} where it is {_short(new)} now"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
