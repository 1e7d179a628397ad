"""Where Slurm's commands and its configuration are."""

import os
import shutil
from pathlib import Path

from producers.settings import ConfigError
from workers.config.settings import Settings

# Where packages and sites put Slurm, beside $PATH.
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin")


def is_installed(settings: Settings) -> bool:
    """Whether a slurmctld can be told from here: its commands and its slurm.conf are at hand."""
    conf = slurm_conf(settings)
    if conf is None or not conf.exists():
        return False
    try:
        find("scontrol", settings.slurm.bin)
    except ConfigError:
        return False
    return True


def slurm_conf(settings: Settings) -> Path | None:
    """slurm.conf: as [slurm] says, else beside lamplighter.toml, else as the environment says."""
    beside = settings.path.absolute().parent / "slurm.conf"
    if settings.slurm.conf is not None:
        return settings.slurm.conf
    if beside.exists():
        return beside
    named = os.environ.get("SLURM_CONF")
    return Path(named) if named else None


def find(name: str, folder: Path | None) -> str:
    """The absolute path of one of Slurm's commands.

    Raises:
        ConfigError: it is not here.
    """
    places = [str(folder)] if folder else [os.environ.get("PATH", ""), *_FOLDERS]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise ConfigError(
            f"slurm.bin: there is no {name} in {os.pathsep.join(places)}; run this worker on "
            "slurmctld's host, or say in which folder Slurm's commands are"
        )
    return str(Path(found).absolute())
