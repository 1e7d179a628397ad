"""Clouds as OpenStack's own tools define them: clouds.yaml, and secure.yaml beside it.

Shape: https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html. Secrets stay
there: the settings hold where they are, and the token service reads them anew for each login.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from producers.settings import ConfigError
from schemas.names import shown
from workers.config.yaml_file import parse_yaml, read_yaml, shaped

FIELDS = frozenset({"clouds_yaml", "cloud"})
# Those who keep secrets apart keep them there; what it says comes first.
SECURE = "secure.yaml"
Kind: TypeAlias = Literal["application_credential", "password"]
_KINDS: Mapping[str, Kind] = {
    "v3applicationcredential": "application_credential",
    "v3password": "password",
    "password": "password",
}


class _Auth(msgspec.Struct, frozen=True):
    auth_url: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    user_id: str | None = None
    username: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    application_credential_id: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    auth: _Auth
    auth_type: str = "password"
    region_name: str | None = None
    interface: str | None = None
    cacert: str | None = None
    verify: bool = True


class _CloudsFile(msgspec.Struct, frozen=True):
    clouds: dict[str, Any]


class _Secrets(msgspec.Struct, frozen=True):
    password: str | None = None
    application_credential_secret: str | None = None


class _SecretEntry(msgspec.Struct, frozen=True):
    auth: _Secrets = _Secrets()


def entry_defaults(path: Path, name: str) -> dict[str, Any]:
    """What an entry says of a cloud, as fields of the table [clouds.NAME] but for `source`.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    entry, place = _entry(path, name), _place(path, name)
    if entry.auth.auth_url is None:
        raise ConfigError(f"{place}.auth.auth_url: is missing")
    if not entry.verify:
        raise ConfigError(
            f"{place}.verify: certificates are always verified; name the authority in cacert"
        )
    _identity(entry, place, "")  # what it lacks is told now, not at the first login
    url = entry.auth.auth_url.rstrip("/")
    project = _project(entry.auth, place) if _kind(entry, place) == "password" else {}
    fields = {
        "auth_url": url if url.endswith("/v3") else f"{url}/v3",
        "region": entry.region_name,
        "interface": entry.interface and entry.interface.removesuffix("URL"),
        "ca_file": entry.cacert,
        **project,
    }
    return {key: value for key, value in fields.items() if value is not None}


def entry_kind(path: Path, name: str) -> Kind:
    """How an entry logs in.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    return _kind(_entry(path, name), _place(path, name))


def entry_identity(path: Path, name: str, secret: str) -> dict[str, Any]:
    """An entry as the `identity` of a login at Keystone.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    return _identity(_entry(path, name), _place(path, name), secret)


def secret_file(path: Path) -> Path:
    """Where an entry's secret is: secure.yaml where there is one beside, else the file itself."""
    secure = path.with_name(SECURE)
    return secure if secure.exists() else path


def entry_secret(text: str, path: Path, name: str, kind: Kind) -> str | None:
    """The secret of an entry; None where it has none.

    Args:
        text: of the file, read with its permissions checked.
        path: of the file, for errors.
        name: the entry's.
        kind: how it logs in.

    Raises:
        ConfigError: the file is not of this shape.
    """
    entry = parse_yaml(text, path, _CloudsFile).clouds.get(name, {})
    auth = shaped(entry, _place(path, name), _SecretEntry).auth
    return auth.password if kind == "password" else auth.application_credential_secret


def _entry(path: Path, name: str) -> _Entry:
    clouds = read_yaml(path, _CloudsFile).clouds
    if name not in clouds:
        known = ", ".join(clouds) or "none"
        raise ConfigError(f"{path}: clouds: there is no {shown(name)}; it has {known}")
    return shaped(clouds[name], _place(path, name), _Entry)


def _place(path: Path, name: str) -> str:
    return f"{path}: clouds.{name}"


def _kind(entry: _Entry, place: str) -> Kind:
    kind = _KINDS.get(entry.auth_type)
    if kind is None:
        raise ConfigError(
            f"{place}.auth_type: {shown(entry.auth_type)} cannot be taken from clouds.yaml"
            f" (only {', '.join(_KINDS)}); write [clouds.NAME.source] in lamplighter.toml instead"
        )
    return kind


def _identity(entry: _Entry, place: str, secret: str) -> dict[str, Any]:
    kind = _kind(entry, place)
    if kind == "application_credential":
        return {
            "methods": [kind],
            kind: {"id": _credential_id(entry.auth, place), "secret": secret},
        }
    return {"methods": [kind], kind: {"user": {**_user(entry.auth, place), "password": secret}}}


def _credential_id(auth: _Auth, place: str) -> str:
    if auth.application_credential_id is None:
        raise ConfigError(
            f"{place}.auth.application_credential_id: is missing; its name alone does not do"
        )
    return auth.application_credential_id


def _user(auth: _Auth, place: str) -> Mapping[str, Any]:
    if auth.user_id is not None:
        return {"id": auth.user_id}
    if auth.username is None:
        raise ConfigError(f"{place}.auth.username: is missing")
    if (domain_id := auth.user_domain_id or auth.domain_id) is not None:
        return {"name": auth.username, "domain": {"id": domain_id}}
    domain_name = auth.user_domain_name or auth.domain_name
    if domain_name is None:
        raise ConfigError(f"{place}.auth.user_domain_name: is missing; often it is Default")
    return {"name": auth.username, "domain": {"name": domain_name}}


def _project(auth: _Auth, place: str) -> dict[str, Any]:
    if auth.project_id is not None:
        return {"project_id": auth.project_id}
    if auth.project_name is None:
        raise ConfigError(f"{place}.auth.project_id: is missing")
    if auth.project_domain_name is None and auth.project_domain_id not in {None, "default"}:
        raise ConfigError(
            f"{place}.auth.project_domain_id: say project_id, or project_domain_name beside"
        )
    # Keystone's first domain has this id and this name
    return {
        "project_name": auth.project_name,
        "project_domain": auth.project_domain_name or "Default",
    }
