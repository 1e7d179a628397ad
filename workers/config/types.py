"""Defines the base class and the types of lamplighter.toml's tables."""

from typing import Annotated

import msgspec

# ten years: a wait that a thread cannot count ends it
Seconds = Annotated[float, msgspec.Meta(gt=0, le=315_360_000)]
# a blank text names nothing, and no message holds control characters: the cloud would refuse it at each call
Text = Annotated[str, msgspec.Meta(pattern=r"\A(?=.*\S)[^\x00-\x1f\x7f]+\Z")]
# of a command; with NUL, no program can start
Word = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]+\Z")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: frozen; an unknown field is an error."""
