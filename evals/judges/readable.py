"""Items as tokenizers take them."""

from dataclasses import replace

from arriero.evals.items import GroundingItem

_HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def readable(item: GroundingItem) -> GroundingItem:
    r"""The item with U+FFFD for each half of a surrogate pair, which is no character and which tokenizers refuse.

    Files with such texts are refused when they are read; a model's answer may still hold one. Every other character
    stays where it is, so ranges stay right.

    Args:
        item: The item.

    Returns:
        It, or a copy.

    Example:
        >>> readable(GroundingItem("a", ("hay",), "mule\ud800")).response
        'mule\ufffd'
    """
    texts = (item.response, item.question or "", *item.context)
    if all(text.isascii() for text in texts):
        return item
    return replace(
        item,
        context=tuple(passage.translate(_HALVES) for passage in item.context),
        response=item.response.translate(_HALVES),
        question=item.question and item.question.translate(_HALVES),
    )
