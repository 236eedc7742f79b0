"""A rendered prompt: text for people, token ids for the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from arriero.prompts.tokens import Tokenizer

SegmentKind = Literal["special", "scaffolding", "content"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of prompt text from one hand.

    Args:
        text: The text.
        kind: `special` is exactly one special token that the template wrote; `scaffolding` is ordinary
            text that the template wrote; `content` is ordinary text that came from a message or a tool.
        apart: Ordinary text that is encoded by itself, not in one run with its neighbours, as Meta's code encodes
            each piece of content (FORMATS.md section 11).
    """

    text: str
    kind: SegmentKind
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """Segments in order. Only `special` segments become special ids: content never can."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole prompt as text, for people."""
        return "".join(segment.text for segment in self.segments)

    def encode(self, tokenizer: Tokenizer) -> list[int]:
        """Token ids for the engine.

        Runs of ordinary text between special tokens are encoded as one piece, which gives the ids that
        Hugging Face's tokenizer gives for conversations without injection (FORMATS.md section 11). Segments that
        stand `apart` are encoded by themselves.

        Args:
            tokenizer: The model's tokenizer.

        Returns:
            The ids.

        Raises:
            VocabularyMismatch: The tokenizer has no id for a special token that the template wrote.
        """
        ids: list[int] = []
        run: list[str] = []
        for segment in self.segments:
            special = segment.kind == "special"
            if not special and not segment.apart:
                run.append(segment.text)
                continue
            ids += tokenizer.encode("".join(run))
            run.clear()
            ids += [tokenizer.special_id(segment.text)] if special else tokenizer.encode(segment.text)
        return ids + tokenizer.encode("".join(run))


def concatenate(prompts: Sequence[Prompt]) -> Prompt:
    """One prompt out of several, in order."""
    return Prompt(tuple(segment for prompt in prompts for segment in prompt.segments))
