"""How good the offline judge is, measured, and its card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arriero.evals.items import GroundingItem
from arriero.evals.judges.offline.judge import judge_with
from arriero.evals.judges.offline.model import Model
from arriero.evals.measures.detection import Detection, detection, span_f1
from arriero.evals.statistics.estimate import Estimate

DETECTION_BARS = {
    "mtrag_human": 0.94,
    "wice": 0.80,
    "begin": 0.95,
    "factcheck_gpt": 0.80,
    "q2": 0.70,
    "expertqa": 0.60,
    "summedits": 0.70,
}
"""AUROC that was asked for on the test split of each set."""

TRANSFER_BARS = {"mtrag_human": 0.92, "wice": 0.78}
"""AUROC that was asked for on a set of which nothing was in training."""

SPANS, SPAN_BAR = "wice_spans", 0.54

Items = Sequence[GroundingItem]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured.

    Args:
        detection: On the test split of each set.
        transfer: AUROC on each whole set, by a model that was trained on the other sets.
        spans: Character F1 on the test split of the span set.
    """

    detection: Mapping[str, Detection]
    transfer: Mapping[str, Estimate]
    spans: Estimate


def of_split(items: Items, split: str) -> list[GroundingItem]:
    """The items of a split."""
    return [item for item in items if item.split == split]


def detects(model: Model, items: Items) -> Detection:
    """How well a model tells the labelled items apart."""
    judged = [(judge_with(model, [item])[0].score, item) for item in items]
    rows = [(item.label, score, item.doc_id) for score, item in judged if score is not None and item.label is not None]
    labels, scores, documents = zip(*rows, strict=True)
    return detection(labels, scores, documents, threshold=model.threshold)


def marks(model: Model, items: Items) -> Estimate:
    """How well a model's spans fit the marked ones."""
    found = [judge_with(model, [item])[0].spans for item in items]
    return span_f1([item.spans for item in items], found, [item.doc_id for item in items])


def tables(figures: Figures) -> str:
    """The card's tables."""
    rows = [
        "| set | items | documents' AUROC | asked | balanced accuracy | F1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows[0] = "| test split | items | AUROC | asked for | balanced accuracy | F1 |"
    for name, bar in DETECTION_BARS.items():
        one = figures.detection[name]
        rows.append(
            f"| {name} | {one.items} | {shown(one.auroc)} | {_asked(one.auroc, bar)} |"
            f" {shown(one.balanced_accuracy)} | {shown(one.f1)} |"
        )
    rows += ["", "| set, none of it in training | items | AUROC | asked for |", "| --- | --- | --- | --- |"]
    for name, estimate in figures.transfer.items():
        asked = _asked(estimate, TRANSFER_BARS[name]) if name in TRANSFER_BARS else ""
        rows.append(f"| {name} | {estimate.n} | {shown(estimate)} | {asked} |")
    rows += ["", "| spans, test split | items | character F1 | asked for |", "| --- | --- | --- | --- |"]
    rows.append(f"| {SPANS} | {figures.spans.n} | {shown(figures.spans)} | {_asked(figures.spans, SPAN_BAR)} |")
    return "\n".join(rows)


def shown(estimate: Estimate) -> str:
    """A number with its interval, as the card has it."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _asked(estimate: Estimate, bar: float) -> str:
    return f"{bar:.2f}: {'reached' if estimate.value >= bar else '**not reached**'}"


def card(model: Model, figures: Figures, rate: float) -> str:
    """The card.

    Args:
        model: The model.
        figures: What was measured.
        rate: Items of 4,000 characters a second, on one core.
    """
    sets = "\n".join(f"| {name} | {count} |" for name, count in dict(model.about["items"]).items())  # type: ignore[call-overload]
    return _CARD.format(tables=tables(figures), sets=sets, rate=round(rate, -1), threshold=model.threshold)


_CARD = """# The offline judge

Ranks responses by how much their passages lack of them: words weighed by rarity, numbers, dates, units, names,
negation, word groups. Written by `python -m arriero.evals.judges.offline.train`; `tests/evals/test_offline_card.py`
measures the shipped model again.

## What it is for

* Ranking answers for review, with the words that are not found and reasons to read.
* The control variate of a corrected rate (`prediction_powered`): a better ranking makes the interval narrower; a bad
  one does not make it wrong.

It is not for a rate. The share that it flags depends on the kind of text more than on hallucinations.

## How good it is

Test splits: documents that no training item is from; the interval is 95 %, by drawing documents again. What was asked
for and is not reached stands here as it is: settings were chosen by cross-validation within the train splits, and the
test splits were measured afterwards. The figures on sets that were not in training were seen when the penalty of the
general regression was chosen among three values, so they may be a little too good.

{tables}

Balanced accuracy and F1 are at the threshold of {threshold:.2f}, which is best on average over the train splits and
need not be on your data. Few documents make wide intervals: mtrag_human has 5 test conversations, summedits 12 texts.

Speed: about {rate:.0f} items with 4,000 characters of passages a second on one core of the machine that trained it.

## How it works

`features.py` counts; a logistic regression weighs. There is one for each set (a kind of text), with all features and,
for four sets, single words; and a general one with features that say how much is lacking. A gate knows kinds by style
alone (lengths, number of passages, question or none), and an item within the style of a kind is judged by its
regression; an item unlike all of them by the general one, and `caveat` says so. Sentences are scored by the general
one, and set so that the worst has the response's score.

Scores are calibrated on the training sets together (out of fold, Platt). **That does not transfer**: on texts of
another base rate or kind a score of 0.8 is no probability of 80 %. Calibrate with labels of your own
(`arriero eval calibrate`).

## Data

Train splits of sets in `tests/data/grounding`, whose README has sources and licences (Apache-2.0, MIT, CC BY 4.0,
CC BY-SA 4.0, ODC-By 1.0, CDLA-Sharing 1.0). The model holds weights, the sentence frequency of words, and weights of
words that stand in four documents or more; no text.

| set | training items |
| --- | --- |
{sets}

## Limits

* Words, not meaning. A paraphrase looks worse than it is. A fact changed by one common word ("only", "increased")
  looks fine: summedits is made of such changes, and the judge has little more than the wording of its editor to go by.
* What is claimed on the strength of two far passages, of common knowledge or of the question looks unsupported.
* One changed number in a sentence that is copied otherwise is named as a reason and need not lift the score over the
  threshold: of 27 such training responses that stand below it, people held six hallucinated.
* A refusal claims nothing, and is wrong where the passages do answer: the three in the training data of mtrag_human
  were all held unfaithful by people. So it keeps the score of its words, with a caveat, and has no claims.
* English. Other languages, and scripts without spaces, get a caveat, not a useful score.
* Most training responses are shorter than 800 characters.
* It does not know whether passages are true.

## To train it again

    pip install 'arriero[evals]' scikit-learn
    python -m arriero.evals.judges.offline.train --data tests/data/grounding
    python -m arriero.evals.judges.offline.train_embeddings --data tests/data/grounding

Some minutes on one core, and some twenty for the second; the same models for the same data and versions. The first
writes this card anew, and the second its last part.
"""
