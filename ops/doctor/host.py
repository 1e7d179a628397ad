"""Checks the files and folders of this host."""

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from ops.doctor.access import ENTER, READ, WRITE, User, start_of, status_of
from ops.doctor.disks import of_disk, of_space
from ops.install.units import AUDIT
from ops.site.findings import Finding, fixable, note, of_spools, wrong
from ops.site.kinds import Kind
from ops.site.spooled import spools
from producers.addresses import is_loopback
from producers.broker_settings import BrokerSettings
from producers.disk import user_name
from producers.settings import HookSettings
from producers.trust import place_problem
from schemas.roles import Role
from workers.config.settings import Settings

_GROUP_OR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IROTH | stat.S_IWOTH
# The first bytes of its files ("Database File Format").
_SQLITE = b"SQLite format 3\0"
# How the hooks' user is kept from a store.
_CONFINE = {
    "store.url": "its workers need that; with PostgreSQL each role has its part (docs/security.md)",
    "store.audit_url": f"move the audit log to {AUDIT} (docs/operations.md)",
}


def of_host(settings: Settings, slurm_user: str | None) -> Iterator[Finding]:
    """The files that lamplighter.toml names, and the folders of the hooks.

    Without SlurmUser this is not the hooks' host.
    """
    user = None if slurm_user is None else User.named(slurm_user)
    yield from of_secrets(settings)
    yield from of_stores(settings, user)
    if user is not None:
        yield from of_hooks(settings.hook, settings.path, user)
    if slurm_user is None:
        yield from _unshared(settings)


def _unshared(settings: Settings) -> Iterator[Finding]:
    """SQLite's store on a host of workers: that of the workers beside slurmctld is another file."""
    here = all(is_loopback(urlsplit(url).hostname) for url in settings.broker.urls)
    if here or settings.slurm.feedback is False or not settings.store.url.startswith("sqlite"):
        return
    words = "store.url is a file of SQLite on this host: the workers on slurmctld's host use another one"
    remedy = (
        "name PostgreSQL in [store] on every host (docs/operations.md), or stop the workers here"
    )
    yield wrong(Kind.STORE_UNSHARED, words, remedy)


def _can_change(user: User, path: Path) -> bool:
    """Whether a user can change or replace the file of another one; root may change any."""
    file, folder = status_of(path), status_of(path.parent)
    if user.uid == 0 or file is None or folder is None or file.st_uid == user.uid:
        return False
    return user.may(WRITE, file) or user.may(WRITE | ENTER, folder)


def has_spool(hook: HookSettings) -> bool:
    """Whether there is a spool on this host, as far as this user can see."""
    return status_of(hook.spool) is not None


def of_hooks(hook: HookSettings, config: Path, user: User) -> Iterator[Finding]:
    """What the hooks, which run as SlurmUser, need."""
    for key, path in (("hooks.spool", hook.spool), ("hooks.state", hook.state)):
        yield from _folder(key, path, user)
        yield from of_space(key, path)
        # both controllers of a pair use one clock
        yield from of_disk(key, path, shared=key == "hooks.state")
    if hook.log_file is not None and status_of(hook.log_file) is None:
        yield from _folder("hooks.log_file", hook.log_file.parent, user, hook.log_file)
    elif hook.log_file is not None and hook.log_file.is_dir():
        words = f"hooks.log_file: {hook.log_file} is a folder"
        yield wrong(Kind.UNWRITABLE, words, "name a file in it")
    for file, key in _read_by_hooks(hook, config).items():
        yield from _file(key, file, user, READ)
    yield from _file("hooks.log_file", hook.log_file, user, WRITE)
    yield from of_spools(spools(hook))


def _read_by_hooks(hook: HookSettings, config: Path) -> dict[Path | None, str]:
    """The files that a hook needs to send its call, each with its key."""
    broker = replace(hook.broker, role=Role.HOOK)
    field, secret = broker.password_source
    files = {config: "lamplighter.toml", secret: field, broker.ca_file: "broker.ca_file"}
    if broker.certificate is not None:
        key, *pair = broker.certificate
        files |= dict.fromkeys(pair, key)
    return files


def _file(key: str, path: Path | None, user: User, wanted: int) -> Iterator[Finding]:
    """Whether the user may read, or write, a file that is there."""
    status = status_of(path)
    if path is None or status is None:
        return
    verb, letter = ("readable", "r") if wanted == READ else ("writable", "w")
    kind = Kind.UNREADABLE if wanted == READ else Kind.UNWRITABLE
    if (closed := user.closed_folder(path)) is not None:
        yield _closed(key, path, closed, user)
    elif not user.may(wanted, status):
        yield wrong(
            kind,
            f"{key}: {path} is not {verb} for {user.name}, as whom the hooks run",
            f"chgrp it to a group of {user.name}, and chmod g+{letter}; then restart slurmctld",
        )


