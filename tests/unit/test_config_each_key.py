"""Each key of lamplighter.toml, by its row in the reference: its type, whether it is required, its default."""

from __future__ import annotations

import copy
import json
import re
from datetime import date
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from docs.generate import pages
from tests.unit.test_config_problems import ALL_KEYS, WHOLE, document, outcome
from workers.config.settings import Settings
from workers.config.webhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Mapping

# On SQLite: the settings are read, no store is opened.

_SECTION = re.compile(r'^## (?:\[([^]]+)\]|\[\[([^]]+)\]\]|Top of the file)(?:, type = "(\w+)")?$')
_ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.*?) \| ")
# What a login needs, by its type.
LOGINS: Mapping[str, Mapping[str, str]] = {
    "password": {"username": "u", "password_file": "f"},
    "application_credential": {"id": "i", "secret_file": "f"},
    "oidc_refresh_token": {"token_endpoint": "https://h/t", "refresh_token_file": "f"},
    "oidc_client_credentials": {
        "token_endpoint": "https://h/t",
        "client_id": "i",
        "client_secret_file": "f",
    },
}
# What a key needs beside it.
BESIDE: Mapping[tuple[str, str], Mapping[str, str | None]] = {
    ("clouds", "vo"): {"fedcloud_site": "site.yaml"},
    ("clouds", "site"): {"fedcloud_site": "."},
    ("clouds", "cloud"): {"clouds_yaml": "clouds.yaml", "source": None},
    ("clouds", "clouds_yaml"): {"source": None},
    ("notify", "events"): {"format": "opus"},
}
# Instead of the values of WHOLE that go with another key alone.
ALONE = {"urls": "url", "management_urls": "management_url"}


class Row(NamedTuple):
    """A key: its table, the `type` of that table, its name; type and default as the page says."""

    at: tuple[str | int, ...]
    kind: str
    key: str
    type: str
    default: str

    @property
    def place(self) -> str:
        """Its table, as errors name it."""
        return "".join(f"[{x + 1}]" if isinstance(x, int) else f".{x}" for x in self.at)[1:]


def rows() -> list[Row]:
    found: list[Row] = []
    at: tuple[str | int, ...] = ()
    kind = ""
    for line in pages()["docs/reference/settings.md"].splitlines():
        if section := _SECTION.match(line):
            name, kind = section[1] or section[2] or "", section[3] or ""
            one = {"clouds": "c", "groups": "g"}.get(name.partition(".")[0], "")
            at = tuple(name.replace("NAME", one).split(".")) if name else ()
            at += (0,) if at[:1] == ("notify",) else ()
        elif row := _ROW.match(line):
            found.append(Row(at, kind, *row.groups()))
    return found


ROWS = rows()


def valid(row: Row, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file with all that a key needs beside it, and the key's table in it."""
    (folder / "site.yaml").write_text("gocdb: S\nendpoint: https://h:5000/v3\nvos: []\n")
    whole: Any = copy.deepcopy(WHOLE)
    if row.at == ("broker", "users"):
        whole["broker"] = {"url": "amqp://localhost/v"}
    if row.kind:
        whole["clouds"]["c"]["source"] = {"type": row.kind, **LOGINS[row.kind]}
    table = whole
    for name in row.at:
        if isinstance(table, dict):
            table.setdefault(name, {})
        table = table[name]
    beside = BESIDE.get((str((*row.at, "")[0]), row.key), {})
    for key, value in beside.items():
        table.pop(key, None)
        table |= {key: value} if value is not None else {}
    table.pop(ALONE.get(row.key), None)
    return whole, table


def unfit(type_: str) -> list[object]:
    """Values that a key of this type cannot have."""
    empty = ["", " \t", "a\0b"]
    others: dict[str, list[object]] = {
        "boolean": [True],
        "whole number": [5],
        "number": [5, 1.5],
        "list of texts": [[]],
        "list of paths": [[]],
        "table of texts": [{}],
    }
    fitting = others.pop(type_, [])
    of_list: list[object] = [[one] for one in (*empty, 5, ["a"])] if "list" in type_ else []
    wrong = [one for many in others.values() for one in many if one not in fitting]
    wrong += [True] if type_ == "whole number" else []
    return [*empty, date(2026, 1, 2), *of_list, *wrong]


def test_the_reference_has_a_row_for_each_key() -> None:
    tables = {(at, key) for at, key, _ in ALL_KEYS}
    known = {(row.at, row.key) for row in ROWS}
    # tables have sections of their own; users do not write the source of clouds.yaml
    missing = {
        (at, key)
        for at, key in tables - known
        if not any((*at, key) == r.at[: len(at) + 1] for r in ROWS)
    }
    assert missing <= {
        (("clouds", "c", "source"), key) for key in ("file", "entry", "kind", "region")
    }
    assert not known - tables


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.place}.{row.key} {row.kind}")
def test_each_key_refuses_what_is_empty_or_of_another_type_by_its_name(
    tmp_path: Path, row: Row
) -> None:
    """Also text of spaces, and with NUL: no cloud has such a name, and no program such an argument."""
    for value in unfit(row.type):
        whole, table = valid(row, tmp_path)
        table[row.key] = value
        found = outcome(document(whole), tmp_path)
        assert isinstance(found, str), f"{value!r} was accepted"
        assert found.startswith(row.place), (value, found)
        assert re.search(rf"\b{row.key}\b", found), (value, found)


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.default],
    ids=lambda row: f"{row.place}.{row.key} {row.kind}",
)
def test_a_key_is_required_or_has_the_default_of_the_reference(tmp_path: Path, row: Row) -> None:
    whole, table = valid(row, tmp_path)
    table.pop(row.key, None)
    found = outcome(document(whole), tmp_path)
    if row.default.startswith("**required**"):
        assert isinstance(found, str)
        assert found.startswith(f"{row.place}.{row.key}".removeprefix(".") + ": ")
    else:
        assert isinstance(found, Settings), found
        value = reduce(part, (*row.at, row.key), found)
        default = json.loads(row.default.strip("`"))
        assert value in (default, str(tmp_path / str(default)))


def part(whole: Any, name: str | int) -> Any:  # noqa: ANN401 - any part
    """What the settings have for this key, as JSON has it."""
    if isinstance(whole, dict | tuple):
        return whole if name == "webhook" else whole[name]  # type: ignore[index]
    if name == "login":
        return "certificate" if whole.certificates else "password"
    value = getattr(whole, {"hooks": "hook", "notify": "webhooks"}.get(str(name), str(name)))
    if isinstance(value, tuple) and not any(isinstance(one, Webhook) for one in value):
        return list(value)
    return str(value) if isinstance(value, Path) else value
