"""One table of lamplighter.toml, as the hooks read it: each mistake names file, field and remedy."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from producers.broker_settings import ConfigError
from producers.trust import beside
from schemas.fields import shown

_YEAR = 31_536_000


def unknown_field(name: str, allowed: Iterable[str]) -> str:
    """What is wrong with a field or table of this name, and what is allowed instead."""
    import difflib  # noqa: PLC0415 - only mistakes need it

    known = list(allowed)
    near = difflib.get_close_matches(name, known, 1)
    hint = f" did you mean {near[0]}?" if near else ""
    return f"is unknown;{hint} allowed here: {', '.join(known)}"


def shown_key(name: str) -> str:
    """A key of the file, quoted if TOML needs it, and safe to print."""
    return name if name.isascii() and name.replace("-", "_").isidentifier() else shown(name)


class TomlTable:
    """One table of the file; relative paths start at the file's folder."""

    def __init__(self, raw: Mapping[str, Any], path: Path, name: str) -> None:
        self._raw, self._file, self._name = raw, path, name

    def wrong(self, field: str, problem: str) -> ConfigError:
        """The error of a field."""
        return ConfigError(f"{self._file}: {self._name}{field}: {problem}")

    def table(self, name: str) -> "TomlTable":
        """A table in this one; empty if it is missing."""
        value = self._raw.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"must be a table: write [{self._name}{name}]")
        return TomlTable(value, self._file, f"{self._name}{name}.")

    def __contains__(self, field: str) -> bool:
        return field in self._raw

    def allow(self, fields: Iterable[str]) -> None:
        """Refuse all other fields."""
        for name in self._raw:
            if name not in fields:
                raise self.wrong(shown_key(name), unknown_field(name, fields))

    def flag(self, field: str) -> bool:
        """True or false; false if the field is missing."""
        value = self._raw.get(field, False)
        if not isinstance(value, bool):
            raise self.wrong(field, "must be true or false")
        return value

    def text(self, field: str, default: str | None = None) -> str:
        """A string that is not empty."""
        value = self._raw.get(field, default)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise self.wrong(field, f'must be a string: write {field} = "..."')
        return value

    def one_or_more(self, field: str) -> tuple[str, tuple[str, ...]]:
        """The key `field`, or `field`s with a list: the key's name and its strings."""
        many = f"{field}s"
        if many not in self._raw:
            return field, (self.text(field),)
        values = self._raw[many]
        if not isinstance(values, list) or not all(
            isinstance(v, str) and v.strip() for v in values or [0]
        ):
            raise self.wrong(many, f'must be a list of strings: write {many} = ["...", "..."]')
        if field in self._raw:
            raise self.wrong(many, f"replaces {field}: write only one of the two")
        return many, tuple(dict.fromkeys(values))

    def path(self, field: str) -> Path | None:
        """A path, from the folder of lamplighter.toml; None if the field is missing."""
        return self.beside(self.text(field)) if field in self._raw else None

    def beside(self, name: str) -> Path:
        """A path, from the folder of lamplighter.toml."""
        return beside(self._file.parent, Path(name))

    def seconds(self, field: str, default: int) -> int:
        """Whole seconds, at most a year."""
        value = self._raw.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _YEAR:
            raise self.wrong(
                field, f"must be whole seconds, from 1 to {_YEAR}: write {field} = {default}"
            )
        return value
