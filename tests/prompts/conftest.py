"""Tokenizers that the tests of prompts/ share."""

import pytest
import vocabularies
from hypothesis import settings

from arriero.prompts.tokens import Tokenizer

# The suite runs beside a model server: how long one example takes says nothing there.
settings.register_profile("arriero", deadline=None)
settings.load_profile("arriero")


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return vocabularies.tiny()


@pytest.fixture(scope="session")
def meta_tokenizer() -> Tokenizer:
    vocabulary = vocabularies.meta_llama3()
    if vocabulary is None:
        pytest.fail("Meta's vocabulary is missing: make env installs llama-models")
    return vocabulary
