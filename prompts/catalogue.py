"""Every dialect that is known, by its name and its source."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from arriero.prompts.calls.forms import (
    GUARD4_CALLS,
    GUARD_CALLS,
    LLAMA2_CALLS,
    LLAMA3_CALLS,
    LLAMA4_CALLS,
    LLAMA31_CALLS,
    LLAMA32_CALLS,
)
from arriero.prompts.dialect import Dialect
from arriero.prompts.writers.adaptation import Abilities
from arriero.prompts.writers.chat import ChatWriter
from arriero.prompts.writers.guard import GuardWriter
from arriero.prompts.writers.llama2 import Llama2Writer
from arriero.prompts.writers.meta import MetaWriter

_LLAMA31 = ChatWriter("llama3.1", builtin_tools=True, fixed_date="26 Jul 2024")
_VISION = ChatWriter("llama3.2-vision", Abilities(parts="pictures"), system_block="unless pictured")
_LLAMA4 = ChatWriter(
    "llama4",
    Abilities(parts="pictures", system_part=True, several_calls=True, text_beside_calls=True, empty_calls="dropped"),
    system_block="given",
)
_VLLM_31 = ChatWriter(
    "vllm-llama3.1_json", Abilities(parts="text", system_part=True, text_results=True), parts_with_tools="written"
)
_VLLM_32 = ChatWriter(
    "vllm-llama3.2_json",
    Abilities(parts="pictures", system_part=True, text_results=True),
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
    Abilities(parts="json", several_calls=True, text_beside_calls=True, empty_calls="dropped"),
    parts_with_tools="written",
)
_VLLM_4_PYTHONIC = ChatWriter(
    "vllm-llama4_pythonic",
    Abilities(
        parts="pictures",
        system_part=True,
        several_calls=True,
        text_beside_calls=True,
        empty_calls="written",
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
            Dialect("llama2", Llama2Writer(), LLAMA2_CALLS, "</s>"),
            Dialect("llama3", ChatWriter("llama3", Abilities(tools=False)), LLAMA3_CALLS),
            Dialect("llama3", MetaWriter("llama3", None), LLAMA3_CALLS, source="meta"),
            Dialect("llama3.1", _LLAMA31, LLAMA31_CALLS),
            Dialect("llama3.1", _VLLM_31, LLAMA31_CALLS, source="llama3.1_json"),
            Dialect("llama3.1", _META_31, LLAMA31_CALLS, source="meta"),
            Dialect("llama3.1", replace(_META_31, tags="every"), LLAMA31_CALLS, source="meta-2025-02"),
            Dialect("llama3.2", ChatWriter("llama3.2"), LLAMA32_CALLS),
            Dialect("llama3.2", _VLLM_32, LLAMA32_CALLS, source="llama3.2_json"),
            Dialect("llama3.2", _VLLM_32_PYTHONIC, LLAMA32_CALLS, source="llama3.2_pythonic"),
            Dialect("llama3.2", _META_32, LLAMA32_CALLS, source="meta"),
            Dialect("llama3.2", _META_32_2025, LLAMA32_CALLS, source="meta-2025-02"),
            Dialect("llama3.2-vision", _VISION, LLAMA32_CALLS),
            Dialect(
                "llama3.2-vision",
                replace(_VISION, system_block="never pictured"),
                LLAMA32_CALLS,
                source="first-release",
            ),
            Dialect("llama3.2-vision", _VLLM_32, LLAMA32_CALLS, source="llama3.2_json"),
            Dialect("llama3.2-vision", _META_VISION, LLAMA32_CALLS, source="meta"),
            Dialect("llama3.2-vision", replace(_META_VISION, tags="every"), LLAMA32_CALLS, source="meta-2025-02"),
            Dialect("llama3.3", _LLAMA31, LLAMA32_CALLS),
            Dialect("llama3.3", _VLLM_31, LLAMA32_CALLS, source="llama3.1_json"),
            Dialect("llama3.3", _META_32, LLAMA32_CALLS, source="meta"),
            Dialect("llama3.3", _META_32_2025, LLAMA32_CALLS, source="meta-2025-02"),
            Dialect("llama4", _LLAMA4, LLAMA4_CALLS, "<|eot|>"),
            Dialect("llama4", _VLLM_4, LLAMA4_CALLS, "<|eot|>", "llama4_json"),
            Dialect("llama4", _VLLM_4_PYTHONIC, LLAMA4_CALLS, "<|eot|>", "llama4_pythonic"),
            Dialect(
                "llama4",
                MetaWriter("llama4", "llama4", "python_list", images=True),
                LLAMA4_CALLS,
                "<|eot|>",
                "meta",
            ),
            Dialect("llama-guard-1", GuardWriter("llama-guard-1"), LLAMA2_CALLS, "</s>"),
            Dialect("llama-guard-1", GuardWriter("llama-guard-1", "cookbook"), LLAMA2_CALLS, "</s>", "cookbook"),
            Dialect("llama-guard-2", GuardWriter("llama-guard-2"), LLAMA3_CALLS),
            Dialect("llama-guard-2", GuardWriter("llama-guard-2", "cookbook"), LLAMA3_CALLS, source="cookbook"),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b"), GUARD_CALLS),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b", "cookbook"), GUARD_CALLS, source="cookbook"),
            Dialect("llama-guard-3-8b", GuardWriter("llama-guard-3-8b", "stack"), GUARD_CALLS, source="stack"),
            Dialect("llama-guard-3-1b", GuardWriter("llama-guard-3-1b"), GUARD_CALLS),
            Dialect("llama-guard-3-1b", GuardWriter("llama-guard-3-1b", "stack"), GUARD_CALLS, source="stack"),
            Dialect("llama-guard-3-11b-vision", GuardWriter("llama-guard-3-11b-vision"), GUARD_CALLS),
            Dialect(
                "llama-guard-3-11b-vision",
                GuardWriter("llama-guard-3-11b-vision", "stack"),
                GUARD_CALLS,
                source="stack",
            ),
            Dialect("llama-guard-4", GuardWriter("llama-guard-4"), GUARD4_CALLS, "<|eot|>"),
        )
    }
)
"""Dialects by name and source."""
