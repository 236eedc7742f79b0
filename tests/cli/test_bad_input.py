"""One typed error on one line, nothing written, no traceback."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.models import DEMO

AGENT = "from arriero import Agent\n\ndef agent(stack):\n    return Agent(stack)\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(AGENT)
    return file


def check(done, error: str, *says: str) -> None:
    assert done.code == 1
    assert done.out.strip() == ""
    assert done.err.startswith("error: ")
    assert done.err.endswith(f"({error})\n")
    assert done.err.count("\n") == 1
    for words in says:
        assert words in done.err


def test_nobody_answers_at_the_url(arriero, program: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    done = arriero("run", program, "Hi", "--url", url, "--log", tmp_path / "log.sqlite")
    check(done, "EngineUnavailable", url.removesuffix("/v1"))
    assert not (tmp_path / "log.sqlite").exists()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", ""])
def test_the_url_is_none(arriero, program: Path, url: str) -> None:
    check(arriero("run", program, "Hi", "--url", url), "EngineRejected", "http://localhost:8000/v1")


def test_the_key_is_wrong(arriero, program: Path, locked_server: str) -> None:
    done = arriero("run", program, "Hi", "--url", locked_server, "--api-key", "secret-key")
    check(done, "EngineRejected", "API key")
    assert "secret-key" not in done.err


def test_the_key_may_come_from_the_environment(arriero, program: Path, locked_server: str, monkeypatch) -> None:
    monkeypatch.setenv("ARRIERO_API_KEY", "a\nb")
    check(arriero("run", program, "Hi", "--url", locked_server), "EngineRejected", "header")


@pytest.mark.parametrize("command", [["demo"], ["chat"], ["run", "PROGRAM", "Hi"], ["serve", "--port", "0"]])
def test_the_model_folder_is_unreadable(arriero, program: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "model").mkdir()
    arguments = [str(program) if word == "PROGRAM" else word for word in command]
    check(arriero(*arguments, "--model", tmp_path / "model"), "ModelNotReadable", str(tmp_path / "model"))


def test_the_model_folder_is_damaged(arriero, program: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    (tmp_path / "config.json").write_text("{")
    done = arriero("run", program, "Hi", "--model", tmp_path, "--dialect", "llama3.1")
    check(done, "ModelNotReadable", "config.json")


def test_the_dialect_of_a_model_cannot_be_told(arriero, program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "llm"
    folder.mkdir()
    for file in DEMO.iterdir():
        if file.suffix in (".json", ".safetensors") and file.name != "tokenizer_config.json":
            (folder / file.name).write_bytes(file.read_bytes())
    check(arriero("run", program, "Hi", "--model", folder), "UnknownDialect", "llama3.1")


def test_a_tool_has_a_type_that_cannot_be_described(arriero, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "from arriero import tool\nimport socket\n\n@tool\ndef send(where: socket.socket) -> None:\n    '''Send.'''\n"
    )
    check(arriero("run", file, "Hi"), "ToolDefinitionError", "send", "where")


def test_the_question_is_empty(arriero, program: Path) -> None:
    check(arriero("run", program, " "), "InvalidMessage", "empty")


def test_the_question_does_not_fit_the_context(arriero, program: Path) -> None:
    check(arriero("run", program, "height " * 3000), "ContextTooLong", "2048")


def test_the_question_is_no_text(arriero, program: Path) -> None:
    check(arriero("run", program, "a\ud800"), "InvalidMessage", "surrogate")


def test_the_log_cannot_be_opened(arriero, program: Path, tmp_path: Path) -> None:
    check(arriero("run", program, "Hi", "--log", tmp_path / "no" / "log.sqlite"), "LogError", "log.sqlite")


def test_the_log_is_something_else(arriero, program: Path) -> None:
    before = program.read_bytes()
    check(arriero("run", program, "Hi", "--log", program), "LogError", "program.py")
    assert program.read_bytes() == before


def test_the_shield_is_unknown(arriero) -> None:
    check(arriero("chat", "--shield", "lama-guard", stdin="Hi\n"), "UnknownShield", "llama-guard")


def test_the_port_is_taken(arriero) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        check(arriero("serve", "--port", taken.getsockname()[1]), "CannotServe", "--port")


def test_the_host_is_not_this_machine(arriero) -> None:
    check(arriero("serve", "--host", "192.0.2.1", "--port", 0), "CannotServe", "--host")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--engine", "vllm"], "--url"),
        (["demo", "--engine", "transformers", "--url", "http://localhost:1/v1"], "--url"),
        (["demo", "--engine", "llama.cpp"], "vllm"),
        (["demo", "--dialect", "llama9"], "llama3.1"),
        (["demo", "--tokenizer", "folder"], "--tokenizer"),
        (["run"], "FILE"),
        (["run", "no/such/file.py"], "no/such/file.py"),
        (["run", str(DEMO / "config.json")], ".py"),
        (["chat", "--tool", "hammer"], "web_search"),
        (["chat", "--documents", "no/such/folder"], "no/such/folder"),
        (["serve", "--port", "70000"], "--port"),
        (["nonsense"], "nonsense"),
    ],
)
def test_misuse_is_exit_code_2(arriero, arguments: list[str], says: str) -> None:
    done = arriero(*arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n", "agent(stack)"),
        ("def main():\n    pass\n", "async main()"),
        (AGENT, "QUESTIONS"),
    ],
)
def test_a_file_that_defines_nothing_to_run_is_misuse(arriero, tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "program.py").write_text(source)
    done = arriero("run", tmp_path / "program.py")
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_question_to_a_file_without_an_agent_is_misuse(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("async def main():\n    pass\n")
    assert arriero("run", tmp_path / "program.py", "Hi").code == 2


def test_an_agent_function_that_returns_something_else_is_told(arriero, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("def agent(stack):\n    return stack\n")
    check(arriero("run", tmp_path / "program.py", "Hi"), "UnusableProgram", "Stack")


def test_an_error_that_is_nobodys_but_the_programs_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1 / 0\n")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "program.py")])
    assert isinstance(done.exception, ZeroDivisionError)
