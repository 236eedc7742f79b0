"""A run of the code interpreter is told to the model in Meta's form."""

from typing import Any

import pytest
from vectors import rendered

from arriero.prompts.code_result import format_code_result


@pytest.mark.parametrize("vector", rendered("meta-tool-response"))
def test_a_run_is_told_in_metas_form(vector: dict[str, Any]) -> None:
    run = vector["input"]
    told = format_code_result(
        failed=run["status"] == "failure", stdout=run.get("stdout", ""), stderr=run.get("stderr", "")
    )
    assert told == vector["expected"]
