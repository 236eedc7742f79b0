"""Published detectors that run through transformers: HHEM, MiniCheck, LettuceDetect, models of entailment."""

from arriero.evals.judges.transformers.hhem import HHEMJudge
from arriero.evals.judges.transformers.lettucedetect import LettuceDetectJudge
from arriero.evals.judges.transformers.minicheck import MiniCheckJudge
from arriero.evals.judges.transformers.nli import NLIJudge

__all__ = ["HHEMJudge", "LettuceDetectJudge", "MiniCheckJudge", "NLIJudge"]
