"""How often does it hallucinate? A number with an interval, corrected for the judge."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arriero.evals.calibrating import calibrate, choose
    from arriero.evals.comparing import RunComparison, compare_runs
    from arriero.evals.data import read_items, read_questions, sample
    from arriero.evals.errors import CorrectionRefused, EvalError, InvalidData
    from arriero.evals.evaluation import Evaluation, Rate
    from arriero.evals.items import GroundingItem, Passage, Question, QuestionSet
    from arriero.evals.judgement import Claim, Judge, Judgement
    from arriero.evals.judges.llama import LlamaJudge
    from arriero.evals.judges.offline import OfflineJudge
    from arriero.evals.reports import print_report, write_html
    from arriero.evals.runs import RunFolder, judge_run, read_subject, run_system
    from arriero.evals.systems.agent import AgentSystem
    from arriero.evals.systems.endpoint import EndpointSystem
    from arriero.evals.systems.rag import RagSystem
    from arriero.evals.systems.recorded import RecordedSystem
    from arriero.evals.systems.system import Answer, System

__all__ = [
    "AgentSystem",
    "Answer",
    "Claim",
    "CorrectionRefused",
    "EndpointSystem",
    "EvalError",
    "Evaluation",
    "GroundingItem",
    "InvalidData",
    "Judge",
    "Judgement",
    "LlamaJudge",
    "OfflineJudge",
    "Passage",
    "Question",
    "QuestionSet",
    "RagSystem",
    "Rate",
    "RecordedSystem",
    "RunComparison",
    "RunFolder",
    "System",
    "calibrate",
    "choose",
    "compare_runs",
    "judge_run",
    "print_report",
    "read_items",
    "read_questions",
    "read_subject",
    "run_system",
    "sample",
    "write_html",
]

_HOMES = {
    "calibrating": ("calibrate", "choose"),
    "comparing": ("RunComparison", "compare_runs"),
    "data": ("read_items", "read_questions", "sample"),
    "errors": ("CorrectionRefused", "EvalError", "InvalidData"),
    "evaluation": ("Evaluation", "Rate"),
    "items": ("GroundingItem", "Passage", "Question", "QuestionSet"),
    "judgement": ("Claim", "Judge", "Judgement"),
    "judges.llama": ("LlamaJudge",),
    "judges.offline": ("OfflineJudge",),
    "reports": ("print_report", "write_html"),
    "runs": ("RunFolder", "judge_run", "read_subject", "run_system"),
    "systems.agent": ("AgentSystem",),
    "systems.endpoint": ("EndpointSystem",),
    "systems.rag": ("RagSystem",),
    "systems.recorded": ("RecordedSystem",),
    "systems.system": ("Answer", "System"),
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: numpy, scipy and the engines are heavy."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'arriero.evals' has no attribute {name!r}")
    value = getattr(import_module(f"arriero.evals.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
