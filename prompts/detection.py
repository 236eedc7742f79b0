"""Which dialect a model speaks, told by its chat template, its name, or its configuration."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arriero.prompts.errors import UnknownDialect

Found = tuple[str, str]
"""A dialect's name and source."""

_FINGERPRINTS: Mapping[str, Found] = {  # sha256 of published chat templates, FORMATS.md section 13
    "e8d5b5a546d3f19d": ("llama2", "published"),
    "ba03a121d097859c": ("llama3", "published"),
    "e10ca381b1ccc5cf": ("llama3.1", "published"),
    "5816fce10444e03c": ("llama3.2", "published"),
    "53ff0dc467531d09": ("llama3.2-vision", "published"),
    "e407323269d15bba": ("llama3.2-vision", "first-release"),
    "01a91bfb2e84c805": ("llama4", "published"),
    "9abeb9ecdef24104": ("llama-guard-1", "published"),
    "19121486b4909ef5": ("llama-guard-2", "published"),
    "df3965ba586f628b": ("llama-guard-3-1b", "published"),
    "5a5561f4ea9576d4": ("llama-guard-3-8b", "published"),
    "8aedd05f7ab549b8": ("llama3.1", "llama3.1_json"),
    "c22af47e53f44425": ("llama3.2", "llama3.2_json"),
    "a4958a09420919b8": ("llama3.2", "llama3.2_pythonic"),
    "c5d275e741705515": ("llama4", "llama4_json"),
    "3fe950790d033a6e": ("llama4", "llama4_pythonic"),
}
_NAMES = (  # the first that matches decides
    (re.compile(r"prompt[-_ ]?guard"), ""),
    (re.compile(r"guard[-_ .]?3[-_ .]8b"), "llama-guard-3-8b"),
    (re.compile(r"guard[-_ .]?3[-_ .]1b"), "llama-guard-3-1b"),
    (re.compile(r"guard[-_ .]?3[-_ .]11b"), "llama-guard-3-11b-vision"),
    (re.compile(r"guard[-_ .]?4(?!\d)"), "llama-guard-4"),
    (re.compile(r"guard[-_ .]?2(?!\d)"), "llama-guard-2"),
    (re.compile(r"llama[-_ ]?guard[-_ ]7b"), "llama-guard-1"),
    (re.compile(r"guard"), ""),
    (re.compile(r"arriero-demo"), "llama3.1"),
    (re.compile(r"llama[-_ ]?3[._-]2(?!\d).*vision"), "llama3.2-vision"),
    (re.compile(r"vision"), ""),
    (re.compile(r"llama[-_ ]?3[._-]1(?!\d)"), "llama3.1"),
    (re.compile(r"llama[-_ ]?3[._-]2(?!\d)"), "llama3.2"),
    (re.compile(r"llama[-_ ]?3[._-]3(?!\d)"), "llama3.3"),
    (re.compile(r"llama[-_ ]?4(?!\d|[-_ ]?bit)"), "llama4"),
    (re.compile(r"llama[-_ ]?3[-_ :](?:8|70)b"), "llama3"),
    (re.compile(r"llama[-_ ]?2[-_ :](?:7|13|70)b.*chat"), "llama2"),
)
_ROPE_FACTORS = {8.0: "llama3.1", 32.0: "llama3.2"}
"""How far Meta stretched the context of each text model; 3.3 has the factor and the template of 3.1."""

_MODEL_TYPES = {"mllama": "llama3.2-vision", "llama4": "llama4"}


def detect(model: str | Path) -> Found:
    """Name and source of the dialect that a model speaks.

    Args:
        model: A model's id or name, or its folder.

    Returns:
        The name and the source: the published template's, or that of the template in the folder where it is known.

    Raises:
        UnknownDialect: Nothing tells.

    Example:
        >>> detect("meta-llama/Llama-4-Scout-17B-16E-Instruct")
        ('llama4', 'published')
    """
    folder = Path(model)
    config = _read(folder / "config.json")
    found = _by_template(folder)
    name = _by_name(str(model)) or _by_name(str(config.get("_name_or_path", ""))) or _by_config(config)
    if found is None and name:
        found = (name, "published")
    if found is None:
        raise UnknownDialect(
            f"cannot tell which dialect {str(model)!r} speaks: name one, for example llama3.1, "
            "or give a model folder with its chat template"
        )
    return found


def _by_template(folder: Path) -> Found | None:
    template = _text(folder / "chat_template.jinja") or _read(folder / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        return None
    known = _FINGERPRINTS.get(hashlib.sha256(template.encode(errors="replace")).hexdigest()[:16])
    if known is not None:
        return known
    name = None  # an edited copy
    if "<|header_start|>" in template:
        name = "llama4"
    elif "Cutting Knowledge Date: December 2023" in template:
        # Of the text models' templates only those of 3.1 and 3.3 know built-in tools.
        name = "llama3.1" if "builtin_tools" in template else "llama3.2"
        name = "llama3.2-vision" if "<|image|>" in template else name
    return (name, "published") if name else None


def _by_name(name: str) -> str | None:
    lowered = name.lower()
    return next((dialect for pattern, dialect in _NAMES if pattern.search(lowered)), None)


def _by_config(config: Mapping[str, Any]) -> str | None:
    if (known := _MODEL_TYPES.get(str(config.get("model_type")))) is not None:
        return known
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
