"""How a message's dataclass is written to JSON and read again: each field's metadata says how.

`one: str = field(metadata=TEXT)` is read strictly from the JSON field of the same name. Fields
without metadata are not part of the JSON object.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

from schemas.fields import Fields, fit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec:
    """How a field is read and written; None is not sent, nor is an optional value that is empty."""

    read: Callable[[Fields, str], Any]
    write: Callable[[Any], Any]
    required: bool


def wire(
    read: Callable[[Fields, str], Any],
    write: Callable[[Any], Any] = lambda value: value,
    *,
    required: bool = True,
) -> Mapping[str, Codec]:
    """The metadata of a field."""
    return {"wire": Codec(read, write, required)}


def number(*, required: bool = True, **limits: int) -> Mapping[str, Codec]:
    """A whole number from `least` to `most`."""
    return wire(lambda data, name: data.number(name, **limits), required=required)


def many(cls: type) -> Mapping[str, Codec]:
    """A tuple of dataclasses, as a list of objects."""
    return wire(
        lambda data, name: tuple(read(cls, item) for item in data.objects(name)),
        lambda items: list(map(to_data, items)),
    )


def nested(cls: type, *, required: bool = True) -> Mapping[str, Codec]:
    """A dataclass, as an object."""
    return wire(lambda data, name: read(cls, data.object(name)), to_data, required=required)


TEXT = wire(Fields.text)
ANY_TEXT = wire(lambda data, name: data.text(name, shortest=0), fit)
OPTIONAL_TEXT = wire(Fields.text_or_none, fit, required=False)
ATTRIBUTE = wire(Fields.attribute)
OPTIONAL_ATTRIBUTE = wire(Fields.attribute, required=False)


@cache
def _codecs(cls: Any) -> Mapping[str, Codec]:  # noqa: ANN401 - a dataclass
    return {one.name: one.metadata["wire"] for one in fields(cls) if "wire" in one.metadata}


def to_data(message: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """The JSON object of a dataclass."""
    data = {}
    cls: Any = type(message)
    for name, codec in _codecs(cls).items():
        value = getattr(message, name)
        # 0 is not empty, False is
        if value is not None and (codec.required or value or type(value) is int):
            data[name] = codec.write(value)
    return data


def read(cls: Callable[..., T], data: Fields, **given: Any) -> T:  # noqa: ANN401 - the fields' types
    """A dataclass from a JSON object; fields that are `given` are not read.

    Raises:
        MalformedMessageError: naming the field and the remedy.
    """
    for name, codec in _codecs(cls).items():
        if name not in given and (codec.required or name in data.raw):
            given[name] = codec.read(data, name)
    return cls(**given)
