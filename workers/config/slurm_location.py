"""Finds Slurm's commands and slurm.conf."""

import os
import shutil
from pathlib import Path

from producers.config_file import slurm_folders
from producers.disk import may_exist
from producers.settings import ConfigError
from workers.config.settings import Settings

# The usual folders of Slurm's commands, besides $PATH.
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin")


def is_installed(settings: Settings) -> bool:
    """Whether this host can send commands to slurmctld: it has Slurm's commands and slurm.conf.

    Also if this user may not read slurm.conf: then the commands say so.
    """
    conf = slurm_conf(settings)
    if conf is None or not may_exist(conf):
        return False
    try:
        find("scontrol", settings.slurm.bin)
    except ConfigError:
        return False
    return True


def slurm_conf(settings: Settings) -> Path | None:
    """slurm.conf: the one in [slurm], else beside lamplighter.toml, else where that is searched."""
    if settings.slurm.conf is not None:
        return settings.slurm.conf
    beside = settings.path.absolute().parent / "slurm.conf"
    named = os.environ.get("SLURM_CONF")
    usual = (folder / "slurm.conf" for folder in slurm_folders(os.environ))
    places = (beside, *([Path(named)] if named else ()), *usual)
    return next((place for place in places if may_exist(place)), None)


def unusual_folder(conf: Path) -> Path | None:
    """The folder of the commands that belong to a slurm.conf; None if workers find them by themselves.

    Slurm in a folder of its own has its configuration in etc, beside bin.
    """

    def scontrol_in(folders: str) -> str | None:
        return shutil.which("scontrol", path=folders)

    usual = scontrol_in(os.pathsep.join(_FOLDERS))
    beside = scontrol_in(str(conf.parent.parent / "bin"))
    found = beside or usual or scontrol_in(os.environ.get("PATH", ""))
    if found is None or os.path.realpath(found) == os.path.realpath(usual or ""):
        return None
    return Path(found).absolute().parent


def find(name: str, folder: Path | None) -> str:
    """The absolute path of a Slurm command; ConfigError if the command is not found."""
    places = [str(folder)] if folder else [os.environ.get("PATH", ""), *_FOLDERS]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise ConfigError(
            f"slurm.bin: {name} is not in {os.pathsep.join(places)}; run this worker on "
            "slurmctld's host, or set slurm.bin to the folder of Slurm's commands"
        )
    return str(Path(found).absolute())
