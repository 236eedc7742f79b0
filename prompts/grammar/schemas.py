"""JSON schemas as grammars of the values that they allow.

Exact for objects with declared properties, open maps, arrays and tuples, enumerations, constants, unions, references,
bounded numbers, texts by length or pattern. The grammar may write less than a schema allows (properties come in the
declared order, numbers have 15 digits), never more without a note.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from arriero.prompts.grammar.ebnf import Rules, either, literal, repeated
from arriero.prompts.grammar.grammar import GrammarNotExpressible, Limits
from arriero.prompts.grammar.keywords import (
    EVERY_TYPE,
    Schema,
    apart,
    bounds_of,
    fits,
    merged,
    resolved,
    types_of,
    unread,
)
from arriero.prompts.grammar.notation import JSON_TEXT, PYTHON_DOUBLE, PYTHON_SINGLE, Notation
from arriero.prompts.grammar.numbers import Bounds, integer_between, number_between, whole_bounds
from arriero.prompts.grammar.patterns import FORMATS, PatternNotExpressible, pattern

SPACE = '" "?'
"""What may stand after a comma or a colon."""

LONGEST = 256
"""The longest text whose length is held to: each character more is a rule more."""
_MOST_MULTIPLES = 200
_ANY_TEXT = ("password", "binary", "byte")
"""Formats that every text has."""

Field = tuple[str, str, bool]
"""A property: its name, the expression of its value, whether it must be given."""


class Values:
    """Writes the values that schemas allow.

    Args:
        rules: Where named rules go.
        python: Whether values are written as Python literals, not as JSON.
        limits: How long things may become.
        strict: Refuse what cannot be expressed, instead of noting it.
    """

    def __init__(self, rules: Rules, *, python: bool, limits: Limits, strict: bool) -> None:
        self._rules = rules
        self._notations: tuple[Notation, ...] = (PYTHON_SINGLE, PYTHON_DOUBLE) if python else (JSON_TEXT,)
        self._limits = limits
        self._strict = strict
        self._document: Schema = {}
        self._known: dict[tuple[str, int], str | None] = {}
        self.notes: list[str] = []

    def document(self, schema: Schema, where: str) -> str:
        """A value of a schema that its own references point into.

        Args:
            schema: The schema.
            where: What it describes, for notes and errors.

        Returns:
            The expression.

        Raises:
            GrammarNotExpressible: No value fits, or it cannot be expressed and the writer is strict.
        """
        self._begin(schema)
        found = self._value(schema, self._limits.depth, where)
        if found is None:
            raise self._impossible(where)
        return found

    def arguments(self, schema: Schema, where: str) -> list[Field]:
        """The parameters of a tool one by one.

        Raises:
            GrammarNotExpressible: As for `document`, or the schema describes no object.
        """
        self._begin(schema)
        whole = resolved(schema, schema, where)
        if isinstance(whole, bool) or types_of(whole) not in (("object",), ("any",)) or "anyOf" in whole:
            raise GrammarNotExpressible(f"{where}: parameters must be declared as one object with properties")
        found = self._fields(whole, self._limits.depth, where)
        if found is None:
            raise self._impossible(where)
        return found

    def note(self, where: str, problem: str) -> None:
        """Say what the grammar does not hold the model to; refuse it when strict.

        Raises:
            GrammarNotExpressible: The writer is strict.
        """
        if self._strict:
            raise GrammarNotExpressible(f"{where}: {problem}; change the schema, or allow it with strict=False")
        if (said := f"{where}: {problem}") not in self.notes:
            self.notes.append(said)

    def _begin(self, schema: Schema) -> None:
        self._document = schema
        self._known.clear()

    def _impossible(self, where: str) -> GrammarNotExpressible:
        return GrammarNotExpressible(
            f"{where}: no value fits the schema within {self._limits.depth} levels; change the schema or the depth"
        )

    def _value(self, schema: Schema, depth: int, where: str) -> str | None:
        """The expression of a value; None when there is no value that fits."""
        key = (json.dumps(schema, sort_keys=True, default=str), depth)
        if key not in self._known:
            self._known[key] = None  # what leads back to itself without ever writing something has no value
            self._known[key] = self._choices(resolved(schema, self._document, where), depth, where)
        return self._known[key]

    def _choices(self, schema: Schema, depth: int, where: str) -> str | None:
        if isinstance(schema, bool):
            return self._typed({"type": "any"}, "any", depth, where) if schema else None
        for keyword in unread(schema):
            self.note(where, f"{keyword!r} is not enforced")
        if "const" in schema or "enum" in schema:
            return self._constants(schema, where)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._union(schema, keyword, depth, where)
        return _one_of(self._typed(schema, kind, depth, where) for kind in types_of(schema))

    def _union(self, schema: Mapping[str, Any], keyword: str, depth: int, where: str) -> str | None:
        rest = {key: value for key, value in schema.items() if key != keyword}
        choices = [resolved(choice, self._document, where) for choice in schema[keyword]]
        if keyword == "oneOf" and not apart(choices):
            self.note(where, "a value may fit several alternatives of 'oneOf'")
        return _one_of(self._value(merged([rest, choice], where), depth, where) for choice in choices)

    def _typed(self, schema: Mapping[str, Any], kind: str, depth: int, where: str) -> str | None:
        match kind:
            case "object":
                return self._object(schema, depth, where)
            case "array":
                return self._array(schema, depth, where)
            case "string":
                return self._string(schema, where)
            case "number" | "integer":
                return self._number(schema, kind == "integer", where)
            case "boolean":
                return either(map(self._constant, (True, False)))
            case "null":
                return self._constant(None)
            case "any":
                kinds = EVERY_TYPE if depth > 0 else EVERY_TYPE[2:]
                return _one_of(self._value({"type": each}, depth, where) for each in kinds)
            case _:
                raise GrammarNotExpressible(f"{where}: unknown type {kind!r}; use one of {', '.join(EVERY_TYPE)}")

    def _constants(self, schema: Mapping[str, Any], where: str) -> str | None:
        values = list(schema["enum"] if "enum" in schema else [schema["const"]])
        if "enum" in schema and "const" in schema:
            values = [value for value in values if value == schema["const"]]
        kinds = types_of(schema) if "type" in schema else ("any",)
        try:
            return _one_of(self._constant(value) for value in values if any(fits(value, kind) for kind in kinds))
        except GrammarNotExpressible as error:
            raise GrammarNotExpressible(f"{where}: {error}") from error

    def _constant(self, value: Any) -> str:
        return either(literal(notation.constant(value)) for notation in self._notations)

    def _string(self, schema: Mapping[str, Any], where: str) -> str | None:
        expression = schema.get("pattern", FORMATS.get(schema.get("format", "")))
        if expression is not None:
            return self._pattern(expression, schema, where)
        if schema.get("format", _ANY_TEXT[0]) not in _ANY_TEXT:
            self.note(where, f"format {schema['format']!r} is not enforced")
        least, most = _between(schema, "Length", self._limits.string)
        if most is not None and most < least:
            return None
        if max(least, most or 0) > LONGEST:
            self.note(where, f"lengths beyond {LONGEST} characters are not enforced")
            least, most = min(least, LONGEST), None
        return either(
            self._rules.add("text", notation.string(self._rules, least, most)) for notation in self._notations
        )

    def _pattern(self, expression: str, schema: Mapping[str, Any], where: str) -> str | None:
        choices = []
        least, most = _between(schema, "Length", None)
        for notation in self._notations:
            try:
                written = pattern(expression, notation, self._limits.string)
            except PatternNotExpressible as problem:
                self.note(where, f"pattern {expression!r} is not enforced ({problem})")
                return self._string({key: schema[key] for key in ("minLength", "maxLength") if key in schema}, where)
            if written.least < least or (most is not None and (written.most is None or written.most > most)):
                self.note(where, f"the length of a text with pattern {expression!r} is not enforced")
            quote = literal(notation.quote)
            choices.append(self._rules.add("pattern", f"{quote} {written.expression} {quote}"))
        return either(choices)

    def _number(self, schema: Mapping[str, Any], whole: bool, where: str) -> str | None:
        bounds = bounds_of(schema)
        if "multipleOf" in schema:
            return self._multiples(Decimal(str(schema["multipleOf"])), bounds, whole, where)
        return self._inside(bounds, whole)

    def _inside(self, bounds: Bounds, whole: bool) -> str | None:
        found = integer_between(bounds) if whole else number_between(bounds)
        return None if found is None else self._rules.add("integer" if whole else "number", found)

    def _multiples(self, step: Decimal, bounds: Bounds, whole: bool, where: str) -> str | None:
        if bounds.low is not None and bounds.high is not None and step > 0:
            first, last = whole_bounds(Bounds(bounds.low / step, bounds.high / step, bounds.above, bounds.below))
            if last - first < _MOST_MULTIPLES:
                values = [step * count for count in range(first, last + 1)]
                return _one_of(literal(_plain(value)) for value in values if not whole or value == int(value))
        if not (whole and step == 1):
            self.note(where, f"'multipleOf' {step} is not enforced")
        return self._inside(bounds, whole)

    def _array(self, schema: Mapping[str, Any], depth: int, where: str) -> str | None:
        first: Sequence[Schema] = schema.get("prefixItems", ())
        rest: Any = schema.get("items", True)
        if isinstance(rest, list):  # tuples as drafts before 2020-12 wrote them
            first, rest = rest, schema.get("additionalItems", True)
        least, most = _between(schema, "Items", self._limits.items)
        if most is not None and most < least:
            return None
        if schema.get("uniqueItems") and (most is None or most > 1):
            self.note(where, "'uniqueItems' is not enforced")
        items = [self._value(item, depth - 1, f"{where}[{i}]") if depth > 0 else None for i, item in enumerate(first)]
        tail = self._value(rest, depth - 1, f"{where}[]") if depth > 0 else None
        body = _items(items, tail, least, most)
        return None if body is None else self._rules.add("array", f'"[" {body} "]"')

    def _object(self, schema: Mapping[str, Any], depth: int, where: str) -> str | None:
        if not schema.get("properties") and not schema.get("required"):
            return self._map(schema, depth, where)
        fields = self._fields(schema, depth, where)
        if fields is None:
            return None
        pairs = [(f'{self._constant(name)} ":" {SPACE} {value}', required) for name, value, required in fields]
        return self._rules.add("object", f'"{{" {listed(self._rules, pairs)} "}}"')

    def _fields(self, schema: Mapping[str, Any], depth: int, where: str) -> list[Field] | None:
        required = list(schema.get("required") or ())
        declared: dict[str, Schema] = {**dict.fromkeys(required, True), **(schema.get("properties") or {})}
        ordered = [*(schema.get("properties") or {}), *required]
        least, most = schema.get("minProperties", 0), schema.get("maxProperties")
        if least >= len(declared):
            required = ordered
        elif least > len(required) or (most is not None and most < len(declared)):
            self.note(where, "the number of properties is not enforced")
        if isinstance(schema.get("additionalProperties"), Mapping) or "patternProperties" in schema:
            self.note(where, "properties without a name of their own in the schema are never written")
        found: list[Field] = []
        for name in dict.fromkeys(ordered):
            value = self._value(declared[name], depth - 1, f"{where}.{name}") if depth > 0 else None
            if value is not None:
                found.append((name, value, name in required))
            elif name in required:
                return None
        return found

    def _map(self, schema: Mapping[str, Any], depth: int, where: str) -> str | None:
        least, most = _between(schema, "Properties", self._limits.items)
        if most is not None and most < least:
            return None
        kinds = schema.get("patternProperties") or {None: schema.get("additionalProperties", True)}
        choices = []
        for expression, inner in kinds.items():
            key = self._string({} if expression is None else {"pattern": expression}, where)
            value = self._value(inner, depth - 1, f"{where}.*") if depth > 0 else None
            if key is not None and value is not None:
                choices.append(f'{key} ":" {SPACE} {value}')
        if choices and least > 1:
            self.note(where, "the number of entries is not enforced: a key may come twice")
        body = _items([], either(choices) if choices else None, least, most)
        return None if body is None else self._rules.add("map", f'"{{" {body} "}}"')


def listed(rules: Rules, parts: Sequence[tuple[str, bool]]) -> str:
    """Parts in order, with commas between those that are there.

    Args:
        rules: Where named rules go.
        parts: Each part, and whether it must be there.

    Returns:
        The expression.

    Example:
        >>> listed(Rules(), [('"a"', True), ('"b"', False)])
        '"a" ("," " "? "b")?'
    """
    rest = '""'  # what may follow once a part is there
    first: list[str] = []  # how the list may begin at the part in hand
    for part, required in reversed(parts):
        named = rules.add("rest", rest) if len(rest) > 60 else rest
        begun = part if named == '""' else f"{part} {named}"
        first = [begun] if required else [begun, *(first or ['""'])]
        after = f'"," {SPACE} {part}' if required else f'("," {SPACE} {part})?'
        rest = after if named == '""' else f"{after} {named}"
    return either(first) if first else '""'


def _items(first: Sequence[str | None], rest: str | None, least: int, most: int | None) -> str | None:
    """Items in order, so many at least and at most; None when the least cannot be reached."""
    fixed = list(first[:most])
    if None in fixed:
        fixed, rest = fixed[: fixed.index(None)], None
    if rest is None and least > len(fixed):
        return None
    more = '""'
    if rest is not None and (most is None or most > len(fixed)):
        left = None if most is None else most - len(fixed)
        needed = max(0, least - len(fixed))
        if not fixed:
            again = repeated(f'"," {SPACE} {rest}', max(0, needed - 1), None if left is None else left - 1)
            return f"{rest} {again}" if needed else f"({rest} {again})?"
        more = repeated(f'"," {SPACE} {rest}', needed, left)
    written = more
    for position in range(len(fixed) - 1, -1, -1):
        comma = f'"," {SPACE} ' if position else ""
        written = f"{comma}{fixed[position]} {written}"
        if position >= least:
            written = f"({written})?"
    return written


def _between(schema: Mapping[str, Any], of: str, limit: int | None) -> tuple[int, int | None]:
    least, most = int(schema.get(f"min{of}", 0)), schema.get(f"max{of}")
    if limit is not None:
        most = max(least, limit) if most is None else min(int(most), max(least, limit))
    return least, None if most is None else int(most)


def _one_of(expressions: Iterable[str | None]) -> str | None:
    found = [expression for expression in expressions if expression is not None]
    return either(found) if found else None


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
