import subprocess
import sys

import pytest

import arriero
import arriero.evals

NAMES = """
    Agent Answer ArrieroError CallFinished CallStarted Context Decision Dialect EngineError Event Limits LlamaGuard
    Message RenderOptions SQLiteLog Sampling Shield Stack Step StepFinished Template TextDelta Tokenizer Tool ToolCall
    ToolError ToolResult Turn TurnFinished Usage Verdict VerdictGiven open_log tool
""".split()
HEAVY = (
    "torch transformers chromadb psycopg ray opentelemetry fastapi numpy scipy pydantic openai ddgs rich typer".split()
)
CPU_SECONDS = 0.15


def test_the_public_names_are_these() -> None:
    assert arriero.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(arriero, name) is not None
    assert name in dir(arriero)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Agentt"):
        arriero.Agentt  # noqa: B018


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", arriero.evals.__all__)
def test_each_name_of_the_evaluations_can_be_imported(name: str) -> None:
    assert getattr(arriero.evals, name) is not None
    assert name in dir(arriero.evals)


@pytest.mark.parametrize("code", ["import arriero", "from arriero import *", "import arriero.evals"])
def test_importing_loads_no_heavy_library(code: str) -> None:
    assert python(f"import sys; {code}; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_importing_is_quick() -> None:
    measure = "import time; began = time.process_time(); import arriero; print(time.process_time() - began)"
    assert min(float(python(measure)) for _ in range(3)) < CPU_SECONDS


def test_the_imports_of_the_design_work() -> None:
    names = "from arriero import Agent, Stack, tool"
    tools = "from arriero.tools import code_interpreter, knowledge_search, web_search"
    assert python(f"{names}; {tools}; print(1)") == "1"
