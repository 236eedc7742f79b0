"""A Llama as judge: claims of a response, and one constrained verdict for each."""

from arriero.evals.judges.llama.judge import LlamaJudge

__all__ = ["LlamaJudge"]
