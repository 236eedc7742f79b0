"""Whether a value of one type may stand where another type is wanted."""

import types
from inspect import Parameter
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

_NUMBERS = {(bool, int), (bool, float), (int, float)}


def fits(given: Any, wanted: Any) -> bool:
    """Whether every value of a type may be passed where another type is wanted.

    What cannot be told apart by looking at the types, such as protocols and type variables, fits.

    Args:
        given: The type of the value.
        wanted: The type that is wanted.

    Returns:
        Whether it fits.

    Example:
        >>> from collections.abc import Sequence
        >>> fits(list[int], Sequence[float]), fits(str | None, str), fits(Literal["a"], str)
        (True, False, True)
    """
    given, wanted = _plain(given), _plain(wanted)
    if given == wanted or Any in (given, wanted) or object is wanted or Parameter.empty in (given, wanted):
        return True
    if _is_union(given):
        return all(fits(one, wanted) for one in get_args(given))
    if get_origin(given) is Literal:
        if get_origin(wanted) is Literal:
            return set(get_args(given)) <= set(get_args(wanted))
        return all(fits(type(value), wanted) for value in get_args(given))
    if _is_union(wanted):
        return any(fits(given, one) for one in get_args(wanted))
    if get_origin(wanted) is Literal:
        return False
    return _class_fits(given, wanted)


def _class_fits(given: Any, wanted: Any) -> bool:
    of, at = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(of, type) or not isinstance(at, type) or getattr(at, "_is_protocol", False):
        return True
    if (of, at) in _NUMBERS:
        return True
    if not _is_subclass(of, at):
        return False
    inner, outer = get_args(given), get_args(wanted)
    if not inner or not outer:
        return True
    if of is tuple:
        inner, outer = _of_tuple(inner), _of_tuple(outer)
        if len(outer) == 1 and (at is not tuple or get_args(wanted)[-1] is ...):
            return all(fits(one, outer[0]) for one in inner)
    if len(inner) != len(outer):
        return of is not tuple
    return all(fits(one, other) for one, other in zip(inner, outer, strict=True))


def _plain(of: Any) -> Any:
    if of is None:
        return type(None)
    if get_origin(of) is Annotated:
        return _plain(get_args(of)[0])
    if isinstance(of, NewType):
        return _plain(of.__supertype__)
    return of


def _is_union(of: Any) -> bool:
    return get_origin(of) in (Union, types.UnionType)


def _is_subclass(of: type, at: type) -> bool:
    try:
        return issubclass(of, at)
    except TypeError:
        return True


def _of_tuple(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments[:1] if arguments[-1] is ... else arguments


def values_of(of: Any) -> tuple[object, ...] | None:
    """Every value of a type that has few of them; None for other types.

    Example:
        >>> values_of(Literal["a", "b"]), values_of(bool), values_of(str)
        (('a', 'b'), (True, False), None)
    """
    from enum import Enum

    of = _plain(of)
    if of is bool:
        return (True, False)
    if of is type(None):
        return (None,)
    if get_origin(of) is Literal:
        return get_args(of)
    if isinstance(of, type) and issubclass(of, Enum):
        return tuple(of)
    if _is_union(of):
        parts = [values_of(one) for one in get_args(of)]
        return None if None in parts else tuple(value for part in parts for value in part or ())
    return None
