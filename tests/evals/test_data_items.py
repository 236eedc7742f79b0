"""Files of grounding items: what is read, and what is said of files that break the rules."""

import gzip
import json
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.data import read_items, write_items
from arriero.evals.data.lines import Problems, read_rows
from arriero.evals.errors import InvalidData
from arriero.evals.items import GroundingItem, Span

GROUNDING = Path(__file__).parent.parent / "data" / "grounding"
SIZES = {
    "mtrag_human": (315, 14),
    "wice": (494, 492),
    "wice_spans": (425, 353),
    "expertqa": (1210, 237),
    "factcheck_gpt": (429, 60),
    "begin": (3387, 887),
    "q2": (788, 365),
    "summedits": (1308, 47),
}
GOOD = {"id": "a", "context": ["Mules are patient."], "response": "Mules fly."}


def lines(folder: Path, *rows: object, name: str = "items.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def complaint(path: Path) -> str:
    with pytest.raises(InvalidData) as caught:
        read_items(path)
    return str(caught.value)


@pytest.mark.parametrize("name", SIZES)
def test_the_shared_sets_are_whole_and_split_by_document(name: str) -> None:
    items = read_items(GROUNDING / f"{name}.jsonl.xz")
    assert (len(items), len({item.doc_id for item in items})) == SIZES[name]
    sides = {split: {item.doc_id for item in items if item.split == split} for split in ("train", "test")}
    assert sides["train"]
    assert sides["test"]
    assert not sides["train"] & sides["test"]
    assert {item.dataset for item in items} == {name}
    assert {item.label for item in items} <= {0, 1}


def test_fields_of_a_line_that_the_schema_lacks_are_kept(tmp_path: Path) -> None:
    path = lines(tmp_path, {**GOOD, "id": 7, "label": 1, "domain": "hills", "question": None, "spans": None})
    item = read_items(path)[0]
    assert item == GroundingItem(
        "7", ("Mules are patient.",), "Mules fly.", doc_id="7", label=1, extra={"domain": "hills"}
    )


def test_an_empty_response_is_read(tmp_path: Path) -> None:
    assert read_items(lines(tmp_path, {**GOOD, "response": ""}))[0].response == ""


def test_every_bad_line_and_field_is_named(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        GOOD,
        {**GOOD, "id": "b", "context": "one text", "label": 2},
        "[1]",
        "{not json",
        {"id": "c", "answer": "no response"},
        {**GOOD, "id": "d", "context": ["Yes.", " "]},
        {**GOOD, "id": "e", "context": []},
        {**GOOD, "id": "f", "spans": [{"start": 0, "end": 99}]},
        GOOD,
        {**GOOD, "id": " "},
        '{"id": "g", "context": ["x"], "response": "y", "detector_scores": {"a": NaN}}',
        '{"id": "h", "context": ["x"], "response": "\\ud800"}',
    )
    said = complaint(path)
    for expected in (
        "11 lines are wrong, so nothing was read",
        f'{path}:2: context: input should be a valid list; it is "one text"',
        f"{path}:2: label: input should be 0 or 1; it is 2",
        f"{path}:3: is a list; write one JSON object a line",
        f"{path}:4: is no JSON",
        f"{path}:5: context: is missing; the line has 'id', 'answer'",
        f"{path}:6: context[1]: is blank",
        f"{path}:7: context: holds no passage",
        f"{path}:8: spans[0]: reaches from 0 to 99, outside of a response of 10 characters",
        f"{path}:9: id: 'a' was there before",
        f"{path}:10: id: is blank",
        f"{path}:11: is no JSON that can be read: NaN is no JSON number",
        f"{path}:12: holds half of a surrogate pair",
    ):
        assert expected in said


def test_of_many_bad_lines_the_first_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    said = complaint(lines(tmp_path, *[{**GOOD, "id": f"{n}", "label": "yes"} for n in range(50)]))
    assert "50 lines are wrong" in said
    assert said.count("label: input should be") == 20
    assert said.endswith("and 30 more")


@pytest.mark.parametrize("span", [{"start": 3, "end": 3}, {"start": -1, "end": 2}, {"start": 5, "end": 2}])
def test_a_span_outside_of_its_response_is_refused(tmp_path: Path, span: dict[str, int]) -> None:
    assert "spans[0]: reaches from" in complaint(lines(tmp_path, {**GOOD, "spans": [span]}))


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "b", "response": "caf\xe9"}\n')
    assert f"{path}:2: is not UTF-8" in complaint(path)


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n")
    assert [item.id for item in read_items(path)] == ["a"]


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(GOOD), "utf-16")
    assert "is UTF-16; save it as UTF-8" in complaint(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("items.jsonl", b"", "holds no lines"),
        ("items.jsonl", b"\n\n", "holds no lines"),
        ("items.csv", b"id,context,response\n", "holds no lines"),
        ("items.json", b"[]", ":1: is a list; write one JSON object a line"),
        ("items.xlsx", b"PK", "must end in .jsonl or .csv"),
        ("items.jsonl.xz", b"no xz", "is damaged after line 0"),
        ("items.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() * 9)[:-9], "is damaged after line"),
        ("items.csv", b'id,context,response\na,"open', "is no CSV"),
        ("items.csv", b"id,id,response\na,b,c\n", "two columns are named id"),
        ("items.csv", b"id,context,response\na,b\n", ":2: has 2 cells where the header has 3"),
        ("items.csv", b"id,context,response,\na,b,c,d\n", ":2: has a cell in a column without a name"),
        ("items.csv", b"id|context|response\na|b|c\n", "the line has 'id|context|response'"),
        ("items.csv", b'id,context,response,detector_scores\na,b,c,"{""x"": NaN}"\n', "NaN is no JSON number"),
        ("items.csv", b'id,context,response\na,"[""\\ud800""]",c\n', "holds half of a surrogate pair"),
        ("items.jsonl", b"[\n]\n", "; write one JSON object a line"),
        ("items.csv", b"id,context,response\na,b,caf\xe9\n", ":2: is not UTF-8"),
        ("items.csv", b'id,context,response\na,"[""b"", ",c\n', ":2: context: is no JSON"),
        ("items.csv", b"id,context,response,spans\na,b,c,[{]\n", ":2: spans: is no JSON"),
    ],
)
def test_files_that_are_no_data_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert said in complaint(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in complaint(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    assert "cannot be read: Is a directory" in complaint(tmp_path / "folder.jsonl")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl.xz"
    with lzma.open(path, "wb", preset=0) as file:
        for _ in range(20):
            file.write(b" " * (1 << 20))
    assert f"{path}:1: is longer than 16,777,216 bytes" in complaint(path)


def test_a_csv_holds_the_same_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "id,context,response,label,spans,model,domain,question\n"
        'a,Mules are patient.,Mules fly.,1,"[{""start"": 6, ""end"": 9}]",t5,hills,\n'
        'b,"[""One."", ""Two\nlines.""]",,0,,,,Why?\n'
    )
    first, second = read_items(path)
    assert first == GroundingItem(
        "a",
        ("Mules are patient.",),
        "Mules fly.",
        doc_id="a",
        model="t5",
        label=1,
        spans=(Span(6, 9),),
        extra={"domain": "hills"},
    )
    assert second == GroundingItem("b", ("One.", "Two\nlines."), "", question="Why?", doc_id="b", label=0)


def test_a_csv_names_the_line_where_a_row_of_several_lines_begins(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('id,context,response,label\na,"two\nlines",x,0\nb,one,y,maybe\n')
    assert f"{path}:4: label" in complaint(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path, delimiter: str) -> None:
    rows = (
        ("id", "context", "response", "label", ""),
        ("a", '"Two, or;\r\nmore\tlines"', "x", "1.0", ""),
        ("", " ", "", "", ""),
        ("b", "y", "", "0", ""),
    )
    path = tmp_path / "items.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(delimiter.join(row) for row in rows).encode())
    found = [(item.id, item.context, item.response, item.label) for item in read_items(path)]
    assert found == [("a", ("Two, or;\r\nmore\tlines",), "x", 1), ("b", ("y",), "", 0)]


@pytest.mark.parametrize("name", ["items", "items.json", "items.ndjson"])
def test_json_lines_may_have_other_names(tmp_path: Path, name: str) -> None:
    assert [item.id for item in read_items(lines(tmp_path, GOOD, name=name))] == ["a"]


def test_every_bad_row_of_a_csv_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("id,context,response,label\na,b\nb,c,d,0,e\nc,d,e,2\n")
    said = complaint(path)
    for expected in (":2: has 2 cells where the header has 4", ":3: has 5 cells", ":4: label: input should be 0 or 1"):
        assert expected in said


def test_tables_with_long_cells_are_read_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(f"id,context,response\na,b,c\nb,{'x' * 200_000},d\n")
    problems = Problems(path)
    slow = read_rows(path, problems)
    next(slow)
    assert len(read_items(path)) == 2
    assert [row["id"] for _, row in slow] == ["b"]


def test_an_id_is_not_shown_at_length(tmp_path: Path) -> None:
    said = complaint(lines(tmp_path, *[{**GOOD, "id": "a" * 5000}] * 2))
    assert "aaa...' was there before" in said
    assert len(said) < 1000


def test_scores_that_a_detector_lacks_are_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path, {**GOOD, "detector_scores": {"one": None, "other": 0.5}})
    assert read_items(path)[0].detector_scores == {"other": 0.5}


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "items.jsonl.gz"
    write_items(path, [GroundingItem("a", ("x",), "y")])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_items(path, [GroundingItem("a", ("x",), "y", extra={"not": object()})])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_only_json_lines_are_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"let its name end in \.jsonl"):
        write_items(tmp_path / "items.csv", [GroundingItem("a", ("x",), "y")])


words = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@st.composite
def an_item(draw: st.DrawFn) -> GroundingItem:
    response = draw(st.text(st.characters(codec="utf-8")))
    spans = []
    if response:
        start = draw(st.integers(0, len(response) - 1))
        spans.append(Span(start, draw(st.integers(start + 1, len(response)))))
    return GroundingItem(
        draw(words),
        tuple(draw(st.lists(words, min_size=1, max_size=3))),
        response,
        question=draw(st.none() | st.text(st.characters(codec="utf-8"))),
        doc_id=draw(words),
        model=draw(st.text(st.characters(codec="utf-8"))),
        label=draw(st.sampled_from((None, 0, 1))),
        spans=tuple(spans),
        detector_scores=draw(st.dictionaries(words, st.floats(0, 1))),
        extra={"domain": draw(st.none() | words)} if draw(st.booleans()) else {},
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(an_item(), min_size=1, max_size=4, unique_by=lambda item: item.id), st.sampled_from(("", ".gz", ".xz")))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, items: list[GroundingItem], packed: str
) -> None:
    path = tmp_path_factory.mktemp("written") / f"items.jsonl{packed}"
    write_items(path, items)
    assert read_items(path) == tuple(items)


xz = partial(lzma.compress, preset=0)
PIECES = (
    b"id",
    b"context",
    b"response",
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b",",
    b"\n",
    b"\r",
    b"\\u",
    b"d8",
    b"1e999",
)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=80) | st.lists(st.sampled_from(PIECES) | st.binary(max_size=2)).map(b"".join),
    st.sampled_from((".jsonl", ".csv")),
    st.sampled_from((lambda data: data, gzip.compress, xz, lambda data: xz(data)[:-5])),
    st.sampled_from(("", ".gz", ".xz")),
)
def test_whatever_a_file_holds_it_is_items_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str, packed: Callable[[bytes], bytes], suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"anything{kind}{suffix}"
    path.write_bytes(packed(data))
    try:
        items = read_items(path)
    except InvalidData as error:
        said = str(error)
    else:
        assert items
        return
    assert str(path) in said


@pytest.mark.parametrize("label", [2, -1, 0.5, "1", "yes", [1], True])
def test_a_label_is_0_or_1(tmp_path: Path, label: object) -> None:
    assert "label: input should be 0 or 1" in complaint(lines(tmp_path, {**GOOD, "label": label}))


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path, '{"id": "a", "context": ["x"], "response": "y", "detector_scores": {"a": 1e999}}')
    assert "1e999 is too large a number" in complaint(path)
