"""Reads clouds as fedcloud users define them: EGI's site files and fedcloud's environment variables.

https://github.com/tdviet/fedcloudclient and https://github.com/EGI-Federation/fedcloud-catchall-operations
describe such files: `gocdb`, `endpoint`, optionally `region`, `protocol` and `auth`, and
`vos: [{name, auth: {project_id, region}}]`. A site with `auth: v3applicationcredential` has no federated
login: the credential knows its project, and a VO may have a region only.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from producers.settings import ConfigError
from schemas.fields import shown
from workers.config.yaml_file import read_yaml, shaped, unreadable

FIELDS = frozenset({"fedcloud_site", "site", "vo"})
_SUFFIXES = {".yaml", ".yml"}
_OWN_PROJECT = "application_credential"
_OWN_SCOPE = frozenset({"project_id", "project_name"})


_Name = Annotated[str, msgspec.Meta(pattern=r"\A\S+\Z", max_length=255)]


class _VoAuth(msgspec.Struct, frozen=True):
    project_id: _Name | None = None
    region: str | None = None


class _Vo(msgspec.Struct, frozen=True):
    name: str
    auth: _VoAuth = _VoAuth()


class _Site(msgspec.Struct, frozen=True):
    """A site; each VO is checked alone, when it is chosen: an odd one spoils no other."""

    gocdb: str
    endpoint: str
    region: str | None = None
    protocol: str | None = None
    auth: str | None = None
    vos: list[Any] = []

    @property
    def vo_names(self) -> list[object]:
        """Of all VOs; None for an odd one."""
        return [entry.get("name") if isinstance(entry, dict) else None for entry in self.vos]


def site_defaults(
    table: Mapping[str, Any], folder: Path, environ: Mapping[str, str], where: str
) -> dict[str, Any]:
    """The fields of the table [clouds.NAME] that a site file gives.

    Args:
        table: holds `fedcloud_site`, a site file or a folder of site files; `site` (else
            $FEDCLOUD_SITE) selects one in a folder; `vo` (else $FEDCLOUD_VO, $EGI_VO) the project.
        folder: where relative paths start.
        environ: environment variables.
        where: file and table, for errors.

    Returns:
        `auth_url`, `project_id`, and `region` and `protocol` if the file has them.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    path = folder / text_of(table, "fedcloud_site", where)
    name = partial(_named, table, environ=environ, where=where)
    # unlike Path.is_dir, it raises nothing
    if os.path.isdir(path):  # noqa: PTH112
        found = _in_folder(path, name("site", ("FEDCLOUD_SITE",)))
    else:
        found = [(path, read_yaml(path, _Site))]
    vo = name("vo", ("FEDCLOUD_VO", "EGI_VO"))
    path, site = _only(path, found, vo)
    auth = _vo_auth(path, site, vo)
    source = table.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if site.auth == "v3applicationcredential" and kind != _OWN_PROJECT:
        raise ConfigError(
            f"{where}.source: {site.gocdb} takes application credentials only (auth in {path}):"
            f' write type = "{_OWN_PROJECT}"; for init, make one there, and name a clouds.yaml with it'
        )
    if auth.project_id is None and kind != _OWN_PROJECT and not _OWN_SCOPE & table.keys():
        raise ConfigError(
            f"{where}.project_id: is missing: {path} has none for VO {shown(vo)};"
            ' write it there, or project_id = "..." here'
        )
    defaults = {
        "auth_url": versioned(site.endpoint),
        "project_id": auth.project_id,
        "region": auth.region or site.region,
        "protocol": site.protocol,
    }
    return {key: value for key, value in defaults.items() if value is not None}


def _vo_auth(path: Path, site: _Site, vo: str) -> _VoAuth:
    """What a site file says of a VO."""
    names = site.vo_names
    if names.count(vo) > 1:
        raise ConfigError(f"{path}: vos: {site.gocdb} has VO {shown(vo)} twice; remove one")
    if vo not in names:
        known = ", ".join(map(str, filter(None, names))) or "none"
        raise ConfigError(f"{path}: vos: {site.gocdb} has no VO {shown(vo)}; it has {known}")
    place = f"{path}: vos: VO {shown(vo)}"
    return shaped(site.vos[names.index(vo)], place, _Vo).auth


def environment_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """The fields in the environment variables of fedcloud and OpenStack; secrets are not read."""
    names = {
        "auth_url": "OS_AUTH_URL",
        "project_id": "OS_PROJECT_ID",
        "identity_provider": "OS_IDENTITY_PROVIDER",
        "protocol": "OS_PROTOCOL",
    }
    given = {field: environ[name] for field, name in names.items() if environ.get(name)}
    if "auth_url" in given:
        given["auth_url"] = versioned(given["auth_url"])
    return given


def _in_folder(folder: Path, wanted: str) -> list[tuple[Path, _Site]]:
    """The files in a folder that describe a site; one with two Keystones has a file for each."""
    found, known, odd = [], [], []
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise unreadable(folder, error) from None
    for path in files:
        try:
            site = read_yaml(path, _Site)
        except ConfigError as error:
            odd.append(str(error))
            continue
        known.append(site.gocdb)
        if site.gocdb == wanted:
            found.append((path, site))
    if not found:
        raise ConfigError(
            f"{folder}: no file describes the site {shown(wanted)};"
            f" it has {', '.join([*known, *odd]) or 'none'}"
        )
    return found


def _only(folder: Path, found: list[tuple[Path, _Site]], vo: str) -> tuple[Path, _Site]:
    """The one file that describes a VO; any if none does."""
    with_vo = [(path, site) for path, site in found if vo in site.vo_names]
    if len(with_vo) > 1:
        files = ", ".join(path.name for path, _ in with_vo)
        raise ConfigError(
            f"{folder}: {files} describe VO {shown(vo)}; name one of them in fedcloud_site"
        )
    return (with_vo or found)[0]


def text_of(table: Mapping[str, Any], field: str, where: str) -> str:
    """A field that must be a string; ConfigError if it is not, or is empty."""
    value = table[field]
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f'{where}.{field}: must be a string: write {field} = "..."')
    return value


def _named(
    table: Mapping[str, Any],
    field: str,
    names: tuple[str, ...],
    environ: Mapping[str, str],
    where: str,
) -> str:
    if field in table:
        return text_of(table, field, where)
    for name in names:
        if environ.get(name):
            return environ[name]
    raise ConfigError(f'{where}.{field}: is missing: write {field} = "..." or set {names[0]}')


def versioned(url: str) -> str:
    """Keystone's address with its version: some files give only the root, or where it gives tokens.

    Raises:
        ConfigError: it is not a URL.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        raise ConfigError(f"{shown(url)} is not a URL: write https://HOST:5000/v3") from None
    root = path.rstrip("/").removesuffix("/auth/tokens")
    url = url if root == path.rstrip("/") else url.rstrip("/").removesuffix("/auth/tokens")
    last = root.rpartition("/")[2]
    return url if last.startswith("v") and last[1:2].isdigit() else f"{url.rstrip('/')}/v3"
