"""Writes the pages of docs/reference and the manual pages from settings, messages and commands.

A test compares the written files with what this module makes.
"""

import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import click
import msgspec
import yaml

from docs.manual import PROGRAMS, SECTION, manual_pages, roff, see_also
from ops.cli.main import cli
from ops.site.config import meanings
from producers.broker_settings import BrokerSettings, BrokerUsers
from producers.settings import (
    BROKER_FIELDS,
    CLOCK,
    HOOK_FIELDS,
    SPOOL,
    USERS_FIELDS,
    USERS_FOLDER,
    HookSettings,
)
from workers.config.groups import CloudSettings, GroupSettings
from workers.config.logins import (
    ApplicationCredentialSource,
    ClientCredentialsSource,
    PasswordSource,
    RefreshTokenSource,
)
from workers.config.problems import fields_of
from workers.config.settings import Settings
from workers.config.webhooks import Webhook

ROOT = Path(__file__).parents[1]
_NOTE = "<!-- Written by `make docs`: change the source, not this page. -->\n"
_SOURCES = (
    PasswordSource,
    ApplicationCredentialSource,
    RefreshTokenSource,
    ClientCredentialsSource,
)
_MANY: Mapping[str, tuple[str, type[msgspec.Struct]]] = {
    "clouds": ("clouds.NAME", CloudSettings),
    "groups": ("groups.NAME", GroupSettings),
}
# Fields of [broker] and [hooks], which the hooks read without msgspec.
_SHORT = {
    "url": "short for `urls` with one address",
    "management_url": "short for `management_urls` with one address",
}
_USERS = {
    "login": ('`"password"` or `"certificate"`', '`"password"`'),
    "folder": ("path", f'`"{USERS_FOLDER}"`'),
    "prefix": ("text", '`"lamplighter-"`'),
}
_LOGIN = {"login": "whether the roles log in with passwords or with certificates (EXTERNAL)."}
# Fields that workers/config/clouds.py replaces by those of the files that they name.
_OTHER_FILES = {
    "fedcloud_site": ("path", "one of EGI's site files, instead of auth_url, project and region."),
    "site": ("text", "the site's name in `fedcloud_site`, if that is a folder."),
    "vo": ("text", "the virtual organisation, with `fedcloud_site`."),
    "clouds_yaml": ("path", "OpenStack's clouds.yaml, instead of auth_url, project and source."),
    "cloud": ("text", "the entry of `clouds_yaml`; by default NAME."),
}


def pages() -> Mapping[str, str]:
    """The text of each file, by its path in the source."""
    return {
        "docs/reference/settings.md": "".join(_settings()),
        "docs/reference/messages.md": "".join(_messages()),
        "docs/reference/commands.md": "".join(_commands()),
        "deploy/share/man/man1/lamplighter.1": "".join(_manual()),
        **{f"deploy/share/man/man{SECTION}/{name}": text for name, text in manual_pages().items()},
    }


def _settings() -> Iterator[str]:
    yield f"# Reference of lamplighter.toml\n\n{_NOTE}\n"
    yield "Durations are seconds; paths are relative to the file's folder. "
    yield "[configuration.md](../configuration.md) explains the file.\n"
    top = {"cluster": ("text", "**required**"), "dry_run": ("boolean", "`false`")}
    yield from _section("Top of the file", top, meanings(HookSettings) | meanings(Settings))
    known = meanings(BrokerSettings) | meanings(Settings) | _SHORT
    kinds = {"urls": "list of texts", "file": "path"}
    broker = {name: (kinds.get(name.rpartition("_")[2], "text"), "") for name in BROKER_FIELDS}
    broker["insecure"] = ("boolean", "`false`")
    broker["url"] = ("text", "**required**, or `urls`")
    del broker["users"]  # a table
    yield from _section("[broker]", broker, known)
    users = {name: _USERS[name] for name in USERS_FIELDS}
    yield from _section("[broker.users]", users, meanings(BrokerUsers) | _LOGIN)
    hooks = dict.fromkeys(HOOK_FIELDS, ("path", ""))
    hooks |= {"spool": ("path", f'`"{SPOOL}"`'), "state": ("path", f'`"{CLOCK}"`')}
    yield from _section("[hooks]", hooks, meanings(HookSettings))
    for name, field in fields_of(Settings).items():
        if name in _MANY:
            yield from _table(*_MANY[name])
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _table(name, field.type)
        if name == "clouds":
            for source in _SOURCES:
                kind = source.__struct_config__.tag
                yield from _table("clouds.NAME.source", source, f', type = "{kind}"')
    yield from _table("[notify.webhook]", Webhook)


def _table(name: str, kind: type[msgspec.Struct], more: str = "") -> Iterator[str]:
    fields = fields_of(kind)
    rows = {
        key: (_words(one.type), "**required**" if one.required else _default(one.default))
        for key, one in fields.items()
        if _words(one.type) != "table"
    }
    known = meanings(kind)
    if kind is CloudSettings:
        rows["auth_url"] = ("text", "**required**, or one of the files below")
        rows |= {key: (type_, "") for key, (type_, _) in _OTHER_FILES.items()}
        known = known | {key: meaning for key, (_, meaning) in _OTHER_FILES.items()}
    yield from _section(f"[{name}]{more}", rows, known)
    for key, field in fields.items():
        if (nested := _one_table(field.type)) is not None:
            yield from _table(f"{name}.{key}", nested)


