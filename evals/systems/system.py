"""What is put to the test: anything that answers questions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from arriero.evals.items import GroundingItem, Passage, Question


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system answered.

    Args:
        question_id: The question.
        text: The answer; empty where there is none.
        repeat: Which of several generations, from 0.
        passages: What it had to answer from, best first.
        cited: Ids of the passages that the answer names, as far as they can be told.
        refused: Whether it said that it cannot answer; None where nobody looked.
        calls: Tool calls, as `{"name", "arguments"}`, in order.
        seconds: Time it took.
        prompt_tokens: Tokens that were read, all requests together.
        completion_tokens: Tokens that were written.
        error: Why there is no answer; counted, and excluded by name.
        cached: Whether it was read from the cache.
    """

    question_id: str
    text: str
    repeat: int = 0
    passages: tuple[Passage, ...] = ()
    cited: tuple[str, ...] = ()
    refused: bool | None = None
    calls: tuple[Mapping[str, object], ...] = ()
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None
    cached: bool = False

    def item(self, question: Question, model: str = "") -> GroundingItem:
        """The answer as an item to judge.

        Args:
            question: What was asked.
            model: What wrote the answer.

        Returns:
            The item. Its id is the question's, followed by `#1` and so on for later generations.
        """
        return GroundingItem(
            id=question.id if self.repeat == 0 else f"{question.id}#{self.repeat}",
            context=tuple(passage.text for passage in self.passages),
            response=self.text,
            question=question.question,
            doc_id=question.doc_id or question.id,
            model=model,
            extra={"kind": question.kind},
        )


class System(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its answers: model, revision, quantization, prompt, seed, index, versions. JSON values."""
        ...

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question.

        Args:
            question: The question.
            seed: Seed of the sampling, where the system samples.

        Returns:
            The answer; its `error` says why there is none.

        Raises:
            ArrieroError: Nothing can be answered, such as when the engine cannot be reached at all.
        """
        ...

    async def aclose(self) -> None:
        """Release what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers of a run, with what is known of them.

    Args:
        name: Name of the run.
        system: The system's fingerprint.
        questions: The questions by id.
        answers: The answers, in the order of the questions, repeats one after the other.
        about: All else that the run recorded: file, seed, versions, times. JSON values.
    """

    name: str
    system: Mapping[str, object]
    questions: Mapping[str, Question]
    answers: tuple[Answer, ...]
    about: Mapping[str, object] = field(default_factory=dict)
