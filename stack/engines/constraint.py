"""A grammar held over one model's vocabulary, through xgrammar. Everything here blocks."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from arriero.prompts.tokens import Tokenizer
from arriero.stack.errors import EngineRejected, EngineUnavailable

if TYPE_CHECKING:
    import torch


class Constraint:
    """Keeps one answer to a grammar.

    Args:
        compiled: The grammar, compiled for the vocabulary.
        ends: Ids that may end the answer once it is complete.
        vocabulary: Number of ids that the model has logits for.
    """

    def __init__(self, compiled: Any, ends: Collection[int], vocabulary: int) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled, override_stop_tokens=sorted(ends))
        self._mask = xgrammar.allocate_token_bitmask(1, vocabulary)

    def allowed(self, logits: "torch.Tensor") -> "torch.Tensor":
        """The logits, with those of ids that may not come next at minus infinity.

        Raises:
            EngineRejected: No id may come next: the vocabulary cannot spell what the grammar asks for.
        """
        import torch
        import xgrammar

        self._matcher.fill_next_token_bitmask(self._mask)
        masked = logits.clone().unsqueeze(0)
        xgrammar.apply_token_bitmask_inplace(masked, self._mask)
        if bool(torch.isneginf(masked).all()):
            raise EngineRejected("the model's vocabulary cannot write what the grammar asks for: use another grammar")
        return masked[0]

    def take(self, id_: int) -> None:
        """Go on after the id that was drawn."""
        self._matcher.accept_token(id_)


class Vocabulary:
    """A model's ids as xgrammar sees them, and the grammars compiled for them.

    Args:
        tokenizer: The model's tokenizer, which must be byte-level.
        size: Number of ids that the model has logits for.

    Raises:
        EngineUnavailable: xgrammar is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        try:
            import xgrammar
        except ImportError as error:
            raise EngineUnavailable(
                f"holding a model to a grammar needs xgrammar ({error}): `pip install 'arriero[local]'`"
            ) from error
        self._size = size
        # Special tokens too: xgrammar takes no id without text, not even where a grammar asks for it by number.
        pieces = [tokenizer.token_bytes(id_) for id_ in range(size)]
        self._compiler = xgrammar.GrammarCompiler(
            xgrammar.TokenizerInfo(pieces, xgrammar.VocabType.RAW, vocab_size=size, stop_token_ids=[]), max_threads=1
        )

    def constraint(self, grammar: str, ends: Collection[int]) -> Constraint:
        """A fresh constraint. The compiled grammar is kept for the next one.

        Args:
            grammar: The rules in xgrammar's EBNF.
            ends: Ids that may end the answer once it is complete.

        Raises:
            EngineRejected: The rules cannot be read, or nothing may end the answer.
        """
        import xgrammar

        if not ends:
            raise EngineRejected("under a grammar an answer must be able to end: give stop_ids in the sampling")
        try:
            compiled = self._compiler.compile_grammar(xgrammar.Grammar.from_ebnf(grammar))
        except RuntimeError as error:
            raise EngineRejected(f"xgrammar cannot read the grammar: {error}; make it with call_grammar") from error
        return Constraint(compiled, ends, self._size)
