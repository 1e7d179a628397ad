"""Defines the base class and the types of lamplighter.toml's tables."""

from typing import Annotated

import msgspec

# ten years: a wait that a thread cannot count ends it
Seconds = Annotated[float, msgspec.Meta(gt=0, le=315_360_000)]
# an empty text names nothing: the cloud would refuse it at each call
Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: frozen; an unknown field is an error."""
