"""`arriero eval label` and `arriero eval calibrate`."""

import json
import re
import signal
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from labelling_server import FALSE, mules, plain_client
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data import write_items
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label, read_labels
from arriero.evals.runs import judge_subject, read_subject


def arriero(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """90 answers that carry no labels."""
    file = tmp_path / "answers.jsonl"
    write_items(file, [replace(item, label=None) for item in mules(90)])
    return file


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A command in a process of its own, and the addresses of its pages."""
    command = [sys.executable, "-c", "from arriero.cli import app; app()", "eval", *map(str, arguments), "--no-open"]
    names = arguments.count("--annotator") or 1
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            pages: dict[str, str] = {}
            while len(pages) < names:
                line = process.stderr.readline()
                assert line, "the command ended without a page"
                found = re.match(r"(\w+): .* to label at (http\S+)$", line)
                if found:
                    pages[found[1]] = found[2]
            yield process, pages
        finally:
            process.kill()


def send(page: str, method: str, path: str, body: object) -> None:
    headers = {"origin": f"http://{urlsplit(page).netloc}", "content-type": "application/json"}
    with plain_client() as client:
        done = client.request(method, page + path, json=body, headers=headers)
    assert done.status_code == 200, done.text


def state(page: str) -> list[object]:
    """A person's labels, as their page sees them."""
    with plain_client() as client:
        found: list[object] = client.get(f"{page}state").json()["labels"]
    return found


class Person(webbrowser.BaseBrowser):
    """Somebody who opens a page in this process and labels all of it, in order."""

    def __init__(self) -> None:
        super().__init__("person")
        self.says: list[int | None] | None = None
        self.shown = 0

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        if self.says is None:
            return False
        threading.Thread(target=self._label, args=(url, self.says)).start()
        return True

    def _label(self, url: str, says: list[int | None]) -> None:
        with plain_client() as client:
            page = str(client.get(url, follow_redirects=True).url)
        self.shown = len(state(page))
        for at, value in enumerate(says):
            send(page, "PUT", f"labels/{at}", {"value": value, "note": ""})
        send(page, "POST", "finish", {})


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    monkeypatch.setenv("DISPLAY", ":7")
    found = Person()
    webbrowser.register("person", None, found, preferred=True)
    yield found
    found.says = None  # a browser cannot be unregistered


def test_two_people_label_on_their_pages_and_the_command_says_how_far_they_agree(answers: Path) -> None:
    arguments = ("label", answers, "--items", 12, "--annotator", "ana", "--annotator", "ben", "--json")
    with running(*arguments) as (process, pages):
        assert set(pages) == {"ana", "ben"}
        for name, page in pages.items():
            for at in range(12):
                send(page, "PUT", f"labels/{at}", {"value": 1 if name == "ben" and at == 5 else at % 2, "note": ""})
            send(page, "POST", "finish", {})
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found = json.loads(out)
    assert found["annotators"] == {"ana": 12, "ben": 12}
    assert (found["hallucinated"], found["supported"], found["disputed"]) == (6, 6, [])
    assert found["agreement"]["items"] == 12
    assert found["agreement"]["raw"]["value"] == 1.0


def test_ctrl_c_keeps_what_was_said(answers: Path) -> None:
    with running("label", answers, "--items", 20, "--annotator", "ana") as (process, pages):
        send(pages["ana"], "PUT", "labels/0", {"value": 1, "note": "snow"})
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "Traceback" not in told
    assert "ana: 1 items labelled" in out
    assert [(one.annotator, one.value, one.note) for one in read_labels(f"{answers}.labels.jsonl")] == [
        ("ana", 1, "snow")
    ]


def test_the_browser_opens_the_page_and_a_later_call_goes_on(answers: Path, person: Person) -> None:
    for said, left in (([1, 0, None], 20), ([0], 17)):
        person.says = list(said)
        code, out, told = arriero("label", answers, "--items", 20, "--annotator", "ana")
        assert code == 0, told
        assert f"ana: {left} of 20 items to label at http://127.0.0.1:" in told
        assert person.shown == 20
        assert "ana: 3 items labelled" in out


def test_without_a_page_it_says_what_the_labels_say(answers: Path) -> None:
    path = answers.with_name("answers.jsonl.labels.jsonl")
    ids = [item.id for item in mules(30)]
    append_label(path, *(Label(id_, "ana", n % 2) for n, id_ in enumerate(ids)))  # type: ignore[arg-type]
    append_label(path, *(Label(id_, "ben", n % 2 if n else 1) for n, id_ in enumerate(ids)))  # type: ignore[arg-type]
    code, out, _ = arriero("label", answers, "--no-page")
    assert code == 0
    assert "ana: 30 items labelled" in out
    assert "15 hallucinated, 14 supported" in out
    assert "ana and ben on 30 items: alike 96.7 %" in out
    assert "Cohen's kappa: 0.93 [" in out
    assert "1 disputed: mule-0" in out


def test_disputed_items_alone_are_shown_to_who_settles_them(answers: Path, person: Person) -> None:
    path = answers.with_name("answers.jsonl.labels.jsonl")
    append_label(path, Label("mule-7", "ana", 1), Label("mule-7", "ben", 0), Label("mule-8", "ana", 1))
    person.says = [0]
    code, out, _ = arriero("label", answers, "--disputed", "--annotator", "cara")
    assert (code, person.shown) == (0, 1)
    assert "1 hallucinated, 1 supported" in out
    code, _, told = arriero("label", answers, "--disputed")
    assert (code, "nothing is disputed" in told) == (1, True)


def test_labels_from_a_table_are_added_once(answers: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("id,label,annotator,note\nmule-0,1,ana,snow\nmule-1,supported,ana,\nmule-2,?,ben,\n")
    code, out, told = arriero("label", answers, "--import", table, "--json")
    assert code == 0
    assert "3 labels added, 0 were there already" in told
    found = json.loads(out)
    assert (found["annotators"], found["cannot_say"]) == ({"ana": 2, "ben": 1}, ["mule-2"])
    assert "0 labels added, 3 were there already" in arriero("label", answers, "--import", table)[2]
    table.write_text("id,label,annotator,note\nmule-0,0,ana,\n")
    assert "1 labels added" in arriero("label", answers, "--import", table)[2]
    assert len(Path(f"{answers}.labels.jsonl").read_text().splitlines()) == 4


def test_another_persons_file_of_labels_is_taken_in(answers: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "ben.labels.jsonl"
    append_label(theirs, Label("mule-0", "ben", 1, time=5.0), Label("mule-1", "ben", 1, time=6.0))
    append_label(theirs, Label("mule-0", "ben", None, time=7.0, withdrawn=True), Label("mule-1", "ben", 0, time=8.0))
    assert arriero("label", answers, "--import", theirs)[0] == 0
    assert read_labels(f"{answers}.labels.jsonl") == (Label("mule-1", "ben", 0, time=8.0),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,label\nmule-0,1\nnobody,1\n", r"table\.csv:3: id: 'nobody' is no item here"),
        ("id,label\nmule-0,maybe\n", r"table\.csv:2: label: is 'maybe'"),
        ("id,label\nmule-0,\n", r"table\.csv:2: label: is ''"),
        ("id,label\n,1\n", r"table\.csv:2: id: is missing"),
        ("id\nmule-0\n", r"table\.csv:2: label: is missing"),
        ("id,label,annotator\nmule-0,1, \n", r"table\.csv:2: annotator: "),
        ("id,label,time\nmule-0,1,noon\n", r"table\.csv:2: time: "),
        ("id,label\nmule-0,1\nmule-0,0\n", r"table\.csv:3: label: says another thing of 'mule-0' than line 2"),
        ("id,label\nmule-0,2\nmule-1,3\n", "2 lines are wrong, so nothing was read"),
        ("", "holds no lines"),
    ],
)
def test_a_table_with_a_bad_line_adds_nothing(answers: Path, tmp_path: Path, text: str, says: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    code, _, told = arriero("label", answers, "--import", table, "--annotator", "ana")
    assert code == 1
    assert "InvalidData" in told
    assert re.search(says, told)
    assert not Path(f"{answers}.labels.jsonl").exists()


def test_rows_without_a_name_need_one(answers: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text('{"id": "mule-0", "label": 1}\n{"id": "mule-1", "label": null}\n')
    code, _, told = arriero("label", answers, "--import", table)
    assert (code, "give --annotator" in told) == (1, True)
    assert arriero("label", answers, "--import", table, "--annotator", "ana")[0] == 0
    assert arriero("label", answers, "--import", table, "--annotator", "ana", "--annotator", "ben")[0] == 2


def test_a_judge_that_has_judged_nothing_cannot_be_shown(answers: Path) -> None:
    code, _, told = arriero("label", answers, "--show-judge", "llama")
    assert (code, "judged nothing here" in told) == (2, True)


@pytest.fixture
def truths(tmp_path: Path) -> Path:
    """90 answers that carry labels."""
    file = tmp_path / "truths.jsonl"
    write_items(file, mules(90))
    return file


def test_calibrating_on_labels_that_items_came_with_needs_no_page(truths: Path) -> None:
    code, out, told = arriero("calibrate", truths, "--labels", 60)
    assert code == 0, told
    assert "Labels of 60 of 90 judged items, a simple random sample (seed 0)" in " ".join(out.split())
    assert "sensitivity: bad answers flagged" in out
    assert "answers: hallucinated, corrected" in out
    assert "What the judge flags holds its errors: it is not the rate of hallucination." in out
    assert Path(f"{truths}.calibration.json").is_file()
    assert Path(f"{truths}.judgements.offline.jsonl").is_file()


def test_what_was_found_is_one_json_object_and_more_labels_go_on(truths: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", truths, "--no-page", "--json")
    code, out, _ = arriero(*arguments, "--labels", 40, "--seed", 3, "--fit", tmp_path / "fitted.json")
    small = json.loads(out)
    assert code == 0
    assert small["format"] == "arriero.calibration"
    assert small["rate"]["correction"] == "PPI++"
    assert small["rate"]["corrected"]["low"] <= 1 / 3 <= small["rate"]["corrected"]["high"]
    assert small["came_along"] == 40
    assert json.loads((tmp_path / "fitted.json").read_text())["n"] == 40
    large = json.loads(arriero(*arguments, "--labels", 60)[1])
    assert large["plan"]["ids"][:40] == small["plan"]["ids"]
    assert large["plan"]["seed"] == 3
    assert large["rate"]["labelled"] == 60
    code, _, told = arriero(*arguments, "--seed", 4)
    assert (code, "PlanDiffers" in told) == (1, True)


def test_calibrating_opens_the_page_and_corrects_by_what_people_say(answers: Path, person: Person) -> None:
    truth = {item.id: item.label for item in mules(90)}
    arriero("calibrate", answers, "--labels", 30, "--no-page")
    ids = json.loads(Path(f"{answers}.calibration.json").read_text())["plan"]["ids"]
    person.says = [truth[id_] for id_ in ids]
    code, out, told = arriero("calibrate", answers, "--labels", 30, "--annotator", "ana", "--json")
    assert code == 0, told
    found = json.loads(out)
    assert (found["rate"]["labelled"], found["annotators"]) == (30, {"ana": 30})
    assert found["rate"]["correction"] == "PPI++"
    assert found["rate"]["quality"]["sensitivity"]["n"] == sum(truth[id_] or 0 for id_ in ids)


def test_without_labels_nothing_is_corrected_and_that_is_said(answers: Path) -> None:
    code, out, _ = arriero("calibrate", answers, "--no-page", "--labels", 30)
    assert code == 1
    assert "There is no rate of hallucination." in out
    assert "30 not labelled yet" in " ".join(out.split())


def test_labels_of_one_kind_correct_nothing(answers: Path) -> None:
    ids = [item.id for item in mules(90)]
    append_label(f"{answers}.labels.jsonl", *(Label(id_, "ana", 0) for id_ in ids))
    code, out, _ = arriero("calibrate", answers, "--no-page", "--labels", 30)
    assert code == 1
    assert "'supported'" in out


def test_an_unknown_judge_is_misuse(answers: Path) -> None:
    code, _, told = arriero("calibrate", answers, "--judge", "nobody")
    assert (code, "there is no judge 'nobody'" in " ".join(told.split())) == (2, True)


class Foresight:
    """A judge of one's own, which the command line cannot make."""

    name, threshold, fingerprint = "foresight", 0.5, {"kind": "made"}

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        return [Judgement(item.id, self.name, 0.9 if FALSE in item.response else 0.2) for item in items]


def test_judgements_that_are_there_are_taken_whoever_made_them(truths: Path) -> None:
    anyio.run(judge_subject, read_subject(truths), Foresight())
    code, out, _ = arriero("calibrate", truths, "--judge", "foresight", "--labels", 60, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["judge"]["kind"] == "made"
    assert found["rate"]["quality"]["sensitivity"]["value"] == 1.0


def test_where_scores_cannot_be_fitted_the_rate_is_said_nevertheless(truths: Path, tmp_path: Path) -> None:
    fitted = tmp_path / "fitted.json"
    code, out, told = arriero("calibrate", truths, "--no-page", "--labels", 12, "--json", "--fit", fitted)
    assert (code, "CalibrationRefused" in told, fitted.exists()) == (1, True, False)
    assert json.loads(out)["rate"]["labelled"] == 12


def test_a_calibrated_judge_is_not_fitted_again(truths: Path, tmp_path: Path) -> None:
    fitted = tmp_path / "fitted.json"
    assert arriero("calibrate", truths, "--labels", 60, "--fit", fitted)[0] == 0
    assert arriero("calibrate", truths, "--calibration", fitted, "--fit", fitted)[0] == 2
    code, out, told = arriero("calibrate", truths, "--calibration", fitted, "--json")
    assert code == 0, told
    assert json.loads(out)["judge"]["threshold"] == 0.5
