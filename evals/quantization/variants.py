"""Models to compare: one here in a precision, or one that a server has."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from arriero.evals.errors import EvalError
from arriero.models import DEMO
from arriero.stack.engines.quantization import Quantization, check_quantization
from arriero.stack.stack import Opening, Stack

BASE = "local:arriero-demo@bf16"
"""The bundled model, as its weights are kept."""


class InvalidVariant(EvalError, ValueError):
    """A text names no model."""


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """A model to compare. Make one with `parse`.

    Args:
        name: Short name for tables and folders.
        folder: Folder of a model that runs here; None for one on a server.
        quantization: Its precision here; None for fp32.
        url: The server.
        model: Its name there; None for the first.

    Example:
        >>> ModelVariant.parse("local:arriero-demo@int4").name
        'arriero-demo@int4'
        >>> ModelVariant.parse("http://localhost:8001/v1#llama-8b-fp8").model
        'llama-8b-fp8'
        >>> ModelVariant.parse("fp8=http://localhost:8002/v1#llama").name
        'fp8'
    """

    name: str
    folder: Path | None = None
    quantization: Quantization | None = None
    url: str | None = None
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelVariant":
        """Read a model's description.

        Args:
            text: `local:FOLDER`, `local:FOLDER@int8` (or `bf16`, `int4`, `fp32`), where `arriero-demo` is the bundled
                model; or `URL` or `URL#MODEL` of a vLLM server. `NAME=` before it gives it a name for tables.

        Returns:
            The model.

        Raises:
            InvalidVariant: It is neither, there is no such folder, or the precision is not known.
        """
        given, equals, named = text.partition("=")
        if equals and not set(given) & set(":/@#"):
            if not given.strip():
                raise InvalidVariant(f"{text!r}: there is no name before `=`")
            return replace(cls.parse(named), name=given.strip())
        scheme, _, rest = text.partition(":")
        if scheme in ("http", "https"):
            url, _, model = text.partition("#")
            scheme, _, place = url.partition("://")
            return cls(model or f"{scheme}://{place.rpartition('@')[2]}", url=url, model=model or None)
        if scheme != "local" or not rest:
            raise InvalidVariant(f"{text!r} names no model: write local:FOLDER[@bf16|@int8|@int4], or URL#MODEL")
        path, _, precision = rest.rpartition("@")
        if precision not in _PRECISIONS:
            path, precision = rest, "fp32"
        folder = Path(path)
        if path == DEMO.name and not folder.is_dir():
            folder = DEMO
        if not folder.is_dir():
            raise InvalidVariant(f"{text!r}: there is no folder {path}; write local:FOLDER[@bf16|@int8|@int4]")
        kept = check_quantization(None if precision == "fp32" else precision)
        return cls(f"{folder.resolve().name}@{kept or 'fp32'}", folder, kept)

    def open(self, *, api_key: str | None = None, tokenizer: Path | None = None, dialect: str | None = None) -> Opening:
        """The model's stack, not opened yet.

        Args:
            api_key: Key of the server.
            tokenizer: Folder of the tokenizer, where the server does not say where its model is.
            dialect: How it writes; None finds it by the model.

        Returns:
            The opening.
        """
        if self.url is not None:
            return Stack.connect(self.url, model=self.model, api_key=api_key, tokenizer=tokenizer, dialect=dialect)
        return Stack.local(self.folder, quantization=self.quantization, dialect=dialect)


_PRECISIONS = (*get_args(Quantization), "fp32")
