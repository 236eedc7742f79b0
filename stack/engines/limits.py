"""What every engine checks before it starts."""

from collections.abc import Sequence

from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Sampling
from arriero.stack.errors import ContextTooLong, EngineRejected


def answer_room(prompt_ids: Sequence[int], sampling: Sampling, context_length: int) -> int:
    """Most tokens that an answer may have: what was asked for, cut to what the context leaves.

    Args:
        prompt_ids: The prompt.
        sampling: How to sample.
        context_length: Most ids of prompt and answer together.

    Returns:
        The number of tokens, at least 1.

    Raises:
        ContextTooLong: The prompt alone fills the context.
        EngineRejected: The prompt is empty, or a sampling value is out of its range.

    Example:
        >>> answer_room(range(2000), Sampling(max_tokens=512), 2048)
        48
    """
    if not prompt_ids:
        raise EngineRejected("the prompt is empty: render at least one message")
    if sampling.max_tokens < 1:
        raise EngineRejected(f"max_tokens is {sampling.max_tokens}: ask for at least 1")
    if not 0.0 <= sampling.temperature < float("inf"):
        raise EngineRejected(f"temperature is {sampling.temperature}: use 0 for greedy or a positive number")
    if not 0.0 < sampling.top_p <= 1.0:
        raise EngineRejected(f"top_p is {sampling.top_p}: it must be above 0 and at most 1")
    if sampling.logprobs is not None and sampling.logprobs < 0:
        raise EngineRejected(f"logprobs is {sampling.logprobs}: use None for none, or 0 and more alternatives")
    if len(prompt_ids) >= context_length:
        raise ContextTooLong(len(prompt_ids), context_length)
    return min(sampling.max_tokens, context_length - len(prompt_ids))


def grammar_text(sampling: Sampling, tokenizer: Tokenizer) -> str | None:
    """The rules of the answer's grammar with the model's special ids; None without a grammar.

    Args:
        sampling: How to sample.
        tokenizer: The model's tokenizer.

    Returns:
        The rules, as vLLM and xgrammar read them.

    Raises:
        EngineRejected: The vocabulary lacks a special token that the grammar writes.
    """
    if sampling.grammar is None:
        return None
    try:
        return sampling.grammar.text(tokenizer.special_ids)
    except VocabularyMismatch as error:
        raise EngineRejected(str(error)) from error
