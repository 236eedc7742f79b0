"""The labelling page over HTTP: who gets in, who sees what, and what is on disk."""

import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx2 as httpx
import pytest
from labelling_server import EVIL, FALSE, kept_in, mules, served

from arriero.evals.human import server
from arriero.evals.human.labelling import Labelling, in_random_order
from arriero.evals.human.server import CannotLabel, serve_labelling
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label, read_labels


def test_a_label_is_on_disk_when_the_page_hears_of_it(tmp_path: Path) -> None:
    labelling = kept_in(tmp_path)
    with served(labelling, "ana") as page:
        assert page.label("ana", 3, 1, "the snow").status_code == 200
        (label,) = read_labels(labelling.path)
        assert (label.item_id, label.annotator, label.value, label.note) == ("mule-3", "ana", 1, "the snow")
        assert label.time > 1.7e9


def test_where_a_label_cannot_be_written_the_page_hears_that(tmp_path: Path) -> None:
    labelling = kept_in(tmp_path / "away")
    with served(labelling, "ana") as page:
        answer = page.label("ana", 3, 1)
        assert answer.status_code == 500
        assert answer.json()["error"].startswith("not saved: ")
        assert page.ask("ana", "GET", "state").json()["labels"] == [None] * 12


def test_a_label_can_be_changed_and_withdrawn(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        for value in (1, None, 0):
            page.label("ana", 0, value)
        assert page.ask("ana", "GET", "state").json()["labels"][0] == {"value": 0, "note": ""}
        page.ask("ana", "DELETE", "labels/0", json={})
        assert page.ask("ana", "GET", "state").json()["labels"][0] is None


def test_each_person_sees_their_own_labels_only(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana", "ben") as page:
        page.label_all("ana", [1] * 12)
        state = page.ask("ben", "GET", "state").json()
        assert state["annotator"] == "ben"
        assert state["labels"] == [None] * 12
        assert state["waits"] == []
        assert state["agreement"] is None
        assert page.ask("ana", "GET", "state").json()["waits"] == ["ben"]
        said = "".join(page.ask("ben", "GET", path).text for path in ("state", "items/0", ""))
        assert '"value":' not in said


def test_when_everybody_is_done_all_see_how_far_they_agree(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana", "ben") as page:
        page.label_all("ana", [1, 0] * 6)
        page.label_all("ben", [1, 0] * 5 + [0, 0])
        for name in ("ana", "ben"):
            found = page.ask(name, "GET", "state").json()["agreement"]
            assert found["annotators"] == ["ana", "ben"]
            assert (found["items"], found["disputed"]) == (12, 1)
            assert found["figures"]["agree"]["value"] == pytest.approx(11 / 12)
            assert set(found["figures"]) == {"agree", "Cohen's kappa", "Krippendorff's alpha", "Gwet's AC1"}


def test_labels_of_a_server_that_ran_before_are_gone_on_with(tmp_path: Path) -> None:
    labelling = kept_in(tmp_path)
    with served(labelling, "ana") as page:
        page.label("ana", 0, 1, "snow")
    with served(labelling, "ana") as page:
        assert page.ask("ana", "GET", "state").json()["labels"][:2] == [{"value": 1, "note": "snow"}, None]


def test_when_everybody_has_finished_the_server_ends(tmp_path: Path) -> None:
    ended = anyio.Event()
    pages: dict[str, str] = {}

    async def everybody() -> None:
        async with anyio.create_task_group() as group:
            announced = anyio.Event()

            def announce(name: str, address: str) -> None:
                pages[name] = address
                if len(pages) == 2:
                    announced.set()

            async def serve() -> None:
                await serve_labelling(kept_in(tmp_path), ("ana", "ben"), announce=announce)
                ended.set()

            group.start_soon(serve)
            with anyio.fail_after(30):
                await announced.wait()
                async with httpx.AsyncClient(verify=False) as client:
                    for name, address in pages.items():
                        assert not ended.is_set()
                        headers = {"origin": f"http://{urlsplit(address).netloc}", "content-type": "application/json"}
                        done = await client.post(f"{address}finish", headers=headers, json={})
                        assert done.status_code == 200, name
                await ended.wait()

    anyio.run(everybody)


def test_items_are_shown_without_their_labels_and_scores(tmp_path: Path) -> None:
    item = replace(mules()[0], detector_scores={"other": 0.987654}, extra={"gold": "secret"})
    with served(kept_in(tmp_path, [item]), "ana") as page:
        shown = page.ask("ana", "GET", "items/0")
    assert set(shown.json()) == {"question", "passages", "response", "judge"}
    assert shown.json()["judge"] is None
    assert "987654" not in shown.text
    assert "secret" not in shown.text
    assert "".join(piece["text"] for piece in shown.json()["response"]) == item.response
    assert [piece["text"] for piece in shown.json()["response"] if piece["claim"]] == [
        "The train left Vesk at 05:40.",
        FALSE,
    ]


def test_a_judge_is_shown_where_that_is_asked_for(tmp_path: Path) -> None:
    said = {"mule-0": Judgement("mule-0", "offline", 0.75, reasons=("no snow",))}
    with served(replace(kept_in(tmp_path), judgements=said), "ana") as page:
        assert page.ask("ana", "GET", "items/0").json()["judge"] == {
            "name": "offline",
            "score": 0.75,
            "reasons": ["no snow"],
            "failed": None,
        }
        assert page.ask("ana", "GET", "items/1").json()["judge"] is None


def test_it_listens_on_this_machine_alone(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        parts = urlsplit(page.pages["ana"])
        assert parts.hostname == "127.0.0.1"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", parts.port or 0), timeout=5)


def test_who_does_not_know_the_address_gets_nothing(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        parts = urlsplit(page.pages["ana"])
        assert len(parts.path) >= 40
        for path in ("/", "/state", "/x/state", "/x/", "/x/label.js", "/open/x", f"{parts.path[:-2]}/state"):
            answer = page.client.get(f"http://{parts.netloc}{path}", follow_redirects=True)
            assert answer.status_code == 404, path


def test_the_address_that_a_browser_is_started_with_works_once(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana", "ben") as page:
        assert page.pages["ana"] not in page.visited
        first = page.client.get(page.visited, follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, urlsplit(page.pages["ana"]).path)
        assert page.client.get(page.visited).status_code == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1:1@evil.example",
        "[::1]:{port}",
        "",
    ],
)
def test_a_foreign_name_for_this_machine_is_refused(tmp_path: Path, host: str) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        port = urlsplit(page.pages["ana"]).port
        answer = page.ask("ana", "GET", "state", headers={"host": host.format(port=port)})
        assert answer.status_code in (400, 403)
        assert "annotator" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
def test_what_a_page_from_elsewhere_sends_changes_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    labelling = kept_in(tmp_path)
    with served(labelling, "ana") as page:
        answer = page.ask("ana", "PUT", "labels/0", headers=headers, content=b'{"value": 1}')
        assert answer.status_code == 403
        assert read_labels(labelling.path) == ()


def test_a_page_from_elsewhere_reads_nothing_but_a_link_may_lead_here(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        foreign = {"sec-fetch-site": "cross-site"}
        assert page.ask("ana", "GET", "state", headers=foreign).status_code == 403
        assert page.ask("ana", "GET", "", headers=foreign | {"sec-fetch-mode": "navigate"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("labels/0", b'{"value": 2}', 422),
        ("labels/0", b"{}", 422),
        ("labels/0", b"not JSON", 422),
        ("labels/0", json.dumps({"value": 1, "note": "x" * 10_001}).encode(), 422),
        ("labels/0", b'{"value": 1, "note": "' + b"x" * 100_000 + b'"}', 403),
        ("labels/12", b'{"value": 1}', 404),
        ("labels/-1", b'{"value": 1}', 404),
        ("labels/mule-0", b'{"value": 1}', 404),
        ("labels/" + "9" * 5_000, b'{"value": 1}', 404),
        ("labels/%D9%A1", b'{"value": 1}', 404),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_label_is_refused(tmp_path: Path, path: str, body: bytes, status: int) -> None:
    labelling = kept_in(tmp_path)
    with served(labelling, "ana") as page:
        assert page.ask("ana", "PUT", path, content=body).status_code == status
        assert read_labels(labelling.path) == ()


@pytest.mark.parametrize("twice", ["origin", "content-type"])
def test_a_header_that_is_there_twice_is_not_guessed_at(tmp_path: Path, twice: str) -> None:
    labelling = kept_in(tmp_path)
    with served(labelling, "ana") as page:
        parts = urlsplit(page.pages["ana"])
        sent = {"host": parts.netloc, "origin": f"http://{parts.netloc}", "content-type": "application/json"}
        foreign = {"origin": "http://evil.example", "content-type": "text/plain"}
        headers = [(twice, foreign[twice]), *sent.items()]
        answer = page.client.put(page.pages["ana"] + "labels/0", headers=headers, content=b'{"value": 1}')
        assert answer.status_code == 403
        assert read_labels(labelling.path) == ()


def test_a_body_that_does_not_arrive_is_not_waited_for_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 0.3)
    with served(kept_in(tmp_path), "ana") as page:
        parts = urlsplit(page.pages["ana"])
        head = f"PUT {parts.path}labels/0 HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\n"
        head += 'Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{"val'
        with socket.create_connection(("127.0.0.1", parts.port or 0), timeout=30) as slow:
            slow.sendall(head.encode())
            assert page.label("ana", 1, 0).status_code == 200
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
        assert [label.item_id for label in read_labels(page.labelling.path)] == ["mule-1"]


def test_the_page_may_run_nothing_but_its_own_files(tmp_path: Path) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        for path in ("", "label.js", "label.css", "state", "items/0", "items/99"):
            headers = page.ask("ana", "GET", path).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
        text = page.ask("ana", "GET").text
        assert re.search(r"""<[^>]*\s(on\w+|style)=""", text) is None
        assert "//" not in text


def test_hostile_content_is_data_and_acts_on_no_terminal(tmp_path: Path) -> None:
    item = GroundingItem("x", (EVIL,), EVIL, question=EVIL)
    with served(kept_in(tmp_path, [item]), "ana") as page:
        answer = page.ask("ana", "GET", "items/0")
    assert answer.headers["content-type"] == "application/json"
    assert "\x1b" not in answer.json()["question"]
    assert answer.json()["passages"] == [EVIL.replace("\x1b", "␛")]


@pytest.mark.parametrize(
    ("items", "annotators", "says"),
    [
        ((), ("ana",), "no items"),
        (mules(), (), "name each person"),
        (mules(), ("ana", "ana"), "name each person"),
        (mules(), ("",), "is empty"),
        (mules(), ("a\nb",), "without line breaks"),
    ],
)
def test_what_cannot_be_labelled_is_said_at_once(
    tmp_path: Path, items: tuple[GroundingItem, ...], annotators: tuple[str, ...], says: str
) -> None:
    labelling = Labelling("mules", items, tmp_path / "labels.jsonl")
    with pytest.raises(CannotLabel, match=says):
        anyio.run(lambda: serve_labelling(labelling, annotators, announce=print))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotLabel, match=f"port {port}"):
            anyio.run(lambda: serve_labelling(kept_in(tmp_path), ("ana",), port=port, announce=print))


def test_items_come_in_an_order_that_others_do_not_change() -> None:
    items = mules(200)
    order = [item.id for item in in_random_order(items, seed=1)]
    assert order != [item.id for item in items]
    assert order != [item.id for item in in_random_order(items, seed=2)]
    some = {item.id for item in items[::3]}
    assert [item.id for item in in_random_order(items[::3], seed=1)] == [id_ for id_ in order if id_ in some]


def test_each_item_is_equally_likely_to_come_first() -> None:
    items = mules(10)
    firsts = [in_random_order(items, seed=seed)[0].id for seed in range(2_000)]
    counts = [firsts.count(item.id) for item in items]
    assert min(counts) > 140  # 200 expected, with a standard deviation of 13.4
    assert max(counts) < 260


def test_labels_of_other_items_are_left_aside(tmp_path: Path) -> None:
    labelling = kept_in(tmp_path)
    append_label(labelling.path, Label("elsewhere", "ana", 1), Label("elsewhere", "cara", 1))
    assert labelling.said("ana") == {}
    assert labelling.state("ana")["waits"] == []
