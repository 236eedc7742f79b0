"""What can go wrong between the turn loop and a model."""

from arriero.prompts.errors import ArrieroError


class EngineError(ArrieroError):
    """An engine did not do what was asked. The root of the errors in this module."""


class EngineUnavailable(EngineError):
    """Nothing answers there, or it kept answering "not now" until the retries were used up."""


class EngineRejected(EngineError):
    """The engine answered and refused: wrong API key, unknown model, unusable request."""


class EngineInterrupted(EngineError):
    """The answer broke off after it had begun. It is not retried: part of it was already delivered."""


class ContextTooLong(EngineError):
    """The prompt leaves no room for an answer in the model's context.

    Args:
        prompt_tokens: Length of the prompt.
        context_length: Most ids of prompt and answer together.

    Example:
        >>> str(ContextTooLong(2048, 2048)).split(":")[0]
        'the prompt has 2048 tokens and the context of the model 2048'
    """

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the context of the model {context_length}: no room for an"
            " answer is left; shorten the conversation or use a model with a longer context"
        )


class ModelNotReadable(EngineError):
    """A model folder, or a tokenizer, is missing something or holds something unusable."""
