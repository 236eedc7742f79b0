"""What an evaluation found: values that reports show, and nothing that computes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.statistics.correction import Quality
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.systems.system import Answer

Correction = Literal["PPI++", "Rogan-Gladen", "labels only"]
Cause = Literal["retrieval missed", "answer ignored", "passage wrong", "unknown"]
"""Where an error came from: the right passage was not retrieved; it was, and the answer is not in it; the answer
follows its passages, and those are wrong."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something is hallucinated, before and after the judge's own errors are taken out.

    Args:
        corrected: The rate to tell people; None where there are no labels or the correction was refused.
        correction: How it was corrected; None where it was not.
        refused: Why it was not corrected by means of the judge, and what to do. A rate of random labels alone may be
            there nevertheless.
        flagged: Share that the judge flags. Not a rate of hallucination: a judge errs both ways.
        labels_only: Rate among the labelled items alone.
        quality: The judge on the labelled items; None where they are of one class or there are none.
        judged: Items with a score.
        labelled: Judged items with a label.
        failed: Items that the judge gave no score.
    """

    corrected: Estimate | None
    correction: Correction | None
    refused: str | None
    flagged: Estimate | None
    labels_only: Estimate | None
    quality: Quality | None
    judged: int
    labelled: int
    failed: int


@dataclass(frozen=True, slots=True)
class Group:
    """Part of the items.

    Args:
        name: Value of what they share: a question kind, a document, a model.
        rate: Their rate; most often with too few labels to be corrected.
    """

    name: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Answering:
    """What became of the questions. Shares of all questions of the kind that is named.

    Args:
        answered: Of all.
        refused: Of all.
        wrongly_refused: Of those that the corpus answers; None where no question says whether it does.
        wrongly_answered: Of those that it does not answer.
        correct: Of those with accepted answers: the answer holds one of them.
        errors: Questions without an answer because the system failed.
    """

    answered: Estimate
    refused: Estimate
    wrongly_refused: Estimate | None
    wrongly_answered: Estimate | None
    correct: Estimate | None
    errors: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well the right passages were found. Over the questions that name them.

    Args:
        k: Passages that count.
        recall: Share of the right passages among the first k.
        ndcg: Normalised discounted cumulative gain of the first k.
        mrr: One over the rank of the first right passage, 0 where none is among the first k.
    """

    k: int
    recall: Estimate
    ndcg: Estimate
    mrr: Estimate


@dataclass(frozen=True, slots=True)
class Citations:
    """How well answers name their sources.

    Args:
        precision: Share of the named passages that are right.
        recall: Share of the right passages that are named.
    """

    precision: Estimate
    recall: Estimate


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of a reliability diagram.

    Args:
        low: Lowest score.
        high: Highest score.
        score: Mean score of its labelled items.
        rate: Share of them that people found hallucinated.
    """

    low: float
    high: float
    score: float
    rate: Estimate


@dataclass(frozen=True, slots=True)
class Repeats:
    """How much is chance of the generation: several answers to each question.

    Args:
        generations: Most answers to a question.
        spread: Standard deviation of the share of flagged answers from one generation to the next, as it would be
            if each question were answered once.
        between: Variance of the questions' own rates of flagged answers: what questions decide.
        within: Variance of a flag among answers to one question: what chance decides.
        unstable: Share of the questions whose answers are flagged at times and pass at others.
    """

    generations: int
    spread: float
    between: float
    within: float
    unstable: Estimate


@dataclass(frozen=True, slots=True)
class Judged:
    """One item, with all that is known of it.

    Args:
        item: The item.
        judgement: The judge's word.
        flagged: Whether the judge flags it; None where it failed.
        label: What people said; None where nobody did.
        answer: The answer that it was made from; None for items that came as a file.
        cause: Where its error came from; None where there is none.
    """

    item: GroundingItem
    judgement: Judgement
    flagged: bool | None
    label: Literal[0, 1] | None = None
    answer: Answer | None = None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found. `report` shows it.

    Args:
        name: Name of the run or of the file.
        system: What decided the answers; empty for recorded ones of unknown origin.
        judge: What decided the judgements: the judge's fingerprint, with `name` and `threshold`.
        level: How often each interval is to hold the truth.
        answers: Rate per answer.
        claims: Rate per claim, as the judge sees claims; None where it takes no response apart.
        kinds: The rate of each kind of question, or of each model where nothing names kinds.
        documents: The rate of each document, most flagged first.
        answering: What became of the questions; None for items without questions that say so.
        retrieval: How well passages were found; None where no question names the right ones.
        citations: How well sources are named; None where no answer names any.
        causes: Errors by cause.
        repeats: How much the flags vary from one generation to the next; None for one generation.
        reliability: Score against labels, for the diagram; empty without labels.
        caveats: All that a reader must know before they believe a number.
        items: Every item.
        about: What else the run recorded.
        random_labels: Whether the labelled items are a random sample of all.
    """

    name: str
    system: Mapping[str, object]
    judge: Mapping[str, object]
    level: float
    answers: Rate
    claims: Rate | None = None
    kinds: tuple[Group, ...] = ()
    documents: tuple[Group, ...] = ()
    answering: Answering | None = None
    retrieval: Retrieval | None = None
    citations: Citations | None = None
    causes: Mapping[Cause, int] = field(default_factory=dict)
    repeats: Repeats | None = None
    reliability: tuple[Bin, ...] = ()
    caveats: tuple[str, ...] = ()
    items: tuple[Judged, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    random_labels: bool = True
