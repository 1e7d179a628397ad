"""Any lamplighter.toml ends in settings or in one named error: file, table, field, what is allowed."""

from __future__ import annotations

import copy
import difflib
import json
import re
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers import settings as producers_settings
from producers.settings import (
    BROKER_FIELDS,
    HOOK_FIELDS,
    USERS_FIELDS,
    ConfigError,
    hook_settings,
)
from workers.config import clouds_yaml, fedcloud
from workers.config.problems import alternatives, fields_of
from workers.config.settings import Settings, _File, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# On SQLite: the settings are read, no store is opened.

Key: TypeAlias = tuple[tuple[str | int, ...], str, str]

WHOLE: Mapping[str, Any] = {
    "cluster": "vespa",
    "broker": {"url": "amqp://me@localhost/v", "password_file": "pw"},
    "hooks": {"spool": "spool", "state": "state", "log_file": "log"},
    "slurm": {"resume_timeout": 600, "bin": "/usr/bin", "return_after": 300.0},
    "resync": {"grace": 30.0},
    "store": {"url": "sqlite:///state.db"},
    "audit": {"key_file": "key"},
    "power": {"lease": 60.0, "prefetch": 5},
    "tokens": {"allowed_users": ["a"]},
    "clouds": {
        "c": {
            "auth_url": "https://cloud/v3",
            "project_id": "p",
            "source": {"type": "password", "username": "u", "password_file": "f"},
        }
    },
    "groups": {
        "g": {
            "nodes": "node[1-3]",
            "cloud": "c",
            "server": {"image": "i", "flavor": "f", "metadata": {"a": "b"}},
        }
    },
    "notify": {"webhook": [{"name": "n", "url": "https://h/p", "events": ["failed"]}]},
    "console": {"proxy": {"address": "127.0.0.1", "header": "X-User", "secret_file": "s"}},
    "metrics": {"listen": "127.0.0.1:9464"},
    "log": {"level": "info"},
}


def toml(value: object) -> str:
    """A value in TOML's notation."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


def document(content: Mapping[str, Any]) -> bytes:
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in content.items()).encode()


def outcome(content: bytes, folder: Path) -> Settings | str:
    path = folder / "lamplighter.toml"
    path.write_bytes(content)
    try:
        return load(path, {})
    except ConfigError as error:
        text = str(error)
        assert str(path) in text
        assert text.isprintable()
        return text.removeprefix(f"{path}: ")


def all_keys(shape: Any, at: tuple[str | int, ...] = (), kind: str = "") -> Iterator[Key]:  # noqa: ANN401 - a type
    """Every key of a table, and of those in it: where it is, its name, and the table's `type`."""
    for one in alternatives(shape):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            tag = str(one.__struct_config__.tag or kind)
            yield from ((at, name, tag) for name in fields_of(one))
            for name, field in fields_of(one).items():
                yield from all_keys(field.type, (*at, name), tag)
        elif get_origin(one) is dict and at[-1] in {"clouds", "groups"}:
            yield from all_keys(get_args(one)[1], (*at, at[-1][:1]), kind)
        elif get_origin(one) is tuple:
            yield from all_keys(get_args(one)[0], (*at, 0), kind)


# What the hooks read without msgspec; the keys that name other files of a cloud.
OTHER_TABLES = {
    ("broker",): BROKER_FIELDS,
    ("broker", "users"): USERS_FIELDS,
    ("hooks",): HOOK_FIELDS,
    ("clouds", "c"): sorted(fedcloud.FIELDS | clouds_yaml.FIELDS),
}
ALL_KEYS: list[Key] = [
    *all_keys(_File),
    *((at, name, "") for at, names in OTHER_TABLES.items() for name in names),
]


def misspelt(key: str) -> str:
    """With the last letters exchanged, or doubled."""
    end = key[-2:][::-1]
    return f"{key[:-2]}{end}" if end != key[-2:] else f"{key}{key[-1]}"


def with_typo(at: tuple[str | int, ...], key: str, kind: str) -> Mapping[str, Any]:
    """WHOLE, with a key misspelt."""
    whole: Any = copy.deepcopy(WHOLE)
    table = whole
    for name in at:
        if not isinstance(table, list):
            table.setdefault(name, {})
        table = table[name]
    if at[-1:] == ("source",):  # another source has other keys
        table.clear()
        table["type"] = kind
    table[misspelt(key)] = table.pop(key, 1)
    return whole  # type: ignore[no-any-return]  # a table


