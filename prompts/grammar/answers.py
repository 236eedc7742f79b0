"""From a pydantic type to the grammar of a final answer."""

from typing import Any

from arriero.prompts.grammar.ebnf import Rules
from arriero.prompts.grammar.grammar import UNBOUNDED, Grammar, GrammarNotExpressible, Limits
from arriero.prompts.grammar.schemas import Values


def answer_grammar(answer: Any, *, limits: Limits = UNBOUNDED, strict: bool = False) -> Grammar:
    """The grammar of an answer that is JSON of a type, and nothing else.

    Args:
        answer: A pydantic model, a dataclass, or any type that pydantic reads; or a JSON schema.
        limits: How long things may become.
        strict: Refuse what cannot be expressed, instead of noting it in `Grammar.notes`.

    Returns:
        The grammar.

    Raises:
        GrammarNotExpressible: The type has no JSON schema, or one that cannot be written.

    Example:
        >>> print(answer_grammar(bool).ebnf)
        root ::= ("true" | "false")
    """
    rules = Rules()
    values = Values(rules, python=False, limits=limits, strict=strict)
    schema = answer if isinstance(answer, dict | bool) else answer_schema(answer)
    root = values.document(schema, "the answer")
    return Grammar(rules.text(root), tuple(values.notes))


def answer_schema(answer: Any) -> dict[str, Any]:
    """The JSON schema of a type.

    Args:
        answer: A pydantic model, a dataclass, or any type that pydantic reads.

    Returns:
        The schema of what is validated, not of what is written back.

    Raises:
        GrammarNotExpressible: The type has no JSON schema.

    Example:
        >>> answer_schema(list[bool])
        {'items': {'type': 'boolean'}, 'type': 'array'}
    """
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    try:
        return TypeAdapter(answer).json_schema()
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise GrammarNotExpressible(f"{answer!r} cannot be described as a JSON schema: {reason}") from error
