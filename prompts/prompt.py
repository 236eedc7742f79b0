"""A rendered prompt: text for people, token ids for the engine."""

from dataclasses import dataclass, field
from typing import Literal

from arriero.prompts.budget import Conversation, ToolCosts, shortened, tool_costs
from arriero.prompts.errors import InvalidMessage
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
    """Segments in order. Only `special` segments become special ids: content never can.

    Args:
        segments: The segments.
        conversation: What it was rendered from; None for a part of a prompt.
    """

    segments: tuple[Segment, ...]
    conversation: Conversation | None = field(default=None, compare=False, repr=False)

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

    def count(self, tokenizer: Tokenizer) -> int:
        """How many tokens it takes.

        Args:
            tokenizer: The model's tokenizer.

        Returns:
            The number of ids that `encode` gives.

        Raises:
            VocabularyMismatch: As for `encode`.
        """
        return len(self.encode(tokenizer))

    def truncate(self, tokenizer: Tokenizer, budget: int) -> "Prompt":
        """The same prompt without its oldest messages, as few of them as leave it within the budget.

        The system text and the tools stay, and the last question with the newest step after it. What goes, goes whole:
        the oldest turns first, each from a user message on, then the oldest steps of the last turn, each a call
        together with its results. It is rendered anew, so the tools stand where the dialect puts them.

        Args:
            tokenizer: The model's tokenizer.
            budget: How many tokens it may take.

        Returns:
            The prompt; `conversation.messages` says what is left.

        Raises:
            BudgetExceeded: What has to stay takes more.
            InvalidMessage: It is a part of a prompt.
            VocabularyMismatch: As for `encode`.

        Example:
            >>> from arriero.models import DEMO
            >>> from arriero.prompts.dialect import Dialect
            >>> from arriero.prompts.messages import Message
            >>> tokenizer = Tokenizer.from_folder(DEMO)
            >>> talk = [Message("user", "One"), Message("assistant", "Two"), Message("user", "Three")]
            >>> prompt = Dialect.get("llama3.1").render(talk)
            >>> shorter = prompt.truncate(tokenizer, prompt.count(tokenizer) - 1)
            >>> [message.content for message in shorter.conversation.messages]
            ['Three']
        """
        if self.count(tokenizer) <= budget:
            return self
        return shortened(self._whole(), tokenizer, budget)

    def tool_costs(self, tokenizer: Tokenizer) -> ToolCosts:
        """How many tokens its tools take, each declaration and what stands around them.

        Args:
            tokenizer: The model's tokenizer.

        Returns:
            The costs.

        Raises:
            InvalidMessage: It is a part of a prompt, whose tools stand elsewhere.
            VocabularyMismatch: As for `encode`.
        """
        return tool_costs(self._whole(), tokenizer)

    def _whole(self) -> Conversation:
        if self.conversation is None:
            raise InvalidMessage("this is a part of a prompt: only what Dialect.render gives can be rendered anew")
        return self.conversation
