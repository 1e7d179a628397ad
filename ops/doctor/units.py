"""Checks the units of this host, where systemd runs them."""

import os
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ops.install.units import SERVICES
from ops.site.findings import Finding, away, fixable, wrong
from ops.site.kinds import Kind
from workers.config.settings import Settings
from workers.process.programs import run_program

TARGET = "lamplighter.target"
# It exists where systemd is the init process (sd_booted(3)).
_BOOTED = Path("/run/systemd/system")
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,Wants,NeedDaemonReload,"
    "ProtectSystem,ReadWritePaths"
)
_SECONDS = 10.0


def of_systemd(settings: Settings) -> Iterator[Finding]:
    """What is wrong with Lamplighter's units; none on a host without systemd."""
    if not _BOOTED.is_dir():
        return
    units = (TARGET, *(service.unit for service in SERVICES))
    try:
        words = ("/usr/bin/systemctl", "show", f"--property={_PROPERTIES}", *units)
        done = run_program(words, _SECONDS)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        said = f"systemctl show: {type(error).__name__}"
        yield away(Kind.UNITS, said, f"systemctl status {TARGET} says why")
    else:
        yield from of_units(done.stdout.decode(errors="backslashreplace"), list(_written(settings)))


def _written(settings: Settings) -> Iterator[tuple[str, str, Path]]:
    """Units, the key of a folder that each writes to, and the folder; only those that go on without it."""
    yield "lamplighter-relay.service", "hooks.spool", settings.hook.spool
    yield "lamplighter-snapshot.service", "hooks.state", settings.hook.state
    if settings.slurm.prolog is not None:
        yield "lamplighter-slurm.service", "slurm.prolog", settings.slurm.prolog


def of_units(output: str, written: Collection[tuple[str, str, Path]] = ()) -> Iterator[Finding]:
    """What `systemctl show` printed about the target and the workers' units, and what they write. Pure, but for links."""
    shown = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in output.split("\n\n")
    ]
    units = {one["Id"]: one for one in shown if "Id" in one}
    target = units.pop(TARGET, {})
    if target.get("LoadState") != "loaded":  # containers or `lamplighter up` run the workers
        return
    if not target.get("UnitFileState", "").startswith("enabled"):
        words = f"{TARGET} is not enabled: no worker starts with this host"
        yield wrong(Kind.UNITS, words, f"systemctl enable {TARGET}")
    wanted = target.get("Wants", "").split()
    for name, unit in units.items():
        yield from _of_unit(name, unit, wanted=name in wanted)
    for name, key, path in written:
        unit = units.get(name, {})
        # a link leads to what systemd opens
        open_to_it = [
            os.path.realpath(one.lstrip("-+")) for one in unit.get("ReadWritePaths", "").split()
        ]
        real = Path(os.path.realpath(path))
        if unit.get("ProtectSystem") == "strict" and not any(map(real.is_relative_to, open_to_it)):
            remedy = f"systemctl edit {name}, with ReadWritePaths={path} below [Service]; systemctl restart {name}"
            yield wrong(Kind.FOLDER, f"{key}: {name} may not write to {path}", remedy)
    if any(one.get("NeedDaemonReload") == "yes" for one in (target, *units.values())):
        words = "files of units have changed since systemd read them"
        yield fixable(Kind.UNITS, words, "systemctl", "daemon-reload")


def _of_unit(name: str, unit: Mapping[str, str], *, wanted: bool) -> Iterator[Finding]:
    wanted = wanted or unit.get("UnitFileState", "").startswith("enabled")
    loaded, state = unit.get("LoadState", ""), unit.get("ActiveState", "")
    if loaded != "loaded":
        if wanted:
            remedy = f"systemctl unmask {name}" if loaded == "masked" else "lamplighter init"
            yield wrong(Kind.UNITS, f"{name} is wanted, but {loaded or 'unknown'}", remedy)
    elif state == "failed":
        words = f"{name} has failed ({unit.get('Result')})"
        yield wrong(Kind.UNITS, words, f"journalctl -u {name} says why; systemctl restart {name}")
    elif unit.get("SubState") == "auto-restart":
        words = f"{name} ends and is started again ({unit.get('NRestarts')} times)"
        yield wrong(Kind.UNITS, words, f"journalctl -u {name} says why")
    elif state == "inactive" and wanted:
        yield wrong(Kind.UNITS, f"{name} does not run", f"systemctl start {name}")
