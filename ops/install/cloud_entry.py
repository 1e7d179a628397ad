"""What `init` takes over from an entry of clouds.yaml: the login, its secret and its certificate."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec

from ops.install.units import CLOUD_CA, CLOUD_SECRET
from producers.disk import read_file, user_name
from producers.settings import ConfigError
from workers.config.clouds_entry import EntryRef, Kind, SeveralRegionsError, ignored_keys
from workers.config.clouds_yaml import (
    entry_defaults,
    entry_identity,
    entry_secret,
    usual_places,
)
from workers.config.fedcloud import site_defaults
from workers.config.yaml_file import read_yaml

# Certificates below them are this host's own, which its packages renew, and all users may read.
_SYSTEM = (Path("/etc"), Path("/usr"))
_LARGEST = 2**20
# EGI Check-in's.
_EGI = "https://aai.egi.eu/auth/realms/egi/protocol/openid-connect/token"


class _CloudsYaml(msgspec.Struct, frozen=True):
    clouds: dict[str, object] = {}


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """A cloud as its entry describes it.

    Attributes:
        name: of the entry.
        fields: of the table [clouds.NAME].
        source: the fields of its table `source`, which names the file for the secret.
        secret: of the login; None if the file is there already, or in a dry run.
        certificate: the authorities that sign the cloud's certificate, PEM; None for the system's.
        ignored: the entry's keys that mean nothing here.
    """

    name: str
    fields: Mapping[str, object]
    source: Mapping[str, object]
    secret: str | None = field(repr=False)
    certificate: str | None
    ignored: tuple[str, ...]


def read_entry(
    file: Path | None, name: str | None, region: str | None, *, ask: bool, wants_secret: bool = True
) -> CloudEntry:
    """The entry of clouds.yaml; asks for what it lacks, if it may; for the secret only if it is wanted.

    Raises:
        ConfigError: something is missing or not supported; it names the key or the option.
    """
    entry = _chosen(file, name, region, ask=ask)
    try:
        kind, fields = entry_defaults(entry)
    except SeveralRegionsError as error:
        region = asked(
            "region", f"Which region of {entry.place}?", None, ask=ask, choices=error.names
        )
        entry = entry._replace(region=region)
        kind, fields = entry_defaults(entry)
    ca_file, certificate = _certificate(entry, fields.get("ca_file"))
    if ca_file is not None:
        fields = {**fields, "ca_file": ca_file}
    source = _source(kind, entry)
    secret = _secret(kind, entry, ask=ask, wanted=wants_secret)
    return CloudEntry(entry.name, fields, source, secret, certificate, tuple(ignored_keys(entry)))


def read_site(
    file: Path, vo: str | None, name: str | None, *, ask: bool, wants_secret: bool = True
) -> CloudEntry:
    """A VO's project at a site of EGI, as fedcloud's site file describes it, with a refresh token.

    Raises:
        ConfigError: something is missing or not supported; it names the option or the file.
    """
    # unlike Path.is_dir, it raises nothing
    if os.path.isdir(file):  # noqa: PTH112
        raise ConfigError(f"--fedcloud-site: {file} is a folder; name the file of your site in it")
    source = {"type": "oidc_refresh_token", "refresh_token_file": str(CLOUD_SECRET)}
    vo = vo or asked("vo", f"Which virtual organisation of {file}?", None, ask=ask)
    table = {"fedcloud_site": str(file.absolute()), "vo": vo, "source": source}
    fields = site_defaults(table, file.absolute().parent, {}, "--fedcloud-site")
    protocol = {"protocol": found} if (found := fields.pop("protocol", None)) else {}
    source = {**source, "token_endpoint": _EGI, **protocol}
    secret = None
    if wants_secret and not CLOUD_SECRET.exists():
        if not ask:
            raise ConfigError(f"--yes: put the refresh token into {CLOUD_SECRET} first, mode 0600")
        secret = str(click.prompt(f"refresh token of a member of {vo}", hide_input=True))
    return CloudEntry(name or file.stem.lower(), fields, source, secret, None, ())


def _chosen(file: Path | None, name: str | None, region: str | None, *, ask: bool) -> EntryRef:
    places = [file] if file else usual_places(os.environ)
    # unlike Path.is_file, it raises nothing
    found = next(filter(os.path.isfile, places), None)
    if found is None:
        there = file or f"clouds.yaml in {', '.join(dict.fromkeys(str(p.parent) for p in places))}"
        raise ConfigError(
            f"--clouds-yaml: there is no file {there} that {user_name()} may look at; name clouds.yaml"
        )
    names = sorted(read_yaml(found, _CloudsYaml, secret=True).clouds)
    if name is None and len(names) > 1:
        question = f"Which entry of {found}?"
        name = asked("cloud", question, None, ask=ask, choices=tuple(names))
    return EntryRef(found.absolute(), name or (names or [""])[0], region)


def _certificate(entry: EntryRef, name: object) -> tuple[str | None, str | None]:
    """The setting ca_file, and the content to write there; None if it stays where it is.

    The token service may not read below /home and /root (ProtectHome=). openstacksdk takes a relative
    name from the working folder.
    """
    if name is None:
        return None, None
    path = Path(str(name))
    if path.is_absolute() and any(path.is_relative_to(folder) for folder in _SYSTEM):
        return str(path), None
    places = dict.fromkeys((path.absolute(), entry.file.parent / path))
    found = next((one for one in places if one.is_file()), path)
    try:
        certificate = read_file(found, _LARGEST).decode()
    except OSError as error:
        raise entry.wrong("cacert", f"{found}: {error.strerror}; name a file of PEM") from None
    except UnicodeDecodeError:
        raise entry.wrong("cacert", f"{found} is not a file of PEM") from None
    if "PRIVATE KEY-----" in certificate:  # it is shown, and written for all workers
        raise entry.wrong(
            "cacert", f"{found} holds a private key; name a file of certificates alone"
        )
    return str(CLOUD_CA), certificate


def _source(kind: Kind, entry: EntryRef) -> Mapping[str, object]:
    """The login's fields; its secret goes into a file of the token service's."""
    identity = entry_identity(entry, "-")
    if kind == "application_credential":
        credential = identity[kind]
        if "id" not in credential:
            raise entry.wrong(
                "auth.application_credential_name",
                "is not taken over; give application_credential_id",
            )
        return {"type": kind, "id": credential["id"], "secret_file": str(CLOUD_SECRET)}
    user = identity["password"]["user"]
    if "name" not in user:
        raise entry.wrong("auth.user_id", "is not taken over; give username")
    domain = user["domain"]
    # Keystone's first domain has the id default and the name Default
    if domain.get("id", "default") != "default":
        raise entry.wrong("auth.user_domain_id", "is not taken over; give user_domain_name instead")
    fields = {"type": kind, "username": user["name"], "user_domain": domain.get("name", "Default")}
    return fields | {"password_file": str(CLOUD_SECRET)}


def _secret(kind: Kind, entry: EntryRef, *, ask: bool, wanted: bool) -> str | None:
    """The secret; None if an earlier run has put it in place, or nobody wants it."""
    key = "password" if kind == "password" else "application_credential_secret"
    found = entry_secret(entry)
    if found is not None and found[1] != found[1].strip():
        raise entry.wrong(
            f"auth.{key}",
            "begins or ends with white space, which its file cannot hold; choose another",
        )
    if found is not None:
        return found[1]
    if not wanted or CLOUD_SECRET.exists():
        return None
    if not ask:
        raise entry.wrong(f"auth.{key}", f"is missing; write it, or put it into {CLOUD_SECRET}")
    return str(click.prompt(f"{key} of {entry.place}", hide_input=True))


def asked(
    option: str, question: str, default: str | None, *, ask: bool, choices: tuple[str, ...] = ()
) -> str:
    """The answer to a question; without asking its default, or ConfigError, naming the option."""
    if not ask:
        if default is None:
            among = f" ({', '.join(choices)})" if choices else ""
            raise ConfigError(f"--{option}: is needed with --yes; {question}{among}")
        return default
    kind = click.Choice(choices) if choices else None
    return str(click.prompt(question, default=default, type=kind))
