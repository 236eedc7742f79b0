"""`arriero eval judge`: scores, spans and reasons for the items of a file or of a run."""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.cli_eval.judges import CalibrationFile, JudgeKey, JudgeName
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from arriero.evals.judgement import Judge, Judgement
    from arriero.evals.measures.detection import Detection
    from arriero.evals.runs import Subject

_BATCH = 64
_SHOWN = 20

SubjectAt = Annotated[
    Path,
    typer.Argument(metavar="SUBJECT", help="File of items, folder of a run, or - for JSON lines on standard input."),
]


def judge(
    subject: SubjectAt,
    judge_name: JudgeName = "offline",
    judge_key: JudgeKey = None,
    calibration: CalibrationFile = None,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Keep the judgements beside the items, for report and compare. [default: for the folder of a run]",
            show_default=False,
        ),
    ] = None,
    claims: Annotated[bool, typer.Option("--claims", help="With --json: the verdict on each claim too.")] = False,
    summary: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Write the summary as JSON too.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object for each item, in order; the summary goes to stderr.")
    ] = False,
) -> None:
    """Judge items: how likely each is hallucinated, from 0 to 1, where, and why.

    Where items carry labels it says how well the scores fit them, with intervals by document. The share that a judge
    flags is no rate of hallucination: `arriero eval calibrate` and `arriero eval report` correct it.
    """
    import anyio

    from arriero.evals.errors import EvalError
    from arriero.evals.judges.choosing import check_judge, opened_judge

    try:
        check_judge(judge_name)
    except EvalError as error:
        raise typer.BadParameter(one_line(str(error)), param_hint="--judge") from error
    found = _read(subject)
    kept = found.path.is_dir() if keep is None else keep
    if kept and str(subject) == "-":
        raise typer.BadParameter("there is no place beside standard input: leave it out", param_hint="--keep")

    async def judged() -> "tuple[Judge, Mapping[str, Judgement]]":
        async with opened_judge(judge_name, api_key=judge_key, calibration=calibration) as chosen:
            return chosen, await _judge(found, chosen, kept, claims, as_json)

    chosen, said = anyio.run(judged)
    told = Summary.of(found, chosen, said)
    if not as_json:
        _print_worst(found, said)
    for line in told.lines():
        typer.echo(line, err=as_json)
    if summary is not None:
        summary.write_text(json.dumps(told.values(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(path: Path) -> "Subject":
    from arriero.evals.errors import InvalidData
    from arriero.evals.runs import read_subject

    if str(path) != "-":
        if not path.exists():
            raise typer.BadParameter(f"there is no {one_line(str(path))}", param_hint="SUBJECT")
        return read_subject(path)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "stdin.jsonl"
        place.write_bytes(sys.stdin.buffer.read())
        try:
            return replace(read_subject(place), name="stdin")
        except InvalidData as error:  # the reader names its file
            raise InvalidData(str(error).replace(str(place), "stdin")) from error


async def _judge(
    subject: "Subject", judge: "Judge", keep: bool, claims: bool, as_json: bool
) -> "Mapping[str, Judgement]":
    """Judge all items; with `as_json`, each is written as soon as it and all before it are judged."""
    said: dict[str, Judgement] = {}
    if keep:
        from arriero.evals.runs import judge_subject

        kept = (await judge_subject(subject, judge)).judgements
        said = {item.id: kept[item.id] for item in subject.items}
        if as_json:
            for one in said.values():
                print_json(_line(one, claims))
        return said
    for start in range(0, len(subject.items), _BATCH):
        for one in await judge.judge(subject.items[start : start + _BATCH]):
            said[one.item_id] = one
            if as_json:
                print_json(_line(one, claims))
    return said


def _line(judgement: "Judgement", claims: bool) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": judgement.item_id,
        "score": judgement.score,
        "spans": [asdict(span) for span in judgement.spans],
        "reasons": list(judgement.reasons),
    }
    line |= {name: value for name in ("caveat", "failed") if (value := getattr(judgement, name)) is not None}
    return line | {"claims": [asdict(claim) for claim in judgement.claims]} if claims else line


@dataclass(frozen=True, slots=True)
class Summary:
    """What all judgements together say.

    Args:
        judge: The judge's name.
        threshold: Score from which an item is flagged.
        judged: Items with a score.
        flagged: Those of them at or above the threshold.
        failed: Items without a score.
        caveats: How many items have each caveat.
        sets: How well scores fit labels, for each set of items that is labelled; "" for items of no named set.
        unmeasured: Why a set with labels has no measures.
        own: The model that judges its own answers; None where none is known to.
    """

    judge: str
    threshold: float
    judged: int
    flagged: int
    failed: int
    caveats: Mapping[str, int]
    sets: "Mapping[str, Detection]"
    unmeasured: Mapping[str, str]
    own: str | None = None

    @classmethod
    def of(cls, subject: "Subject", judge: "Judge", said: "Mapping[str, Judgement]") -> "Summary":
        """Sum up."""
        from arriero.evals.errors import EvalError
        from arriero.evals.judges.same_model import same_model
        from arriero.evals.measures.detection import detection

        scores = {id_: one.score for id_, one in said.items() if one.score is not None}
        sets, unmeasured = dict[str, Any](), dict[str, str]()
        for name, rows in _labelled(subject, scores).items():
            labels, given, documents = zip(*rows, strict=True)
            try:
                sets[name] = detection(labels, given, documents, threshold=judge.threshold)
            except EvalError as error:
                unmeasured[name] = str(error)
        return cls(
            judge.name,
            judge.threshold,
            len(scores),
            sum(score >= judge.threshold for score in scores.values()),
            len(said) - len(scores),
            Counter(one.caveat for one in said.values() if one.caveat),
            sets,
            unmeasured,
            same_model(judge.fingerprint, subject.system, subject.items),
        )

    def values(self) -> dict[str, Any]:
        """The summary as JSON values."""
        flagged = "flagged_by_the_judge"
        return {
            "judge": self.judge,
            "threshold": self.threshold,
            "judged": self.judged,
            flagged: self.flagged,
            "failed": self.failed,
            "caveats": dict(self.caveats),
            "sets": {name: asdict(one) for name, one in self.sets.items()},
            "unmeasured": dict(self.unmeasured),
            "judges_its_own_answers": self.own,
        }

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield (
            f"{one_line(self.judge)}: {self.judged} items judged, {self.failed} failed; {self.flagged} flagged by the"
            f" judge (score {self.threshold:.2f} or more), which is no rate of hallucination"
        )
        if self.own is not None:
            yield (f"  the judge is the model that it judges ({one_line(self.own)}): models spare their own answers")
        for caveat, count in sorted(self.caveats.items(), key=lambda one: -one[1])[:5]:
            yield f"  {count} items: {one_line(caveat)}"
        for name, one in self.sets.items():
            yield (
                f"{one_line(name) or 'labelled items'}: {one.items} labelled, {one.hallucinated} of them hallucinated;"
                f" AUROC {_three(one.auroc)}, balanced accuracy {_three(one.balanced_accuracy)}, F1 {_three(one.f1)}"
            )
        for name, why in self.unmeasured.items():
            yield f"{one_line(name) or 'labelled items'}: not measured: {one_line(why)}"


def _three(estimate: Any) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _labelled(subject: "Subject", scores: Mapping[str, float]) -> dict[str, list[tuple[int, float, str]]]:
    """Label, score and document of each labelled item, by its set; what people said beside a run counts too."""
    from arriero.evals.labels import consensus

    beside = consensus(subject.labels).labels
    rows: dict[str, list[tuple[int, float, str]]] = {}
    for item in subject.items:
        label = beside.get(item.id, item.label)
        if label is not None and item.id in scores:
            rows.setdefault(item.dataset, []).append((label, scores[item.id], item.doc_id or item.id))
    return rows


def _print_worst(subject: "Subject", said: "Mapping[str, Judgement]") -> None:
    """The items that are worth a look first."""
    judged: Sequence[Any] = [one for one in said.values() if one.score is not None]
    for one in sorted(judged, key=lambda one: -one.score)[:_SHOWN]:
        typer.echo(
            f"{one.score:.3f}  {one_line(one.item_id)}  {one_line(one.reasons[0]) if one.reasons else ''}".rstrip()
        )
    if len(judged) > _SHOWN:
        typer.echo(f"... the {_SHOWN} highest of {len(judged)}; --json has all")
