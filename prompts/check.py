"""Vectors run against this package: what each line expects, what came instead, and a tally by format and tag."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.prompts.formats import Rendered
from arriero.prompts.jsonl import UnreadableLine, parse_line, read_objects, render_line
from arriero.prompts.tiktoken_vocabulary import Generation, packaged_ranks
from arriero.prompts.tokens import Tokenizer

_SHOWN = 60
"""Characters of a text that a difference shows before and after the place where it begins."""

_IDS = ("token_ids_safe", "token_ids", "token_ids_text_parsed")
"""Fields of a render vector that hold ids: the first that is there counts. The last came from a tokenizer that reads
special tokens out of content, so it counts only where no content spells one."""

_RENDERED = {
    "expected": "text",
    "expected_messages": "messages",
    "expected_runs": "runs",
    "expected_token_count": "token_count",
}
"""What a render vector expects, and the field of `Rendered` that has to equal it; null is a refusal."""

_ANY = {"any": True}
"""Stands in a parse vector for a content that does not matter."""

_LAST_OF_LLAMA3 = 128_256


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that came out otherwise than a vector expects.

    Args:
        field: The vector's field.
        expected: What it expects, cut to what tells the two apart.
        got: What came, cut likewise.
    """

    field: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One vector that was run.

    Args:
        id: The vector's.
        format: Its format, or its dialect and level.
        tags: Its tags.
        differences: What came out otherwise.
        not_compared: Fields that could not be compared, for want of a tokenizer.
    """

    id: Any
    format: str
    tags: tuple[str, ...]
    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """How many vectors passed, of how many."""

    passed: int
    total: int


class Vocabularies:
    """Tokenizers by whose vocabulary they have: one that was given, and Meta's own where its package is installed.

    Args:
        given: A tokenizer to use where it fits.
    """

    def __init__(self, given: Tokenizer | None = None) -> None:
        self._given = given

    def find(self, generation: str) -> Tokenizer | None:
        """The tokenizer of a generation.

        Args:
            generation: `llama2`, `llama3` or `llama4`.

        Returns:
            The tokenizer; None where there is none.
        """
        if self._given is not None and generation == _generation_of(self._given):
            return self._given
        return _packaged(cast("Generation", generation)) if generation in ("llama3", "llama4") else None


def check_renders(lines: Iterable[str | bytes], vocabularies: Vocabularies) -> Iterator[Checked]:
    """Run render vectors.

    Args:
        lines: The vectors, one JSON object a line.
        vocabularies: Where to find the tokenizers that token ids are compared with.

    Yields:
        What came of each.
    """
    return (_run(raw, str(raw.get("format")), _render, vocabularies) for raw in read_objects(lines))


def check_parses(lines: Iterable[str | bytes], vocabularies: Vocabularies) -> Iterator[Checked]:
    """Run parse vectors.

    Args:
        lines: The vectors, one JSON object a line.
        vocabularies: Where to find the tokenizers that read token ids.

    Yields:
        What came of each.
    """
    for raw in read_objects(lines):
        lenient = " (lenient)" if raw.get("level") == "lenient" else ""
        yield _run(raw, f"{raw.get('dialect')}{lenient}", _parse, vocabularies)


def tally(checked: Sequence[Checked], groups: Callable[[Checked], Iterable[str]]) -> dict[str, Score]:
    """Count what passed.

    Args:
        checked: Vectors that were run.
        groups: The groups that one belongs to.

    Returns:
        Each group's score, in the order of first appearance.

    Example:
        >>> tally([Checked(1, "a", ("x", "y"), ())], lambda one: one.tags)
        {'x': Score(passed=1, total=1), 'y': Score(passed=1, total=1)}
    """
    scores: dict[str, Score] = {}
    for one in checked:
        for group in groups(one):
            before = scores.get(group, Score(0, 0))
            scores[group] = Score(before.passed + (not one.differences), before.total + 1)
    return scores


_Comparison = tuple[list[Difference], list[str]]


def _run(
    raw: Mapping[str, Any],
    format_: str,
    compare: Callable[[Mapping[str, Any], Vocabularies], _Comparison],
    vocabularies: Vocabularies,
) -> Checked:
    tags = raw.get("tags")
    differences: list[Difference] = []
    not_compared: list[str] = []
    if "error" in raw and raw["id"] is None:
        differences = [Difference("line", "a vector", str(raw["error"]))]
    else:
        try:
            differences, not_compared = compare(raw, vocabularies)
        except ArrieroError as error:
            differences = [Difference("line", "a vector that runs", str(error))]
        except Exception as error:  # one vector that breaks us is a finding, and must not hide the others
            differences = [Difference("line", "no exception", f"{type(error).__name__}: {error}")]
    named = tuple(map(str, tags)) if isinstance(tags, list) else ()
    return Checked(raw.get("id"), format_, named, tuple(differences), tuple(not_compared))


def _render(raw: Mapping[str, Any], vocabularies: Vocabularies) -> _Comparison:
    expected = {name: raw[name] for name in _RENDERED if name in raw}
    if not expected:
        raise UnreadableLine(f"nothing to compare with: give one of {', '.join(_RENDERED)}")
    refused = all(value is None for value in expected.values())
    try:
        rendered = render_line(raw)
    except InvalidMessage as error:
        return ([] if refused else [Difference("error", "none", str(error))]), []
    if refused:
        return [Difference("error", "a refusal", _json(rendered.text)[:_SHOWN])], []
    got = {name: _plain(getattr(rendered, field)) for name, field in _RENDERED.items()}
    found = [_difference(name, value, got[name]) for name, value in expected.items() if value is not None]
    ids = next((name for name in _IDS if raw.get(name) is not None), None)
    in_tokens = [name for name in (ids, "vision_mask") if name is not None and raw.get(name) is not None]
    tokenizer = vocabularies.find(_generation(raw, raw[ids] if ids else ())) if in_tokens else None
    if tokenizer is None:
        return [one for one in found if one is not None], in_tokens
    for name in in_tokens:
        tokens = rendered.vision_mask(tokenizer) if name == "vision_mask" else _ids_of(rendered, tokenizer)
        found.append(_difference(name, raw[name], _plain(tokens)))
    return [one for one in found if one is not None], []


def _ids_of(rendered: Rendered, tokenizer: Tokenizer) -> list[int] | None:
    return None if rendered.prompt is None else rendered.prompt.encode(tokenizer)


def _parse(raw: Mapping[str, Any], vocabularies: Vocabularies) -> _Comparison:
    expected = raw.get("expect")
    if not isinstance(expected, Mapping) or not expected:
        raise UnreadableLine("nothing to compare with: give 'expect'")
    tokenizer = vocabularies.find(str(raw.get("tokenizer", "llama3"))) if "token_ids" in raw else None
    got = parse_line(raw, tokenizer=tokenizer)
    wanted = {name: value for name, value in expected.items() if value != _ANY}
    found = [_difference(name, value, got.get(name)) for name, value in wanted.items()]
    return [one for one in found if one is not None], []


def _difference(field: str, expected: Any, got: Any) -> Difference | None:
    # compared as JSON, where 1, 1.0 and true are three values
    if _json(expected) == _json(got):
        return None
    if isinstance(expected, str) and isinstance(got, str):
        at = _common(expected, got)
        around = slice(max(0, at - _SHOWN // 2), at + _SHOWN)
        return Difference(f"{field}, from character {at}", _json(expected[around]), _json(got[around]))
    if isinstance(expected, list) and isinstance(got, list):
        at = _common(expected, got)
        around = slice(max(0, at - 2), at + 6)
        return Difference(f"{field}, from item {at}", _json(expected[around]), _json(got[around]))
    return Difference(field, _json(expected), _json(got))


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if _json(left) != _json(right)), min(len(one), len(other)))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _generation(raw: Mapping[str, Any], ids: Sequence[int]) -> str:
    generation = str(raw.get("generation", "")).removeprefix("guard-")
    if generation in ("1", "2") and raw.get("generation") != "guard-2":
        return "llama2"
    return "llama4" if generation.startswith("4") or max(ids, default=0) > _LAST_OF_LLAMA3 else "llama3"


def _generation_of(tokenizer: Tokenizer) -> str:
    return (
        "llama4"
        if "<|eot|>" in tokenizer.special_ids
        else "llama3"
        if "<|eot_id|>" in tokenizer.special_ids
        else "llama2"
    )


@cache
def _packaged(generation: Generation) -> Tokenizer | None:
    file = packaged_ranks(generation)
    return None if file is None else Tokenizer.from_file(file)
