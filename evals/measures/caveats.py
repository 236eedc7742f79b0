"""What a reader must know before they believe a number."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from arriero.evals.evaluation import Judged, Rate
from arriero.evals.judges.same_model import same_model
from arriero.evals.measures.answering import gives
from arriero.evals.measures.language import other_language
from arriero.evals.systems.system import Answer

_FEW_LABELS = 100
_FEW_DOCUMENTS = 20
_SHOWN = 3


def caveats(
    items: Sequence[Judged],
    rate: Rate,
    *,
    random_labels: bool,
    answers: Sequence[Answer],
    stray_labels: int,
    judge: Mapping[str, object],
    system: Mapping[str, object],
) -> tuple[str, ...]:
    """All that a reader must know, what matters most first.

    Args:
        items: The items.
        rate: Their rate.
        random_labels: Whether the labelled items are said to be a random sample.
        answers: The answers that they were made from, failed ones among them.
        stray_labels: Labels of items that are not there.
        judge: The judge's fingerprint.
        system: The system's.

    Returns:
        Sentences.
    """
    found = [
        *_of_labels(items, rate, random_labels),
        *_of_failures(items, rate, answers, people=judge.get("kind") == "human"),
        *_of_documents(items),
        *_of_texts(items),
        *_of_the_judge(items, judge, system),
    ]
    if stray_labels:
        found.append(f"Labels of items that are not there: {stray_labels}. They count nowhere.")
    return tuple(found)


def _of_labels(items: Sequence[Judged], rate: Rate, random_labels: bool) -> list[str]:
    found = []
    if rate.corrected is None and rate.refused:
        found.append(f"No rate of hallucination is given: {rate.refused}.")
    elif rate.refused:
        found.append(f"The rate is of the labels alone, the judge adds nothing to it: {rate.refused}.")
    if rate.correction in ("PPI++", "labels only") and rate.labelled < rate.judged:
        found.append(
            f"The rate holds if the {rate.labelled} labelled items are a random sample of all {rate.judged}, chosen"
            " before anybody looked at scores or answers. If they were chosen otherwise, say so: Rogan-Gladen then"
            " corrects instead."
        )
    if rate.correction == "Rogan-Gladen":
        found.append(
            f"The labels are no random sample. The rate holds if the judge errs on the {rate.labelled} labelled items"
            " as often as on the others of their kind: not if they were chosen by its scores."
        )
    if not random_labels and rate.correction == "labels only":
        found.append("The labels are no random sample, but all items have one.")
    if 0 < rate.labelled < _FEW_LABELS and rate.labelled < rate.judged:
        found.append(f"Only {rate.labelled} labels: 100 to 200 give an interval that is worth having.")
    documents = {one.item.doc_id or one.item.id for one in items if one.label is not None and one.flagged is not None}
    if 1 < len(documents) < _FEW_DOCUMENTS and rate.correction == "PPI++":
        found.append(f"The labels are of {len(documents)} documents only: label items of {_FEW_DOCUMENTS} or more.")
    if rate.quality is not None and min(rate.quality.sensitivity.n, rate.quality.specificity.n) < _SHOWN * 3:
        fewest = min(rate.quality.sensitivity.n, rate.quality.specificity.n)
        found.append(f"One class has few labels ({fewest}): little is known of how the judge does on it.")
    unjudged = sum(one.label is not None and one.judgement.score is None for one in items)
    if unjudged:
        found.append(f"Labelled items without a score: {unjudged}. They are left out with their labels.")
    return found


def _of_failures(items: Sequence[Judged], rate: Rate, answers: Sequence[Answer], *, people: bool) -> list[str]:
    found = []
    if rate.failed and people:
        found.append(
            f"People settled {rate.judged} of {len(items)} items. What they found holds for all if those were chosen"
            " at random."
        )
    elif rate.failed:
        why = _most_frequent(one.judgement.failed or "no reason given" for one in items if one.judgement.score is None)
        found.append(f"The judge failed on {rate.failed} of {len(items)} items, which are left out ({why}).")
    errors = [answer for answer in answers if answer.error is not None]
    if errors:
        why = _most_frequent(answer.error or "" for answer in errors)
        found.append(f"The system failed on {len(errors)} of {len(answers)} questions, which are left out ({why}).")
    missing = (0 if people else rate.failed) + len(errors)
    if missing and rate.corrected is not None:
        known, total = rate.corrected.value * rate.judged, rate.judged + missing
        low, high = rate.corrected.low * rate.judged / total, (rate.corrected.high * rate.judged + missing) / total
        found.append(
            f"With the {missing} that were left out the rate would be {known / total:.1%} if none of them were"
            f" hallucinated and {(known + missing) / total:.1%} if all were; the interval, {low:.1%} to {high:.1%}."
        )
    return found


def _of_documents(items: Sequence[Judged]) -> list[str]:
    documents = len({one.item.doc_id or one.item.id for one in items})
    if documents == 1 < len(items):
        return ["All items are of one document: the intervals are for answers about it, not about others."]
    if documents < _FEW_DOCUMENTS and documents < len(items):
        return [f"The items are of {documents} documents only: the intervals lean on how alike other documents are."]
    return []


def _of_texts(items: Sequence[Judged]) -> list[str]:
    empty = sum(not one.item.response.strip() for one in items)
    bare = sum(not any(passage.strip() for passage in one.item.context) for one in items)
    foreign = sum(other_language(one.item.response, one.item.context) for one in items)
    refusals = sum(one.answer is not None and bool(one.answer.refused) and not gives(one.answer) for one in items)
    found = []
    if empty:
        found.append(f"Empty answers: {empty}. They count as answers, though they say nothing.")
    if bare:
        found.append(f"Items without passages: {bare}. Nothing that they say can be supported.")
    if foreign:
        found.append(f"Answers in another language than their passages: {foreign}. Judges err more on them.")
    if refusals:
        found.append(f"Refusals: {refusals}. They are among the answers whose rate this is.")
    return found


def _of_the_judge(items: Sequence[Judged], judge: Mapping[str, object], system: Mapping[str, object]) -> list[str]:
    found = []
    said = Counter(one.judgement.caveat for one in items if one.judgement.caveat)
    if said:
        shown = "; ".join(f"{text.rstrip('.')}: {count}" for text, count in said.most_common(_SHOWN))
        found.append(f"Items on which the judge doubts its own word: {said.total()} ({shown}).")
    both = same_model(judge, system, [one.item for one in items])
    if both is not None:
        found.append(
            f"The judge is the model that it judges ({both}): models are lenient to their own answers. The"
            " correction takes that out; what is flagged does not."
        )
    return found


def _most_frequent(reasons: Iterable[str]) -> str:
    counted = Counter(reasons)
    shown = [f"{reason.rstrip('.')}: {count}" for reason, count in counted.most_common(_SHOWN)]
    return "; ".join(shown) + ("; others" if len(counted) > _SHOWN else "")
