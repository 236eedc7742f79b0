"""`arriero eval run`: questions to a system, its answers judged and reported."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.labels import Label, append_label
from arriero.evals.runs import RunFolder, read_subject


def arriero(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process: exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["eval", "run", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Questions with passages of their own, 30 of them over ten documents."""
    rows = [
        {
            "id": f"q{number}",
            "question": f"What is the load of mule {number}?",
            "passages": [{"id": f"p{number}", "text": f"The load of mule {number} is {number + 50} kilograms."}],
            "doc_id": f"d{number % 10}",
        }
        for number in range(30)
    ]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Answers to all but the last question, a third of them wrong."""
    file = tmp_path / "recorded.jsonl"
    rows = [
        {"id": f"q{n}", "answer": f"The load of mule {n} is {n + 50 if n % 3 else 7} kilograms [1]."} for n in range(29)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_bundled_model_answers_bundled_questions_and_is_judged(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, shown, told = arriero("--limit", 4, "--out", out)
    assert code == 0, told
    assert "flagged by the judge" in shown.lower()
    assert {"run.json", "answers.jsonl", "judgements.offline.jsonl", "report.html", "report.json"} <= set(
        os.listdir(out)
    )
    subject = read_subject(out)
    assert (len(subject.items), subject.system["model"], subject.system["kind"]) == (4, "arriero-demo", "rag")
    assert subject.judgings["offline"].judgements.keys() == {item.id for item in subject.items}
    assert all(answer.passages for answer in subject.answers or ())


def test_an_agent_of_a_file_is_asked(tmp_path: Path) -> None:
    program = tmp_path / "agents.py"
    program.write_text(
        "from arriero import Agent\nfrom arriero.tools import knowledge_search\n"
        "def reader(stack):\n"
        "    return Agent(stack, instructions='Answer from the documents and cite them.', tools=[knowledge_search()])\n"
    )
    code, _, told = arriero("--agent", f"{program}:reader", "--limit", 2, "--out", tmp_path / "run", "--judge", "none")
    assert code == 0, told
    answers = RunFolder.open(tmp_path / "run").answered().answers
    assert {call["name"] for answer in answers for call in answer.calls} == {"knowledge_search"}
    program.write_text(program.read_text() + "# changed\n")
    code, _, told = arriero("--agent", f"{program}:reader", "--limit", 2, "--out", tmp_path / "run", "--judge", "none")
    assert (code, "system.program.sha256" in told) == (1, True)
    code, _, told = arriero("--agent", f"{program}:nobody", "--out", tmp_path / "other", "--judge", "none")
    assert (code, "defines no nobody(stack)" in told) == (1, True)


def test_recorded_answers_are_judged_and_missing_ones_reported(asked: Path, recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, shown, told = arriero(asked, "--answers", recorded, "--out", out, "--html", tmp_path / "page.html", "--json")
    assert code == 0, told
    found = json.loads(shown)
    assert found["answers"]["corrected"] is None
    assert found["answers"]["judged"] == 29
    assert "1 of 30 questions have no answer, such as q29: recorded.jsonl has no answer with this id" in told
    assert (tmp_path / "page.html").read_bytes() == (out / "report.html").read_bytes()
    kept = json.loads((out / "report.json").read_text())
    assert kept["answers"] == found["answers"]
    assert len(kept["items"]) == 29


def test_labels_beside_a_run_correct_it_and_a_limit_fails_it(asked: Path, recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = (asked, "--answers", recorded, "--out", out)
    code, _, told = arriero(*options, "--fail-above", 0.9)
    assert (code, "failed: " in told) == (1, True)
    append_label(out / "labels.jsonl", *(Label(f"q{n}", "ana", 0 if n % 3 else 1) for n in range(29)))
    assert arriero(*options, "--fail-above", 0.9)[0] == 0
    code, _, told = arriero(*options, "--fail-above", 0.2)
    assert (code, "may be above 20 %" in told) == (1, True)


def test_the_same_command_goes_on_and_another_one_is_refused(asked: Path, recorded: Path, tmp_path: Path) -> None:
    options = (asked, "--answers", recorded, "--out", tmp_path / "run", "--judge", "none")
    assert arriero(*options)[0] == 0
    before = (tmp_path / "run" / "answers.jsonl").read_bytes()
    assert arriero(*options)[0] == 0
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == before
    code, _, told = arriero(*options, "--seed", 5)
    assert (code, "seed 0 where it is 5 now" in told) == (1, True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--answers", "{recorded}", "--agent", "a.py"], "--agent and --answers"),
        (["--answers", "{recorded}", "--repeats", "2"], "--repeats"),
        (["--answers", "{recorded}", "--temperature", "1"], "--temperature"),
        (["--repeats", "2"], "--temperature above 0"),
        (["--endpoint", "http://localhost:1/v1"], "--model"),
        (["--endpoint", "http://localhost:1/v1", "--model", "m", "--url", "http://localhost:1"], "--url"),
        (["--agent", "nowhere.py"], "there is no file nowhere.py"),
        (["--corpus", "{recorded}", "--documents", "{folder}"], "--corpus and --documents"),
        (["--answers", "{recorded}", "--judge", "nobody"], "nobody"),
    ],
)
def test_options_that_contradict_each_other_are_misuse(
    asked: Path, recorded: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    given = [option.format(recorded=recorded, folder=tmp_path) for option in options]
    code, _, told = arriero(asked, "--out", tmp_path / "run", *given)
    assert (code, problem in " ".join(told.replace("│", " ").split())) == (2, True), told


def test_questions_that_are_not_there_are_misuse(tmp_path: Path) -> None:
    code, _, told = arriero(tmp_path / "nothing.jsonl")
    assert (code, "QUESTIONS" in told) == (2, True)


def test_a_run_without_any_answer_has_failed(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "others.jsonl").write_text('{"id": "nobody asked", "answer": "so what"}')
    code, shown, told = arriero(asked, "--answers", tmp_path / "others.jsonl", "--out", tmp_path / "run")
    assert (code, shown) == (1, "")
    assert "30 of 30 questions have no answer" in told
    assert "1 of 1 recorded answers are to questions that are not asked, such as nobody asked" in told


def test_the_bundled_model_may_judge_and_the_report_be_markdown(asked: Path, recorded: Path, tmp_path: Path) -> None:
    options = ("--answers", recorded, "--limit", 3, "--judge", "llama", "--markdown", "--out", tmp_path / "run")
    code, shown, told = arriero(asked, *options)
    assert code == 0, told
    assert "|" in shown
    assert read_subject(tmp_path / "run").judgings["llama"].fingerprint["model"] == "arriero-demo"


def test_an_engine_that_is_gone_fails_with_what_to_do(asked: Path, tmp_path: Path) -> None:
    endpoint = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m")
    code, _, told = arriero(asked, *endpoint, "--out", tmp_path / "run", "--judge", "none")
    assert (code, "nothing answers at http://127.0.0.1:9" in told) == (1, True)
    assert not (tmp_path / "run").exists()


@contextmanager
def silent_server() -> Iterator[tuple[str, Event]]:
    """A chat server that tells nothing of its models and never answers: its address, and whether it was asked."""
    asked, over = Event(), Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            asked.set()
            over.wait(60)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            over.set()
            server.shutdown()


def test_ctrl_c_stops_and_says_how_to_go_on(asked: Path, tmp_path: Path) -> None:
    start = "from arriero.cli import app; app()"
    with silent_server() as (url, was_asked):
        options = ["--endpoint", url, "--model", "m", "--judge", "none", "--out", tmp_path / "run"]
        command = [sys.executable, "-c", start, "eval", "run", asked, *options]
        with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
            assert was_asked.wait(60)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command goes on" in told
    assert "Traceback" not in told
    assert RunFolder.open(tmp_path / "run").answers() == {}
