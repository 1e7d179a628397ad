"""Reads and checks YAML files of other tools: errors name file and field, and quote nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_IRWXO
from typing import TypeVar

import msgspec
import yaml

from producers.disk import user_name
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, read_trusted, resolved
from schemas.fields import HALF_PAIR

_Shape = TypeVar("_Shape")
# A site file has a few kB, a clouds.yaml little more; pure Python reads some 100 kB a second.
_MOST_BYTES = 2**18
_MOST_NODES = 50_000
# A value that YAML reads as a number, a date or, for `no`, as false.
_UNQUOTED = re.compile(r"Expected `str.*got `(int|float|bool|date|datetime)`")


def read_yaml(path: Path, shape: type[_Shape], *, secret: bool = False) -> _Shape:
    """The content of a file in the shape of a msgspec.Struct; unknown fields are ignored.

    `secret`: whether it may hold secrets: then it may be another user's, for root, if it is closed to all others.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    try:
        private = secret and not resolved(path).stat().st_mode & S_IRWXO
        content = loaded(read_trusted(path, private=private, most=_MOST_BYTES))
    except UntrustedFileError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except Exception as error:  # noqa: BLE001 - tags and nesting make PyYAML raise almost anything
        # the error's own text may quote lines that hold secrets
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigError(f"{path}: is not valid YAML{line}") from None
    return shaped(content, str(path), shape)


def unreadable(path: Path, error: OSError) -> ConfigError:
    """The error of a file or a folder that lamplighter.toml or init names, and that cannot be read."""
    remedy = "correct clouds_yaml or fedcloud_site in lamplighter.toml, or the option of init"
    if isinstance(error, PermissionError):
        remedy = f"let user {user_name()} read it, and enter its folders"
    return ConfigError(f"{path}: cannot be read: {error.strerror}; {remedy}")


def loaded(text: str) -> object:
    """The content of a YAML document; almost any error of PyYAML if it has none.

    An alias repeats a node, and aliases of aliases repeat it without end: they are counted before
    anything is made of them.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        left, nodes = _MOST_NODES, [root] if root is not None else []
        while nodes:
            left -= 1
            if left < 0:
                raise yaml.YAMLError
            nodes += _children(node := nodes.pop())
            # an escape can give half a surrogate pair, which no file's name, argument or login can hold
            if isinstance(node, yaml.ScalarNode) and HALF_PAIR.search(node.value):
                raise yaml.MarkedYAMLError(problem_mark=node.start_mark)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def shaped(content: object, place: str, shape: type[_Shape]) -> _Shape:
    """The content of a file, or a part of it, in the shape of a msgspec.Struct.

    Raises:
        ConfigError: naming `place`, field and remedy.
    """
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        hint = "; quote it" if _UNQUOTED.search(str(error)) else ""
        if "got `null`" in str(error):
            hint = "; it is empty: write what belongs there"
        if "matching regex" in str(error):
            hint = "; it is empty, or has a space"
        raise ConfigError(f"{place}: {error}{hint}") from None
