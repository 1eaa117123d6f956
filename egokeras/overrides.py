"""Changes to nested frozen dataclasses by dotted keys and texts, checked against their type hints."""

import ast
import collections.abc
import dataclasses
import difflib
import types
import typing
from typing import Any

from egokeras.errors import InputError


def replaced(value: Any, path, text, key) -> Any:
    """`value` with the field at `path` (names, and numbers of items of tuples) changed to what `text` says.

    Args:
        key: what the user calls the field, for the errors.

    Raises:
        InputError: an unknown field, or a text that does not fit.
    """
    first, rest = path[0], path[1:]
    if isinstance(value, tuple) and rest and first.isdecimal() and int(first) < len(value):
        return tuple(replaced(item, rest, text, key) if i == int(first) else item for i, item in enumerate(value))
    if not is_dataclass(value):
        raise InputError(f"{key}: there is nothing below {value!r}; give the field before it a value first.")
    if first not in fields_of(value):
        nearest = difflib.get_close_matches(first, fields_of(value), n=1, cutoff=0.5)
        cure = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(fields_of(value))}."
        raise InputError(f"{key}: {type(value).__name__} has no field {first!r}; {cure}")
    hint = typing.get_type_hints(type(value))[first]
    if rest:
        below = getattr(value, first)
        return dataclasses.replace(value, **{first: replaced(_begun(hint) if below is None else below, rest, text, key)})
    return dataclasses.replace(value, **{first: parsed(text, hint, key)})


def is_dataclass(value) -> bool:
    """As `dataclasses.is_dataclass`, which type checkers take for more than it is."""
    return dataclasses.is_dataclass(value)


def fields_of(value):
    """Names of the fields."""
    return [field.name for field in dataclasses.fields(value)]


def parsed(text, hint, key):
    """What `text` means for a type hint: a literal, a bare word for text, or the name of a dataclass for one with its defaults.

    Raises:
        InputError: it does not fit; names the `key`.
    """
    for kind in _alternatives(hint):
        if is_dataclass(kind) and kind.__name__ == text:
            return kind()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    for candidate in ({"true": True, "false": False}.get(text, value), text):
        fitted = _fit(candidate, hint)
        if fitted is not _MISFIT:
            return fitted
    wanted = ", ".join(getattr(kind, "__name__", str(kind)) for kind in _alternatives(hint))
    raise InputError(f"{key}: {text!r} does not fit; it takes {wanted}.")


def _begun(hint):
    """What takes the place of None where a field below it gets a value: the only kind of object that fits, with its defaults."""
    kinds = [kind for kind in _alternatives(hint) if is_dataclass(kind)]
    return kinds[0]() if len(kinds) == 1 else None


_MISFIT = object()


def _alternatives(hint) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _fit(value, hint) -> Any:
    """`value` as an instance of a type hint, or _MISFIT; an int serves as a float, one item as a tuple of one, words by their commas."""
    if len(_alternatives(hint)) > 1:
        return next((fitted for kind in _alternatives(hint) if (fitted := _fit(value, kind)) is not _MISFIT), _MISFIT)
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return value if value in arguments else _MISFIT
    if origin is types.NoneType:
        return value if value is None else _MISFIT
    if origin is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _MISFIT
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, tuple | list) else (value,)
        fitted = tuple(_fit(item, arguments[0]) for item in items)
        return _MISFIT if any(item is _MISFIT for item in fitted) else fitted
    if origin is collections.abc.Mapping:
        return value if isinstance(value, dict) else _MISFIT
    return value if isinstance(value, origin) and isinstance(value, bool) == (origin is bool) else _MISFIT