def _one_table(kind: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401 - a type
    """The only table that a field may hold, if there is one: a cloud's source is one of several."""
    tables = [one for one in (typing.get_args(kind) or (kind,)) if one is not NoneType]
    table = tables[0] if len(tables) == 1 else None
    return table if isinstance(table, type) and issubclass(table, msgspec.Struct) else None


def _section(
    title: str, rows: Mapping[str, tuple[str, str]], known: Mapping[str, str]
) -> Iterator[str]:
    yield f"\n## {title}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
    for name, (type_, default) in rows.items():
        yield f"| `{name}` | {type_} | {default} | {_cell(known.get(name, ''))} |\n"


def _cell(text: str) -> str:
    """Text in a cell of a table, in the words of the file: None is what is not set."""
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"\bNone\b", "unset", text)


def _default(value: object) -> str:
    if value is None or value is msgspec.NODEFAULT:
        return ""
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`"


def _words(kind: Any) -> str:  # noqa: ANN401 - a type; one line for each
    """A type in the words of TOML."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in {typing.Union, UnionType}:
        # sources are a union of tables
        return _words(next(one for one in arguments if one is not NoneType))
    if origin is Literal:
        return " or ".join(f"`{json.dumps(one)}`" for one in arguments)
    if origin is tuple:
        return f"list of {_words(arguments[0])}s"
    if origin is dict:
        return "table of texts" if arguments[1] is str else "table"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "table"
    names = {bool: "boolean", int: "whole number", float: "number", str: "text", Path: "path"}
    return names.get(kind, str(kind))


def _messages() -> Iterator[str]:
    content = yaml.safe_load((ROOT / "schemas/asyncapi.yaml").read_text())
    messages, channels = content["components"]["messages"], content["channels"]
    yield f"# Messages\n\n{_NOTE}\n{content['info']['description']}\n\n"
    yield "The schemas are in the folder `schemas/json` of the source, the whole in `schemas/asyncapi.yaml`.\n"
    yield "\n## Message types\n\n| type | routing key | schema |\n|---|---|---|\n"
    for message in messages.values():
        schema = message["payload"]["schema"].get("$ref", "")
        key = message.get("x-routing-key", "")
        yield f"| `{message['name']}` | `{key}` | `{schema.removeprefix('./')}` |\n"
    yield "\n## Exchanges and queues\n\n| name | kind | purpose | messages |\n|---|---|---|---|\n"
    for channel in channels.values():
        kind = channel.get("bindings", {}).get("amqp", {})
        is_queue = kind.get("is") == "queue" or not channel.get("address")
        kind = "queue" if is_queue else "exchange"
        keys = sorted(
            messages[one["$ref"].rpartition("/")[2]]["name"].removeprefix("lamplighter.")
            for one in channel.get("messages", {}).values()
        )
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")  # noqa: PLR2004 - a cell's width
        text = " ".join(channel.get("description", "").split())
        yield f"| `{channel.get('address') or 'a queue of the client'}` | {kind} | {text} | {shown} |\n"
    yield "\n## Who sends and receives\n\n| what | channel |\n|---|---|\n"
    for operation in content["operations"].values():
        name = operation["channel"]["$ref"].rpartition("/")[2]
        address = channels[name].get("address") or "a queue of the client"
        yield f"| {operation['summary']} | `{address}` |\n"


def _manual() -> Iterator[str]:
    """The manual page, in the macros of man(7)."""
    yield '.TH LAMPLIGHTER 1 "" "Lamplighter" "User commands"\n.SH NAME\n'
    yield "lamplighter \\- power cloud nodes on and off for Slurm\n.SH SYNOPSIS\n"
    yield ".B lamplighter\n[OPTIONS] COMMAND [ARGS]...\n.SH COMMANDS\n"
    for path, command in commands(cli):
        context = click.Context(command, info_name=" ".join(("lamplighter", *path)))
        words = command.get_usage(context).removeprefix("Usage: ")
        yield f".SS {roff(' '.join(words.split()))}\n"
        for line in _unwrapped(command.help or "").split("\n"):
            yield f"{roff(line)}\n" if line else ".P\n"
        for one in command.params:
            if (found := one.get_help_record(context)) is not None:
                yield f".TP\n.B {roff(found[0])}\n{roff(found[1])}\n"
    yield ".SH EXIT STATUS\n"
    yield "0 success; 1 the result is negative; 2 wrong configuration or command line; 3 broker or store away.\n"
    yield ".SH FILES\n/etc/lamplighter/lamplighter.toml\n"
    yield see_also(*((name, SECTION) for name in PROGRAMS))


def _commands() -> Iterator[str]:
    yield f"# Commands\n\n{_NOTE}"
    for path, command in commands(cli):
        words = " ".join(("lamplighter", *path))
        context = click.Context(command, info_name=words)
        usage = command.get_usage(context).removeprefix("Usage: ")
        yield f"\n## {words}\n\n```text\n{' '.join(usage.split())}\n```\n\n"
        yield f"{_unwrapped(command.help or '')}\n"
        records = [
            found for one in command.params if (found := one.get_help_record(context)) is not None
        ]
        if records:
            yield "\n| option | meaning |\n|---|---|\n"
            for option, meaning in records:
                yield f"| `{_cell(option)}` | {_cell(meaning)} |\n"


def _unwrapped(text: str) -> str:
    """Help text as Markdown: its paragraphs."""
    return inspect.cleandoc(text).replace("\b\n", "").replace("<", "&lt;")


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, each with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, f"{path} lists {name}, and has no such command"  # noqa: S101
            yield from commands(found, (*path, name))


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (ROOT / name).write_text(text)


if __name__ == "__main__":
    main()
