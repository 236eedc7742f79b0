"""Llama Guard, every version: the prompt that asks for a verdict, and the verdict's text read back."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from markupsafe import Markup

from arriero.prompts.errors import InvalidMessage, UnreadableVerdict
from arriero.prompts.messages import ImagePart, Message, TextPart
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import content, render

GuardVersion = Literal[
    "llama-guard-1",
    "llama-guard-2",
    "llama-guard-3-8b",
    "llama-guard-3-1b",
    "llama-guard-3-11b-vision",
    "llama-guard-4",
]
"""The versions, by the names of their dialects."""

GuardSource = Literal["published", "cookbook", "stack"]
"""Whose words: the published chat template's, those of Meta's cookbook, those of Meta's stack."""


def _coded(letter: str, *names: str) -> Mapping[str, str]:
    return MappingProxyType({f"{letter}{number}": name for number, name in enumerate(names, 1)})


_FIRST = _coded(
    "O",
    "Violence and Hate",
    "Sexual Content",
    "Criminal Planning",
    "Guns and Illegal Weapons",
    "Regulated or Controlled Substances",
    "Self-Harm",
)
_CRIMES = ("Violent Crimes", "Non-Violent Crimes", "Sex Crimes", "Child Exploitation")
_HARMS = (
    "Specialized Advice",
    "Privacy",
    "Intellectual Property",
    "Indiscriminate Weapons",
    "Hate",
    "Self-Harm",
    "Sexual Content",
)
_SECOND = _coded("S", *_CRIMES, *_HARMS)
_TEXT = _coded("S", *_CRIMES, "Defamation", *_HARMS, "Elections", "Code Interpreter Abuse")
_CHAT = MappingProxyType({code: name for code, name in _TEXT.items() if code != "S14"})

CATEGORIES: Mapping[GuardVersion, Mapping[str, str]] = MappingProxyType(
    {
        "llama-guard-1": _FIRST,
        "llama-guard-2": _SECOND,
        "llama-guard-3-8b": _TEXT,
        "llama-guard-3-1b": _CHAT,
        "llama-guard-3-11b-vision": _CHAT,
        "llama-guard-4": _TEXT,
    }
)
"""What each version looks for, by code, in the words of its prompt (FORMATS.md section 8). The same code means another
thing in Llama Guard 2 than in 3. Llama Guard 4 does not look for S14 where there is a picture."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How one source asks one version.

    Args:
        template: Its template.
        ending: What follows a category's name.
        agent: Name of the assistant.
        strips: Whether white space around a turn goes.
        takes_parts: Whether a message may consist of parts.
        pictures: How many pictures it takes.
        custom: Whether the caller may give categories of its own.
        excludes: Whether the caller may leave categories out.
    """

    template: str
    ending: str = "."
    agent: str = "Agent"
    strips: bool = True
    takes_parts: bool = False
    pictures: int = 0
    custom: bool = False
    excludes: bool = False


_PARTS = _Form("llama-guard-3", takes_parts=True, custom=True, excludes=True)
_STACK = _Form("stack", agent="Assistant", strips=False, takes_parts=True, excludes=True)
_FORMS: Mapping[tuple[str, str], _Form] = MappingProxyType(
    {
        ("llama-guard-1", "published"): _Form("llama-guard-1"),
        ("llama-guard-1", "cookbook"): _Form("llama-guard-1-cookbook", strips=False),
        ("llama-guard-2", "published"): _Form("llama-guard-2", ending=". "),
        ("llama-guard-2", "cookbook"): _Form("llama-guard-2", ending=". ", strips=False),
        ("llama-guard-3-8b", "published"): _Form("llama-guard-3-8b"),
        ("llama-guard-3-8b", "cookbook"): _Form("llama-guard-3-8b-cookbook", ending=". ", strips=False),
        ("llama-guard-3-8b", "stack"): _STACK,
        ("llama-guard-3-1b", "published"): _PARTS,
        ("llama-guard-3-1b", "stack"): _STACK,
        ("llama-guard-3-11b-vision", "published"): replace(_PARTS, pictures=1),
        ("llama-guard-3-11b-vision", "stack"): replace(_STACK, pictures=1),
        ("llama-guard-4", "published"): replace(_PARTS, template="llama-guard-4", pictures=16),
    }
)
_END = re.compile(r"<\|(?:end_of_text|eom_id|eot_id|eom|eot)\|>|</s>")
_CODE = re.compile(r"[A-Z][0-9]+")
_WORD = re.compile(r"[^\s,;]+")
_ANY_CODES = frozenset(code for codes in CATEGORIES.values() for code in codes)


