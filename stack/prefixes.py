"""The law of transcripts: what was sent and received is never changed, except where the log says so."""

from collections.abc import Iterable, Sequence

from arriero.stack.events import (
    MessageAdded,
    PromptAppended,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
    TurnStarted,
    VerdictGiven,
)
from arriero.stack.log import Record

_LOST = ("failed", "cancelled")


def prefix_violations(records: Iterable[Record], requests: Sequence[Sequence[int]] | None = None) -> list[str]:
    """Where a session breaks the law: each request extends the one before and what was answered to it.

    Directly after `TranscriptRewritten` a request is what that says. A turn that was refused, or that ended before
    the model had said anything, is taken back as a whole; an answer that nobody judged is taken back alone. An
    engine's count of the tokens that it was sent must agree with the log.

    Args:
        records: Events of one session, from the first on.
        requests: The prompts that engines were sent for it, in order; each must be what the log says. None where they
            are not known.

    Returns:
        What is wrong, in words; empty when nothing is.

    Example:
        >>> from arriero.stack.engine import Usage
        >>> said = StepFinished(1, (3,), "Hi", (), "end_of_turn", Usage(prompt_tokens=5), 0.1)
        >>> events = [TurnStarted(()), PromptAppended(1, (1, 2)), said]
        >>> prefix_violations([Record("alice", "t1", seq, 0.0, event) for seq, event in enumerate(events)])
        ['event 2: the engine was sent 5 ids, and the log has 2']
    """
    wrong: list[str] = []
    sent: list[list[int]] = []
    transcript: list[int] = []
    before: list[int] = []
    steps = prompted = 0
    answered: tuple[int, bool] = (0, False)
    for record in records:
        event = record.event
        match event:
            case TurnStarted():
                before, steps, prompted = [*transcript], 0, 0
            case PromptAppended(step, token_ids):
                if not token_ids:
                    wrong.append(f"event {record.seq}: a prompt without ids")
                if step != steps + 1 or prompted == step:
                    wrong.append(f"event {record.seq}: the prompt of step {step} follows step {steps}")
                transcript, prompted = [*transcript, *token_ids], step
                sent.append(transcript)
            case TranscriptRewritten(_, _, _, token_ids):
                transcript, prompted = [*token_ids], steps + 1
                sent.append(transcript)
            case StepFinished(step, token_ids, _, tool_calls, _, usage):
                if step != steps + 1 or prompted != step:
                    wrong.append(f"event {record.seq}: step {step} follows step {steps}, prompted for {prompted}")
                if usage.prompt_tokens not in (0, len(transcript)):
                    wrong.append(
                        f"event {record.seq}: the engine was sent {usage.prompt_tokens} ids, and the log has"
                        f" {len(transcript)}"
                    )
                answered = (len(transcript), not tool_calls)
                transcript, steps = [*transcript, *token_ids], step
            case VerdictGiven("output", verdict):
                answered = (answered[0], answered[1] and not verdict.allowed)
            case MessageAdded(_, _, "output"):
                answered = (answered[0], False)
            case TurnFinished(_, reason):
                unjudged = reason in _LOST and steps == prompted and answered[1]
                if reason == "refused" or not steps:
                    transcript = before
                elif unjudged:
                    transcript = transcript[: answered[0]]
            case _:
                continue
    return wrong + _unlike(sent, requests)


def _unlike(sent: Sequence[Sequence[int]], requests: Sequence[Sequence[int]] | None) -> list[str]:
    """Requests that the log knows nothing of. One may be asked several times, after a resume; one may be lost."""
    at, wrong = 0, []
    for number, request in enumerate(requests or ()):
        found = next((place for place in range(at, len(sent)) if list(sent[place]) == list(request)), None)
        if found is None:
            wrong.append(f"request {number}: its {len(request)} ids are not what the log says")
        else:
            at = found
    return wrong
