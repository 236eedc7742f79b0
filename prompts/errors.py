"""The root of every error that Arriero raises on purpose, and the ones of this layer."""


class ArrieroError(Exception):
    """Anything Arriero refuses or cannot do. The text says what, where, and what to do about it."""


class UnknownDialect(ArrieroError):
    """No dialect has that name, or none fits that model."""


class InvalidMessage(ArrieroError):
    """A message cannot be rendered: unknown role, wrong order, unusable content.

    Args:
        problem: What is wrong and what to do about it.
        index: Zero-based position of the message in the conversation, where one is to blame.
    """

    def __init__(self, problem: str, *, index: int | None = None) -> None:
        self.index = index
        super().__init__(problem if index is None else f"message {index}: {problem}")


class VocabularyMismatch(ArrieroError):
    """A tokenizer cannot be read, or lacks the special tokens that a dialect writes."""


class UnreadableVerdict(ArrieroError):
    """A guard model's answer is neither `safe` nor `unsafe`. Treat what it judged as unsafe."""


class BudgetExceeded(ArrieroError):
    """Even the shortest prompt of a conversation takes more tokens than were allowed."""
