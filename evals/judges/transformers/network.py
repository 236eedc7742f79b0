"""A published model on this machine: its files, its tokenizer, its forward pass. Nothing is downloaded or executed."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arriero.evals.errors import EvalError
from arriero.evals.systems.facts import version_of

if TYPE_CHECKING:
    import tokenizers
    import torch

_PAD = 8
"""Lengths of a batch are rounded up to this many tokens."""


class ModelMissing(EvalError):
    """A published model is not on this machine, or not all of it."""


class ModelUnusable(EvalError):
    """A model cannot be what the judge needs: another architecture, no label for support, weights that are absent."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine.

    Args:
        name: As the user gave it.
        folder: Where it is.
        revision: Commit of the hub, or a digest of a local folder.
    """

    name: str
    folder: Path
    revision: str

    @classmethod
    def find(cls, name: str | Path) -> "ModelFiles":
        """Find a model by its folder, or by its name among what `hf download` has fetched.

        Args:
            name: A folder in Hugging Face format, or a name such as `vectara/hallucination_evaluation_model`.

        Returns:
            Where it is.

        Raises:
            ModelMissing: It is not there; nothing is downloaded.
        """
        folder = Path(name)
        if folder.is_dir():
            return cls(str(name), _complete(folder, str(name)), _digest(folder))
        if folder.is_absolute() or str(name).startswith("."):
            raise ModelMissing(f"there is no folder {name}: give a model's folder, or its name on the hub")
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise ModelMissing(f"there is no folder {name}: install the extra `local`, then {_get(name)}") from error
        try:
            found = Path(snapshot_download(str(name), local_files_only=True))
        except Exception as error:  # the hub's client raises errors of several libraries
            raise ModelMissing(f"the model {name} is not on this machine: {_get(name)}") from error
        return cls(str(name), _complete(found, str(name)), found.name)

    def config(self) -> dict[str, Any]:
        """What `config.json` says.

        Raises:
            ModelUnusable: It is no JSON object.
        """
        try:
            found = json.loads((self.folder / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ModelUnusable(f"{self.folder / 'config.json'} cannot be read ({error}): {_get(self.name)}") from error
        if not isinstance(found, dict):
            raise ModelUnusable(f"{self.folder / 'config.json'} holds no JSON object: {_get(self.name)}")
        return found

    @property
    def facts(self) -> Mapping[str, object]:
        """Name, revision and versions, for fingerprints."""
        return {"model": self.name, "revision": self.revision, "versions": version_of("torch", "transformers")}


def _get(name: str | Path) -> str:
    return f"`hf download {name}` fetches it; or give its folder"


def _complete(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelMissing(f"{folder} holds no config.json: {_get(name)}")
    return folder


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for pattern in ("config.json", "tokenizer*", "spiece.model", "*.safetensors", "*.bin"):
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def read_tokenizer(files: ModelFiles) -> "tokenizers.Tokenizer":
    """A model's tokenizer, switched to take text that spells special tokens as text.

    Args:
        files: The model.

    Returns:
        The tokenizer, without truncation and padding.

    Raises:
        ModelUnusable: It cannot be read, or is none of the `tokenizers` library.
    """
    with _quiet() as transformers:
        try:
            outer = transformers.AutoTokenizer.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=False
            )
            found: tokenizers.Tokenizer = outer.backend_tokenizer
        except Exception as error:  # transformers raises errors of several libraries
            raise ModelUnusable(f"the tokenizer of {files.name} cannot be read: {error}; {_get(files.name)}") from error
    found.encode_special_tokens = True
    found.no_truncation()
    found.no_padding()
    return found


def special_id(tokenizer: "tokenizers.Tokenizer", files: ModelFiles, *names: str) -> int:
    """Id of the first of some special tokens that a vocabulary has.

    Raises:
        ModelUnusable: It has none of them.
    """
    found = next((id_ for name in names if (id_ := tokenizer.token_to_id(name)) is not None), None)
    if found is None:
        raise ModelUnusable(
            f"the vocabulary of {files.name} has none of {', '.join(names)}: give the model's own files"
        )
    return found


def load_model(files: ModelFiles, kind: str) -> Any:
    """Load weights as one of transformers' own architectures.

    Args:
        files: The model.
        kind: Name of the class, such as `AutoModelForSequenceClassification`.

    Returns:
        The model, in fp32, ready for inference.

    Raises:
        ModelUnusable: The weights are absent or of another architecture.
    """
    import torch

    with _quiet() as transformers:
        try:
            model, found = getattr(transformers, kind).from_pretrained(
                files.folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # config, safetensors and torch each raise their own
            raise ModelUnusable(f"{files.name} cannot be loaded as {kind}: {error}") from error
    check_weights(files, [*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])])
    return model.eval()


def check_weights(files: ModelFiles, absent: Sequence[str]) -> None:
    """Refuse a model some of whose weights are absent: they would be random.

    Raises:
        ModelUnusable: Some are absent.
    """
    if absent:
        raise ModelUnusable(
            f"the weights of {files.name} lack {len(absent)} tensors, {min(absent)} among them: it was not trained for"
            " this, or its files are incomplete"
        )


def chosen_device(wanted: str | None) -> str:
    """The device that was asked for, else a GPU where there is one."""
    import torch

    return wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def padded(rows: Sequence[Sequence[int]], pad: int, device: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """Rows of ids as one batch.

    Args:
        rows: The rows.
        pad: Id that fills them up.
        device: Where the batch goes.

    Returns:
        Ids and attention mask.
    """
    import torch

    longest = -(-max(map(len, rows)) // _PAD) * _PAD
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return ids.to(device), mask.to(device)


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places of rows, longest together, in batches of at most so many tokens, padding included; at least one each.

    Example:
        >>> list(batches([3, 9, 4, 8], tokens=20))
        [[1, 3], [2, 0]]
    """
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


@contextmanager
def _quiet() -> Iterator[Any]:
    """The transformers library, without its progress bars and advice."""
    import transformers

    library: Any = transformers  # its annotations do not cover what is called here
    logging = library.utils.logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield library
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
