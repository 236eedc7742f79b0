"""The judge that needs no model server."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import anyio.to_thread
import numpy as np

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Claim, Judgement
from arriero.evals.judges.offline.embeddings import Embedder, MiniLM
from arriero.evals.judges.offline.features import Reading, read
from arriero.evals.judges.offline.findings import reasons_of, spans_of, verdict_of
from arriero.evals.judges.offline.model import SHIPPED, Model, load
from arriero.evals.judges.offline.stage import SHIPPED_STAGE, Deeper, load_stage
from arriero.evals.judges.offline.words import MOST_SENTENCES, WORD, without_citations
from arriero.evals.measures.language import language
from arriero.evals.systems.refusal import RefusalRule

VERSION = 1
"""Counted up when the same model comes to mean other scores."""

DEEPER = "offline+embeddings"
"""Name of the judge that weighs embeddings too."""

LONGEST = 20_000
"""Characters of a response beyond which it is unlike all that the judge was trained on."""

_BATCH = 64
_REASONS = 6
_UNLIKE = 0.5
_FUNCTION_WORDS = 0.3
_SAMPLE = 2_000
_RULE = RefusalRule()
_SORRY = re.compile(r"(?:I(?:['’]m| am) )?(?:very |so )?sorry\W{0,3}", re.IGNORECASE)
_GOES_ON = re.compile(r"\bbut\b", re.IGNORECASE)
_DECLINED = "a refusal is wrong where the passages do answer, which this judge cannot tell: its score means little"


class OfflineJudge:
    """Ranks responses by the words, numbers, dates, names and negations that their passages lack.

    Lexical: no model server, no network, some hundred items a second on one core, the same scores on every machine.
    A small classifier weighs what is counted, with weights of its own for the kinds of text it was trained on and
    general ones for all others. It sees words, not meaning: a response in other words looks worse than it is, a fact
    that is changed by one common word looks better. So it is for ranking answers for review and for making a
    correction narrower (prediction-powered inference); the share that it flags is no rate of hallucination.
    `CARD.md` beside this module says how good it is, and where not.

    The score of a response is that of its worst sentence: the classifier judges the response whole, and the other
    sentences stand below by as much as they lack less. Sentences that only say that something is not known are no
    claims. Spans of label `unsupported` are in claims that are flagged; `not found` are words without support in claims
    that are not, for a reader who looks closer.

    Args:
        model: A model that `python -m arriero.evals.judges.offline.train` wrote; None for the one that ships.
        embeddings: True to weigh what MiniLM (extra `rag`) says of the meaning too, at a small part of the speed; an
            embedder to use that one. The scores are fitted to MiniLM. Spans and reasons stay those of the counts.

    Raises:
        EvalError: The model cannot be read, or the extra is not installed.

    Example:
        >>> import anyio
        >>> item = GroundingItem("a", ("Mules are patient. A mule eats 7 kg of hay.",), "A mule eats 9 kg of fish.")
        >>> found = anyio.run(OfflineJudge().judge, [item])[0]
        >>> found.reasons[0]
        'numbers that the passages lack: "9"'
        >>> [item.response[span.start : span.end] for span in found.spans]
        ['9', 'of fish']
    """

    name = "offline"

    def __init__(self, *, model: Path | None = None, embeddings: bool | Embedder = False) -> None:
        self._path = model or SHIPPED
        self._model = load(self._path)
        self._deeper: Deeper | None = None
        if embeddings:
            stage = load_stage()
            if stage.kinds != self._model.kinds:
                raise EvalError(f"{self._path} knows other kinds of text than {SHIPPED_STAGE}: train both again")
            self._deeper = Deeper(stage, MiniLM() if embeddings is True else embeddings)
            self.name = DEEPER

    @property
    def threshold(self) -> float:
        """Score from which an item is flagged: where the mean balanced accuracy over the training sets is highest."""
        return self._deeper.stage.threshold if self._deeper else self._model.threshold

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Name, version and digest of the classifier; with embeddings, of the second stage and its embedder too."""
        first = {"name": self.name, "version": VERSION, "file": self._path.name, "revision": _digest(self._path)}
        if self._deeper is None:
            return first
        return first | {"stage": _digest(SHIPPED_STAGE), "embedder": self._deeper.embedder.name}

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """Judge items, in a thread: counting is work for the processor.

        Args:
            items: The items.

        Returns:
            A judgement for each, in order; what stands beside an item does not change it. An item without a word in
            its passages has `failed`.
        """
        said: list[Judgement] = []
        for start in range(0, len(items), _BATCH):  # what was counted of a batch is let go before the next
            said += await anyio.to_thread.run_sync(judge_with, self._model, items[start : start + _BATCH], self._deeper)
        return said


