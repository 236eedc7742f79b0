"""Judges responses with a Llama: its claims, and one constrained verdict for each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Self, TypeVar, get_args

import anyio

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Claim, Judgement
from arriero.evals.judges.llama import prompts
from arriero.evals.judges.llama.claims import EMPTY, Claims, Found, by_model, by_sentence
from arriero.evals.judges.llama.verdicts import ROOM, Verdict, ask
from arriero.evals.judges.readable import readable
from arriero.prompts.errors import ArrieroError
from arriero.stack.engine import takes_grammars
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.errors import EngineUnavailable
from arriero.stack.summary import Model

Decompose = Literal["model", "sentences"]
"""Who takes responses apart."""

_VERSION = 1
"""Counted up when the same answers of the model come to mean another score."""

_AT_ONCE = 16
_LEAST_WEIGHT = 0.5
_WORDS = {"contradicted": "the passages say otherwise", "not_mentioned": "not in the passages"}

_T = TypeVar("_T")


class LlamaJudge:
    """A Llama that says of each claim whether the passages support it.

    A response is taken apart into claims; the model is then asked about each, held by a grammar to one of three words.
    A claim's score is the probability that it is not supported, of the three words' probability together; the
    response's is the highest of its claims' scores, since one claim that is made up is enough. What a score means
    differs from model to model: calibrate it with `CalibratedJudge`, and correct rates with labels.

    Prompts begin with the passages, so that all claims of an item share their beginning and the engine's prefix cache
    holds it. Passages and claims are content: they cannot become special tokens, nor get out of the JSON strings in
    which they stand. Keep one judge for all systems that are compared: its fingerprint says whether it is the same.

    Args:
        model: What judges: a stack, or anything with an engine and a dialect.
        decompose: `model` lists the facts that a response states, each complete by itself, and falls back to sentences
            where it gives no list, which the caveat says; `sentences` takes its sentences as they are, which is
            cheaper and knows every place, but leaves words such as "it" as they stand.
        most_claims: Most claims of a response.
        concurrency: Most requests at once; None for 16, or 1 where the model runs in this process.
        threshold: Score from which an item is flagged.
        alternatives: Alternatives to ask the engine for with each verdict; vLLM gives 20 unless told otherwise.
        seconds: Longest time for one request.
        facts: What else decides the model's answers, for the fingerprint; `LlamaJudge.over` finds it.

    Raises:
        EvalError: An argument is not in its range.

    Example:
        >>> import anyio
        >>> from arriero import Stack
        >>> async def judged() -> Judgement:
        ...     async with Stack.local() as stack:
        ...         judge = await LlamaJudge.over(stack, decompose="sentences")
        ...         return (await judge.judge([GroundingItem("a", ("Mules are patient.",), "Mules fly.")]))[0]
        >>> found = anyio.run(judged)
        >>> found.claims[0].text, 0 <= found.score <= 1
        ('Mules fly.', True)
    """

    name = "llama"

    def __init__(
        self,
        model: Model,
        *,
        decompose: Decompose = "model",
        most_claims: int = 40,
        concurrency: int | None = None,
        threshold: float = 0.5,
        alternatives: int = 20,
        seconds: float = 120.0,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        if decompose not in get_args(Decompose):
            raise EvalError(f"decompose is {decompose!r}: use one of {', '.join(get_args(Decompose))}")
        if concurrency is None:
            # Here claims that are asked one after the other share the keys and values of their passages.
            concurrency = 1 if isinstance(model.engine, TransformersEngine) else _AT_ONCE
        if min(most_claims, concurrency, alternatives) < 1 or not seconds > 0 or not 0 <= threshold <= 1:
            raise EvalError(
                f"most_claims={most_claims}, concurrency={concurrency}, alternatives={alternatives}, seconds={seconds},"
                f" threshold={threshold}: give 1 or more of each, and a threshold from 0 to 1"
            )
        self._model = model
        self._decompose: Decompose = decompose
        self._most_claims = most_claims
        self._concurrency = concurrency
        self._threshold = threshold
        self._alternatives = alternatives
        self._seconds = seconds
        self._facts = dict(facts or {})
        self._reached = False

    @classmethod
    async def over(
        cls,
        model: Model,
        *,
        revision: str | None = None,
        decompose: Decompose = "model",
        most_claims: int = 40,
        concurrency: int | None = None,
        threshold: float = 0.5,
    ) -> Self:
        """A judge whose fingerprint holds what can be known of its model: weights, quantization, versions.

        Args:
            model: As for `LlamaJudge`.
            revision: The model's revision, where the user knows it.
            decompose: As for `LlamaJudge`.
            most_claims: As for `LlamaJudge`.
            concurrency: As for `LlamaJudge`.
            threshold: As for `LlamaJudge`.

        Returns:
            The judge.

        Raises:
            EngineError: The engine cannot be asked.
            EvalError: As for `LlamaJudge`.
        """
        from arriero.evals.systems.facts import engine_facts

        return cls(
            model,
            decompose=decompose,
            most_claims=most_claims,
            concurrency=concurrency,
            threshold=threshold,
            facts=await engine_facts(model.engine, revision=revision),
        )

    @property
    def threshold(self) -> float:
        """Score from which an item is flagged."""
        return self._threshold

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its scores; see `Judge.fingerprint`."""
        engine, dialect = self._model.engine, self._model.dialect
        return {
            "name": self.name,
            "version": _VERSION,
            "model": engine.model,
            "dialect": dialect.name,
            "source": dialect.source,
            "tokenizer": engine.tokenizer.fingerprint,
            "context": engine.context_length,
            "prompt": prompts.digest(),
            "decompose": self._decompose,
            "most_claims": self._most_claims,
            "sampling": {"temperature": 0.0, "alternatives": self._alternatives, "grammar": takes_grammars(engine)},
            **self._facts,
        }

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """Judge items; see `Judge.judge`.

        Args:
            items: The items.

        Returns:
            A judgement for each, in order.

        Raises:
            EngineUnavailable: The engine was never reached, or for none of the items.
        """
        found: list[Judgement | None] = [None] * len(items)
        failures: list[EngineUnavailable] = []
        limit = anyio.CapacityLimiter(self._concurrency)

        async def one(at: int) -> None:
            try:
                found[at] = await self._judged(readable(items[at]), limit)
            except EngineUnavailable as error:
                failures.append(error)
                found[at] = _failed(items[at], error)
                if not self._reached:
                    tasks.cancel_scope.cancel()
            except (ArrieroError, TimeoutError) as error:
                found[at] = _failed(items[at], error, seconds=self._seconds)

        async with anyio.create_task_group() as tasks:
            for at in range(len(items)):
                tasks.start_soon(one, at)
        # some are without judgement where another was answered in the moment in which all were given up
        if failures and (not self._reached or None in found or len(failures) == len(items)):
            raise failures[0]
        return [one for one in found if one is not None]

    async def _judged(self, item: GroundingItem, limit: anyio.CapacityLimiter) -> Judgement:
        if not item.response.strip():
            return Judgement(item.id, self.name, 0.0, caveat=EMPTY)
        if self._decompose == "sentences":
            claims = by_sentence(item.response, self._most_claims)
        else:
            claims = await self._asked(limit, lambda: by_model(self._model, item, self._most_claims))
        if not claims.found:
            caveats = (*claims.caveats, "the response makes no claim")
            return Judgement(item.id, self.name, 0.0, caveat="; ".join(caveats))
        texts = [one.text for one in claims.found]
        asked, shown = await anyio.to_thread.run_sync(prompts.fitted, self._model, item, texts, ROOM)
        verdicts = await self._verdicts(asked, limit)
        caveats = (*claims.caveats, *_caveats(item, shown, verdicts))
        return self._judgement(item, claims, verdicts, caveats)

    async def _verdicts(self, asked: Sequence[Sequence[int]], limit: anyio.CapacityLimiter) -> list[Verdict]:
        """Verdicts of all prompts; the first one by itself, since it brings the passages into the prefix cache."""
        found: dict[int, Verdict] = {}
        failures: list[Exception] = []

        async def one(at: int) -> None:
            try:
                found[at] = await self._asked(limit, lambda: ask(self._model, asked[at], self._alternatives))
            except (ArrieroError, TimeoutError) as error:
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            await one(0)
            for at in range(1, len(asked)):
                tasks.start_soon(one, at)
        if failures:
            raise failures[0]
        return [found[at] for at in range(len(asked))]

    async def _asked(self, limit: anyio.CapacityLimiter, ask: Callable[[], Awaitable[_T]]) -> _T:
        async with limit:
            with anyio.fail_after(self._seconds):
                answer = await ask()
        self._reached = True
        return answer

    def _judgement(
        self, item: GroundingItem, claims: Claims, verdicts: Sequence[Verdict], caveats: Sequence[str]
    ) -> Judgement:
        judged = tuple(_claim(one, verdict) for one, verdict in zip(claims.found, verdicts, strict=True))
        wrong = [one for one in judged if one.verdict != "supported"]
        return Judgement(
            item.id,
            self.name,
            max(one.score for one in judged),
            judged,
            tuple(dict.fromkeys(one.span for one in wrong if one.span is not None)),
            tuple(f"{one.reasons[0]}: {one.text}" for one in wrong),
            caveat="; ".join(caveats) or None,
        )


def _claim(found: Found, verdict: Verdict) -> Claim:
    said = verdict.said
    span = None if found.place is None else Span(*found.place, said)
    reasons = () if said == "supported" else (f"{_WORDS[said]} ({verdict.shares[said]:.0%})",)
    return Claim(found.text, said, verdict.score, span, reasons)


def _caveats(item: GroundingItem, shown: int, verdicts: Sequence[Verdict]) -> list[str]:
    said = [] if item.context else ["the item has no passages"]
    if shown < len(item.context):
        said.append(f"only the first {shown} of {len(item.context)} passages have room in the judge's context")
    # without numbers, so that items with the same caveat are counted together
    if any(one.weight is None for one in verdicts):
        said.append("some verdicts have no probabilities: their scores are 0 or 1")
    if any(one.unseen for one in verdicts):
        said.append("the engine reported too few alternatives to weigh all verdicts")
    if any(one.weight is not None and one.weight < _LEAST_WEIGHT for one in verdicts):
        said.append("the model would rather have written something else than some of its verdicts")
    return said


def _failed(item: GroundingItem, error: Exception, *, seconds: float = 0.0) -> Judgement:
    reason = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error)
    return Judgement(item.id, LlamaJudge.name, None, failed=reason)
