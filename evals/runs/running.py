"""Putting questions to a system: several at once, resumable, cached, with failures kept apart."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio

from arriero.agents.cluster import ClusterUnavailable, WorkersLost
from arriero.agents.map_progress import Progress, Tally, shown
from arriero.evals.errors import EvalError
from arriero.evals.items import Question, QuestionSet
from arriero.evals.runs.cache import AnswerCache
from arriero.evals.runs.folder import RunFolder
from arriero.evals.runs.lines import DamagedRun
from arriero.evals.systems.system import Answer, System
from arriero.prompts.errors import ArrieroError
from arriero.stack.errors import EngineRejected, EngineUnavailable, ModelNotReadable

_IN_A_ROW = 3
"""So many questions, and at least all that run at once, must fail in a row until the engine counts as gone."""

_GONE = (EngineUnavailable, EngineRejected, WorkersLost)
"""What every question would meet, or one alone: only the next ones tell."""
_HOPELESS = (ModelNotReadable, ClusterUnavailable, DamagedRun)


class RunStopped(EvalError):
    """A run cannot go on: the engine is gone. What was answered is kept; the same run goes on from there."""


@dataclass(frozen=True, slots=True)
class _Task:
    question: Question
    repeat: int
    again: bool


async def run_system(
    folder: str | Path,
    system: System,
    questions: QuestionSet,
    *,
    concurrency: int = 4,
    seed: int = 0,
    repeats: int = 1,
    cache: str | Path | None = None,
    progress: Progress = True,
    retry_errors: bool = False,
    name: str | None = None,
    file: str | Path | None = None,
) -> RunFolder:
    """Put questions to a system, and keep its answers in a folder.

    Called again, it goes on where it was left, however it was left: only what has no answer is asked. A question that
    fails has an answer that says why, and is not asked again unless `retry_errors` says so.

    Args:
        folder: Folder of the run, new or that of the same run.
        system: The system. Its owner closes it.
        questions: The questions.
        concurrency: How many are asked at once.
        seed: Seed of the first generation; the next one's is one higher.
        repeats: Generations for each question.
        cache: File of answers that runs share; None for none.
        progress: Whether to show progress on stderr, or who hears of it, as for `Agent.map`.
        retry_errors: Whether to ask again what failed before.
        name: Name of the run; None for the folder's.
        file: Where the questions came from, for the record.

    Returns:
        The folder of the run.

    Raises:
        RunDiffers: The folder has another run; the differences are named.
        RunStopped: The engine cannot be reached, or refuses everything.
        RunBusy: Another process is at this run.
        EvalError: A number is not above 0, or there is no question.

    Example:
        >>> import anyio, tempfile
        >>> from arriero.evals.systems.recorded import RecordedSystem
        >>> with tempfile.TemporaryDirectory() as home:
        ...     recorded = Path(home) / "answers.jsonl"
        ...     _ = recorded.write_text('{"id": "high", "answer": "2140 metres."}')
        ...     asked = QuestionSet("pass", (Question("high", "How high is the pass?"), Question("who", "Who?")))
        ...     run = anyio.run(lambda: run_system(f"{home}/run", RecordedSystem(recorded), asked, progress=False))
        ...     [(answer.text, answer.error) for answer in run.answered().answers]
        [('2140 metres.', None), ('', 'answers.jsonl has no answer with this id')]
    """
    if concurrency < 1:
        raise EvalError(f"concurrency is {concurrency}: give 1 or more")
    run = RunFolder.create(
        folder, questions, system=system.fingerprint, name=name, seed=seed, repeats=repeats, file=file
    )
    with ExitStack() as opened:
        append = opened.enter_context(run.answering())  # nobody else answers from here on
        kept = run.answers()
        left = [
            _Task(question, repeat, found is not None)
            for question in questions.questions
            for repeat in range(repeats)
            if (found := kept.get((question.id, repeat))) is None or (retry_errors and found.error is not None)
        ]
        shared = opened.enter_context(AnswerCache(cache)) if cache is not None else None
        total = len(questions.questions) * repeats
        tally = opened.enter_context(shown(progress, total, "run", total - len(left)))
        known = any(answer.error is None for answer in kept.values())
        await _Run(system, left, seed, append, shared, tally, answered=known).answer_all(concurrency)
    return run


class _Appends(Protocol):
    def __call__(self, *values: Answer) -> None: ...


class _Run:
    """The questions of a run that have no answer yet."""

    def __init__(
        self,
        system: System,
        left: list[_Task],
        seed: int,
        append: _Appends,
        cache: AnswerCache | None,
        tally: Tally,
        *,
        answered: bool,
    ) -> None:
        self._system, self._left, self._seed = system, iter(left), seed
        self._append, self._cache, self._tally = append, cache, tally
        self._answered = answered  # a few that fail at the end of a run are their own fault
        self._held: list[tuple[_Task, ArrieroError]] = []  # failures that the next questions explain
        self._stopped: BaseException | None = None

    async def answer_all(self, concurrency: int) -> None:
        async with anyio.create_task_group() as group:

            async def work() -> None:
                for task in self._left:
                    self._tally.begun()
                    try:
                        await self._answer(task, most_held=max(_IN_A_ROW, concurrency))
                    except (ArrieroError, OSError) as error:  # ends the run; a group would wrap it
                        self._stopped = self._stopped or error
                        group.cancel_scope.cancel()
                        return

            for _ in range(concurrency):
                group.start_soon(work)
        if self._stopped is not None:
            raise self._stopped
        if not self._answered and any(not task.again for task, _ in self._held):
            raise self._gone()
        self._settle()

    async def _answer(self, task: _Task, most_held: int) -> None:
        question, repeat = task.question, task.repeat
        seed = self._seed + repeat
        key = None if self._cache is None else AnswerCache.key(self._system, question, seed, repeat)
        if self._cache is not None and key is not None and (known := self._cache.get(key)) is not None:
            self._keep(replace(known, question_id=question.id, repeat=repeat))
            return
        try:
            answer = await self._system.answer(question, seed=seed)
        except _HOPELESS:
            raise
        except _GONE as error:
            self._held.append((task, error))
            if len(self._held) >= most_held:
                raise self._gone() from error
            return
        except Exception as error:  # the boundary: a question that fails does not stop the others
            self._keep(_failed(task, error))
            return
        answer = replace(answer, question_id=question.id, repeat=repeat)
        self._keep(answer)
        if self._cache is not None and key is not None and answer.error is None:
            self._cache.put(key, answer)

    def _keep(self, answer: Answer) -> None:
        if answer.error is None and not answer.cached:
            self._answered = True
            self._settle()
        self._write(answer)

    def _settle(self) -> None:
        """What was held back was the questions' own fault: others were answered since."""
        held, self._held = self._held, []
        for task, error in held:
            self._write(_failed(task, error))

    def _write(self, answer: Answer) -> None:
        self._append(answer)
        self._tally.over(failed=answer.error is not None, waiting=False, known=answer.cached)

    def _gone(self) -> RunStopped:
        error = self._held[-1][1]
        return RunStopped(
            f"{len(self._held)} questions in a row failed, the last one with {type(error).__name__}: {error}; what was"
            " answered is kept, and the same command goes on from there"
        )


