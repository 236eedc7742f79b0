"""Every dialect that is known, by its name and its source."""

from collections.abc import Mapping
from types import MappingProxyType

from arriero.prompts.calls import BuiltinCalls, JSONCalls
from arriero.prompts.dialect import Dialect
from arriero.prompts.parser import CallFormat
from arriero.prompts.writers.guard import GuardWriter
from arriero.prompts.writers.llama3 import Llama31Writer

_LLAMA3_ENDS = CallFormat(
    {"<|end_of_text|>": "end_of_text", "<|eom_id|>": "end_of_message", "<|eot_id|>": "end_of_turn"}
)
_LLAMA31_CALLS = CallFormat(
    _LLAMA3_ENDS.ends, tag="<|python_tag|>", tagged=(BuiltinCalls, JSONCalls), untagged=(JSONCalls,)
)
_LLAMA31 = Llama31Writer(has_builtin_tools=True, fixed_date="26 Jul 2024")
_LLAMA32 = Llama31Writer(has_builtin_tools=False, fixed_date=None)

DIALECTS: Mapping[tuple[str, str], Dialect] = MappingProxyType(
    {
        (dialect.name, dialect.source): dialect
        for dialect in (
            Dialect("llama3.1", _LLAMA31, _LLAMA31_CALLS),
            Dialect("llama3.2", _LLAMA32, _LLAMA31_CALLS),
            Dialect("llama3.3", _LLAMA31, _LLAMA31_CALLS),
            Dialect("llama-guard-3-8b", GuardWriter(), _LLAMA3_ENDS),
        )
    }
)
"""Dialects by name and source."""
