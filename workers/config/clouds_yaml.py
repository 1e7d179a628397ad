"""Reads clouds as OpenStack's own tools define them: entries of clouds.yaml, with secure.yaml beside it.

openstacksdk resolves an entry, so each key means what it means to `openstack --os-cloud`:
https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html. A key that Lamplighter
cannot honour is an error. Secrets stay in these files: the settings never hold them, and the token
service reads them again for each login. Each function raises ConfigError, naming file, field and remedy.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from producers.settings import ConfigError
from schemas.fields import shown
from workers.config.clouds_entry import (
    CloudsYamlEntry,
    EntryRef,
    Kind,
    SeveralRegionsError,
    content_of,
    kind_of,
    require_usable,
)
from workers.config.fedcloud import versioned

FIELDS = frozenset({"clouds_yaml", "cloud"})
_SECRETS: Mapping[Kind, str] = {
    "application_credential": "application_credential_secret",
    "password": "password",
}
# Put in place of secrets, so that no setting and no error can repeat one.
_MASK = dict.fromkeys((*_SECRETS.values(), "passcode", "token"), "-")


def usual_places(environ: Mapping[str, str]) -> list[Path]:
    """Where OpenStack's tools look for clouds.yaml, in their order."""
    from openstack.config.loader import CONFIG_FILES  # noqa: PLC0415 - 0.3 s, for few sites

    named = environ.get("OS_CLIENT_CONFIG_FILE")
    return [Path(one) for one in ([named] if named else []) + CONFIG_FILES]


def entry_defaults(entry: EntryRef) -> tuple[Kind, dict[str, Any]]:
    """How an entry logs in, and the fields of the table [clouds.NAME] that it gives."""
    kind, config, login = _checked(entry)
    fields = {
        "auth_url": versioned(login["auth_url"]),
        "region": config["region_name"],
        "interface": config["interface"],
        "ca_file": _authority(config),
        **(_project(entry, login) if kind == "password" else {}),
    }
    return kind, {key: value for key, value in fields.items() if value}


def entry_identity(entry: EntryRef, secret: str) -> dict[str, Any]:
    """An entry as the `identity` of a login at Keystone, with `secret` as its secret."""
    kind, _, login = _checked(entry)
    if kind == "password":
        return {"methods": [kind], kind: {"user": {**_user(login), "password": secret}}}
    name = {"id": login.get("application_credential_id")}
    if not name["id"]:
        name = {"name": login["application_credential_name"], "user": _user(login)}
    return {"methods": [kind], kind: {**name, "secret": secret}}


def entry_secret(entry: EntryRef) -> tuple[Path, str] | None:
    """The file that holds an entry's secret, and the secret; None if the entry has none."""
    content = content_of(entry)
    kind = kind_of(entry, _resolved(entry, content, _MASK))

    def secret_in(content: dict[str, Any]) -> str | None:
        secret = _login(_resolved(entry, content, {})).get(_SECRETS[kind])
        return secret if isinstance(secret, str) else None

    secret = secret_in(content)
    if not secret:
        return None
    alone = secret_in(content_of(entry, secure=False))
    return (entry.file if alone == secret else entry.secret_file), secret


def _checked(entry: EntryRef) -> tuple[Kind, dict[str, Any], dict[str, Any]]:
    """An entry whose keys are supported and complete, and its login; without its secret."""
    config = _resolved(entry, content_of(entry), _MASK)
    login = _login(config)
    return require_usable(entry, config, login), config, login


def _login(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a login, which may also be outside `auth`."""
    return {**config, **config["auth"]}


def _resolved(entry: EntryRef, content: dict[str, Any], mask: Mapping[str, str]) -> dict[str, Any]:
    """The entry with openstacksdk's defaults, its vendor profile and its region's values."""
    from openstack.config import OpenStackConfig  # noqa: PLC0415 - 0.3 s, for few sites

    content = _with_chosen_region(entry, content)
    try:
        sdk = OpenStackConfig(load_yaml_config=False, load_envvars=False)
        sdk.cloud_config = {"clouds": {entry.name: content}}
        given: dict[str, Any] = {"region_name": entry.region or "", "auth": mask, **mask}
        config: dict[str, Any] = sdk.get_one(entry.name, validate=False, **given).config
    except Exception as error:  # noqa: BLE001 - it checks no types
        # the error's own text may quote the file
        raise ConfigError(
            f"{entry.place}: openstacksdk does not accept this entry ({type(error).__name__});"
            f" `openstack --os-cloud {entry.name} configuration show` may say why"
        ) from None
    CloudsYamlEntry.of(config, entry.place)  # a profile or a region may have changed it
    # the older spelling is publicURL
    return {**config, "interface": config["interface"] and config["interface"].removesuffix("URL")}


def _with_chosen_region(entry: EntryRef, content: dict[str, Any]) -> dict[str, Any]:
    """`content` for openstacksdk, which by itself takes the first of several regions."""
    shape = CloudsYamlEntry.of(content, entry.place)
    field, names = shape.named_regions()
    if shape.profile is not None:
        profile = _profile(entry, shape.profile)
        field, names = (field, names) if names else ("profile", profile.named_regions()[1])
    if not names:
        return content
    if entry.region is None and len(names) > 1:
        raise SeveralRegionsError(entry, field, names)
    if entry.region is None:
        return content
    # lamplighter.toml may replace a single region_name
    if entry.region not in names and (field != "region_name" or len(names) > 1):
        known = ", ".join(map(shown, names))
        raise entry.wrong(field, f"has no region {shown(entry.region)}; it has {known}")
    return {**content, "region_name": entry.region} if field == "region_name" else content


def _profile(entry: EntryRef, name: str) -> CloudsYamlEntry:
    """A vendor profile; openstacksdk would fetch some of them from the network."""
    from openstack.config import vendors  # noqa: PLC0415 - as above

    found = vendors.get_profile(name) if name in vendors.profiles() else None
    if found is None or "profile" in found:
        raise entry.wrong(
            "profile",
            f"openstacksdk has no complete profile {shown(name)}, and none is fetched from the"
            " network; write auth_url and region_name into the entry instead",
        )
    return CloudsYamlEntry.of(found, f"profile {name}")


def _user(login: Mapping[str, Any]) -> dict[str, Any]:
    if login.get("user_id"):
        return {"id": login["user_id"]}
    by_id = login.get("user_domain_id")
    domain = {"id": by_id} if by_id else {"name": login["user_domain_name"]}
    return {"name": login["username"], "domain": domain}


def _authority(config: Mapping[str, Any]) -> str | None:
    if config["cacert"]:
        # unlike Path.expanduser, it leaves the "~name" of an unknown user as it is
        return os.path.expanduser(str(config["cacert"]))  # noqa: PTH111
    return config["verify"] if isinstance(config["verify"], str) else None


def _project(entry: EntryRef, login: Mapping[str, Any]) -> dict[str, str]:
    if login.get("project_id"):
        return {"project_id": login["project_id"]}
    domain = login.get("project_domain_name")
    if not domain and login["project_domain_id"] != "default":
        problem = "is not supported; write project_id, or add project_domain_name"
        raise entry.wrong("auth.project_domain_id", problem)
    # Keystone's first domain has the id default and the name Default
    return {"project_name": login["project_name"], "project_domain": domain or "Default"}
