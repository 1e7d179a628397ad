"""Puts files in place: missing ones are written, the content of existing ones is never changed."""

import difflib
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS
from pathlib import Path

from ops.install.units import HIDDEN, INSTALL_AGAIN, remedy_for
from producers.disk import read_file, user_name
from producers.settings import ConfigError
from schemas.fields import shown
from workers.process.files import create_file
from workers.process.programs import problem_of, run_program

# Of root, as su(1) sets it.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}
# What divides words, begins a comment or stands for something else, in slurm.conf or in a unit.
_SPECIAL = re.compile(r"[\s\"'\\#%$;]")
# RabbitMQ may just be starting.
_SECONDS = 180.0


class Found(Enum):
    """What is in a file's place; with RIGHTS, its content is as planned, its owner or mode is not."""

    MISSING = "missing"
    SAME = "same"
    RIGHTS = "rights"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to put in place.

    Attributes:
        path: absolute.
        content: its text.
        mode: its permissions.
        owner: user and group, by name.
        secret: whether its content is kept if the file exists, and never shown.
    """

    path: Path
    content: str
    mode: int = 0o644
    owner: tuple[str, str] = ("root", "root")
    secret: bool = False

    def found(self) -> Found:
        """What is in its place; ConfigError if it cannot be read."""
        try:
            present = read_file(self.path)
        except FileNotFoundError as error:
            if not self.path.is_symlink():
                return Found.MISSING
            raise _unusable(self.path, error) from None
        except OSError as error:
            raise _unusable(self.path, error) from None
        if not self.secret and present != self.content.encode():
            return Found.DIFFERENT
        return Found.RIGHTS if self.rights() else Found.SAME

    @property
    def shown(self) -> str:
        """Its mode; how its rights differ if they alone do."""
        return (self.rights() if self.found() is Found.RIGHTS else None) or f"{self.mode:o}"

    def shown_content(self) -> Iterable[str]:
        """Its lines, if they are not a secret."""
        return () if self.secret else (*self.content.splitlines(), "")

    def differences(self) -> Iterator[str]:
        """How the file in its place differs."""
        yield from self.diff()
        yield from filter(None, [self.rights()])

    def rights(self) -> str | None:
        """How owner and mode of the file in its place differ; None if they do not, or it is a link."""
        status = self.path.lstat()
        if stat.S_ISLNK(status.st_mode):  # the site keeps it elsewhere
            return None
        found = stat.S_IMODE(status.st_mode), (user_name(status.st_uid), _group(status.st_gid))
        if found == (self.mode, self.owner):
            return None
        shown, wanted = (
            f"mode {mode:o} of {':'.join(owner)}"
            for mode, owner in (found, (self.mode, self.owner))
        )
        return f"{shown}, not {wanted}"

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff from the file in its place to this one."""
        present = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        names = (str(self.path), "lamplighter init")
        return difflib.unified_diff(present, self.content.splitlines(), *names, lineterm="")

    def put(self) -> bool:
        """Write it if it is missing, correct its rights if those alone differ; whether that was done.

        Raises:
            ConfigError: it cannot be read, written or changed.
        """
        found = self.found()
        if found in {Found.SAME, Found.DIFFERENT}:
            return False
        try:
            user, group = (pwd.getpwnam(self.owner[0]).pw_uid, grp.getgrnam(self.owner[1]).gr_gid)
            if found is Found.MISSING:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                create_file(self.path, self.content.encode(), self.mode, (user, group))
            else:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    os.fchown(descriptor, user, group)
                    os.fchmod(descriptor, self.mode)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise _unusable(self.path, error) from None
        except LookupError as error:
            raise ConfigError(f"{self.path}: {error}; run systemd-sysusers") from None
        return True


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """A symbolic link to put in place.

    Attributes:
        path: absolute.
        target: what it leads to, absolute.
    """

    path: Path
    target: Path

    @property
    def shown(self) -> str:
        """What it leads to."""
        return f"-> {self.target}"

    def found(self) -> Found:
        """What is in its place."""
        if not os.path.lexists(self.path):
            return Found.MISSING
        leads = self.path.is_symlink() and self.path.readlink() == self.target
        return Found.SAME if leads else Found.DIFFERENT

    def shown_content(self) -> Iterable[str]:
        """It has none."""
        return ()

    def differences(self) -> Iterator[str]:
        """What it was to be."""
        yield f"it would be a link to {self.target}"

    def put(self) -> bool:
        """Make it if nothing is in its place; whether that was done. ConfigError if it cannot be made."""
        if self.found() is not Found.MISSING:
            return False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.symlink_to(self.target)
        except OSError as error:
            raise _unusable(self.path, error) from None
        return True


def require_plain(path: Path, remedy: str) -> None:
    """Check that slurm.conf and systemd's units take a path as it is; ConfigError with the remedy if not."""
    if found := _SPECIAL.search(str(path)):
        raise ConfigError(
            f"{path}: slurm.conf and systemd cannot name it, for its {shown(found[0])}; {remedy}"
        )


def require_reachable(*programs: Path) -> None:
    """Check that all users, and systemd's units, can run these; ConfigError if not.

    An environment of root's own Python (pyenv, uv, conda) may look as if it were elsewhere: its Python is a link. With
    umask 077, pip makes what only root reads.
    """
    require_plain(programs[0], INSTALL_AGAIN)
    for path in (real for one in programs for real in (one, Path(os.path.realpath(one)))):
        closed = [
            one
            for one in (path, *path.parents)
            if one.exists() and not one.stat().st_mode & (0o001 if one.is_dir() else 0o004)
        ]
        hidden = [one for one in HIDDEN if path.is_relative_to(one)]
        if hidden or closed:
            where = (hidden or closed)[-1]
            raise ConfigError(
                f"{path}: Slurm's hooks and the workers run as other users, and cannot use {where}; {remedy_for(where)}"
            )


def _unusable(path: Path, error: OSError) -> ConfigError:
    remedies = {EACCES: "run init as root", EPERM: "run init as root", EROFS: "mount it writable"}
    remedies |= {ENOSPC: "free disk space", EDQUOT: "free disk space"}
    # a folder, a device, or a link that leads nowhere
    remedy = remedies.get(error.errno or 0, "move it away, and run init again")
    return ConfigError(f"{path}: {error.strerror}; {remedy}")


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


def output_of(command: Sequence[str]) -> str:
    """What a system command prints; empty if it cannot be run, or fails."""
    program = shutil.which(command[0], path=_PATH)
    try:
        done = run_program((program or command[0], *command[1:]), _SECONDS, _ENVIRONMENT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "" if done.returncode else done.stdout.decode(errors="replace")


def run(command: Sequence[str]) -> str | None:
    """Run a system command; returns what it says if it fails, else None."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return f"{command[0]} is not installed"
    return problem_of((program, *command[1:]), _SECONDS, _ENVIRONMENT)
