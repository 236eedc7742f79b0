"""A model's dialect is told by its template, its name, or its configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from arriero.models import DEMO
from arriero.prompts import detection
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import UnknownDialect


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8", "llama3.1"),
        ("llama3.1:8b", "llama3.1"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3.2"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3.3"),
        ("meta-llama/Llama-Guard-3-8B", "llama-guard-3-8b"),
        ("arriero-demo", "llama3.1"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("llama3:70b", "llama3"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", "llama3.2-vision"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4"),
        ("meta-llama/LlamaGuard-7b", "llama-guard-1"),
        ("meta-llama/Meta-Llama-Guard-2-8B", "llama-guard-2"),
        ("meta-llama/Llama-Guard-3-1B", "llama-guard-3-1b"),
        ("meta-llama/Llama-Guard-3-11B-Vision", "llama-guard-3-11b-vision"),
        ("meta-llama/Llama-Guard-4-12B", "llama-guard-4"),
    ],
)
def test_a_name_tells_the_dialect(model: str, dialect: str) -> None:
    assert Dialect.detect(model).name == dialect


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "meta-llama/Llama-2-7b-hf",
        "meta-llama/Llama-Prompt-Guard-2-86M",
        "someone/llama-4bit",
        "someone/guard",
        "",
        "no/such\x00folder",
    ],
)
def test_a_model_that_nothing_tells_of_is_refused(model: str) -> None:
    with pytest.raises(UnknownDialect, match="name one, for example"):
        Dialect.detect(model)


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        ({"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3.1"),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "factor": 32}}, "llama3.2"),
        ({"model_type": "llama", "_name_or_path": "meta-llama/Llama-3.3-70B-Instruct"}, "llama3.3"),
        ({"model_type": "mllama"}, "llama3.2-vision"),
        ({"model_type": "llama4"}, "llama4"),
    ],
)
def test_a_folder_of_another_name_is_told_by_its_configuration(
    tmp_path: Path, config: dict[str, Any], dialect: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Dialect.detect(tmp_path).name == dialect


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        ("{{ builtin_tools }} Cutting Knowledge Date: December 2023", "llama3.1"),
        ("{{ strftime_now }} Cutting Knowledge Date: December 2023", "llama3.2"),
        ("<|image|> Cutting Knowledge Date: December 2023", "llama3.2-vision"),
        ("<|header_start|>", "llama4"),
    ],
)
def test_an_edited_template_is_told_by_what_it_knows(tmp_path: Path, template: str, dialect: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert Dialect.detect(tmp_path).name == dialect


def test_a_broken_configuration_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(UnknownDialect):
        Dialect.detect(tmp_path)


def test_the_model_that_ships_with_the_project_speaks_llama_31() -> None:
    assert Dialect.detect(DEMO).name == "llama3.1"


def test_every_template_with_a_fingerprint_has_its_dialect() -> None:
    for found in detection._FINGERPRINTS.values():
        assert (Dialect.get(*found).name, Dialect.get(*found).source) == found


def test_every_name_that_can_be_told_has_its_dialect() -> None:
    for name in {name for _, name in detection._NAMES if name}:
        assert Dialect.get(name).name == name
