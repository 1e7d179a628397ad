"""Checks owners and modes of the files and folders that `lamplighter init` has put in place."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.doctor.named_files import is_inits
from ops.install import units
from ops.install.place import PlannedFile
from ops.install.units import (
    AUDIT,
    CLOUD_SECRET,
    CONFIG,
    DATABASE,
    GROUP,
    STATE,
    TOKENS_USER,
    WORKERS_USER,
)
from ops.site.findings import Finding, wrong
from ops.site.kinds import Kind
from producers.config_file import FILE_NAME
from schemas.roles import Role
from workers.store.access import ACCESS

TMPFILES = Path("/etc/tmpfiles.d/lamplighter.conf")


def of_planned(config: Path, slurm_user: str | None) -> Iterator[Finding]:
    """Rights that are not those that `init` gave; none where the site set things up by itself.

    `slurm_user` is None on a host without slurmctld.
    """
    if is_inits(config) and TMPFILES.exists():
        yield from of_rights((*planned_files(slurm_user), *planned_folders(slurm_user)))


def of_rights(files: Iterable[PlannedFile]) -> Iterator[Finding]:
    """Files and folders whose owner or mode is another."""
    for file in files:
        try:
            problem = file.rights()
        except OSError:
            continue  # nothing is there, or this user may not look
        if problem is not None:
            owner = ":".join(file.owner)
            remedy = f"chown {owner} {file.path}; chmod {file.mode:04o} {file.path}"
            yield wrong(Kind.RIGHTS, f"{file.path} has {problem}", remedy)


def planned_files(slurm_user: str | None) -> Iterator[PlannedFile]:
    """The configuration, passwords and keys."""

    def file(path: Path, mode: int, owner: str) -> PlannedFile:
        return PlannedFile(path, "", mode, (owner, GROUP))

    yield file(CONFIG / FILE_NAME, 0o640, "root")
    yield file(CLOUD_SECRET, 0o600, TOKENS_USER)
    yield file(STATE / "token.key", 0o600, TOKENS_USER)
    yield file(AUDIT / "audit.key", 0o600, WORKERS_USER)
    for role in Role:
        owner = units.password_owner(role, slurm_user or "")
        if owner:
            yield file(units.USERS / f"{role}.password", units.password_mode(role), owner)
            if role in (Role.SETUP, *ACCESS):
                yield file(DATABASE / f"{role}.pgpass", 0o600, owner)


def planned_folders(slurm_user: str | None) -> Iterator[PlannedFile]:
    """The folders and stores, as tmpfiles.d(5) has them."""
    for line in units.tmpfiles(slurm_user).splitlines():
        _, path, mode, owner, group = line.split()
        yield PlannedFile(Path(path), "", int(mode, 8), (owner, group))
