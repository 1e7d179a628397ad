"""What a site answers: from options, from what is on the host, or asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import msgspec
import sqlalchemy as sa

from ops.install.site import Group, Site
from ops.install.slurm_conf import SlurmConf
from ops.install.units import CONFIG, DATABASE, PROGRAMS
from producers.hosts import expand
from producers.settings import ConfigError
from workers.config.clouds_entry import EntryRef
from workers.config.clouds_yaml import entry_defaults, entry_identity, entry_secret
from workers.config.yaml_file import read_yaml
from workers.store.database import DIALECTS

# Where openstackclient looks for clouds.yaml, in its order.
_CLOUDS_YAML = (
    Path("clouds.yaml"),
    Path("~/.config/openstack/clouds.yaml"),
    Path("/etc/openstack/clouds.yaml"),
)


class _CloudsYaml(msgspec.Struct, frozen=True):
    clouds: dict[str, object] = {}


def ask_site(
    slurm: SlurmConf, broker_url: str, options: Mapping[str, Any], *, ask: bool
) -> tuple[Site, str | None]:
    """The site, and the secret of its cloud's login.

    Args:
        slurm: what slurm.conf says.
        broker_url: the broker's address.
        options: by the name of the command's option; None if not given.
        ask: whether to ask for what is missing; otherwise it is an error.

    Raises:
        ConfigError: something is missing or wrong; it names the option.
    """
    nodes = options["nodes"] or ",".join(slurm.cloud_nodes)
    if not nodes:
        raise ConfigError(
            f"{slurm.path}: has no node with State=CLOUD; add NodeName=... State=CLOUD, or give --nodes"
        )
    expand(nodes)
    entry = _entry(options["clouds_yaml"], options["cloud"], ask=ask)
    kind, fields = entry_defaults(entry)
    secret = entry_secret(entry)
    strategy = options["strategy"] or _asked(
        "strategy",
        "A node that is off: is its server stopped, shelved or deleted?",
        "delete",
        ask=ask,
        choices=("stop", "shelve", "delete"),
    )
    group = Group(nodes, entry.name, strategy, _template(options, strategy, ask=ask))
    source = _source(kind, entry)
    site = Site(
        cluster=slurm.cluster,
        slurm=slurm,
        broker_url=broker_url,
        cloud=fields,
        source=source,
        group=group,
        programs=PROGRAMS,
        store=_store(options["store"]),
        insecure=options["insecure"],
    )
    return site, secret[1] if secret else None


def _entry(file: Path | None, name: str | None, *, ask: bool) -> EntryRef:
    """The entry of clouds.yaml."""
    paths = [file] if file else [path.expanduser() for path in _CLOUDS_YAML]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise ConfigError(
            f"--clouds-yaml: no file {' or '.join(map(str, paths))}; name clouds.yaml"
        )
    names = sorted(read_yaml(found, _CloudsYaml).clouds)
    if name is None and len(names) > 1:
        question = f"Which entry of {found}?"
        name = _asked("cloud", question, None, ask=ask, choices=tuple(names))
    return EntryRef(found.absolute(), name or (names or [""])[0])


def _store(url: str | None) -> str | None:
    """The database's address with a user for each role, whose password a file holds; SQLite's as it is."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        kind = sa.make_url(url).get_backend_name()
    except (ValueError, sa.exc.ArgumentError):
        kind = ""
    if kind not in DIALECTS:
        raise ConfigError("--store: write postgresql://HOST/DATABASE?sslmode=verify-full")
    if kind != "postgresql":
        return url
    netloc, query = parts.netloc, parts.query
    if "@" not in netloc:
        netloc = f"lamplighter_{{role}}@{netloc}"
    if "{role}" in netloc and "passfile" not in parse_qs(query):
        query = f"{query}{'&' if query else ''}passfile={DATABASE}/{{role}}.pgpass"
    # the driver that comes with Lamplighter
    return parts._replace(scheme="postgresql+psycopg", netloc=netloc, query=query).geturl()


def _template(
    options: Mapping[str, Any], strategy: str, *, ask: bool
) -> Mapping[str, str | tuple[str, ...]]:
    """The template of servers: needed to delete and create them, and to deploy them."""
    if strategy != "delete" and not options["image"]:
        return {}
    image = options["image"] or _asked("image", "Image of the servers (name or id)?", None, ask=ask)
    flavor = options["flavor"] or _asked("flavor", "Flavor of the servers?", None, ask=ask)
    return {"image": image, "flavor": flavor, "networks": options["networks"] or ("auto",)}


def _source(kind: str, entry: EntryRef) -> Mapping[str, object]:
    """The login's fields; its secret goes into a file of the token service's."""
    identity = entry_identity(entry, "-")
    secret_file = f"{CONFIG}/cloud.secret"
    if kind == "application_credential":
        credential = identity["application_credential"]
        if "id" not in credential:
            raise ConfigError(
                f"{entry.place}: gives the application credential by name; "
                "give application_credential_id"
            )
        return {"type": kind, "id": credential["id"], "secret_file": secret_file}
    user = identity["password"]["user"]
    if "name" not in user:
        raise ConfigError(f"{entry.place}: gives the user by id; give username")
    domain = user.get("domain", {}).get("name", "Default")
    fields = {"type": kind, "username": user["name"], "user_domain": domain}
    return fields | {"password_file": secret_file}


def _asked(
    option: str,
    question: str,
    default: str | None,
    *,
    ask: bool,
    choices: tuple[str, ...] = (),
) -> str:
    if not ask:
        if default is None:
            raise ConfigError(f"--{option}: is needed with --yes; {question}")
        return default
    kind = click.Choice(choices) if choices else None
    return str(click.prompt(question, default=default, type=kind))
