"""What goes wrong with an evaluation."""

from arriero.prompts.errors import ArrieroError


class EvalError(ArrieroError):
    """An evaluation cannot be made from what was given."""


class CorrectionRefused(EvalError):
    """A rate cannot be corrected for its judge: too few labels, one class only, or a judge no better than chance."""


class InvalidData(EvalError):
    """A file of items, questions, passages or labels breaks its rules; the message names lines and fields."""
