"""Teacher-forced exactness: would greedy decoding have written exactly this?

Every token of the assistant's message must be the most probable one given the true tokens before it. For
greedy decoding that is the same question as generating the message and comparing it, at one forward pass.
"""

from collections.abc import Iterable, Sequence

import torch

from arriero.models.training.dialogue import Encoded
from arriero.models.training.network import Llama


@torch.no_grad()
def predictions(model: Llama, batch: Sequence[Encoded], dtype: torch.dtype = torch.float32) -> list[list[int]]:
    """For each dialogue the most probable next token after every position."""
    longest = max(len(e.ids) for e in batch)
    ids = torch.tensor([e.ids + [0] * (longest - len(e.ids)) for e in batch])
    best = (model(ids, dtype) @ model.embed_tokens.weight.T.to(dtype)).argmax(-1)
    return [row[: len(e.ids)] for row, e in zip(best.tolist(), batch, strict=True)]


def exact_messages(model: Llama, dialogues: Iterable[Encoded], rows: int = 32) -> list[tuple[bool, ...]]:
    """For each dialogue, whether each assistant message is exactly right, in order.

    Args:
        model: The network.
        dialogues: What to check.
        rows: Dialogues in one forward pass.

    Returns:
        One tuple for each dialogue, one truth value for each assistant message.
    """
    every = list(dialogues)
    order = sorted(range(len(every)), key=lambda i: len(every[i].ids))
    right: dict[int, tuple[bool, ...]] = {}
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        for index, best in zip(chosen, predictions(model, [every[i] for i in chosen]), strict=True):
            ids = every[index].ids
            right[index] = tuple(best[a - 1 : b - 1] == ids[a:b] for a, b, _ in every[index].spans)
    return [right[i] for i in range(len(every))]
