"""Weights of a loaded model in fewer bits, through torchao. Everything here blocks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast, get_args

from arriero.stack.errors import EngineRejected, EngineUnavailable

Quantization = Literal["bf16", "int8", "int4"]
"""How weights are kept: bfloat16, or whole numbers of 8 or 4 bits with scales."""

GROUP = 32
"""Weights that share a scale in int4."""


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Memory of a model's weights.

    Args:
        held: What they take in this process. Without a kernel for it, four bits are kept in a byte.
        packed: What they take where each weight has no more bits than it needs.
    """

    held: int
    packed: int


def check_quantization(name: str | None) -> Quantization | None:
    """A quantization that is known.

    Raises:
        EngineRejected: It is not.
    """
    if name is not None and name not in get_args(Quantization):
        raise EngineRejected(f"quantization is {name!r}: give one of {', '.join(get_args(Quantization))}, or None")
    return cast("Quantization | None", name)


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep what torchao says of kernels for other devices, and of torch, to itself while it is imported.

    transformers imports it too, wherever it is installed.
    """
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quantize(model: Any, quantization: Quantization | None) -> None:
    """Round the weights of all linear layers of a model, in place.

    Args:
        model: The model, in the precision that it computes in.
        quantization: How; nothing is done for None and `bf16`, which is a precision.

    Raises:
        EngineUnavailable: torchao is not installed.
    """
    if quantization in (None, "bf16"):
        return
    try:
        with quiet_import():
            library: Any = import_module("torchao.quantization")
    except ImportError as error:
        raise EngineUnavailable(
            f"quantizing a model in this process needs torchao ({error}): `pip install 'arriero[quantization]'`"
        ) from error
    torch: Any = import_module("torch")  # its annotations lack the types of few bits
    if quantization == "int8":
        library.quantize_(model, library.Int8WeightOnlyConfig())
    else:
        group = library.PerGroup(GROUP)
        library.quantize_(model, library.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=group))


def weight_bytes(model: Any) -> WeightBytes:
    """Memory of a model's weights and buffers, shared ones once.

    Args:
        model: The model.

    Returns:
        The memory.
    """
    seen: set[int] = set()
    held = packed = 0
    for tensor in [*model.parameters(), *model.buffers()]:
        bits = 4 if str(getattr(tensor, "target_dtype", "")) == "torch.int4" else 8
        for name, part in _parts(tensor):
            storage = part.untyped_storage()
            if storage.data_ptr() in seen:
                continue
            seen.add(storage.data_ptr())
            held += storage.nbytes()
            packed += storage.nbytes() * bits // 8 if name == "qdata" else storage.nbytes()
    return WeightBytes(held, packed)


def _parts(tensor: Any, name: str = "") -> list[tuple[str, Any]]:
    """The plain tensors that a tensor is made of; a quantized one has several."""
    import torch

    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return [(name, tensor)]
    names, _ = tensor.__tensor_flatten__()
    return [found for inner in names for found in _parts(getattr(tensor, inner), inner)]
