"""What a site answers: from options, from what is on the host, or asked."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa

from ops.install.cloud_entry import asked, read_entry, read_site
from ops.install.place import output_of
from ops.install.site import Site
from ops.install.slurm_conf import SlurmConf
from ops.install.units import DATABASE, PROGRAMS, PROLOG
from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from workers.config.slurm_location import unusual_folder
from workers.slurm.prolog_slots import version_in


def ask_site(
    slurm: SlurmConf,
    broker_url: str,
    options: Mapping[str, Any],
    *,
    ask: bool,
    management_url: str | None = None,
) -> Site:
    """The site.

    `options` are by the name of the command's option; None if not given. `management_url` is that
    of the broker's management API, if it is known. What is missing is asked for, or else an error.

    Raises:
        ConfigError: something is missing or wrong; it names the option.
    """
    nodes = options["nodes"] or ",".join(slurm.cloud_nodes)
    if not nodes:
        raise ConfigError(
            f"{slurm.path}: has no node with State=CLOUD; add NodeName=... State=CLOUD, or give --nodes"
        )
    try:
        expand(nodes)
    except MalformedMessageError as error:
        raise ConfigError(f"--nodes: {error}") from None
    name, wants_secret = options["cloud"], not options["dry_run"]
    _require_together(options)
    if options["fedcloud_site"] is not None:
        file, vo = options["fedcloud_site"], options["vo"]
        entry = read_site(file, vo, name, ask=ask, wants_secret=wants_secret)
    else:
        file, region = options["clouds_yaml"], options["region"]
        entry = read_entry(file, name, region, ask=ask, wants_secret=wants_secret)
    strategy = options["strategy"] or asked(
        "strategy",
        "A node that is off: is its server stopped, shelved or deleted?",
        "delete",
        ask=ask,
        choices=("stop", "shelve", "delete"),
    )
    return Site(
        slurm=slurm,
        entry=entry,
        broker_url=broker_url,
        nodes=nodes,
        strategy=strategy,
        server=_template(options, strategy, ask=ask),
        store=_store(options["store"]),
        management_url=management_url,
        insecure=options["insecure"],
        slurm_bin=unusual_folder(slurm.path),
        prolog=_prolog(slurm, answer=options["prolog"]),
        slurm_version=version_in(output_of(("slurmctld", "-V"))),
    )


def _prolog(slurm: SlurmConf, *, answer: bool | None) -> bool:
    """Whether jobs wait in lamplighter-prolog: where the site says so, or slurm.conf has it already."""
    if answer is not None:
        return answer
    return str(PROGRAMS / PROLOG) in slurm.values.get("prologslurmctld", "").split(",")


def _require_together(options: Mapping[str, Any]) -> None:
    """Check that no option is given that another one would make useless."""
    if options["fedcloud_site"] is None and options["vo"] is not None:
        raise ConfigError("--vo: is of a site of EGI; name its file with --fedcloud-site")
    if options["fedcloud_site"] is not None and options["region"] is not None:
        raise ConfigError("--region: is for clouds.yaml; a site's file names its own")


def _store(url: str | None) -> str | None:
    """PostgreSQL's address with a user for each role, whose password a file holds."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        kind = sa.make_url(url).get_backend_name()
    except (ValueError, sa.exc.ArgumentError):
        kind = ""
    fields = parse_qs(parts.query) if kind == "postgresql" else {}
    # without its name, libpq takes the user's: each role would have a database of its own
    if kind != "postgresql" or not (parts.path.strip("/") or {"dbname", "service"} & fields.keys()):
        raise ConfigError(
            "--store: write postgresql://HOST/DATABASE?sslmode=verify-full; for SQLite, leave it out"
        )
    netloc, query = parts.netloc, parts.query
    if "@" not in netloc:
        netloc = f"lamplighter_{{role}}@{netloc}"
    if "{role}" in netloc and "passfile" not in fields:
        query = f"{query}{'&' if query else ''}passfile={DATABASE}/{{role}}.pgpass"
    # the driver that comes with Lamplighter
    return parts._replace(scheme="postgresql+psycopg", netloc=netloc, query=query).geturl()


def _template(
    options: Mapping[str, Any], strategy: str, *, ask: bool
) -> Mapping[str, str | tuple[str, ...]]:
    """The template of servers: needed to delete and create them, and to deploy them."""
    if strategy != "delete" and not options["image"]:
        if options["flavor"] or options["networks"]:
            raise ConfigError("--image: is missing; --flavor and --network need it")
        return {}
    image = options["image"] or asked("image", "Image of the servers (name or id)?", None, ask=ask)
    flavor = options["flavor"] or asked("flavor", "Flavor of the servers?", None, ask=ask)
    return {"image": image, "flavor": flavor, "networks": options["networks"] or ("auto",)}