def judge_with(model: Model, items: Sequence[GroundingItem], deeper: Deeper | None = None) -> list[Judgement]:
    """Judge items with a model; what all of them counted is held at once.

    Args:
        model: The model.
        items: The items, some dozens.
        deeper: What weighs embeddings too.
    """
    if deeper:
        model = replace(model, threshold=deeper.stage.threshold)
    told = [item for item in items if any(WORD.search(passage) for passage in item.context)]
    asked = [item for item in told if WORD.search(without_citations(item.response))]
    readings = [read(item, model.weight) for item in asked]
    found = {}
    if readings:
        scores, kinds = model.scores(readings)
        scores = deeper.scores(model, asked, readings) if deeper else scores
        # By object, not by id: ids are unique in a file, not in what a caller puts together.
        for item, reading, score, kind in zip(asked, readings, scores, kinds.sum(axis=1), strict=True):
            found[id(item)] = _judgement(model, item, reading, round(float(score), 6), float(kind))
    able = {id(item) for item in told}
    said = [found.get(id(item)) or _without(item, id(item) in able) for item in items]
    return [replace(one, judge=DEEPER) for one in said] if deeper else said


def _without(item: GroundingItem, told: bool) -> Judgement:
    """What is said of an item that lacks its passages or its response."""
    if not told:
        return Judgement(
            item.id, OfflineJudge.name, None, failed="no word in its passages: there is nothing to rest on"
        )
    caveat = "the response has no words: nothing is claimed, so nothing is hallucinated"
    return Judgement(item.id, OfflineJudge.name, 0.0, caveat=caveat)


def _judgement(model: Model, item: GroundingItem, reading: Reading, score: float, known: float) -> Judgement:
    texts = [item.response[start:end] for start, end, _ in reading.sentences]
    claiming = [place for place, text in enumerate(texts) if not _declines(text)]
    blame = model.blame([reading.counts[place] for place in claiming])
    odds = np.log(max(score, 1e-9) / max(1 - score, 1e-9))
    claims, spans, response = [], list[Span](), without_citations(item.response)
    for place, one in zip(claiming, blame, strict=True):
        start, end, words = reading.sentences[place]
        counts, closest = reading.counts[place], reading.closest[place]
        # The worst sentence has the response's score itself, not a rounded way there and back.
        below = score if one == blame.max() else round(float(1 / (1 + np.exp(blame.max() - one - odds))), 6)
        label = "unsupported" if below >= model.threshold else "not found"
        spans += spans_of(response, start, end, words, closest, label)
        reasons = reasons_of(words, counts, closest, reading.context)
        verdict = verdict_of(below, model.threshold, counts, closest)
        claims.append(Claim(texts[place], verdict, min(below, score), Span(start, end, verdict), reasons))
    worst = sorted(claims, key=lambda claim: -claim.score)
    first = tuple(dict.fromkeys(reason for claim in worst for reason in claim.reasons))[:_REASONS]
    caveats = [*([] if claims else [_DECLINED]), *_caveats(item, reading, known)]
    return Judgement(
        item.id,
        OfflineJudge.name,
        score,
        claims=tuple(claims),
        spans=tuple(spans),
        reasons=first if claims else ("says that it cannot answer, and claims nothing else",),
        caveat="; ".join(caveats) or None,
    )


def _declines(sentence: str) -> bool:
    """Whether a sentence only says that something is not known, or is sorry: no claim, unless it goes on with one."""
    return _SORRY.fullmatch(sentence) is not None or (_RULE.refuses(sentence) and _GOES_ON.search(sentence) is None)


def _caveats(item: GroundingItem, reading: Reading, known: float) -> list[str]:
    found = []
    words = [one for _, _, one in reading.sentences]
    said, every = sum(len(one.content) for one in words), sum(len(one.stems) for one in words)
    # Text with its share of English function words is English; only the rest is looked at, which takes longer.
    if 1 - said / every < _FUNCTION_WORDS and (spoken := language(item.response)) not in (None, "English"):
        found.append(f"the response seems to be in another language than English ({spoken}), which it cannot read")
    if reading.context.function_share < _FUNCTION_WORDS:
        spoken = language(" ".join(item.context)[:_SAMPLE])
        if spoken not in (None, "English"):
            found.append(f"the passages seem to be in another language than English ({spoken}), which it cannot read")
    if len(words) == MOST_SENTENCES:
        found.append(f"only its first {MOST_SENTENCES:,} sentences were looked at one by one")
    if len(item.response) > LONGEST:
        found.append(f"a response of {len(item.response):,} characters is far longer than those it was trained on")
    if not found and known < _UNLIKE:
        found.append("unlike the texts that it was trained on: the score ranks, and means little by itself")
    return found


@cache
def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]
