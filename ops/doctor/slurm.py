"""Checks slurm.conf as slurmctld has it. Pure, but for the files and hosts that it names."""

import os
import re
import socket
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import hostlist

from ops.cli.terminal import cut
from ops.doctor.access import EXECUTE, READ, User, start_of
from ops.doctor.host import has_spool
from ops.install.slurm_conf import our_name
from ops.install.slurm_rules import rules
from ops.install.units import PROGRAMS, PROLOG, remedy_for
from ops.site.findings import Finding, fixable, note, wrong
from ops.site.kinds import Kind
from producers.hosts import expand
from producers.settings import ConfigError
from schemas.errors import MalformedMessageError
from schemas.numbers import whole_number
from workers.config.settings import Settings
from workers.config.slurm_location import find
from workers.slurm.power_saving import exceptions_of, is_foreign
from workers.slurm.prolog_slots import version_in

_PROGRAMS = {
    "ResumeProgram": "lamplighter-resume",
    "SuspendProgram": "lamplighter-suspend",
    "ResumeFailProgram": "lamplighter-resume-fail",
}
# slurm.conf(5), and Slurm's power_save.c
_WITHOUT = {
    "ResumeProgram": "Slurm powers no node on or off",
    "SuspendProgram": "Slurm powers no node on or off",
    "ResumeFailProgram": "Lamplighter is not informed of a node that did not register in time",
}
# States and flags that we read began there (schemas/snapshot.py).
_OLDEST = (21, 8)
_SHEBANG = re.compile(rb"#!\s*(/\S+)")


def of_slurm(
    config: Mapping[str, str],
    settings: Settings,
    kept: Collection[str] = (),
    *,
    here: bool = True,
) -> Iterator[Finding]:
    """All findings about slurm.conf but those of workers.resync.slurm_conf.

    `config` is as workers.slurm.power_saving.config_from gives it; `kept` are the nodes that Slurm never powers down, also
    those of partitions; `here`: whether slurmctld runs its programs on this host.
    """
    user = User.named(user_of(config))
    for parameter, program in _PROGRAMS.items():
        problems = list(_program(parameter, config.get(parameter, ""), program))
        yield from problems or (_runs(parameter, config[parameter], user) if here else ())
    for path in filter(None, config.get("PrologSlurmctld", "").split(",")):
        if here and Path(path).name == PROLOG:  # one that fails drains its node
            yield from _runs("PrologSlurmctld", path, user)
    yield from _cluster(config, settings)
    yield from _jobs_age(config, settings)
    yield from _exceptions(config, settings, kept)
    for rule in rules(settings.slurm.resume_timeout, prolog=settings.slurm.prolog is not None):
        if (better := rule.better(config.get(rule.parameter))) is not None:
            yield wrong(Kind[rule.key.upper()], rule.why, rule.remedy(better))
    if (0, 0) < version_of(config) < _OLDEST:
        words = f"Slurm {config['SLURM_VERSION']} is too old: it does not show whether a node is powered"
        yield wrong(Kind.SLURM_VERSION, words, "upgrade Slurm to 22.05 or later")
    if version_of(config) < (23, 2) and "cloud" not in config.get("PrivateData", ""):
        yield wrong(
            Kind.PRIVATE_DATA,
            "PrivateData lacks cloud: sinfo and squeue hide nodes that are powered down",
            "PrivateData=cloud in slurm.conf",
        )


