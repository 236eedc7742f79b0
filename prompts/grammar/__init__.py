"""What a model may write: tools and types as grammars for constrained decoding."""

from arriero.prompts.grammar.answers import answer_grammar, answer_schema
from arriero.prompts.grammar.calls import Named, Policy, Syntax, call_grammar
from arriero.prompts.grammar.grammar import UNBOUNDED, Grammar, GrammarNotExpressible, Limits

__all__ = [
    "UNBOUNDED",
    "Grammar",
    "GrammarNotExpressible",
    "Limits",
    "Named",
    "Policy",
    "Syntax",
    "answer_grammar",
    "answer_schema",
    "call_grammar",
]
