"""Completes the tables [clouds.NAME] from fedcloud's site files, clouds.yaml and the environment.

lamplighter.toml takes precedence, then the file that it names, then environment variables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from producers.settings import ConfigError
from producers.toml_table import shown_key
from producers.trust import beside
from workers.config import clouds_yaml, fedcloud
from workers.config.clouds_entry import EntryRef

_SCOPE = ("project_id", "project_name")
# Fields of a federated login, which belong to its source.
_FEDERATED = ("identity_provider", "protocol")


def completed_clouds(path: Path, tables: object, environ: Mapping[str, str]) -> object:
    """The table [clouds] of lamplighter.toml with the fields that other files and the environment add.

    Later checks report a value that is not a table.

    Raises:
        ConfigError: naming file, field and remedy.
    """
    if not isinstance(tables, dict):
        return tables
    return {
        name: _completed(path, name, table, environ) if isinstance(table, dict) else table
        for name, table in tables.items()
    }


def _completed(
    path: Path, name: str, table: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    where, folder = f"{path}: clouds.{shown_key(name)}", path.parent
    if "fedcloud_site" in table and "clouds_yaml" in table:
        raise ConfigError(f"{where}: give either fedcloud_site or clouds_yaml")
    for names_file, fields in (
        ("fedcloud_site", fedcloud.FIELDS),
        ("clouds_yaml", clouds_yaml.FIELDS),
    ):
        for field in sorted(fields & set(table)) if names_file not in table else ():
            raise ConfigError(f"{where}.{field}: belongs to {names_file}; write that too")
    if "clouds_yaml" in table:
        return _from_clouds_yaml(table, folder, name, where)
    more: dict[str, Any] = fedcloud.environment_defaults(environ)
    own = dict(table)
    if "fedcloud_site" in table:
        # the environment's project may be another site's
        more = {key: value for key, value in more.items() if key in _FEDERATED}
        more |= fedcloud.site_defaults(table, folder, environ, where)
        own = {key: value for key, value in table.items() if key not in fedcloud.FIELDS}
    return _merged(own, more)


def _from_clouds_yaml(
    table: Mapping[str, Any], folder: Path, name: str, where: str
) -> dict[str, Any]:
    if "source" in table:
        problem = "clouds_yaml defines the login already; remove one of them"
        raise ConfigError(f"{where}.source: {problem}")
    given, region = (
        fedcloud.text_of(table, field, where) if field in table else None
        for field in ("cloud", "region")
    )
    file = fedcloud.text_of(table, "clouds_yaml", where)
    entry = EntryRef(beside(folder, Path(file)), given or name, region)
    kind, more = clouds_yaml.entry_defaults(entry)
    own = {key: value for key, value in table.items() if key not in clouds_yaml.FIELDS}
    source = {"type": "clouds_yaml", "file": file, "entry": entry.name, "kind": kind}
    if region is not None:
        source["region"] = region
    return _merged({**own, "source": source}, more)


def _merged(own: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `own`, and those of `more` that it lacks."""
    source = own.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    federated = isinstance(kind, str) and kind.startswith("oidc_")
    scoped = kind == "application_credential" or any(key in own for key in _SCOPE)
    taken = {
        key: value
        for key, value in more.items()
        if key not in _FEDERATED and not (scoped and key.startswith("project_"))
    }
    merged = {**taken, **own}
    if federated and isinstance(source, dict):
        login = {key: more[key] for key in _FEDERATED if key in more}
        merged["source"] = {**login, **source}
    return merged
