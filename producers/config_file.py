"""Finds lamplighter.toml, and notices when hooks and commands read different files.

Hooks, workers and commands search it in one order: $LAMPLIGHTER_CONFIG, then beside slurm.conf, then
in /etc/lamplighter. Slurm gives its programs an almost empty environment, but always SLURM_CONF; the
shell of an operator often lacks it, so the usual folders of slurm.conf follow. A slurm.conf elsewhere
is known to the hooks alone: they note which file they read, and commands compare.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from producers.disk import UnusualFileError, give_to_folder_owner, may_exist, read_file
from producers.settings import ConfigError, HookSettings, hook_settings

FILE_NAME = "lamplighter.toml"
DEFAULT_FOLDER = Path("/etc/lamplighter")
# Where packages and Slurm's own `make install` put slurm.conf (configure --sysconfdir).
SLURM_FOLDERS = ("/etc/slurm", "/etc/slurm-llnl", "/usr/local/etc", "/opt/slurm/etc")
_LONGEST_NOTE = 4096


def find_config(environ: Mapping[str, str]) -> Path:
    """The path of lamplighter.toml for a process with this environment.

    The file may not exist, or not be accessible; then reading it fails with the remedy. A folder
    that this user may not enter is not skipped: the hooks, which may, would read another file.
    """
    if environ.get("LAMPLIGHTER_CONFIG"):
        return Path(environ["LAMPLIGHTER_CONFIG"])
    return next(filter(may_exist, config_places(environ)), DEFAULT_FOLDER / FILE_NAME)


def config_places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where the file is searched if $LAMPLIGHTER_CONFIG does not name it, in this order."""
    for folder in slurm_folders(environ):
        yield folder / FILE_NAME
    yield DEFAULT_FOLDER / FILE_NAME


def slurm_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """The folders that can hold slurm.conf: that of $SLURM_CONF first."""
    if environ.get("SLURM_CONF"):
        yield Path(environ["SLURM_CONF"]).parent
    yield from map(Path, SLURM_FOLDERS)
    # Slurm in a folder of its own has its configuration in etc, beside bin
    for folder in environ.get("PATH", "").split(os.pathsep):
        scontrol = os.path.join(folder, "scontrol")  # noqa: PTH118 - faster, and hooks call it
        if folder and os.access(scontrol, os.X_OK):
            yield Path(os.path.realpath(scontrol)).parent.parent / "etc"


def note_hooks_file(read: Path, settings: HookSettings, environ: Mapping[str, str]) -> Path | None:
    """Note in the state folder which file a hook has read, for `hooks_file`.

    Returns:
        Another file for the same cluster, which a shell without SLURM_CONF finds, if there is one; the
        note is then in its state folder too.
    """
    other = find_config({name: value for name, value in environ.items() if name == "PATH"})
    _note(read, settings)
    try:
        theirs = None if other.samefile(read) else hook_settings(other)
    except (OSError, ConfigError):
        return None
    if theirs is None or theirs.cluster != settings.cluster:
        return None
    _note(read, theirs)
    return other


def hooks_file(read: Path, settings: HookSettings) -> Path | None:
    """The file that the cluster's hooks read, if it is another than the one that was read here."""
    try:
        noted = Path(read_file(_note_of(settings), _LONGEST_NOTE).decode())
    except (OSError, ValueError):  # no hook has run yet, or this user may not read the note
        return None
    try:
        is_other = noted.is_absolute() and may_exist(noted) and not noted.samefile(read)
    except PermissionError:
        return noted
    except (OSError, ValueError):
        return None
    return noted if is_other else None


def _note(read: Path, settings: HookSettings) -> None:
    """What is only a warning never fails a hook; nothing is written if the note is there."""
    file, text = _note_of(settings), str(read.absolute())
    with suppress(OSError, ValueError):
        try:
            if file.exists() and read_file(file, _LONGEST_NOTE).decode() == text:
                return
        except UnusualFileError:
            file.unlink()
        # not through a link: root would give its target away
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(file, flags, 0o666), "w", encoding="utf-8") as stream:
            stream.write(text)
            give_to_folder_owner(stream.fileno(), file.parent)


def _note_of(settings: HookSettings) -> Path:
    return settings.state / f"hooks-read.{settings.cluster}"
