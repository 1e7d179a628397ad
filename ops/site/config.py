"""`lamplighter config`: the file that counts, and what each setting means. No secret is shown."""

import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from ops.cli.options import json_option
from ops.cli.session import Session, pass_session
from ops.cli.terminal import print_json, print_line, print_table
from producers.broker_settings import BrokerSettings, BrokerUsers
from producers.config_file import config_places
from producers.disk import may_exist
from producers.settings import BROKER_FIELDS, HOOK_FIELDS, HookSettings, read_toml
from producers.toml_table import shown_key
from workers.config.problems import fields_of
from workers.config.settings import Settings

_ATTRIBUTE = re.compile(r"^    ([a-z_]+(?:, [a-z_]+)*): (.*(?:\n     .*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a table: its value in TOML's notation, and whether the file sets it."""

    table: str
    name: str
    value: object
    is_set: bool
    meaning: str

    @property
    def shown(self) -> str:
        """The value, as in the file; a dash if there is none."""
        return "-" if self.value is None else json.dumps(self.value, ensure_ascii=False)

    def as_json(self) -> dict[str, object]:
        """A JSON object."""
        return {"value": self.value, "set": self.is_set, "meaning": self.meaning}


@click.command
@json_option()
@pass_session
def config(session: Session, *, as_json: bool) -> None:
    """Show which lamplighter.toml is used, and the value and the meaning of each setting.

    Secrets are not shown. Exit code 2: the file cannot be used.
    """
    places = _places(session)
    if not as_json:
        for place, state in places:
            style = "bold" if state == "COUNTS" else ""
            print_line(f"{state:<20} {place}", style, whole=True)  # to be copied
    found = list(settings_of(session.settings, read_toml(session.config)))
    if as_json:
        print_json(
            {
                "file": str(session.config),
                "places": [{"place": place, "state": state} for place, state in places],
                "settings": {f"{one.table}.{one.name}".lstrip("."): one.as_json() for one in found},
            }
        )
        return
    for table, members in groupby(found, key=lambda one: one.table):
        print_line("")
        print_table(
            ("setting", "value", "", "meaning"),
            [(o.name, o.shown, "set" if o.is_set else "default", o.meaning) for o in members],
            title=f"[{table}]" if table else "",
        )


def _places(session: Session) -> list[tuple[str, str]]:
    """Where the file is searched, in order, and what is there; the first that is there counts."""
    named = os.environ.get("LAMPLIGHTER_CONFIG")
    places = [Path(named)] if named else []
    counts, *others = dict.fromkeys((session.config, *places, *config_places(os.environ)))
    return [(str(counts), "COUNTS"), *((str(other), _state(other)) for other in others)]


def _state(place: Path) -> str:
    """Whether a file that does not count is there."""
    if not may_exist(place):
        return "not there"
    return "there, but NOT READ" if os.access(place, os.F_OK) else "not known: no access"


def settings_of(settings: Settings, raw: Mapping[str, Any]) -> Iterator[Setting]:
    """All settings, by table; `raw` is the content of the file."""
    hook, broker = settings.hook, settings.broker
    top = {"cluster": settings.cluster, "dry_run": settings.dry_run}
    yield from _table("", top, raw, meanings(HookSettings) | meanings(Settings))
    of_broker = {name: getattr(broker, name, None) for name in BROKER_FIELDS}
    of_broker["management_urls"] = settings.management_urls
    known = meanings(BrokerSettings) | meanings(Settings)
    raw_broker = dict(raw.get("broker", {}))
    del of_broker["users"]
    raw_users = raw_broker.pop("users", {})
    for one, many in (("url", "urls"), ("management_url", "management_urls")):
        del of_broker[one]  # the short form of a list with one address
        if one in raw_broker:
            raw_broker[many] = raw_broker.pop(one)
    yield from _table("broker", of_broker, raw_broker, known)
    if (users := broker.users) is not None:
        of_users = {
            "folder": users.folder,
            "prefix": users.prefix,
            "login": "certificate" if users.certificates else "password",
        }
        words = meanings(BrokerUsers)
        yield from _table(
            "broker.users", of_users, raw_users, {**words, "login": words["certificates"]}
        )
    of_hooks = {name: getattr(hook, name) for name in HOOK_FIELDS}
    yield from _table("hooks", of_hooks, raw.get("hooks", {}), meanings(HookSettings))
    for name in fields_of(Settings):
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            yield from _struct(name, value, raw.get(name, {}))
        elif name in {"clouds", "groups"}:
            for key, one in value.items():
                yield from _struct(f"{name}.{shown_key(key)}", one, raw[name][key])
    webhooks = raw.get("notify", {}).get("webhook", ())
    for number, (webhook, given) in enumerate(zip(settings.webhooks, webhooks, strict=True), 1):
        yield from _struct(f"notify.webhook[{number}]", webhook, given)


def _struct(table: str, value: msgspec.Struct, raw: object) -> Iterator[Setting]:
    """The settings of a table, then those of the tables in it."""
    given: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    fields = {name: getattr(value, field.name) for name, field in fields_of(type(value)).items()}
    inner = {name: one for name, one in fields.items() if isinstance(one, msgspec.Struct)}
    plain = {name: one for name, one in fields.items() if name not in inner}
    if value.__struct_config__.tag_field is not None:
        plain = {"type": value.__struct_config__.tag, **plain}
    known = {"type": "how to log in.", **meanings(type(value))}
    yield from _table(table, plain, given, known)
    for name, one in inner.items():
        yield from _struct(f"{table}.{name}", one, given.get(name, {}))


def _table(
    table: str, values: Mapping[str, Any], raw: Mapping[str, Any], meanings: Mapping[str, str]
) -> Iterator[Setting]:
    for name, value in values.items():
        yield Setting(table, name, _safe(name, value), name in raw, meanings.get(name, ""))


def meanings(kind: type) -> dict[str, str]:
    """What each field means: the section "Attributes" of the class and of its base classes."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for names, words in _ATTRIBUTE.findall(inspect.cleandoc(base.__doc__ or "")):
            found |= dict.fromkeys(names.split(", "), " ".join(words.split()))
    return found


def _safe(name: str, value: object) -> object:
    """The value without what may be secret: logins and queries of addresses, words of commands."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        items = [_safe(name, item) for item in value]
        return [*items[:1], "..."] if name.endswith("_command") and len(items) > 1 else items
    if isinstance(value, str) and "://" in value:
        return _without_login(name, value)
    return value


def _without_login(name: str, url: str) -> str:
    scheme, _, rest = url.partition("://")
    rest = rest.rpartition("@")[2]
    if scheme in {"http", "https"} and name == "url":  # the path of a webhook is its password
        return f"{scheme}://{urlsplit(url).hostname}/..."
    address, has_query, query = rest.partition("?")
    keys = "&".join(f"{pair.partition('=')[0]}=..." for pair in query.split("&"))
    return f"{scheme}://{address}?{keys}" if has_query else f"{scheme}://{address}"
