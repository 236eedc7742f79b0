import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.tools import (
    Artifact,
    Artifacts,
    Attachment,
    FolderArtifacts,
    MemoryArtifacts,
    ToolDefinitionError,
    ToolError,
    UnknownArtifact,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "folder"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return MemoryArtifacts() if request.param == "memory" else FolderArtifacts(tmp_path / "files")


async def test_what_is_put_is_found_by_its_id(artifacts: Artifacts) -> None:
    data = bytes(range(256)) * 100
    kept = await artifacts.put(Attachment("chart.png", "image/png", data))
    assert kept == Artifact(kept.id, "chart.png", "image/png", 25_600)
    assert await artifacts.get(kept.id) == data


async def test_the_same_bytes_have_the_same_id_whatever_their_name(artifacts: Artifacts) -> None:
    first = await artifacts.put(Attachment("a", "text/plain", b"hay"))
    second = await artifacts.put(Attachment("b", "text/html", b"hay"))
    other = await artifacts.put(Attachment("a", "text/plain", b"oats"))
    assert first.id == second.id != other.id


@pytest.mark.parametrize("id_", ["", "0" * 24, "../secret", "/etc/passwd", "a\0b", "0" * 24 + "\n", "A" * 24])
async def test_an_id_that_is_not_kept_is_refused(artifacts: Artifacts, tmp_path: Path, id_: str) -> None:
    await artifacts.put(Attachment("a", "text/plain", b"hay"))
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(UnknownArtifact, match="is kept"):
        await artifacts.get(id_)


async def test_a_hostile_name_is_a_name_and_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    kept = await FolderArtifacts(folder).put(Attachment("../../x\0/etc", "text/plain", b"hay"))
    assert [path.name for path in folder.iterdir()] == [kept.id]
    assert kept.name == "../../x\0/etc"


async def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    kept = await FolderArtifacts(folder).put(Attachment("a", "text/plain", b"hay"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / kept.id).stat().st_mode) == 0o600


async def test_a_folder_that_cannot_be_written_is_a_tool_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="'a' cannot be kept"):
        await FolderArtifacts(tmp_path / "file").put(Attachment("a", "text/plain", b"hay"))


async def test_memory_lets_the_oldest_go() -> None:
    artifacts = MemoryArtifacts(capacity=10)
    first = await artifacts.put(Attachment("a", "text/plain", b"aaaa"))
    second = await artifacts.put(Attachment("b", "text/plain", b"bbbb"))
    await artifacts.put(Attachment("a", "text/plain", b"aaaa"))
    await artifacts.put(Attachment("c", "text/plain", b"cccc"))
    assert await artifacts.get(first.id) == b"aaaa"
    with pytest.raises(UnknownArtifact):
        await artifacts.get(second.id)
    with pytest.raises(ToolError, match="has 11 bytes, more than the 10"):
        await artifacts.put(Attachment("d", "text/plain", b"d" * 11))
    with pytest.raises(ToolDefinitionError, match="capacity"):
        MemoryArtifacts(capacity=0)


@given(st.lists(st.binary(max_size=12), max_size=20))
def test_memory_never_holds_more_than_its_capacity(files: list[bytes]) -> None:
    import anyio

    async def keep() -> None:
        artifacts = MemoryArtifacts(capacity=20)
        kept = {data: (await artifacts.put(Attachment("a", "x", data))).id for data in files}
        held = []
        for data, id_ in kept.items():
            try:
                held.append(await artifacts.get(id_))
                assert held[-1] == data
            except UnknownArtifact:
                continue
        assert sum(map(len, held)) <= 20
        assert not files or files[-1] in held

    anyio.run(keep)
