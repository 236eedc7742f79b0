"""A vocabulary that needs no file."""

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from arriero.prompts.tokens import Tokenizer

SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|image|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eom|>",
    "<|eot|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|patch|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<s>",
    "</s>",
)
"""Special tokens that the dialects write, those of all Llamas together (FORMATS.md section 1)."""


def byte_tokenizer(specials: Iterable[str] = SPECIALS) -> Tokenizer:
    """A tokenizer with one id for each byte, and special tokens.

    Args:
        specials: The special tokens, in the order of their ids.

    Returns:
        The tokenizer.

    Example:
        >>> len(byte_tokenizer().encode("año"))
        4
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({letter: id_ for id_, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(specials))
    return Tokenizer(backend)
