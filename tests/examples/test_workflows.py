"""The examples do on both engines what they are there to show, with the bundled model."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from failing_log import FailingLog
from typer.testing import CliRunner

from arriero import SQLiteLog, Stack, Turn
from arriero.cli import app
from arriero.examples import custom_tool, map_reduce, triage
from arriero.examples.demo import WORKFLOWS, Workflow
from arriero.stack.decisions import Decision
from arriero.stack.log import LogError

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(file for file in EXAMPLES.glob("*.py") if file.stem not in ("__init__", "demo"))
CALLS = {
    "research": [("web_search", {"query": "height of Mount Orla"}), ("code_interpreter", {"code": "print(3 * 2140)"})],
    "population": [("web_search", {"query": "population of Lanza"}), ("code_interpreter", {"code": "print(2 * 5120)"})],
    "documents": [("knowledge_search", {"query": "How high is the Salda Pass?"})],
    "mayor": [("knowledge_search", {"query": "Who is the mayor of Tarnholt?"})],
    "unanswerable": [("knowledge_search", {"query": "What is the price of the Copper Inn?"})],
    "input shield": [],
    "output shield": [("web_search", {"query": "secret of Mount Harrow"})],
}
PRINTED = {
    "research": ["The result is 6420.", "The result is 10240."],
    "planner": [
        "What is the load of Zuri?",
        "The load of Bramble is 120 kilograms [",
        "The load of Juniper is 96 kilograms [",
        "The result is 301.",
    ],
    "map_reduce": ["What do Zuri, Bramble, Juniper carry? The result is 301.", "3 of 3<br>finished"],
    "writer_critic": ["'objection': 'unsafe: S9'", "The height of Mount Orla is 2140 metres ["],
    "triage": [
        "What is the status of P-113? closed: The status of P-113 is at the Salda Pass.",
        'answer/front-desk:2.0: May this run? cancel_booking({"booking": "B-17"})',
        "Please cancel the booking with booking B-17. closed: Done: confirmed.",
    ],
    "analysis": [
        "What is the mean of height? The mean of height is 2224.0.",
        "image/png",
    ],
}


def calls(turn: Turn) -> list[tuple[str, dict[str, object]]]:
    return [(call.name, dict(call.arguments)) for call in turn.calls]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
async def test_a_workflow_ends_as_it_must_with_these_calls(stack: Stack, workflow: Workflow) -> None:
    agent = workflow.agent(stack)
    turn = await agent.run(workflow.question)
    await agent.aclose()
    assert workflow.unmet(turn) is None
    assert calls(turn) == CALLS[workflow.name]


async def test_a_citation_names_the_passage_that_says_it(stack: Stack) -> None:
    workflow = next(workflow for workflow in WORKFLOWS if workflow.name == "documents")
    agent = workflow.agent(stack)
    turn = await agent.run(workflow.question)
    await agent.aclose()
    passages = str(turn.steps[0].results[0].content).splitlines()
    (cited,) = [passage for passage in passages if passage.split(" ")[0] in turn.text]
    assert "2140 metres" in cited


async def test_a_tool_of_ones_own_is_called_with_what_the_question_says(stack: Stack) -> None:
    turn = await custom_tool.agent(stack).run(custom_tool.QUESTIONS[0])
    assert calls(turn) == [("mule_load", {"mule": "Zuri"})]
    assert "85" in turn.text


async def test_later_steps_read_the_earlier_ones_from_the_prefix_cache(stack: Stack) -> None:
    workflow = WORKFLOWS[0]
    turn = await workflow.agent(stack).run(workflow.question)
    first, *later = turn.steps
    assert later
    for step in later:
        assert step.usage.cached_tokens is not None
        assert step.usage.cached_tokens >= (first.usage.prompt_tokens // 32 - 1) * 32 > 0


def test_the_demo_shows_every_step_and_ends_with_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 0, done.output
    assert f"{len(WORKFLOWS)} of {len(WORKFLOWS)} workflows" in done.output
    for label in ("prompt", "model", "call", "result", "verdict", "answer", "done"):
        assert f"\n  {label} " in done.output
    assert "Of 100 answers about 60 hallucinate" in done.output
    assert done.output.endswith("The report: arriero-evaluation.html\n")
    assert (tmp_path / "arriero-evaluation.html").stat().st_size > 10_000


def test_the_demo_gives_one_json_object_per_event(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["demo", "--json", "--report", str(report)])
    *events, evaluation = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert (evaluation["kind"], evaluation["report"]) == ("evaluation", str(report))
    assert evaluation["answers"]["correction"] == "PPI++"
    assert [event["text"] for event in events if event["kind"] == "unmet"] == [None] * len(WORKFLOWS)
    assert {event["workflow"] for event in events} == {workflow.name for workflow in WORKFLOWS}


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
async def test_an_example_is_a_program_of_its_own(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(f"copied_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program  # where dataclasses and annotations look their module up
    spec.loader.exec_module(program)
    await (program.alone if hasattr(program, "alone") else program.main)()
    printed = capsys.readouterr().out
    assert all(question in printed for question in vars(program).get("QUESTIONS", ()))
    assert all(line in printed for line in PRINTED.get(file.stem, ())), printed


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_from_the_command_line(name: str) -> None:
    done = CliRunner().invoke(app, ["run", str(EXAMPLES / f"{name}.py")])
    assert done.exit_code == 0, done.output
    assert all(line in done.output for line in PRINTED[name]), done.output


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_an_example_is_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) < 130


async def test_a_map_over_documents_goes_on_where_it_broke_off() -> None:
    log = FailingLog(SQLiteLog(":memory:"), at=9, times=99)
    async with Stack.local(log=log) as stack, map_reduce.crew(stack) as who:
        with pytest.raises(LogError):
            await map_reduce.flow.run(map_reduce.MULES, log=log, deps=who, run="loads")
        log.at = 0
        begun = {record.turn for session in await log.turns() for record in await log.read(session.session)}
        run = await map_reduce.flow.resume("loads", log=log, deps=who)
        assert run.output == "The result is 301."
        turns = await log.turns()
        assert len(turns) == 5, "the run, a turn for each of three mules, and one that adds up"
        assert begun <= {turn.turn for turn in turns}


async def test_a_ticket_is_approved_in_another_process_than_the_one_that_asked(tmp_path: Path) -> None:
    async with Stack.local(log=tmp_path / "runs.sqlite") as stack:
        desk = triage.front_desk(stack)
        asked = await triage.flow.run(triage.TICKETS[1], log=stack.log, deps=desk, run="case")
    (pending,) = asked.waiting
    async with Stack.local(log=tmp_path / "runs.sqlite") as stack:
        desk = triage.front_desk(stack)
        denied = await triage.flow.resume(
            "case", log=stack.log, deps=desk, decisions={pending.id: Decision.deny("it has left")}
        )
    assert denied.output == "left to a person: Please cancel the booking with booking B-17."
