import subprocess
import sys

import pytest

import arriero.tools


def test_importing_the_tools_loads_no_heavy_library() -> None:
    heavy = ["torch", "transformers", "sentence_transformers", "chromadb", "numpy", "ddgs", "pydantic", "griffe"]
    code = f"import sys, arriero.tools; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", arriero.tools.__all__)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(arriero.tools, name) is not None
    assert name in dir(arriero.tools)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="web_fetsh"):
        arriero.tools.web_fetsh  # noqa: B018
