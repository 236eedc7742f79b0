"""Tokenizers that the tests of prompts/ share."""

from collections.abc import Callable

import pytest
import vocabularies
from hypothesis import settings

from arriero.prompts.tiktoken_vocabulary import Generation
from arriero.prompts.tokens import Tokenizer

# The suite runs beside a model server: how long one example takes says nothing there.
settings.register_profile("arriero", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5000)  # `make fuzz`, which pytest loads after this
settings.load_profile("arriero")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return vocabularies.tiny()


@pytest.fixture(scope="session")
def meta_tokenizer() -> Tokenizer:
    return vocabularies.meta("llama3")


@pytest.fixture(scope="session")
def meta() -> Callable[[Generation], Tokenizer]:
    """Meta's vocabularies: `meta("llama3")`, `meta("llama4")`."""
    return vocabularies.meta
