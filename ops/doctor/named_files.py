"""Checks the files that the settings name for workers of this host, and that only their work would miss."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from ops.doctor.access import ENTER, READ, WRITE, User, status_of
from ops.install.units import CONFIG, HIDDEN, STATE, WORKERS_USER
from ops.site.findings import Finding, wrong
from ops.site.kinds import Kind
from producers.addresses import is_loopback
from producers.broker_settings import read_password
from producers.config_file import FILE_NAME
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, is_credential, read_trusted, shown_file
from schemas.roles import Role
from workers.audit.signing import load_signer, public_file
from workers.config.settings import Settings
from workers.config.webhooks import Webhook
from workers.notify.webhook_request import BadSecretError, secrets_from
from workers.tokens.errors import SourceError
from workers.tokens.secret import SecretFile


def of_named_files(settings: Settings) -> Iterator[Finding]:
    """All findings about such files; not those of a worker whose secret at the broker is elsewhere."""
    if runs_here(settings, Role.NOTIFY):
        for webhook in settings.webhooks:
            yield from _of_webhook(settings, webhook)
    if runs_here(settings, Role.CONSOLE):
        yield from _of_console(settings)
    if runs_here(settings, Role.AUDIT):
        yield from _of_audit(settings)
    authorities = {"broker.ca_file": settings.broker.ca_file}
    if runs_here(settings, Role.POWER):
        authorities |= {
            f"clouds.{name}.ca_file": one.ca_file for name, one in settings.clouds.items()
        }
    for key in ("url", "audit_url"):
        named = sa.make_url(getattr(settings.store, key)).query.get("sslrootcert")
        if isinstance(named, str) and named.startswith("/"):
            authorities[f"store.{key}: sslrootcert"] = Path(named)
    for key, path in authorities.items():
        if path is not None:
            yield from closed_to_worker(settings, Kind.RIGHTS, key, path)


def runs_here(settings: Settings, role: Role) -> bool:
    """Whether a worker of this role can run on this host, as far as this user can see."""
    users = settings.broker.users
    return users is None or os.access(users.secret_file(role), os.R_OK)


def closed_to_worker(
    settings: Settings, kind: Kind, key: str, path: Path, *, own: bool = False
) -> Iterator[Finding]:
    """A file that the user of the workers, in its unit as `init` makes it, may not read.

    `own` if it must be its owner.
    """
    worker = _worker(settings)
    status = status_of(path)
    if worker is None or status is None:
        return
    places = path, Path(os.path.realpath(path))
    if hidden := [one for one in HIDDEN if any(place.is_relative_to(one) for place in places)]:
        words = f"{key}: {path}: systemd's units do not see what is in {hidden[0]}"
        yield wrong(kind, words, f"move it to {CONFIG}")
    elif (closed := worker.closed_folder(path)) is not None:
        words = f"{key}: {path}: {worker.name} may not enter {closed}"
        yield wrong(kind, words, f"move it to {CONFIG}, or chmod a+x {closed}")
    elif not worker.may(READ, status):
        give = (
            f"chown {worker.name} {path}; chmod u+r"
            if own
            else f"chgrp {worker.name} {path}; chmod g+r"
        )
        yield wrong(kind, f"{key}: {worker.name} may not read {path}", f"{give} {path}")


def _worker(settings: Settings) -> User | None:
    """The user of the workers on a host that `init` has set up."""
    return User.named(WORKERS_USER) if is_inits(settings.path) else None


def is_inits(config: Path) -> bool:
    """Whether a lamplighter.toml, perhaps by a link, is the one that `init` has put in place."""
    return os.path.realpath(config) == os.path.realpath(CONFIG / FILE_NAME)


def _of_webhook(settings: Settings, webhook: Webhook) -> Iterator[Finding]:
    table, kind = f"notify.webhook {webhook.name}", Kind.NOTIFY_UNREAD
    checks: tuple[tuple[str, Path | None, Callable[[str], object]], ...] = (
        ("secret_file", webhook.secret_file, secrets_from),
        ("url_file", webhook.url_file, webhook.address),
    )
    for field, path, check in checks:
        if path is None or not _is_shown(path):
            continue
        key, remedy = f"{table}: {field}", f"correct {field}, or the file (docs/configuration.md)"
        try:
            check(SecretFile(path).read())
        except SourceError as error:
            yield wrong(kind, f"{key}: {error.message}", remedy)
        except BadSecretError as error:
            yield wrong(kind, f"{key}: {path}: {error}", remedy)
        except ValueError:
            # its text can name the host, which is part of the secret
            yield wrong(kind, f"{key}: {path} has no https:// address that may be used", remedy)
        else:
            yield from closed_to_worker(settings, kind, key, path, own=True)
    ca_file = webhook.ca_file
    if ca_file is not None and _is_shown(ca_file) and not ca_file.is_file():
        yield wrong(kind, f"{table}: ca_file: {ca_file} is not a file", "correct ca_file")


def _of_console(settings: Settings) -> Iterator[Finding]:
    console, kind = settings.console, Kind.CONSOLE
    path, proxy = console.operators_file, console.proxy
    key, add = "console.operators_file", "lamplighter console operator NAME"
    local = is_loopback(console.address()[0])
    needs_login = not local if console.login_to_read is None else console.login_to_read
    if path is not None and _is_shown(path):
        try:
            lines = read_trusted(path, private=True).splitlines()
        except UntrustedFileError as error:
            yield wrong(kind, f"{key}: {error}", f"correct the rights of {path}")
        except (OSError, UnicodeDecodeError) as error:
            words = getattr(error, "strerror", None) or "is not UTF-8 text"
            yield wrong(kind, f"{key}: {shown_file(path)}: {words}", add)
        else:
            yield from closed_to_worker(settings, kind, key, path)
            if proxy is None and all(not one.strip() or one.startswith("#") for one in lines):
                yield wrong(kind, f"{key}: {path} names no operator: nobody can log in", add)
    elif path is None and proxy is None and needs_login:
        words = "console: reading needs a login, and nobody can log in: operators_file is not set"
        yield wrong(kind, words, f"write operators_file in [console]; {add}")
    if proxy is not None and _is_shown(proxy.secret_file):
        key = "console.proxy.secret_file"
        try:
            read_password(proxy.secret_file, key)
        except ConfigError as error:
            yield wrong(kind, str(error), "write the secret that the proxy sends into it")
        else:
            yield from closed_to_worker(settings, kind, key, proxy.secret_file)


def _of_audit(settings: Settings) -> Iterator[Finding]:
    audit, kind, worker = settings.audit, Kind.AUDIT_HEADS, _worker(settings)
    files = ("key_file", audit.key_file, READ), ("heads_file", audit.heads_file, WRITE)
    for key, path, wanted in files:
        file, folder = status_of(path), status_of(path.parent)
        # a new file is created in its folder
        lacks = worker and not (
            worker.may(wanted, file)
            if file
            else folder is None or worker.may(WRITE | ENTER, folder)
        )
        if _is_shown(path.parent) and not path.parent.is_dir():
            words = f"audit.{key}: the folder {path.parent} does not exist"
            yield wrong(kind, words, f"correct {key} in [audit], or create the folder")
        elif worker is not None and lacks and not is_credential(path):
            words = f"audit.{key}: {worker.name} may not {'read' if file and wanted == READ else 'write'} {path}"
            yield wrong(kind, words, f"name a file below {STATE}, or give {worker.name} this right")
    key_file = audit.key_file
    if _is_shown(key_file) and key_file.exists() and public_file(key_file).exists():
        try:
            load_signer(key_file)
        except ConfigError as error:
            yield wrong(kind, str(error), "restore the key, or correct key_file in [audit]")


def _is_shown(path: Path) -> bool:
    """Whether this user can judge it: a credential, or what is closed to this user, its service alone sees."""
    if is_credential(path):
        return False
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return os.access(path, os.R_OK)
