"""Reads the content of an entry of clouds.yaml and secure.yaml, and checks the resolved entry."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec

from producers.settings import ConfigError
from producers.trust import is_there
from schemas.fields import shown
from workers.config.yaml_file import read_yaml, shaped

# How an entry logs in.
Kind: TypeAlias = Literal["application_credential", "password"]
# Sites that keep secrets apart keep them in this file; its values take precedence.
_SECURE = "secure.yaml"
_KINDS: Mapping[object, Kind] = {
    "v3applicationcredential": "application_credential",
    "v3password": "password",
    "password": "password",
}
_INTERFACES = {None, "public", "internal", "admin"}
# openstacksdk reads each as a user's and a project's domain or name.
_DOMAINS = ("domain_id", "domain_name", "tenant_id", "tenant_name", "passcode", "token")
_UNSUPPORTED = ("cert", "trust_id", "system_scope")
# Words of YAML for true and false. In quotes they are text: openstacksdk takes them as the name of a file,
# and as `insecure` all but "true" as false.
_TRUE, _FALSE = frozenset({"yes", "on", "y", "1"}), frozenset({"false", "no", "off", "n", "0"})
_QUOTED = {
    "verify": ({"true", *_TRUE, *_FALSE}, "certificates are always verified: remove it"),
    "cacert": ({"true", *_TRUE, *_FALSE}, "write the path of a file"),
    "insecure": (_TRUE, "write true or false, without quotes"),
}


class EntryRef(NamedTuple):
    """An entry of a clouds.yaml, and the region that lamplighter.toml chooses, if any."""

    file: Path
    name: str
    region: str | None = None

    @property
    def place(self) -> str:
        """File and field, for errors."""
        return f"{self.file}: clouds.{self.name}"

    def wrong(self, field: str, problem: str) -> ConfigError:
        """The error that names file, field and problem."""
        return ConfigError(f"{self.place}.{field}: {problem}")

    @property
    def secret_file(self) -> Path:
        """Where a new secret belongs: secure.yaml if it exists, else clouds.yaml."""
        secure = self.file.with_name(_SECURE)
        return secure if is_there(secure) else self.file


class _Auth(msgspec.Struct, frozen=True):
    """The fields that YAML may read as a number or as false, unless they are quoted."""

    auth_url: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    user_id: str | None = None
    username: str | None = None
    password: str | None = None
    application_credential_id: str | None = None
    application_credential_name: str | None = None
    application_credential_secret: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None


class _Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    values: dict[str, Any] = {}


class CloudsYamlEntry(msgspec.Struct, frozen=True):
    """The fields of an entry whose types are checked; openstacksdk checks none."""

    auth: _Auth = _Auth()
    auth_type: str | None = None
    region_name: str | list[str] | None = None
    regions: list[str | _Region] | None = None
    interface: str | None = None
    endpoint_type: str | None = None
    cacert: str | None = None
    verify: bool | str | None = None
    insecure: bool | str | None = None
    profile: str | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any], place: str) -> Self:
        """The checked fields of an entry or of a vendor profile; unknown fields are ignored.

        Raises:
            ConfigError: naming `place`, field and remedy.
        """
        made = shaped({key.replace("-", "_"): value for key, value in content.items()}, place, cls)
        for field, (words, remedy) in _QUOTED.items():
            value = getattr(made, field)
            if isinstance(value, str) and value.lower() in words:
                raise ConfigError(f"{place}.{field}: {shown(value)} is text; {remedy}")
        return made

    def named_regions(self) -> tuple[str, list[str]]:
        """The field with the regions, and their names."""
        if self.regions is not None:
            return "regions", [r if isinstance(r, str) else r.name for r in self.regions]
        names = self.region_name or []
        return "region_name", names.split(",") if isinstance(names, str) else names


class SeveralRegionsError(ConfigError):
    """An entry has several regions, of which lamplighter.toml names none.

    Attributes:
        names: of the regions.
    """

    def __init__(self, entry: EntryRef, field: str, names: Sequence[str]) -> None:
        known = ", ".join(map(shown, names))
        problem = (
            f"has several regions ({known}); name one in lamplighter.toml:"
            ' write region = "..." in the table of this cloud'
        )
        super().__init__(str(entry.wrong(field, problem)))
        self.names = tuple(names)


class _CloudsFile(msgspec.Struct, frozen=True):
    clouds: dict[str, Any] = {}


def content_of(entry: EntryRef, *, secure: bool = True) -> dict[str, Any]:
    """What the files say of an entry, in the shape of Entry; without `secure`, clouds.yaml alone.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    clouds = read_yaml(entry.file, _CloudsFile, secret=True).clouds
    if entry.name not in clouds:
        known = ", ".join(clouds) or "none"
        raise ConfigError(f"{entry.file}: clouds: has no {shown(entry.name)}; it has {known}")
    content = clouds[entry.name]
    file = entry.file.with_name(_SECURE)
    # like openstacksdk, a process that may not read secure.yaml does without it
    if secure and is_there(file, os.R_OK):
        secrets = read_yaml(file, _CloudsFile, secret=True).clouds
        content = _merged(content, secrets.get(entry.name, {}))
    content = {"auth": {}, **shaped(content, entry.place, dict[str, Any])}
    if "cloud" in content:
        content = {"profile": content.pop("cloud"), **content}  # the key's older name
    CloudsYamlEntry.of(content, entry.place)
    return content


