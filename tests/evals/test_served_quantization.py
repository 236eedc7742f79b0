"""A model on a real vLLM, by its address: compared with the same model in this process, and asked for tool calls."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from arriero.cli import app

pytestmark = pytest.mark.vllm


def told(command: str, *options: object) -> Any:
    done = CliRunner().invoke(app, ["eval", command, *map(str, options), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_served_model_is_the_one_that_runs_here_in_the_same_precision(vllm_server: Any, tmp_path: Path) -> None:
    options = ("--limit", 2, "--references", 2, "--repeats", 1, "--max-tokens", 12, "--out", tmp_path / "run")
    found = told(
        "quantization", "--base", f"{vllm_server.url}#arriero-demo", "--variants", "local:arriero-demo@fp32", *options
    )
    served, local = found["variants"]
    assert served["facts"]["engine"] == "VLLMEngine"
    assert served["memory"] is None
    assert served["speed"]["tokens_per_second"] > 0
    assert local["agreement"]["divergence"]["value"] < 1e-3
    assert local["agreement"]["same"]["value"] == 1
    assert not local["agreement"]["exact"]
    assert any("lower bound" in caveat for caveat in found["caveats"])
    assert local["outcomes"] == served["outcomes"]


def test_a_served_model_calls_the_tools_that_it_calls_here(vllm_server: Any) -> None:
    served, local = (
        told("toolcalls", "--limit", 4, "--grammar", "on", *where)["variants"][0]
        for where in (("--url", vllm_server.url), ())
    )
    assert [score["right"] for score in served["scores"]] == [score["right"] for score in local["scores"]]
    assert served["measures"]["errors"] == 0
    assert served["measures"]["unparsable"] == 0
