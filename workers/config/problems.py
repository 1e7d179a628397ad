"""Finds what is wrong in lamplighter.toml: the table, the field, and what is allowed there. Pure.

msgspec names neither the keys of a dictionary ([clouds.NAME]) nor the fields that a table may have.
"""

import json
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from producers.toml_table import shown_key, unknown_field
from schemas.fields import shown

_TYPES: Mapping[type, str] = {
    **dict.fromkeys((int, float), "a number"),
    list: "a list",
    dict: "a table",
    bool: "true or false",
    str: "an empty text, or one with control characters",
}
Hook = Callable[[type, Any], Any]


def problem_in(raw: object, shape: Any, hook: Hook, place: str = "") -> str | None:  # noqa: ANN401 - a type
    """The first thing that is wrong with a value of the file, and the remedy; None if nothing is.

    `raw` is as tomllib returns it; `hook` converts what msgspec cannot; `place` is such as `clouds.sbg`.
    """
    of_parts: Iterator[str | None] = iter(())
    kinds = alternatives(shape)
    if structs := [kind for kind in kinds if _is_table(kind)]:
        if not isinstance(raw, Mapping):
            return f"{place}: must be a table: write [{place}]"
        chosen = structs[0] if len(structs) == 1 else _tagged(raw, structs)
        if isinstance(chosen, str):
            return f"{place}.type: {chosen}"
        of_parts = _in_table(raw, chosen, hook, place)
    elif get_origin(kinds[0]) is dict:
        if not isinstance(raw, Mapping):
            return f"{place}: must be a table: write [{place}]"
        of_parts = (
            problem_in(part, inner, hook, f"{place}.{shown_key(name)}")
            for name, value in raw.items()
            for part, inner in zip((name, value), get_args(kinds[0]), strict=True)
        )
    elif get_origin(kinds[0]) is tuple:
        if not isinstance(raw, list):
            return f"{place}: must be a list: write [...]"
        inner = get_args(kinds[0])[0]
        of_parts = (
            problem_in(value, inner, hook, f"{place}[{number}]")
            for number, value in enumerate(raw, 1)
        )
    return next(filter(None, of_parts), None) or _of_whole(raw, shape, hook, place)


def alternatives(shape: Any) -> list[Any]:  # noqa: ANN401 - a type
    """The types that a value may have; TOML has no null."""
    if get_origin(shape) in {Union, types.UnionType}:
        return [x for kind in get_args(shape) if kind is not type(None) for x in alternatives(kind)]
    return [shape]


def fields_of(table: type) -> dict[str, FieldInfo]:
    """The fields of a table, by their names in the file."""
    return {field.encode_name: field for field in msgspec.structs.fields(table)}


def _is_table(kind: Any) -> bool:  # noqa: ANN401 - a type
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _tagged(raw: Mapping[str, Any], structs: list[Any]) -> Any:  # noqa: ANN401 - a type, or words
    """The table that `type` selects, or what is wrong with `type`."""
    by_tag = {kind.__struct_config__.tag: kind for kind in structs}
    tag = raw.get("type")
    known = "write one of " + ", ".join(f'"{name}"' for name in by_tag)
    if tag is None:
        return f"is missing; {known}"
    return by_tag.get(tag) if isinstance(tag, str) and tag in by_tag else f"{shown(tag)}; {known}"


def _in_table(raw: Mapping[str, Any], table: Any, hook: Hook, place: str) -> Iterator[str | None]:  # noqa: ANN401 - a type
    known = fields_of(table)
    tag = table.__struct_config__.tag_field
    allowed = [*([tag] if tag else ()), *known]
    prefix = f"{place}." if place else ""
    for name in raw:
        if name not in allowed:
            others = getattr(table, "completed_by", ())
            yield f"{prefix}{shown_key(name)}: {unknown_field(name, [*allowed, *others])}"
    for name, field in known.items():
        if name in raw:
            yield problem_in(raw[name], field.type, hook, f"{prefix}{name}")
        elif field.required:
            yield f"{prefix}{name}: is missing; write {name} = {_example(field.type)}"


def _of_whole(raw: object, shape: Any, hook: Hook, place: str) -> str | None:  # noqa: ANN401 - a type
    try:
        msgspec.convert(raw, shape, dec_hook=hook)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ValueError):  # a check of the table's own
            return f"{place}: {error.__cause__}"
        wanted = _wanted(shape)
        # in place of a string could stand a secret: a number, or a list of words
        is_open = wanted not in {"a string", "a path"}
        found = shown(raw) if is_open else _TYPES.get(type(raw), "a value of another type")
        return f"{place}: must be {wanted}, not {found}"
    return None


def _wanted(shape: Any) -> str:  # noqa: ANN401 - a type
    """What a value must be, in words."""
    kind, limits = alternatives(shape)[0], ""
    if get_origin(kind) is Annotated:
        kind, meta = get_args(kind)[:2]
        words = {"gt": "above", "ge": "at least", "le": "at most"}
        known = ((word, getattr(meta, name)) for name, word in words.items())
        limits = " and ".join(f"{word} {limit:,}" for word, limit in known if limit is not None)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(json.dumps, get_args(kind)))}"
    names = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    return f"{names.get(kind, 'a string')} {limits}".rstrip()


def _example(shape: Any) -> str:  # noqa: ANN401 - a type
    """How a value is written."""
    kinds = alternatives(shape)
    if any(_is_table(kind) for kind in kinds):
        return "{ ... }"
    return '["..."]' if get_origin(kinds[0]) is tuple else '"..."'
