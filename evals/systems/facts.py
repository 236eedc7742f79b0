"""What decides a model's answers besides its prompt: weights, quantization, versions."""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from arriero.stack.errors import EngineRejected

if TYPE_CHECKING:
    from arriero.stack.engine import Engine
    from arriero.stack.engines.http import Server

_PIECE = 1 << 20


def version_of(*packages: str) -> dict[str, str]:
    """Versions of what is installed.

    Args:
        packages: Names of distributions.

    Returns:
        Versions by name; those that are not installed are not there.

    Example:
        >>> sorted(version_of("pydantic", "no-such-package"))
        ['pydantic']
    """
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest_of_text(text: str) -> str:
    """SHA-256 of a text.

    Args:
        text: The text.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def engine_facts(
    engine: "Engine", *, revision: str | None = None, quantization: str | None = None
) -> dict[str, object]:
    """What can be known of an engine: of a model in this process by its folder, of a server by what it says.

    Args:
        engine: The engine.
        revision: What the user knows of the model's revision; it counts more.
        quantization: What the user knows of its quantization; it counts more.

    Returns:
        `model`, `engine`, `revision` (of a folder a digest of its weights), `quantization` and `versions`; None for
        what nobody says.

    Raises:
        EngineError: The server cannot be asked.

    Example:
        >>> from arriero.models import DEMO
        >>> from arriero.stack.engines.local import TransformersEngine
        >>> facts = anyio.run(engine_facts, TransformersEngine(DEMO))
        >>> facts["model"], facts["quantization"]
        ('arriero-demo', 'none')
    """
    facts: dict[str, object] = {"model": engine.model, "engine": type(engine).__name__}
    versions = version_of("arriero")
    folder, server = getattr(engine, "folder", None), getattr(engine, "server", None)
    if folder is not None:
        facts |= await anyio.to_thread.run_sync(folder_facts, Path(folder))
        rounded = getattr(engine, "quantization", None) in ("int8", "int4")
        versions |= version_of("torch", "transformers", *(["torchao"] if rounded else []))
    elif server is not None:
        facts |= await served_facts(server, engine.model)
    told = {"revision": revision, "quantization": quantization or getattr(engine, "quantization", None)}
    return _told(facts, told, versions)


async def served_facts(server: "Server", model: str) -> dict[str, object]:
    """What a server says of a model that it serves.

    Args:
        server: The server.
        model: Name of the model.

    Returns:
        As `engine_facts`, as far as it says; `version` is the server's own.

    Raises:
        EngineUnavailable: Nothing answers, or not now: a run that is taken up must not look like another one.
    """
    facts: dict[str, object] = {}
    card = next((card for card in await _cards(server) if card.get("id") == model), None)
    root = (card or {}).get("root")
    if isinstance(root, str) and root != model:
        facts["root"] = root
    if isinstance(root, str):
        facts |= await anyio.to_thread.run_sync(folder_facts, Path(root))
    version = (await _json(server, "version")).get("version")  # vLLM's; others have none
    return facts | ({"version": version} if isinstance(version, str) else {})


def folder_facts(folder: Path) -> dict[str, object]:
    """What a model's folder says: a digest of configuration and weights, and how it is quantized.

    The digest reads the beginning, the middle and the end of each file of weights, a megabyte each.

    Args:
        folder: Folder in Hugging Face format.

    Returns:
        `revision` and `quantization`; empty where it cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        digest = hashlib.sha256()
        for path in sorted([folder / "config.json", folder / "tokenizer.json", *folder.glob("*.safetensors")]):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for start in sorted({0, max(0, size // 2), max(0, size - _PIECE)}):
                    file.seek(start)
                    digest.update(file.read(_PIECE))
    except (OSError, ValueError):
        return {}
    quantized = config.get("quantization_config")
    kind = quantized.get("quant_method") if isinstance(quantized, dict) else None
    return {"revision": f"sha256:{digest.hexdigest()[:16]}", "quantization": str(kind) if kind else "none"}


def _told(facts: Mapping[str, object], told: Mapping[str, object], versions: Mapping[str, str]) -> dict[str, object]:
    known = {"revision": None, "quantization": None, **facts}
    known |= {name: value for name, value in told.items() if value is not None}
    return {**known, "versions": dict(versions)}


def told_facts(
    facts: Mapping[str, object], *, revision: str | None = None, quantization: str | None = None
) -> dict[str, object]:
    """Facts with what the user knows, which counts more, and Arriero's version.

    Args:
        facts: What is known.
        revision: The model's revision.
        quantization: Its quantization.

    Returns:
        All of it.
    """
    return _told(facts, {"revision": revision, "quantization": quantization}, version_of("arriero"))


async def _cards(server: "Server") -> list[dict[str, Any]]:
    found = (await _json(server, "v1/models")).get("data")
    return [card for card in found if isinstance(card, dict)] if isinstance(found, list) else []


async def _json(server: "Server", path: str) -> dict[str, Any]:
    try:
        found = json.loads(await server.get(path))
    except (EngineRejected, ValueError):  # it does not say: what cannot be known is None
        return {}
    return found if isinstance(found, dict) else {}
