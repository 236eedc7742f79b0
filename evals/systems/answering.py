"""What systems have in common: prompts with passages, and answers made of what a model said."""

import time
from collections.abc import Mapping, Sequence

from arriero.evals.items import Passage, Question
from arriero.evals.systems.citations import cited_ids, numbered
from arriero.evals.systems.facts import digest_of_text
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import Retriever
from arriero.evals.systems.system import Answer


def told(passages: Sequence[Passage]) -> str:
    """Passages as `knowledge_search` shows them: one a line, numbered, each after the name of its document.

    Args:
        passages: The passages, best first.

    Returns:
        The text; `no results` where there are none.

    Example:
        >>> told([Passage("p7", "Mules eat hay.", "mules.md")])
        '[1] mules.md: Mules eat hay.'
    """
    lines = [
        f"[{number}] {' '.join((passage.title or passage.id).split())}: {' '.join(passage.text.split())}"
        for number, passage in enumerate(passages, 1)
    ]
    return "\n".join(lines) or "no results"


async def passages_for(question: Question, retriever: Retriever | None, k: int) -> tuple[Passage, ...]:
    """What a question is answered from: its own passages, or those that are found.

    Args:
        question: The question.
        retriever: Finds passages; None where questions bring their own.
        k: Most passages to find.

    Returns:
        The passages.
    """
    if question.passages or retriever is None:
        return question.passages
    return tuple(await retriever.find(question, k))


def prompt_facts(text: str, **more: str) -> dict[str, object]:
    """A prompt as a fingerprint has it.

    Args:
        text: The system text.
        more: Further parts, by name.

    Returns:
        The parts, and a digest of all.
    """
    parts = {"instructions": text, **more}
    return {**parts, "sha256": digest_of_text("\0".join(f"{name}\0{part}" for name, part in sorted(parts.items())))}


def retrieval_facts(retriever: Retriever | None, k: int) -> Mapping[str, object] | None:
    """An index as a fingerprint has it.

    Args:
        retriever: Finds passages; None where nothing is retrieved.
        k: Most passages.

    Returns:
        The retriever's fingerprint with k.
    """
    return None if retriever is None else {**retriever.fingerprint, "k": k}


def answer_of(
    question: Question,
    text: str,
    passages: Sequence[Passage],
    rule: RefusalRule,
    since: float,
    *,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> Answer:
    """What a model said, as an answer.

    Args:
        question: The question.
        text: What it said.
        passages: The passages as the prompt numbers them.
        rule: Tells refusals.
        since: When the question was put, by `time.perf_counter`.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.

    Returns:
        The answer.
    """
    readable = text.encode("utf-8", "replace").decode().strip()
    return Answer(
        question.id,
        readable,
        passages=tuple(passages),
        cited=cited_ids(readable, numbered(passages)),
        refused=rule.refuses(readable),
        seconds=time.perf_counter() - since,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