def _failed(task: _Task, error: Exception) -> Answer:
    return Answer(task.question.id, "", repeat=task.repeat, error=f"{type(error).__name__}: {error}"[:500])


def sampled(questions: QuestionSet, limit: int | None, seed: int) -> QuestionSet:
    """Some of the questions, chosen at random, in their order.

    Args:
        questions: The questions.
        limit: How many; None for all.
        seed: Seed of the choice.

    Returns:
        The questions, with the same corpus.

    Raises:
        EvalError: The limit is not above 0.

    Example:
        >>> asked = QuestionSet("many", tuple(Question(str(n), "?") for n in range(100)))
        >>> len(sampled(asked, 10, 0).questions), sampled(asked, 10, 0) == sampled(asked, 10, 0)
        (10, True)
    """
    if limit is None or limit >= len(questions.questions):
        return questions
    if limit < 1:
        raise EvalError(f"limit is {limit}: give 1 or more")
    return replace(questions, questions=tuple(_drawn(questions.questions, limit, seed)))


def _drawn(questions: tuple[Question, ...], limit: int, seed: int) -> Iterator[Question]:
    import random

    chosen = set(random.Random(seed).sample(range(len(questions)), limit))  # noqa: S311  no secret
    return (question for at, question in enumerate(questions) if at in chosen)
