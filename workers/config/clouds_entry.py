"""The content of an entry of clouds.yaml, with that of secure.yaml, before openstacksdk resolves it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from producers.settings import ConfigError
from schemas.names import shown
from workers.config.yaml_file import read_yaml, shaped

# How an entry logs in.
Kind: TypeAlias = Literal["application_credential", "password"]
# Sites that keep secrets apart keep them in this file; its values take precedence.
_SECURE = "secure.yaml"


class EntryRef(NamedTuple):
    """An entry of a clouds.yaml, and the region that lamplighter.toml chooses, if any."""

    file: Path
    name: str
    region: str | None = None

    @property
    def place(self) -> str:
        """File and field, for errors."""
        return f"{self.file}: clouds.{self.name}"

    @property
    def secret_file(self) -> Path:
        """Where a new secret belongs: secure.yaml if it exists, else clouds.yaml."""
        secure = self.file.with_name(_SECURE)
        return secure if secure.exists() else self.file


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


class _Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    values: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True):
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

    @property
    def region_names(self) -> list[str] | None:
        """The names in `regions`."""
        if self.regions is None:
            return None
        return [region if isinstance(region, str) else region.name for region in self.regions]

    @property
    def region_name_list(self) -> list[str] | None:
        """The names in `region_name`, which may be several."""
        given = self.region_name
        return given.split(",") if isinstance(given, str) else given


class _CloudsFile(msgspec.Struct, frozen=True):
    clouds: dict[str, Any] = {}


def content_of(entry: EntryRef, *, secure: bool = True) -> dict[str, Any]:
    """What the files say of an entry, in the shape of Entry; without `secure`, clouds.yaml alone.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    clouds = read_yaml(entry.file, _CloudsFile).clouds
    if entry.name not in clouds:
        known = ", ".join(clouds) or "none"
        raise ConfigError(f"{entry.file}: clouds: has no {shown(entry.name)}; it has {known}")
    content = clouds[entry.name]
    file = entry.file.with_name(_SECURE)
    # like openstacksdk, a process that may not read secure.yaml does without it
    if secure and os.access(file, os.R_OK):
        content = _merged(content, read_yaml(file, _CloudsFile).clouds.get(entry.name, {}))
    content = {"auth": {}, **shaped(content, entry.place, dict[str, Any])}
    if "cloud" in content:
        content = {"profile": content.pop("cloud"), **content}  # the key's older name
    shape_of(content, entry.place)
    return content


def shape_of(content: Mapping[str, Any], place: str) -> Entry:
    """The checked fields of an entry or of a vendor profile; unknown fields are ignored.

    Raises:
        ConfigError: naming `place`, field and remedy.
    """
    return shaped({key.replace("-", "_"): value for key, value in content.items()}, place, Entry)


def _merged(old: object, new: object) -> object:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}
