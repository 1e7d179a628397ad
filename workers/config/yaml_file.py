"""Other tools' YAML files, checked: errors name the file and the field, and quote nothing."""

import re
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from producers.settings import ConfigError

_Shape = TypeVar("_Shape")
# What YAML takes for a number, or no for false.
_UNQUOTED = re.compile(r"Expected `str.*got `(int|float|bool)`")


def read_yaml(path: Path, shape: type[_Shape]) -> _Shape:
    """The file's content in the shape of a msgspec.Struct; fields that this has not are let be.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; let this user read it"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text") from None
    return parse_yaml(text, path, shape)


def parse_yaml(text: str, path: Path, shape: type[_Shape]) -> _Shape:
    """As `read_yaml`, of a file's text.

    Raises:
        ConfigError: as `read_yaml`.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # its own words would quote lines, in which secrets may stand
        line = "" if error.problem_mark is None else f" (line {error.problem_mark.line + 1})"
        raise ConfigError(f"{path}: is no valid YAML{line}") from None
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{path}: is no valid YAML") from None
    return shaped(content, str(path), shape)


def shaped(content: object, place: str, shape: type[_Shape]) -> _Shape:
    """What a file holds, or a part of it, in the shape of a msgspec.Struct.

    Raises:
        ConfigError: naming `place`, field and remedy.
    """
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        hint = "; quote it" if _UNQUOTED.search(str(error)) else ""
        raise ConfigError(f"{place}: {error}{hint}") from None
