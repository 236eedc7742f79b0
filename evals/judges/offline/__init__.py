"""The offline judge: words, numbers and names that the passages lack, weighed by a small classifier."""

from arriero.evals.judges.offline.judge import OfflineJudge

__all__ = ["OfflineJudge"]