def _closed(key: str, path: Path, folder: Path, user: User) -> Finding:
    words = f"{key}: {path}: {user.name} may not enter {folder}"
    return wrong(Kind.FOLDER, words, f"chgrp it to a group of {user.name}, and chmod g+x {folder}")


def _folder(key: str, path: Path, user: User, file: Path | None = None) -> Iterator[Finding]:
    """Whether the user can use a folder of its own, or make this file in one that others may use, too."""
    private = file is None
    try:
        status = path.stat()
    except OSError as error:
        words = f"{key}: {path}: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            yield fixable(Kind.FOLDER, words, "install", "-d", "-m", "0700", "-o", user.name, path)
        else:
            yield wrong(Kind.FOLDER, words, f"let {user.name} enter the folders above it")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield wrong(Kind.FOLDER, f"{key}: {path} is not a folder", f"move it away, or change {key}")
    elif (closed := user.closed_folder(path)) is not None:
        yield _closed(key, path, closed, user)
    elif not user.may(READ | WRITE | ENTER if private else WRITE | ENTER, status):
        give = f"chown {user.name} {path}; chmod u+rwx {path}"
        yield wrong(
            Kind.FOLDER,
            f"{key}: {path} cannot be read and written by {user.name}, as whom the hooks run",
            give if private else f"install -m 0640 -o {user.name} /dev/null {file}",
        )
    elif private and (problem := place_problem(path)) is not None:
        what, _, remedy = problem.partition(": ")
        yield wrong(Kind.FOLDER, f"{key}: {path} {what}", remedy)
    elif private and status.st_mode & stat.S_IWOTH:
        words = f"{key}: every user can write to {path}"
        if status.st_uid == user.uid and not status.st_mode & stat.S_ISVTX:
            yield fixable(Kind.FOLDER, words, "chmod", "0700", path)
        else:  # /tmp, or what others use too
            yield wrong(Kind.FOLDER, words, f"name a folder of {user.name}'s own in {key}")


def _broker_secrets(broker: BrokerSettings) -> dict[str, Path | None]:
    if broker.users is None:
        return dict([broker.password_source])
    return {f"broker.users ({role})": broker.users.secret_file(role) for role in Role}


def of_secrets(settings: Settings) -> Iterator[Finding]:
    """Files with secrets that other users can read, or that others than their owner can change."""
    named: dict[str, Path | None] = {
        **_broker_secrets(settings.broker),
        "audit.key_file": settings.audit.key_file,
        "tokens.key_file": settings.tokens.key_file,
    }
    for name, cloud in settings.clouds.items():
        named[f"clouds.{name}.source"] = getattr(cloud.source, "secret", (None, ()))[0]
    for key, path in named.items():
        if path is not None and path.is_absolute():
            yield from _closed_to_others(key, path)


def _closed_to_others(key: str, path: Path) -> Iterator[Finding]:
    """Whether a file is closed to other users; the rights of a folder or a device are not ours to take."""
    status = status_of(path)
    if status is None:
        return
    if not stat.S_ISREG(status.st_mode):
        yield wrong(Kind.CONFIGURATION, f"{key}: {path} is not a file", f"name a file in {key}")
    elif status.st_mode & _OTHERS:
        yield fixable(Kind.MODE, f"{key}: every user can read {path}", "chmod", "o=", path)


def of_configuration(path: Path) -> Iterator[Finding]:
    """Whether others can change lamplighter.toml; then nothing reads it."""
    status = status_of(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return  # reading it says so
    if status.st_mode & _GROUP_OR_OTHERS:
        words = f"{path} can be changed by others than its owner, and names commands"
        yield fixable(Kind.MODE, words, "chmod", "go-w", path)


def of_stores(settings: Settings, hooks: User | None = None) -> Iterator[Finding]:
    """The files of SQLite stores; whether the user of the hooks can change them, past its roles."""
    for key, url in (
        ("store.url", settings.store.url),
        ("store.audit_url", settings.store.audit_url),
    ):
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            continue
        path = Path(parsed.database)
        if status_of(path.parent) is None:
            words = f"{key}: {path.parent} does not exist, or {user_name()} may not enter it"
            yield wrong(
                Kind.FOLDER, words, f"install -d -o USER {path.parent}, with the workers' user"
            )
            continue
        yield from of_space(key, path.parent)
        yield from of_disk(key, path.parent)
        yield from _closed_to_others(key, path)
        if hooks is not None and _can_change(hooks, path):
            words = f"{key}: {hooks.name}, as whom the hooks run, can change {path} past its roles"
            yield note(Kind.DATABASE, words, _CONFINE[key])
        start = start_of(path)
        if start and not start.startswith(_SQLITE):
            words = f"{key}: {path} is not a database of SQLite"
            yield wrong(Kind.CONFIGURATION, words, f"name another file in {key}")
