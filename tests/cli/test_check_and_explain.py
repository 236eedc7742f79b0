import json
import re
from pathlib import Path
from typing import Any

import pytest

from arriero.prompts.tiktoken_vocabulary import packaged_ranks

META = packaged_ranks("llama3")
HELLO = '{"id": "hello", "dialect": "llama3.1", "messages": [{"role": "user", "content": "Hello\\u001b[31m"}]}'
VECTOR: dict[str, Any] = {
    "id": "own/1",
    "format": "meta-tool-response",
    "input": {"status": "success", "stdout": "42"},
    "tags": ["own", "tool-result"],
    "expected": "completed\n[stdout]42[/stdout]",
}
PARSED = {"id": "own/2", "dialect": "llama3-json", "text": "Hi<|eot_id|>", "expect": {"content": "Hi"}, "tags": ["own"]}


def lines(*vectors: dict[str, Any]) -> str:
    return "\n".join(json.dumps(vector) for vector in vectors)


def test_check_counts_by_format_and_tag(arriero) -> None:
    done = arriero("render", "--check", "-", stdin=lines(VECTOR, VECTOR | {"id": "own/3", "tags": ["own"]}))
    assert done.out.splitlines() == [
        "formats",
        "  meta-tool-response     2 / 2",
        "tags",
        "  own             2 / 2",
        "  tool-result     1 / 1",
        "",
        "2 of 2 vectors passed.",
    ]


def test_check_shows_what_differs_and_fails(arriero) -> None:
    done = arriero("render", "--check", "-", stdin=lines(VECTOR, VECTOR | {"expected": "completed\n[stdout]43"}))
    assert done.code == 1
    shown = done.out[done.out.index("own/1") :].splitlines()
    assert shown[:2] == ["own/1 (meta-tool-response)", "  expected, from character 19"]
    assert shown[2].endswith('[stdout]43"')
    assert shown[3].endswith('[stdout]42[/stdout]"')
    assert shown[-1] == "1 of 2 vectors passed."


def test_check_shows_the_first_differences_and_counts_the_rest(arriero) -> None:
    wrong = [PARSED | {"id": number, "expect": {"content": "Ho"}} for number in range(12)]
    done = arriero("parse", "--check", "-", stdin=lines(*wrong))
    assert done.out.count("got") == 10
    assert "and 2 more, all of them with --json" in done.out


def test_check_tells_programs_the_same(arriero) -> None:
    done = arriero("parse", "--check", "--json", "-", stdin=lines(PARSED, PARSED | {"expect": {"end": "none"}}))
    report = json.loads(done.out)
    assert done.code == 1
    assert (report["passed"], report["total"], report["not_compared"]) == (1, 2, 0)
    assert report["formats"] == {"llama3-json": {"passed": 1, "total": 2}}
    assert report["tags"] == {"own": {"passed": 1, "total": 2}}
    (failed,) = report["differences"]
    assert failed["differences"] == [
        {"field": "end, from character 0", "expected": '"none"', "got": '"end_of_turn"'},
    ]


def test_a_check_of_nothing_fails(arriero) -> None:
    done = arriero("parse", "--check", "-", stdin="\n")
    assert (done.code, done.out.splitlines()[-1]) == (1, "There is no vector.")


def test_ids_that_were_not_compared_are_told(arriero) -> None:
    vector = {"id": 1, "format": "hf-llama-2-chat", "generation": "2", "token_ids": [1], "tags": []}
    talk = {"messages": [{"role": "user", "content": "Hi"}]}
    done = arriero("render", "--check", "-", stdin=lines(vector | {"input": talk, "expected": "<s>[INST] Hi [/INST]"}))
    assert done.code == 0
    assert "Token ids of 1 vectors were not compared" in done.out


def test_explain_shows_roles_origins_counts_and_ids(arriero) -> None:
    done = arriero("render", "--explain", "--tokenizer", META, "-", stdin=HELLO)
    assert done.code == 0
    assert done.out.startswith("hello: ")
    assert [line for line in done.out.splitlines() if line.startswith(("system", "user", "assistant"))] == [
        "system (template, 26 tokens)",
        "user (message 0, 9 tokens)",
        "assistant (template, 4 tokens)",
    ]
    (said,) = [line.split() for line in done.out.splitlines() if "Hello" in line]
    assert said[1:4] == ["message", "0", "Hello␛[31m"]
    assert all(id_.isdigit() for id_ in (said[0], *said[4:]))


def test_explain_has_no_colour_where_there_is_no_terminal(arriero, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in arriero("render", "--explain", "-", stdin=HELLO).out


def test_explain_colours_by_kind(arriero, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = arriero("render", "--explain", "-", stdin=HELLO).out
    assert re.search(r"\x1b\[35m<\|eot_id\|> *\x1b\[0m", out)
    assert re.search(r"\x1b\[32mHello␛\[31m *\x1b\[0m", out)
    assert re.search(r"\x1b\[2massistant *\x1b\[0m", out)


def test_explain_tells_programs_the_same(arriero) -> None:
    explanation = json.loads(arriero("render", "--explain", "--json", "--tokenizer", META, "-", stdin=HELLO).out)
    assert (explanation["title"], explanation["count"]) == ("hello", 39)
    user = explanation["blocks"][1]
    assert (user["role"], user["message"]) == ("user", 0)
    assert user["pieces"][4]["origin"] == "message 0"
    assert len(user["pieces"][4]["ids"]) == 4


def test_explain_tells_of_a_line_that_cannot_be_rendered(arriero) -> None:
    done = arriero("render", "--explain", "-", stdin='{"id": "x", "dialect": "llama3.1", "messages": []}\n' + HELLO)
    assert done.code == 1
    assert "error: x: the conversation is empty" in done.err
    assert "hello: " in done.out


def test_explain_writes_a_page(arriero, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = arriero("render", "--html", page, "--tokenizer", META, "-", stdin=HELLO)
    assert (done.code, done.out) == (0, "")
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert "Hello␛[31m" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--check", "--explain", "-"], "--check"),
        (["--check", "--html", "page.html", "-"], "--check"),
        (["--source", "meta", "-"], "--source"),
        (["--dialect", "llama3.1", "--source", "mine", "-"], "published"),
        (["--html", "no/such/folder/page.html", "-"], "--html"),
    ],
)
def test_misuse_is_told(arriero, arguments: list[str], says: str) -> None:
    done = arriero("render", *arguments, stdin=HELLO)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