def of_names(config: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Groups whose nodes this host, slurmctld's, does not find by name; one node of each is looked up.

    Slurm 24.11 forgets the address of a node that was off, looks it up by its name, tries it ten times in 10 s, and
    does nothing else meanwhile; 22.05 keeps the address (both measured).
    """
    if version_of(config) < (23, 2):
        return
    first = {group: node for node, group in reversed(list(settings.nodes.items()))}
    for group, node in sorted(first.items()):
        try:
            socket.getaddrinfo(node, None)
        except (OSError, UnicodeError):  # a part of a name is longer than DNS allows
            words = f"group {group}: no name service here knows {node}: slurmctld stops for 10 s at each such node"
            yield wrong(Kind.NODE_NAME, words, "add the group's nodes to DNS or to /etc/hosts")


def of_slurm_places(settings: Settings) -> Iterator[Finding]:
    """What [slurm] names on the hooks' host, and is not there; a host of workers needs neither."""
    if not has_spool(settings.hook):
        return
    conf, folder = settings.slurm.conf, settings.slurm.bin
    if conf is not None and not conf.exists():
        yield wrong(Kind.SLURM, f"slurm.conf: {conf} does not exist", "correct conf in [slurm]")
    if folder is not None and not (folder / "scontrol").exists():
        words = f"slurm.bin: {folder} has no scontrol"
        yield wrong(Kind.SLURM, words, "correct bin in [slurm], or remove it")
    elif folder is None:
        try:
            find("scontrol", None)
        except ConfigError as error:
            words = f"slurm.conf was not checked: {str(error).partition(';')[0]}"
            remedy = "bin = FOLDER in [slurm], that of scontrol, or nothing if slurmctld is on another host"
            yield note(Kind.SLURM, words, remedy)


def _program(parameter: str, path: str, program: str) -> Iterator[Finding]:
    """Whether a parameter names our program."""
    remedy = f"{parameter}={PROGRAMS / program} in slurm.conf"
    if not path:
        yield wrong(Kind.PROGRAM, f"{parameter} is not set: {_WITHOUT[parameter]}", remedy)
    elif Path(path.split(maxsplit=1)[0]).name != program:
        yield wrong(Kind.PROGRAM, f"{parameter} is {path}, not {program}", remedy)


def _runs(parameter: str, path: str, user: User | None) -> Iterator[Finding]:
    """Whether SlurmUser can run a program, and Slurm accepts it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as slurmctld does
    except OSError as error:
        program = Path(path.split(maxsplit=1)[0]).name  # Slurm takes options for a part of the name
        remedy = f"{parameter}={PROGRAMS / program} in slurm.conf"
        yield wrong(Kind.PROGRAM, f"{parameter}: {path}: {error.strerror}", remedy)
        return
    if user is not None and (closed := user.closed_folder(Path(path))) is not None:
        words = f"{parameter}: {path}: {user.name} may not enter {closed}"
        yield wrong(Kind.PROGRAM, words, remedy_for(closed, f"chmod a+x {closed}"))
    elif not (user.may(READ | EXECUTE, status) if user else os.access(path, os.X_OK)):
        who = f" for {user.name}" if user else ""
        words = f"{parameter}: {path} is not executable{who}"
        yield wrong(Kind.PROGRAM, words, f"chmod a+rx {path}")
    elif user is not None:
        yield from _interpreter(parameter, path, user)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        words = f"{parameter}: {path} can be changed by others: Slurm disables power saving"
        yield fixable(Kind.PROGRAM, words, "chmod", "go-w", path)


def _interpreter(parameter: str, path: str, user: User) -> Iterator[Finding]:
    """Whether SlurmUser can run what the first line of a program names, perhaps root's own Python, and read our code."""
    found = _SHEBANG.match(start_of(Path(path)))
    name = found[1].decode(errors="replace") if found else ""
    ours = Path(path).is_relative_to(sys.prefix)
    needed = (name, __file__) if ours else (name,)  # pip makes what only root reads, with umask 077
    closed = next(filter(None, (user.closed_folder(Path(one)) for one in needed if name)), None)
    if closed is not None:
        words = f"{parameter}: {path} runs by {name}, and {user.name} may not enter {closed}"
        yield wrong(Kind.PROGRAM, words, remedy_for(closed))


def _cluster(config: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Another name of the cluster: perhaps slurm.conf is another cluster's."""
    theirs = config.get("ClusterName", "")
    if theirs and our_name(theirs) != our_name(settings.cluster):
        words = f"this is Slurm's cluster {theirs}, and lamplighter.toml is of cluster {settings.cluster}"
        remedy = "if they are two, correct conf in [slurm], or cluster; if not, nothing"
        yield note(Kind.SLURM_CONF, words, remedy)


def _jobs_age(config: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    age = whole_number(config.get("MinJobAge", "").removesuffix(" sec"))
    if age is not None and age < settings.slurm.snapshot_interval:
        words = f"MinJobAge ({age} s) is below slurm.snapshot_interval: short jobs are not recorded"
        yield wrong(Kind.MIN_JOB_AGE, words, "MinJobAge=300 in slurm.conf")


def _exceptions(
    config: Mapping[str, str], settings: Settings, kept: Collection[str]
) -> Iterator[Finding]:
    text = config.get("SuspendExcNodes", "")
    counted, items = exceptions_of(text)
    if foreign := [one for one in (*counted, *items) if is_foreign(one.partition(":")[0])]:
        words = f"SuspendExcNodes has {cut(','.join(foreign))}: Slurm cannot read that, and powers down what it names"
        remedy = "write each name, or brackets at the end of names only"
        yield wrong(Kind.SUSPEND_EXC_NODES, words, remedy)
    try:
        excepted = set(expand(",".join(items))) if items else set()
    except MalformedMessageError as error:
        words = f"SuspendExcNodes is {text}: {error.problem}"
        yield wrong(Kind.SUSPEND_EXC_NODES, words, "write a hostlist, with numbers in brackets")
        return
    yield from _exempt("SuspendExcNodes", excepted, settings)
    by_partition = set(kept) - excepted
    if config.get("SuspendExcParts"):
        yield from _exempt("SuspendExcParts", by_partition, settings)


def _exempt(parameter: str, nodes: Collection[str], settings: Settings) -> Iterator[Finding]:
    """Our nodes that a parameter keeps powered on."""
    ours = sorted(set(nodes) & settings.nodes.keys())
    if ours:
        shown = cut(hostlist.collect_hostlist(ours))
        words = f"{parameter} exempts {len(ours)} of Lamplighter's nodes ({shown}): they stay on"
        yield wrong(Kind.SUSPEND_EXC_NODES, words, f"remove them from {parameter} in slurm.conf")


def user_of(config: Mapping[str, str]) -> str:
    """The name of SlurmUser, which scontrol shows with its number; empty if it is not known."""
    return config.get("SlurmUser", "").partition("(")[0]


def version_of(config: Mapping[str, str]) -> tuple[int, int]:
    """The version of slurmctld, as (22, 5)."""
    return version_in(config.get("SLURM_VERSION", ""))