@pytest.mark.parametrize(("at", "key", "kind"), ALL_KEYS, ids=str)
def test_a_typo_in_any_key_is_named_with_the_keys_that_are_allowed(
    folder: Path, at: tuple[str | int, ...], key: str, kind: str
) -> None:
    """At the start of each program: by the wrong key, its table, and the right one."""
    found = outcome(document(with_typo(at, key, kind)), folder)
    place = "".join(f"[{one + 1}]" if isinstance(one, int) else f".{one}" for one in at)
    name = f"{place}.{misspelt(key)}".removeprefix(".")
    assert isinstance(found, str), f"{name} was not noticed"
    assert found.startswith(f"{name}: is unknown; "), found
    allowed = found.partition("allowed here: ")[2].split(", ")
    assert key in allowed
    if near := difflib.get_close_matches(misspelt(key), allowed, 1):
        assert f"did you mean {near[0]}?" in found


def test_every_table_of_the_file_is_swept() -> None:
    """No table is added, and then forgotten by the test of typos."""
    swept = {(at, kind) for at, _, kind in ALL_KEYS}
    for table in ("clouds", "groups", "console", "notify"):
        assert any(at[:1] == (table,) for at, _ in swept)
    kinds = {kind for at, kind in swept if at == ("clouds", "c", "source")}
    assert {"password", "application_credential", "oidc_refresh_token"} < kinds
    assert {("broker", "users"), ("console", "proxy"), ("groups", "g", "server")} < {
        at for at, _ in swept
    }


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.one_of(
        texts,
        st.integers(),
        st.floats(),
        st.booleans(),
        st.dates(),
        st.sampled_from(["n[1-99999999]", "http://[", "\0", "1" * 400, "x[" * 60]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def places(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all values in the document, tables included."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [place for key, one in items for place in ((*at, key), *places(one, (*at, key)))]


def replaced(value: Any, place: tuple[str | int, ...], new: object) -> Any:  # noqa: ANN401 - any TOML
    if not place:
        return new
    copy: Any = value.copy()
    copy[place[0]] = replaced(copy[place[0]], place[1:], new) if place[1:] else new
    return copy


# They hold a secret, name its file, print it, or may contain it.
SECRET_KEYS = re.compile(
    r"(?:password|secret|token|key|credential|operators|url)(?:_file|_command|s)*$"
)
SECRET_PLACES = [
    place for place in places(WHOLE) if isinstance(place[-1], str) and SECRET_KEYS.search(place[-1])
] + [
    ("clouds", "c", "source", "password_command"),
    ("console", "operators_file"),
    ("notify", "webhook", 0, "secret_file"),
    ("notify", "webhook", 0, "url_file"),
    ("broker", "key_file"),
    ("tokens", "key_file"),
]


@pytest.mark.parametrize("place", SECRET_PLACES, ids=str)
@pytest.mark.parametrize(
    "value", [918273645, 91827.3645, ["918273645"], [918273645], {"a": "918273645"}], ids=str
)
def test_a_secret_of_a_wrong_type_is_not_repeated(
    folder: Path, place: tuple[str | int, ...], value: object
) -> None:
    found = outcome(document(replaced(WHOLE, place, value)), folder)
    assert "91827" not in str(found) if isinstance(found, str) else "_command" in str(place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: each replaces the file."""
    return tmp_path_factory.mktemp("settings")


@given(content=st.binary(max_size=300))
@example(content=b"a = " + b"[" * 5000)
@example(content=b"a = " + b"9" * 5000)
def test_any_bytes_end_in_a_named_error(folder: Path, content: bytes) -> None:
    assert isinstance(outcome(content, folder), str | Settings)


@given(place=st.sampled_from(places(WHOLE)), new=values)
@example(place=("power", "lease"), new=float("inf"))
@example(place=("store", "url"), new="sqlite:///\0")
@example(place=("hooks", "spool"), new="\0")
@example(place=("slurm", "bin"), new="\0")
@example(place=("groups", "g", "nodes"), new="n[1-99999]x[1-99999]")
@example(place=("groups",), new={"a.b": {"nodes": 1}})
def test_any_value_at_any_place_ends_in_settings_or_a_named_error(
    folder: Path, place: tuple[str | int, ...], new: object
) -> None:
    found = outcome(document(replaced(WHOLE, place, new)), folder)
    if isinstance(found, str):
        # the error is about this table, or about one that refers to it
        assert found.startswith((*map(str, place[:1]), "groups", "power", "slurm")), found


def test_the_whole_example_is_valid(tmp_path: Path) -> None:
    assert isinstance(outcome(document(WHOLE), tmp_path), Settings)


def test_the_byte_order_mark_of_an_editor_is_no_error(tmp_path: Path) -> None:
    assert isinstance(outcome(b"\xef\xbb\xbf" + document(WHOLE), tmp_path), Settings)


@pytest.mark.parametrize(
    ("place", "new", "words"),
    [
        (("pwer",), {}, "pwer: is unknown; did you mean power? allowed here: cluster, dry_run,"),
        (("broker", "pasword_file"), "x", "broker.pasword_file: is unknown; did you mean pass"),
        (("hooks", "spol"), "x", "hooks.spol: is unknown; did you mean spool? allowed here: s"),
        (("power", "x\x1b[2J"), 1, "power.'x\\x1b[2J': is unknown; allowed here: prefetch, p"),
        (
            ("groups", "g", "server", "flavour"),
            "m1",
            "groups.g.server.flavour: is unknown; did you mean flavor? allowed here: image, fl",
        ),
        (("groups", "g", "server"), {"image": "i"}, "groups.g.server.flavor: is missing; write fl"),
        (("groups", "a b"), {}, "groups.'a b'.nodes: is missing; write nodes = "),
        (("groups", "g", "server", "metadata", "a"), 1, "groups.g.server.metadata.a: must be a st"),
        (("groups", "g", "cloud"), "d", "groups.g.cloud: [clouds.d] is missing; there is c"),
        (("clouds", "c", "fedcloud_sit"), "x", "clouds.c.fedcloud_sit: is unknown; did you mean f"),
        (("clouds", "c", "source", "typ"), "x", "clouds.c.source.typ: is unknown; did you mean t"),
        (
            ("clouds", "c", "source", "type"),
            "oidc",
            'clouds.c.source.type: \'oidc\'; write one of "password", "application_credential",',
        ),
        (("clouds", "c", "source"), {}, "clouds.c.source.type: is missing; write one of"),
        (("clouds", "c"), 5, "clouds.c: must be a table: write [clouds.c]"),
        (("log", "level"), "loud", 'log.level: must be one of "debug", "info", "warning", "error"'),
        (("power", "prefetch"), 0, "power.prefetch: must be a whole number at least 1 and at most"),
        (("power", "lease"), 1.0, "power: lease must be at least twice api_timeout"),
        (("audit", "keep"), 3600.0, "audit.keep: is 3600 s, and power.keep_outcomes 2592000 s: an"),
        (("power", "keep_outcomes"), 15_552_000.0, "audit.keep: is 15552000 s, and power.keep_out"),
        (("power", "lease"), "1", "power.lease: must be a number above 0 and at most 315,360,0"),
        (("resync", "delete_strays"), 1, "resync.delete_strays: must be true or false, not 1"),
        (("notify", "webhook", 0, "nam"), "x", "notify.webhook[1].nam: is unknown; did you mean n"),
        (("console", "proxy", "adress"), "x", "console.proxy.adress: is unknown; did you mean a"),
        (("tokens", "allowed_users"), "me", "tokens.allowed_users: must be a list: write [...]"),
    ],
)
def test_an_error_names_table_and_field_and_what_is_allowed(
    tmp_path: Path, place: tuple[str | int, ...], new: object, words: str
) -> None:
    content: Any = WHOLE
    for key in place[:-1]:
        content = content[key]
    whole = {**content, place[-1]: new} if isinstance(content, dict) else new
    found = outcome(document(replaced(WHOLE, place[:-1], whole)), tmp_path)
    assert isinstance(found, str)
    assert found.startswith(words)


def test_hooks_refuse_an_unknown_field_of_their_tables_too(tmp_path: Path) -> None:
    path = tmp_path / "lamplighter.toml"
    for name in ("broker", "hooks"):
        path.write_bytes(document({**WHOLE, name: {**WHOLE[name], "stat": "x"}}))
        with pytest.raises(ConfigError, match=rf"{name}\.stat: is unknown; .*allowed here"):
            hook_settings(path)


def test_hooks_and_workers_know_the_same_tables() -> None:
    assert set(producers_settings.TOP_LEVEL) == set(_File.__struct_fields__)


GROUP: tuple[str | int, ...] = ("groups", "g")


@pytest.mark.parametrize(
    ("place", "new", "words"),
    [
        ((*GROUP, "hostname"), "$foo.example.org", "only $node is filled in"),
        ((*GROUP, "hostname"), "${node}.example.org", "only $node is filled in"),
        ((*GROUP, "hostname"), "of $node", "hostname must be a host name"),
        ((*GROUP, "server", "networks"), ["auto", "slurm"], '["auto"], ["none"], or names'),
        ((*GROUP, "server", "networks"), ["slurm", "none"], '["auto"], ["none"], or names'),
        ((*GROUP, "server", "networks"), [], '["auto"], ["none"], or names'),
        ((*GROUP, "server", "networks"), [""], "networks[1]: must be a string, not an empty text"),
        *(
            (place, "", f"{'.'.join(place)}: must be a string, not an empty text")
            for place in (
                *(("groups", "g", "server", name) for name in ("image", "flavor", "key_name")),
                ("groups", "g", "server", "availability_zone"),
                ("groups", "g", "network"),
                ("clouds", "c", "project_id"),
                ("clouds", "c", "source", "username"),
                ("tokens", "service_user"),
            )
        ),
        (("clouds", "c", "auth_url"), "https://:5000/v3", "auth_url names no host"),
        (("clouds", "c", "auth_url"), "https://h:99999/v3", "auth_url is not a URL"),
        (("broker", "management_url"), "15672", "broker.management_url: names no host"),
        (("broker", "management_url"), 15672, "broker.management_url: must be a string"),
        (
            ("notify", "webhook"),
            [{"name": "n", "url": "https://h:swordfish/p", "events": ["failed"]}],
            "notify.webhook[1]: url is not a URL: correct its host or its port",
        ),
        ((*GROUP, "ip_version"), 5, "ip_version: must be one of 4, 6, not 5"),
        *(
            (
                ("store", name),
                url,
                f"{name} must begin with sqlite:///FILE or postgresql+psycopg://",
            )
            for name in ("url", "audit_url")
            for url in ("sqlite:///", "sqlite:///?x=1", "postgresql+asyncpg://h/d", "mysql://h/d")
        ),
        (("tokens", "key_file"), "", "must be a path, not an empty text"),
        (("slurm", "conf"), "a\0b", "must be a path, not an empty text, or one with control"),
    ],
    ids=str,
)
def test_what_can_never_work_is_refused_when_it_is_read(
    folder: Path, place: tuple[str | int, ...], new: object, words: str
) -> None:
    """Otherwise each boot fails of it, or Slurm never gets an address."""
    found = outcome(document(placed(WHOLE, place, new)), folder)
    assert isinstance(found, str)
    assert found.startswith(str(place[0]))
    assert words in found


@pytest.mark.parametrize(
    ("place", "name", "other"),
    [
        (("audit", "heads_file"), "a.key", "audit.key_file"),
        (("audit", "heads_file"), "t.key", "tokens.key_file"),
        (("audit", "key_file"), "t.key", "tokens.key_file"),
        (("hooks", "log_file"), "a.heads", "audit.heads_file"),
        (("store", "url"), "sqlite:///a.heads", "audit.heads_file"),
        (("store", "audit_url"), "sqlite:///lamplighter.toml", "lamplighter.toml"),
    ],
)
def test_a_file_with_two_uses_is_refused_with_both(
    folder: Path, place: tuple[str, str], name: str, other: str
) -> None:
    """The log's heads, appended to a key, end the token service; in a store, they damage it."""
    own = {"audit": {"key_file": "a.key", "heads_file": "a.heads"}, "tokens": {"key_file": "t.key"}}
    good = {**WHOLE, **own}
    assert isinstance(outcome(document(good), folder), Settings)
    found = outcome(document(placed(good, place, name)), folder)
    assert isinstance(found, str)
    assert found.startswith(f"{'.'.join(place)}: ")
    assert f"the same file as {other};" in found


def test_state_and_audit_log_may_share_a_file(folder: Path) -> None:
    store = {"url": "sqlite:///l.db", "audit_url": "sqlite:///l.db"}
    assert isinstance(outcome(document({**WHOLE, "store": store}), folder), Settings)


@pytest.mark.parametrize("port", ["99999", "0", "-1", "80a", "\u0663", "s3cr3t/x@h"])
@pytest.mark.parametrize(
    "place",
    [
        ("clouds", "c", "auth_url"),
        ("broker", "management_url"),
        ("notify", "webhook", 0, "url"),
    ],
    ids=str,
)
def test_an_address_without_a_usable_port_is_refused_when_it_is_read(
    folder: Path, place: tuple[str | int, ...], port: str
) -> None:
    """At each call it would be an outage of the service. What looks like a port can be a password."""
    found = outcome(document(replaced(WHOLE, place, f"https://x:{port}/v3")), folder)
    assert isinstance(found, str)
    assert found.startswith(str(place[0]))
    assert "is not a URL: correct its host or its port" in found
    assert "s3cr3t" not in found


def placed(value: Any, place: tuple[str | int, ...], new: object) -> Any:  # noqa: ANN401 - any TOML
    """As `replaced`, where nothing needs to be there."""
    if not place:
        return new
    return {**value, place[0]: placed(value.get(place[0], {}), place[1:], new)}
