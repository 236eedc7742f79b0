"""Evaluations to report: real answers, what people said of them, and a real judge's scores."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from arriero.evals.comparing import RunComparison, compare_runs
from arriero.evals.data import read_items
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import (
    Answering,
    Citations,
    Evaluation,
    Judged,
    Rate,
    Repeats,
    Retrieval,
)
from arriero.evals.items import GroundingItem, Passage, Span
from arriero.evals.judgement import Claim, Judgement
from arriero.evals.judges.claims import claims_of
from arriero.evals.statistics import wilson
from arriero.evals.systems.system import Answer

GROUNDING = Path(__file__).parent.parent / "data" / "grounding"
JUDGE = "ragas_style_faithfulness_judge"
EVIL = """</script><img src=x onerror="document.body.innerHTML=''"><style>*{display:none}</style>'">"""


def items_of(name: str) -> tuple[GroundingItem, ...]:
    """The items of one of the shared sets."""
    return tuple(read_items(GROUNDING / f"{name}.jsonl.xz"))


def judged_by(items: Sequence[GroundingItem]) -> list[Judgement]:
    """What a published judge said of answers, on the answers' sentences."""
    return [_judgement(item, float(min(1.0, max(0.0, item.detector_scores.get(JUDGE, 0.3))))) for item in items]


def _judgement(item: GroundingItem, score: float) -> Judgement:
    claims = tuple(
        Claim(
            item.response[one.start : one.end],
            "supported" if at % 2 else "not_mentioned",
            score,
            Span(one.start, one.end),
            ("no sentence says so",),
        )
        for at, one in enumerate(claims_of(item.response))
    )
    spans = tuple(claim.span for claim in claims if claim.span is not None and claim.verdict != "supported")
    return Judgement(item.id, "ragas", score, claims, spans, ("words are absent",))


@lru_cache(maxsize=1)
def conversations() -> Evaluation:
    """Answers about documents, a third of them labelled."""
    items = items_of("mtrag_human")
    labels = {item.id: item.label for item in items[::3] if item.label is not None}
    judge = {"name": "ragas", "model": "gpt-4o"}
    return evaluate(items, judged_by(items), judge=judge, threshold=0.3, name="conversations", labels=labels)


@lru_cache(maxsize=1)
def against() -> tuple[RunComparison, ...]:
    """One system's answers beside those of two others to the same questions."""
    runs = [_run(model) for model in ("reference", "gpt-4o", "llama-3.1-405b-instruct")]
    return compare_runs(runs[0], runs[1:], draws=500)


def _run(model: str) -> Evaluation:
    items = [
        replace(item, id=item.id.removesuffix(f"-{model}")) for item in items_of("mtrag_human") if item.model == model
    ]
    judge = {"name": "ragas", "model": "gpt-4o"}
    return evaluate(items, judged_by(items), judge=judge, threshold=0.3, name=model)


def complete(text: str = "mules") -> Evaluation:
    """An evaluation with a value in every field, and a text wherever one can stand."""
    share = wilson(13, 100)
    rate = Rate(share, "PPI++", None, wilson(40, 100), wilson(12, 100), None, 100, 40, 2)
    whole = conversations()
    item = GroundingItem(
        id=text,
        context=(text, "Mules are patient."),
        response=f"Mules walk. {text}",
        question=text,
        doc_id=f"{text} doc",
        dataset=text,
        model=text,
        label=1,
        spans=(Span(0, 5, text),),
        detector_scores={text: 0.5},
        extra={"kind": text},
    )
    claims = (Claim(text, "contradicted", 0.9, Span(0, 11, text), (text,)), Claim(text, "not_mentioned", 0.8))
    judgement = Judgement(text, text, 0.9, claims, (Span(3, 8, text),), (text,), text)
    passages = (Passage(text, text, text), Passage("b", "Mules are patient.", "Mules"))
    answer = Answer(text, item.response, passages=passages, cited=(text,), refused=True)
    judged = Judged(item, judgement, True, 0, answer, "answer ignored")
    failed = Judged(replace(item, id=f"{text} 2"), Judgement(f"{text} 2", text, None, failed=text), None)
    return Evaluation(
        name=text,
        system={text: text},
        judge={"name": text, "threshold": 0.5, "more": [text]},
        level=0.95,
        answers=rate,
        claims=rate,
        kinds=(replace(whole.kinds[0], name=text),),
        documents=tuple(replace(group, name=f"{text} doc") for group in whole.documents),
        answering=Answering(share, share, share, share, share, 3),
        retrieval=Retrieval(5, share, share, share),
        citations=Citations(share, share),
        causes={"answer ignored": 3, "retrieval missed": 1},
        repeats=Repeats(3, 0.02, 0.1, 0.1, share),
        reliability=whole.reliability,
        caveats=(text,),
        items=(judged, failed),
        about={text: text},
    )


def without_rate() -> Evaluation:
    """An evaluation that nobody labelled anything for."""
    items = items_of("mtrag_human")[:60]
    return evaluate(items, judged_by(items), judge={"name": "ragas"}, threshold=0.3, name="unlabelled", labels={})


def many(count: int) -> Evaluation:
    """As many answers with passages of their own, for pages that must stay light."""
    found = [judged for name in ("mtrag_human", "begin", "factcheck_gpt") for judged in _judged(name)]
    items = [_copy(found[at % len(found)], at) for at in range(count)]
    return replace(conversations(), items=tuple(items))


@lru_cache
def _judged(name: str) -> list[Judged]:
    return [Judged(item, _judgement(item, 0.3), False, item.label) for item in items_of(name)]


def _copy(judged: Judged, at: int) -> Judged:
    item = replace(
        judged.item, id=f"{judged.item.id}/{at}", context=tuple(f"{at}. {one}" for one in judged.item.context)
    )
    score = at * 7919 % 1000 / 1000
    judgement = replace(judged.judgement, item_id=item.id, score=score)
    return replace(judged, item=item, judgement=judgement, flagged=score >= 0.5)
