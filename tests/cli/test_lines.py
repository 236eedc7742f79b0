import json
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.models import DEMO

HELLO = '{"id": 1, "messages": [{"role": "user", "content": "Hello"}]}'
CALL = r'{"id": "c", "text": "{\"name\": \"f\", \"parameters\": {\"a\": 1}}<|eot_id|>", "tools": ["f"]}'


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_render_writes_the_text_that_a_model_reads(arriero) -> None:
    done = arriero("render", "--dialect", "llama3.1", "-", stdin=HELLO)
    (line,) = objects(done.out)
    assert done.code == 0
    assert list(line) == ["id", "text"]
    assert line["id"] == 1
    assert line["text"].startswith("<|begin_of_text|>")
    assert "\n\nHello<|eot_id|>" in line["text"]


def test_render_with_a_tokenizer_adds_the_ids(arriero) -> None:
    (line,) = objects(arriero("render", "--dialect", "llama3.1", "--tokenizer", DEMO, "-", stdin=HELLO).out)
    assert list(line) == ["id", "text", "token_ids"]
    assert all(isinstance(id_, int) for id_ in line["token_ids"])


def test_parse_reads_what_a_model_wrote(arriero) -> None:
    done = arriero("parse", "--dialect", "llama3.1", "-", stdin=CALL)
    assert done.code == 0
    assert objects(done.out) == [
        {
            "id": "c",
            "content": "",
            "tool_calls": [{"name": "f", "arguments": {"a": 1}}],
            "end": "end_of_turn",
            "kind": "tool_calls",
        }
    ]


def test_what_render_wrote_parse_can_read_as_ids(arriero) -> None:
    (line,) = objects(arriero("render", "--dialect", "llama3.1", "--tokenizer", DEMO, "-", stdin=HELLO).out)
    ids = json.dumps({"id": 1, "token_ids": line["token_ids"][-1:]})
    assert arriero("parse", "--dialect", "llama3.1", "--tokenizer", DEMO, "-", stdin=ids).code == 0


def test_a_file_is_read_like_standard_input(arriero, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(f"{HELLO}\n\n{HELLO}\n")
    done = arriero("render", "--dialect", "llama3.1", file)
    assert (done.code, len(objects(done.out))) == (0, 2)


def test_a_bad_line_is_told_in_its_place_and_the_others_are_done(arriero) -> None:
    lines = [
        HELLO,
        '{"id": 2, "messages": [{"role": "robot", "content": "hi"}]}',
        "{",
        '{"id": 4, "messages": []}',
        HELLO,
    ]
    done = arriero("render", "--dialect", "llama3.1", "-", stdin="\n".join(lines))
    out = objects(done.out)
    assert done.code == 1
    assert ["error" in line for line in out] == [False, True, True, True, False]
    assert "unknown role 'robot'" in str(out[1]["error"])
    assert "line 3" in str(out[2]["error"])
    assert out[3]["id"] == 4
    assert done.err == ""


def test_bytes_that_are_not_text_are_one_bad_line(arriero) -> None:
    done = arriero("parse", "--dialect", "llama3.1", "-", stdin=b'{"id": 1, "text": "\xff"}\n' + CALL.encode())
    assert done.code == 1
    assert ["error" in line for line in objects(done.out)] == [True, False]


def test_an_escape_that_utf_8_cannot_carry_stays_an_escape(arriero) -> None:
    done = arriero("parse", "--dialect", "llama3.1", "-", stdin=r'{"id": 1, "text": "a\ud800 é"}')
    assert r"a\ud800 é" in done.out


@pytest.mark.parametrize("command", ["render", "parse"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dialect", "llama9", "-"], "llama3.1"),
        (["--dialect", "llama3.1"], "FILE"),
        (["--dialect", "llama3.1", "no/such/file"], "no/such/file"),
        (["--dialect", "llama3.1", "--tokenizer", "no/such/folder", "-"], "tokenizer.json"),
        (["--dialect", "llama3.1", "--wrong", "-"], "--wrong"),
    ],
)
def test_misuse_is_told_and_nothing_is_written(arriero, command: str, arguments: list[str], says: str) -> None:
    done = arriero(command, *arguments, stdin=HELLO)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_line_names_its_dialect_or_is_a_bad_line(arriero) -> None:
    done = arriero("render", "-", stdin=HELLO.replace("{", '{"dialect": "llama3.2", ', 1) + "\n" + HELLO)
    first, second = objects(done.out)
    assert done.code == 1
    assert str(first["text"]).startswith("<|begin_of_text|>")
    assert "no dialect" in str(second["error"])


def test_each_line_is_answered_before_the_next_is_read() -> None:
    command = [sys.executable, "-c", "from arriero.cli import app; app()", "parse", "--dialect", "llama3.1", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(CALL + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == "c"
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"yes '{HELLO}' | {sys.executable} -c 'from arriero.cli import app; app()' render --dialect llama3.1 -"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["id"] == 1
    assert "Traceback" not in done.stderr
