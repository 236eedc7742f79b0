"""`arriero eval run` on a real vLLM: as an engine of ours, and as any chat endpoint."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.runs import RunFolder

pytestmark = pytest.mark.vllm


def answered(out: Path, *options: str) -> RunFolder:
    """A run over three of the bundled questions, without a judge."""
    arguments = ["eval", "run", "--limit", "3", "--max-tokens", "60", "--judge", "none", "--out", str(out), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return RunFolder.open(out)


def test_a_rag_pipeline_answers_on_vllm_as_in_this_process(vllm_server: Any, tmp_path: Path) -> None:
    served = answered(tmp_path / "served", "--url", vllm_server.url)
    local = answered(tmp_path / "local")
    assert [item.response for item in served.items()] == [item.response for item in local.items()]
    assert len(served.items()) == 3
    system = served.head.system
    assert system["version"]
    assert {name: system[name] for name in ("kind", "model", "engine", "revision", "quantization")} == {
        **{name: local.head.system[name] for name in ("kind", "model", "revision", "quantization")},
        "engine": "VLLMEngine",
    }


def test_the_same_server_answers_as_a_chat_endpoint(vllm_server: Any, tmp_path: Path) -> None:
    options = ("--endpoint", vllm_server.url, "--model", "arriero-demo")
    run = answered(tmp_path / "run", *options)
    answers = run.answered().answers
    assert [answer.error for answer in answers] == [None] * 3
    assert all(answer.text and answer.passages and answer.prompt_tokens > 50 for answer in answers)
    assert run.head.system["kind"] == "endpoint"
    assert str(run.head.system["revision"]).startswith("sha256:")
    before = (run.path / "answers.jsonl").read_bytes()
    assert (answered(run.path, *options).path / "answers.jsonl").read_bytes() == before
