"""Which dialect a model speaks, told by its chat template, its name, or its configuration."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.prompts.errors import UnknownDialect

_FINGERPRINTS = {  # sha256 of published chat templates, FORMATS.md section 13
    "e10ca381b1ccc5cf": "llama3.1",
    "5816fce10444e03c": "llama3.2",
    "5a5561f4ea9576d4": "llama-guard-3-8b",
}
_NAMES = (  # the first that matches decides
    (re.compile(r"guard[-_ .]?3[-_ .]8b"), "llama-guard-3-8b"),
    (re.compile(r"guard|vision"), ""),
    (re.compile(r"arriero-demo"), "llama3.1"),
    (re.compile(r"llama[-_ ]?3[._-]1(?!\d)"), "llama3.1"),
    (re.compile(r"llama[-_ ]?3[._-]2(?!\d)"), "llama3.2"),
    (re.compile(r"llama[-_ ]?3[._-]3(?!\d)"), "llama3.3"),
)
_ROPE_FACTORS = {8.0: "llama3.1", 32.0: "llama3.2"}
"""How far Meta stretched the context of each text model; 3.3 has the factor and the template of 3.1."""


def detect(model: str | Path) -> str:
    """Name of the dialect that a model speaks.

    Args:
        model: A model's id or name, or its folder.

    Returns:
        The name.

    Raises:
        UnknownDialect: Nothing tells.
    """
    folder = Path(model)
    config = _read(folder / "config.json")
    found = _by_template(folder) or _by_name(str(model)) or _by_name(str(config.get("_name_or_path", "")))
    found = found or _by_config(config)
    if not found:
        raise UnknownDialect(
            f"cannot tell which dialect {str(model)!r} speaks: name one, for example llama3.1, "
            "or give a model folder with its chat template"
        )
    return found


def _by_template(folder: Path) -> str | None:
    template = _text(folder / "chat_template.jinja") or _read(folder / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        return None
    known = _FINGERPRINTS.get(hashlib.sha256(template.encode(errors="replace")).hexdigest()[:16])
    if known is None and "Cutting Knowledge Date: December 2023" in template and "<|image|>" not in template:
        # An edited copy: only the templates of 3.1 and 3.3 know built-in tools.
        known = "llama3.1" if "builtin_tools" in template else "llama3.2"
    return known


def _by_name(name: str) -> str | None:
    lowered = name.lower()
    return next((dialect for pattern, dialect in _NAMES if pattern.search(lowered)), None)


def _by_config(config: Mapping[str, Any]) -> str | None:
    # transformers 5 writes rope_parameters, earlier ones rope_scaling.
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    if config.get("model_type") != "llama" or not isinstance(rope, Mapping) or rope.get("rope_type") != "llama3":
        return None
    factor = rope.get("factor")
    return _ROPE_FACTORS.get(float(factor)) if isinstance(factor, int | float) else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