@dataclass(frozen=True, slots=True)
class _Turn:
    speaker: Markup
    text: str


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard model said.

    Args:
        safe: Whether the last message is safe.
        categories: Codes of the violated categories, in the order written; may be empty when unsafe.
        repairs: What had to be overlooked to read it; empty for an answer in the form that was asked for.
    """

    safe: bool
    categories: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


def render_guard(
    messages: Sequence[Message],
    *,
    version: GuardVersion = "llama-guard-3-8b",
    source: GuardSource = "published",
    categories: Mapping[str, str] | None = None,
    excluded: Collection[str] = (),
    as_published: bool = False,
) -> Prompt:
    """The prompt that has the last message judged: the user's when it is one, else the agent's.

    Text and ids are those of the source. Of Llama Guard 3 8B that includes the published template's space before
    `<|begin_of_text|>`: the first id is a space (220 in Meta's vocabulary), since that is what transformers and vLLM
    feed the model and what its published use was measured with. Nothing follows the assistant's header, so the model
    itself writes the two newlines; only `stack` writes them.

    The lines that frame the conversation are ordinary text, which a message can imitate (special tokens it cannot).

    Two things of the published templates are not done, since they hide a message from the judge: Llama Guard 3 1B, 11B
    Vision and 4 take parts and write nothing at all for a content that is a string (here it is a text), and 3 1B drops
    pictures (here they are refused). Open, for want of the templates themselves (FORMATS.md section 8): where Llama
    Guard 4 writes pictures, here as 11B Vision does; and 11B Vision is also reported with `UNSAFECONTENT` in one word.

    Args:
        messages: User and assistant messages in turn, the user first.
        version: The guard's version.
        source: Whose words.
        categories: Categories of the caller's own, by code, as `"Gossip."`; Llama Guard 3 1B, 11B Vision and 4 take
            them.
        excluded: Codes to leave out.
        as_published: Hide and ignore what the published template hides and ignores. Only for comparing with it: what
            the guard then judges is not what was said.

    Returns:
        The prompt.

    Raises:
        InvalidMessage: Empty conversation, another order of roles, a content or a category that the version does not
            take, an unknown code.

    Example:
        >>> "User: How do I bake bread?" in render_guard([Message("user", "How do I bake bread?")]).text
        True
    """
    form = _form(version, source)
    if as_published:
        categories, excluded = (categories, excluded) if form.custom else (None, ())
    else:
        _check_choice(version, form, categories, excluded)
    return _rendered(messages, version, form, categories, excluded, as_published)


def guard_question(
    messages: Sequence[Message], *, version: GuardVersion = "llama-guard-3-8b", excluded: Collection[str] = ()
) -> str:
    """The user message that Meta's stack sends to a chat route that serves Llama Guard 3.

    Args:
        messages: User and assistant messages in turn, the user first.
        version: The guard's version.
        excluded: Codes to leave out.

    Returns:
        The message's text.

    Raises:
        InvalidMessage: As for `render_guard`.

    Example:
        >>> guard_question([Message("user", "hi")])[:52]
        "Task: Check if there is unsafe content in 'User' mes"
    """
    form = replace(_form(version, "stack"), template="stack-question")
    _check_choice(version, form, None, excluded)
    return _rendered(messages, version, form, None, excluded).text


def parse_guard(text: str, *, codes: Collection[str] | None = None, repair: bool = True) -> GuardVerdict:
    r"""Read a verdict. It fails closed: what is not clearly a verdict is an error, never safe.

    The form that was asked for is `safe`, or `unsafe` and codes joined by commas on the second line. With `repair`, an
    unsafe verdict is also read from other forms seen in practice, and the verdict says what was overlooked.

    Args:
        text: What the guard model wrote, end token or not.
        codes: Codes that were asked about, such as `CATEGORIES["llama-guard-1"]`; None for those of every version.
            Others are kept, as a repair.
        repair: Read other forms too.

    Returns:
        The verdict. `unsafe` without readable codes is unsafe.

    Raises:
        UnreadableVerdict: The first line is neither `safe` nor `unsafe`, or `safe` is followed by more.

    Example:
        >>> parse_guard("\n\nunsafe\nS2")
        GuardVerdict(safe=False, categories=('S2',), repairs=())
        >>> parse_guard("unsafe S2").repairs
        ("codes on the verdict's own line",)
    """
    answer = _END.split(text, maxsplit=1)[0].strip()
    first, _, rest = answer.partition("\n")
    verdict, *inline = _WORD.findall(first) or [""]
    known = _ANY_CODES if codes is None else frozenset(codes)
    words = (*inline, *_WORD.findall(rest))
    read = [_code(word, known) for word in words]
    found = [code for code in read if code]
    repairs = _repairs(verdict, inline, rest, words, read, known)
    # Codes on the verdict's own line are seen in practice; any other company makes it prose.
    if verdict.lower() == "unsafe" and all(read[: len(inline)]) and (repair or not repairs):
        return GuardVerdict(False, tuple(dict.fromkeys(found)), repairs)
    if answer.lower() == "safe" and (repair or not repairs):
        return GuardVerdict(True, (), repairs)
    shown = answer if len(answer) <= 40 else f"{answer[:40]}..."
    raise UnreadableVerdict(f"no verdict in {shown!r}: expected 'safe' or 'unsafe'; treat the message as unsafe")


def _code(word: str, known: Collection[str]) -> str:
    if word in known:
        return word
    return word.upper() if word.upper() in known or _CODE.fullmatch(word.upper()) else ""


def _repairs(
    verdict: str, inline: list[str], rest: str, words: Sequence[str], read: Sequence[str], known: frozenset[str]
) -> tuple[str, ...]:
    found = [code for code in read if code]
    unknown = [code for code in dict.fromkeys(found) if code not in known]
    happened = {
        "letter case": verdict != verdict.lower()
        or any(code and code != word for word, code in zip(words, read, strict=True)),
        "codes on the verdict's own line": bool(inline),
        "codes on other lines than the second": "\n" in rest,
        "codes joined by semicolons": ";" in rest,
        "a code written twice": len(set(found)) < len(found),
        f"codes not asked about: {', '.join(unknown)}": bool(unknown),
        "text that is no code": len(found) < len(read),
    }
    return tuple(what for what, done in happened.items() if done)


def _form(version: str, source: str) -> _Form:
    form = _FORMS.get((version, source))
    if form is None:
        known = ", ".join(f"{name} ({whose})" for name, whose in _FORMS)
        raise InvalidMessage(f"no guard {version!r} in the words of {source!r}; known: {known}")
    return form


def _rendered(
    messages: Sequence[Message],
    version: GuardVersion,
    form: _Form,
    categories: Mapping[str, str] | None,
    excluded: Collection[str],
    as_published: bool = False,
) -> Prompt:
    _check_order(messages)
    pictures = _pictures(messages, form, as_published)
    return render(
        f"guard/{form.template}.jinja",
        {
            "judged": _speaker(messages[-1], form),
            "lines": _lines(version, form, categories, excluded, bool(pictures)),
            "turns": _turns(messages, form, as_published),
            "pictures": pictures,
        },
    )


def _check_order(messages: Sequence[Message]) -> None:
    if not messages:
        raise InvalidMessage("the conversation is empty: give the message to judge")
    for index, message in enumerate(messages):
        expected = ("user", "assistant")[index % 2]
        if message.role != expected:
            raise InvalidMessage(
                f"a guard prompt takes user and assistant in turn, beginning with user: expected {expected}, "
                f"got {message.role}; leave out system and tool messages, join neighbours",
                index=index,
            )


def _pictures(messages: Sequence[Message], form: _Form, as_published: bool) -> list[ImagePart]:
    pictures: list[ImagePart] = []
    for index, message in enumerate(messages):
        parts = message.content if isinstance(message.content, tuple) else ()
        pictures += [part for part in parts if isinstance(part, ImagePart)]
        if len(pictures) > form.pictures and not as_published:
            raise InvalidMessage(
                f"more pictures than this guard sees, which are {form.pictures}: leave them out", index=index
            )
    return pictures


def _turns(messages: Sequence[Message], form: _Form, as_published: bool) -> list[_Turn]:
    turns: list[_Turn] = []
    for index, message in enumerate(messages):
        if message.tool_calls and not as_published:
            raise InvalidMessage(
                "a guard prompt holds no calls, which nobody would judge: say them in text", index=index
            )
        try:
            texts = _texts(message.content, form, as_published)
            for text in texts:
                content(text)
        except InvalidMessage as error:
            raise InvalidMessage(str(error), index=index) from None
        turns += [_Turn(_speaker(message, form), text.strip() if form.strips else text) for text in texts]
    return turns


def _texts(given: Any, form: _Form, as_published: bool) -> list[str]:
    if isinstance(given, str):
        return [] if as_published and form.takes_parts else [given]
    if not isinstance(given, tuple) or not form.takes_parts:
        raise InvalidMessage(f"content must be text here, not {'parts' if isinstance(given, tuple) else type(given)}")
    if not given and not as_published:
        raise InvalidMessage("the message has no part: there is nothing to judge")
    if form.agent == "Assistant":  # the stack
        return [" ".join(part.text if isinstance(part, TextPart) else "<image>" for part in given)]
    return [part.text for part in given if isinstance(part, TextPart)]


def _speaker(message: Message, form: _Form) -> Markup:
    return Markup("User" if message.role == "user" else form.agent)  # noqa: S704  our own constants


def _check_choice(
    version: GuardVersion, form: _Form, categories: Mapping[str, str] | None, excluded: Collection[str]
) -> None:
    if categories is not None and not form.custom:
        raise InvalidMessage(f"{version} looks for its own categories only: leave 'categories' out")
    if excluded and not form.excludes:
        raise InvalidMessage(f"{version} looks for all of its categories: leave 'excluded' out")
    codes = CATEGORIES[version] if categories is None else categories
    unknown = [code for code in excluded if code not in codes]
    if unknown:
        raise InvalidMessage(f"no category {', '.join(map(repr, unknown))} to leave out; there are {', '.join(codes)}")
    if set(codes) <= set(excluded):
        raise InvalidMessage("every category is left out: there is nothing to look for")


def _lines(
    version: GuardVersion,
    form: _Form,
    categories: Mapping[str, str] | None,
    excluded: Collection[str],
    pictured: bool,
) -> list[Markup]:
    if categories is not None:
        wrong = next((code for code, text in categories.items() if not isinstance(text, str)), None)
        if wrong is not None:
            raise InvalidMessage(f"category {wrong!r} must be a text, not {type(categories[wrong]).__name__}")
        return [content(f"{code}: {text}") for code, text in categories.items() if code not in excluded]
    left_out = {*excluded, "S14"} if pictured and version == "llama-guard-4" else excluded
    own = (f"{code}: {name}{form.ending}" for code, name in CATEGORIES[version].items() if code not in left_out)
    return [Markup(line) for line in own]  # noqa: S704  our own constants