def ignored_keys(entry: EntryRef) -> list[str]:
    """The keys of an entry that mean nothing to Lamplighter; those of `auth` with this prefix.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    content = content_of(entry)
    auth = content.get("auth")
    of_auth = {key.replace("-", "_") for key in auth} if isinstance(auth, dict) else set()
    known = {*_Auth.__struct_fields__, *_DOMAINS}
    top = {key.replace("-", "_") for key in content}
    own = {*CloudsYamlEntry.__struct_fields__, *known}
    strange = [key for key in sorted(top - own) if not key.endswith("_api_version")]
    return [*strange, *(f"auth.{key}" for key in sorted(of_auth - known))]


def kind_of(entry: EntryRef, config: Mapping[str, Any]) -> Kind:
    """How a resolved entry logs in.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    kind = _KINDS.get(config["auth_type"])
    if kind is None:
        raise entry.wrong(
            "auth_type",
            f"{shown(config['auth_type'])} is not supported (only {', '.join(map(str, _KINDS))});"
            " write [clouds.NAME.source] in lamplighter.toml instead; init takes a refresh token of EGI"
            " Check-in with --fedcloud-site (docs/egi.md)",
        )
    return kind


def require_usable(entry: EntryRef, config: Mapping[str, Any], login: Mapping[str, Any]) -> Kind:
    """How a resolved entry logs in; it has no key that Lamplighter cannot honour, and lacks none.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    kind = kind_of(entry, config)
    if config.get("insecure") or not config["verify"]:
        raise entry.wrong(
            "insecure" if config.get("insecure") else "verify",
            "certificates are always verified; remove it, and name the authority in cacert",
        )
    if config["interface"] not in _INTERFACES:
        raise entry.wrong("interface", "must be public, internal or admin")
    for field in _UNSUPPORTED:
        if login.get(field):
            raise entry.wrong(field, "is not supported; remove it")
    _require_complete(entry, kind, login)
    return kind


def _require_complete(entry: EntryRef, kind: Kind, login: Mapping[str, Any]) -> None:
    def require(field: str, *others: str, hint: str = "") -> None:
        if not any(login.get(name) for name in (field, *others)):
            raise entry.wrong(f"auth.{field}", f"is missing{hint}")

    default = "; often it is Default"
    require("auth_url")
    if kind == "password":
        own = login.get("application_credential_id") or login.get("application_credential_name")
        by_credential = "; for an application credential, write auth_type: v3applicationcredential"
        require("username", "user_id", hint=by_credential if own else "")
        require("project_id", "project_name")
        if not login.get("project_id"):
            require("project_domain_name", "project_domain_id", hint=default)
    elif not login.get("application_credential_name"):
        require("application_credential_id")
    elif not login.get("application_credential_id"):
        require("username", "user_id")
    if login.get("username"):
        require("user_domain_name", "user_domain_id", hint=default)


def _merged(old: object, new: object) -> object:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}
