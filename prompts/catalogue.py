"""Every dialect that is known, by its name and its source."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from arriero.prompts.calls import BuiltinCalls, JSONCalls
from arriero.prompts.dialect import Dialect
from arriero.prompts.parser import CallFormat
from arriero.prompts.writers.adaptation import Abilities
from arriero.prompts.writers.chat import ChatWriter
from arriero.prompts.writers.guard import GuardWriter
from arriero.prompts.writers.llama2 import Llama2Writer
from arriero.prompts.writers.meta import MetaWriter

_LLAMA3_ENDS = CallFormat(
    {"<|end_of_text|>": "end_of_text", "<|eom_id|>": "end_of_message", "<|eot_id|>": "end_of_turn"}
)
_LLAMA31_CALLS = CallFormat(
    _LLAMA3_ENDS.ends, tag="<|python_tag|>", tagged=(BuiltinCalls, JSONCalls), untagged=(JSONCalls,)
)
_LLAMA2_ENDS = CallFormat({"</s>": "end_of_turn"})
_LLAMA30_ENDS = CallFormat({"<|end_of_text|>": "end_of_text", "<|eot_id|>": "end_of_turn"})
_LLAMA4_CALLS = CallFormat({"<|end_of_text|>": "end_of_text", "<|eom|>": "end_of_message", "<|eot|>": "end_of_turn"})

_LLAMA31 = ChatWriter("llama3.1", builtin_tools=True, fixed_date="26 Jul 2024")
_VISION = ChatWriter("llama3.2-vision", Abilities(parts="pictures"), system_block="unless pictured")
_LLAMA4 = ChatWriter(
    "llama4",
    Abilities(parts="pictures", several_calls=True, text_beside_calls=True, drops_empty_calls=True),
    system_block="given",
)
_VLLM_31 = ChatWriter("vllm-llama3.1_json", Abilities(parts="text", text_results=True), parts_with_tools="written")
_VLLM_32 = ChatWriter(
    "vllm-llama3.2_json",
    Abilities(parts="pictures", text_results=True),
    tools_in_user_message=False,
    system_block="never pictured",
    parts_with_tools="written",
    own_system_text=True,
)
_VLLM_32_PYTHONIC = ChatWriter(
    "vllm-llama3.2_pythonic", Abilities(several_calls=True, text_arguments=False), tools_in_user_message=False
)
_VLLM_4 = ChatWriter(
    "vllm-llama4_json",
    Abilities(parts="pictures", several_calls=True, text_beside_calls=True, drops_empty_calls=True),
    parts_with_tools="written",
)
_VLLM_4_PYTHONIC = ChatWriter(
    "vllm-llama4_pythonic",
    Abilities(
        parts="pictures",
        several_calls=True,
        text_beside_calls=True,
        text_results=True,
        text_arguments=False,
    ),
    tools_in_user_message=None,
)

_META_31 = MetaWriter("llama3", "llama3.1")
_META_32 = MetaWriter("llama3", "llama3.2", "python_list")
_META_VISION = replace(_META_31, images=True)
_META_32_2025 = replace(_META_32, placement="llama3.2-2025-02", tags="every")

DIALECTS: Mapping[tuple[str, str], Dialect] = MappingProxyType(
    {
        (dialect.name, dialect.source): dialect
        for dialect in (
            Dialect("llama2", Llama2Writer(), _LLAMA2_ENDS, "</s>"),
            Dialect("llama3", ChatWriter("llama3", Abilities(tools=False)), _LLAMA30_ENDS),
            Dialect("llama3", MetaWriter("llama3", None), _LLAMA30_ENDS, source="meta"),
            Dialect("llama3.1", _LLAMA31, _LLAMA31_CALLS),
            Dialect("llama3.1", _VLLM_31, _LLAMA31_CALLS, source="llama3.1_json"),
            Dialect("llama3.1", _META_31, _LLAMA31_CALLS, source="meta"),
            Dialect("llama3.1", replace(_META_31, tags="every"), _LLAMA31_CALLS, source="meta-2025-02"),
            Dialect("llama3.2", ChatWriter("llama3.2"), _LLAMA31_CALLS),
            Dialect("llama3.2", _VLLM_32, _LLAMA31_CALLS, source="llama3.2_json"),
            Dialect("llama3.2", _VLLM_32_PYTHONIC, _LLAMA31_CALLS, source="llama3.2_pythonic"),
            Dialect("llama3.2", _META_32, _LLAMA31_CALLS, source="meta"),
            Dialect("llama3.2", _META_32_2025, _LLAMA31_CALLS, source="meta-2025-02"),
            Dialect("llama3.2-vision", _VISION, _LLAMA31_CALLS),
            Dialect(
                "llama3.2-vision",
                replace(_VISION, system_block="never pictured"),
                _LLAMA31_CALLS,
                source="first-release",
            ),
            Dialect("llama3.2-vision", _VLLM_32, _LLAMA31_CALLS, source="llama3.2_json"),
            Dialect("llama3.2-vision", _META_VISION, _LLAMA31_CALLS, source="meta"),
            Dialect("llama3.2-vision", replace(_META_VISION, tags="every"), _LLAMA31_CALLS, source="meta-2025-02"),
            Dialect("llama3.3", _LLAMA31, _LLAMA31_CALLS),
            Dialect("llama3.3", _VLLM_31, _LLAMA31_CALLS, source="llama3.1_json"),
            Dialect("llama3.3", _META_32, _LLAMA31_CALLS, source="meta"),
            Dialect("llama3.3", _META_32_2025, _LLAMA31_CALLS, source="meta-2025-02"),
            Dialect("llama4", _LLAMA4, _LLAMA4_CALLS, "<|eot|>"),
            Dialect("llama4", _VLLM_4, _LLAMA4_CALLS, "<|eot|>", "llama4_json"),
            Dialect("llama4", _VLLM_4_PYTHONIC, _LLAMA4_CALLS, "<|eot|>", "llama4_pythonic"),
            Dialect(
                "llama4",
                MetaWriter("llama4", "llama4", "python_list", images=True),
                _LLAMA4_CALLS,
                "<|eot|>",
                "meta",
            ),
            Dialect("llama-guard-1", GuardWriter("llama-guard-1"), _LLAMA2_ENDS, "</s>"),
            Dialect("llama-guard-1", GuardWriter("llama-guard-1", "cookbook"), _LLAMA2_ENDS, "</s>", "cookbook"),
            Dialect("llama-guard-2", GuardWriter("llama-guard-2"), _LLAMA30_ENDS),
            Dialect("llama-guard-2", GuardWriter("llama-guard-2", "cookbook"), _LLAMA30_ENDS, source="cookbook"),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b"), _LLAMA3_ENDS),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b", "cookbook"), _LLAMA3_ENDS, source="cookbook"),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b", "stack"), _LLAMA3_ENDS, source="stack"),
            Dialect("llama-guard-3-1b", GuardWriter("llama-guard-3-1b"), _LLAMA3_ENDS),
            Dialect("llama-guard-3-1b", GuardWriter("llama-guard-3-1b", "stack"), _LLAMA3_ENDS, source="stack"),
            Dialect("llama-guard-3-11b-vision", GuardWriter("llama-guard-3-11b-vision"), _LLAMA3_ENDS),
            Dialect(
                "llama-guard-3-11b-vision",
                GuardWriter("llama-guard-3-11b-vision", "stack"),
                _LLAMA3_ENDS,
                source="stack",
            ),
            Dialect("llama-guard-4", GuardWriter("llama-guard-4"), CallFormat(_LLAMA4_CALLS.ends), "<|eot|>"),
        )
    }
)
"""Dialects by name and source."""
