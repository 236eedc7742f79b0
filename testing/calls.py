"""Calls as a script writes them, and as an assertion reads them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from arriero.agents.turn import Turn
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.stack.events import Event, StepFinished

_OPTIONS = RenderOptions(repair=True)


def call(name: str, /, **arguments: object) -> ToolCall:
    """A call, for a script to write and for `assert_calls` to expect.

    Args:
        name: The tool's name.
        arguments: Its arguments, values that JSON can carry.

    Returns:
        The call. A scripted engine writes it as its dialect does.

    Example:
        >>> call("weather", town="Faro")
        ToolCall(name='weather', arguments={'town': 'Faro'}, id='')
    """
    return ToolCall(name, arguments)


def written(dialect: Dialect, calls: Sequence[ToolCall], text: str = "") -> Prompt:
    """A message with calls, exactly as a model writes it: what a history that holds it adds to the prompt before it.

    Args:
        dialect: How the model writes.
        calls: The calls, in order.
        text: What stands before them.

    Returns:
        The message, with the token that ends it.

    Raises:
        InvalidMessage: The dialect knows no tools.

    Example:
        >>> written(Dialect.get("llama3.2"), [call("weather", town="Faro")]).text
        '{"name": "weather", "parameters": {"town": "Faro"}}<|eot_id|>'
    """
    if calls and not dialect.calls.untagged:
        raise InvalidMessage(f"{dialect.name} knows no tools: let the script answer with text")
    question = Message("user", "?")
    asked = dialect.render([question], options=_OPTIONS)
    answered = dialect.render(
        [question, Message("assistant", text, tuple(calls))], options=replace(_OPTIONS, add_generation_prompt=False)
    )
    left = len(asked.text)
    segments = []
    for segment in answered.segments:
        if len(segment.text) > left:
            segments.append(replace(segment, text=segment.text[left:]))
        left = max(0, left - len(segment.text))
    return Prompt(tuple(segments))


def assert_calls(turn: Turn | Iterable[Event], expected: Sequence[ToolCall | str], *, in_order: bool = True) -> None:
    """Assert which calls the model wrote in a turn.

    Args:
        turn: The turn, or its events.
        expected: The calls, all of them. A name alone stands for any arguments; so does, for one argument, any value
            that compares equal to everything.
        in_order: Whether the order matters.

    Raises:
        AssertionError: The calls are others. The text shows both side by side.

    Example:
        >>> from arriero.stack.engine import Usage
        >>> said = StepFinished(1, (), "", (call("weather", town="Évora"),), "end_of_turn", Usage(), 0.1)
        >>> assert_calls([said], ["weather"])
        >>> assert_calls([said], [call("weather", town="Faro")])
        Traceback (most recent call last):
        AssertionError: the calls are not those expected:
        - weather(town='Faro')
        + weather(town='Évora')
        (- expected, + made)
    """
    made = _made(turn)
    pairs = _aligned(made, expected) if in_order else _matched(made, expected)
    if all(got is not None and wanted is not None and _fits(got, wanted) for got, wanted in pairs):
        return
    lines = []
    for got, wanted in pairs:
        if got is not None and wanted is not None and _fits(got, wanted):
            lines.append(f"  {_shown(got)}")
            continue
        lines += [f"- {_shown(wanted)}"] if wanted is not None else []
        lines += [f"+ {_shown(got)}"] if got is not None else []
    lines = lines or ["  none"]
    raise AssertionError("\n".join(["the calls are not those expected:", *lines, "(- expected, + made)"]))


Pair = tuple[ToolCall | None, ToolCall | str | None]


def _made(turn: Turn | Iterable[Event]) -> list[ToolCall]:
    if isinstance(turn, Turn):
        return list(turn.calls)
    return [made for event in turn if isinstance(event, StepFinished) for made in event.tool_calls]


def _aligned(made: Sequence[ToolCall], expected: Sequence[ToolCall | str]) -> list[Pair]:
    """Both sides by their longest common subsequence, so that one missing call is shown as one difference."""
    longest = [[0] * (len(expected) + 1) for _ in range(len(made) + 1)]
    for i in reversed(range(len(made))):
        for j in reversed(range(len(expected))):
            here = 1 + longest[i + 1][j + 1] if _fits(made[i], expected[j]) else 0
            longest[i][j] = max(here, longest[i + 1][j], longest[i][j + 1])
    pairs: list[Pair] = []
    i = j = 0
    while i < len(made) and j < len(expected):
        if _fits(made[i], expected[j]) and longest[i][j] == 1 + longest[i + 1][j + 1]:
            pairs.append((made[i], expected[j]))
            i, j = i + 1, j + 1
        elif longest[i][j] == longest[i + 1][j + 1]:
            pairs.append((made[i], expected[j]))  # one in place of the other
            i, j = i + 1, j + 1
        elif longest[i][j] == longest[i + 1][j]:
            pairs.append((made[i], None))
            i += 1
        else:
            pairs.append((None, expected[j]))
            j += 1
    return [*pairs, *((got, None) for got in made[i:]), *((None, wanted) for wanted in expected[j:])]


def _matched(made: Sequence[ToolCall], expected: Sequence[ToolCall | str]) -> list[Pair]:
    """Each expected call with one that fits it, the most particular first; then what is left on both sides."""
    left = list(made)
    pairs: list[Pair] = []
    for wanted in sorted(expected, key=lambda one: isinstance(one, str)):
        found = next((got for got in left if _fits(got, wanted)), None)
        if found is not None:
            left.remove(found)
        pairs.append((found, wanted))
    return [*pairs, *((got, None) for got in left)]


def _fits(made: ToolCall, expected: ToolCall | str) -> bool:
    if isinstance(expected, str):
        return made.name == expected
    return made.name == expected.name and dict(expected.arguments) == dict(made.arguments)


def _shown(shown: ToolCall | str) -> str:
    if isinstance(shown, str):
        return f"{shown}(...)"
    return f"{shown.name}({', '.join(f'{name}={value!r}' for name, value in shown.arguments.items())})"
