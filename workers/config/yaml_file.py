"""Reads and checks YAML files of other tools: errors name file and field, and quote nothing."""

import re
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from producers.settings import ConfigError

_Shape = TypeVar("_Shape")
# A value that YAML reads as a number or, for `no`, as false.
_UNQUOTED = re.compile(r"Expected `str.*got `(int|float|bool)`")


def read_yaml(path: Path, shape: type[_Shape]) -> _Shape:
    """The content of a file in the shape of a msgspec.Struct; unknown fields are ignored.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; make it readable for this user"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except Exception as error:  # noqa: BLE001 - tags and nesting make PyYAML raise almost anything
        # the error's own text may quote lines that hold secrets
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigError(f"{path}: is not valid YAML{line}") from None
    return shaped(content, str(path), shape)


def shaped(content: object, place: str, shape: type[_Shape]) -> _Shape:
    """The content of a file, or a part of it, in the shape of a msgspec.Struct.

    Raises:
        ConfigError: naming `place`, field and remedy.
    """
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        hint = "; quote it" if _UNQUOTED.search(str(error)) else ""
        raise ConfigError(f"{place}: {error}{hint}") from None
