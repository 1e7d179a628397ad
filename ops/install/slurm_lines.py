"""The lines to include into slurm.conf, and what it says already and differently. Pure."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import hostlist

from ops.install.site import (
    RESUME_TIMEOUT,
    SLURM_RESUME_TIMEOUT,
    SUSPEND_TIME,
    SUSPEND_TIMEOUT,
    Site,
)
from ops.install.slurm_conf import OWN_LINES, SlurmConf
from ops.install.slurm_rules import SLOW_SALLOC, rules
from ops.install.units import PROLOG
from producers.hosts import expand
from schemas.errors import MalformedMessageError
from workers.slurm.power_saving import exceptions_of, is_foreign, items_of


def slurm_lines(site: Site) -> tuple[str, list[str]]:
    """The lines to include into slurm.conf, and what it says already and differently.

    A parameter that slurm.conf sets to another value is not repeated: each difference is a line for
    the operator.
    """
    slurm = site.slurm
    lines, differences = [], []
    for key, present, better in (*_own(site), *_by_rules(site), *_exemptions(site)):
        if present is None:
            lines.append(f"{key}={better}")
        else:
            change = f"change it to {key}={better}" if better else "remove it"
            differences.append(f"{key}={present} in {slurm.path}: {change}")
    header = "# Written by `lamplighter init`: slurmctld powers nodes on and off by Lamplighter.\n"
    return header + "".join(f"{line}\n" for line in lines), differences


def advice(site: Site) -> Iterator[str]:
    """What slurm.conf may say, and probably should not."""
    longest = site.slurm.longest("ResumeTimeout", RESUME_TIMEOUT)
    if longest <= SLURM_RESUME_TIMEOUT:
        yield (
            f"ResumeTimeout={longest} in {site.slurm.path} is too short for most virtual machines: "
            f"write ResumeTimeout={RESUME_TIMEOUT} there, and resume_timeout = {RESUME_TIMEOUT} in [slurm] "
            "of lamplighter.toml"
        )
    own, parameters = site.slurm.includes_own, site.slurm.values.get("slurmctldparameters", "")
    if own not in {"", OWN_LINES} and "enable_configless" in parameters.lower().split(","):
        yield (
            f"Include {own} in {site.slurm.path}: write Include {OWN_LINES}, without a folder: otherwise nodes that "
            "get slurm.conf from slurmctld do not get that file, and slurmd does not start there"
        )
    yield from _prolog_advice(site)
    known = set(site.slurm.known_nodes)
    unknown = [node for node in expand(site.nodes) if node not in known]
    if unknown:
        yield (
            f"{site.slurm.path} does not have {_hostlist(unknown)}: add NodeName=... State=CLOUD, or "
            "correct --nodes"
        )


def _prolog_advice(site: Site) -> Iterator[str]:
    if not site.prolog:
        yield (
            "In Slurm, a job waits up to 30 s more after its nodes are ready: init --prolog avoids that "
            "(docs/prolog.md says what it costs)"
        )
        return
    others = site.slurm.values.get("prologslurmctld")
    if others is not None and str(_prolog(site)) not in others.split(","):
        yield (
            f"PrologSlurmctld={others} in {site.slurm.path} can stay: call {_prolog(site)} at its end, or, "
            f"from Slurm 24.05 on, add the line PrologSlurmctld={_prolog(site)}; then jobs start as soon as "
            "their nodes are there"
        )
    if site.slurm_version in {(0, 0), SLOW_SALLOC}:
        yield (
            "with Slurm 22.05, any PrologSlurmctld makes each salloc on nodes that are up 3 s slower: leave out "
            "--prolog if your users work with salloc, and nodes are mostly up"
        )


# A parameter, its value in slurm.conf or None, and what to write; nothing if it must go.
_Change = tuple[str, str | None, str]


def _prolog(site: Site) -> Path:
    return site.programs / PROLOG


def _own(site: Site) -> Iterator[_Change]:
    wanted = {
        "ResumeProgram": str(site.programs / "lamplighter-resume"),
        "SuspendProgram": str(site.programs / "lamplighter-suspend"),
        "ResumeFailProgram": str(site.programs / "lamplighter-resume-fail"),
        "PrologSlurmctld": str(_prolog(site)),
        "PrivateData": "cloud",
        "ResumeTimeout": str(RESUME_TIMEOUT),
        "SuspendTimeout": str(SUSPEND_TIMEOUT),
        "SuspendTime": str(SUSPEND_TIME),
    }
    if site.slurm.of_partitions("SuspendTime"):
        del wanted["SuspendTime"]  # for all it would power down those of other partitions, too
    if not site.prolog or "prologslurmctld" in site.slurm.values:
        del wanted["PrologSlurmctld"]  # the site's own stays
    for key, value in wanted.items():
        present = site.slurm.values.get(key.lower())
        better = value if present is None else _instead(site.slurm, key, present, value)
        if better:
            yield key, present, better


def _by_rules(site: Site) -> Iterator[_Change]:
    slurm = site.slurm
    longest = slurm.longest("ResumeTimeout", RESUME_TIMEOUT)
    for rule in rules(longest, prolog=site.prolog):
        present = slurm.values.get(rule.parameter.lower())
        better = rule.better(present)
        if better is not None:
            yield rule.parameter, present, better


def _instead(slurm: SlurmConf, key: str, present: str, wanted: str) -> str | None:
    """What to write instead of a value of slurm.conf; None if it is as good."""
    if key == "PrivateData":
        known = [one for one in present.split(",") if one and one.lower() != "none"]
        return None if "cloud" in present.lower().split(",") else ",".join([*known, wanted])
    if key.endswith("Program"):
        return None if present == wanted else wanted
    # a time of its own is as good; without one, nodes are never powered down
    return None if slurm.seconds(key, 0) or slurm.of_partitions(key) else wanted


def _exemptions(site: Site) -> Iterator[_Change]:
    """Slurm must power down the group's nodes, and no other."""
    slurm, ours = site.slurm, set(expand(site.nodes))
    parts = slurm.values.get("suspendexcparts")
    nodes_of = {one.get("partitionname", ""): slurm.nodes_of(one) for one in slurm.partitions}
    named = [one for one in (parts or "").split(",") if one]
    kept = [name for name in named if ours.isdisjoint(nodes_of.get(name, ()))]
    if parts is not None and kept != named:
        yield "SuspendExcParts", parts, ",".join(kept)
    others = [one for one in slurm.known_nodes if one not in ours]
    others = [one for one in others if not any(one in nodes_of.get(name, ()) for name in kept)]
    present = slurm.values.get("suspendexcnodes")
    if present is None:
        if others:
            yield "SuspendExcNodes", None, _hostlist(others)
        return
    counted, items = exceptions_of(present)
    found: set[str] | None = None  # it cannot be read
    with suppress(MalformedMessageError):
        found = set(expand(",".join(items))) if items else set()
    missing = set(others) & _powered_down(slurm)
    wanted = ((found or set()) | missing) - ours
    if wanted != found:
        better = [*counted, *filter(None, [_hostlist(wanted)])]
        yield "SuspendExcNodes", present, ",".join(better)


def _powered_down(slurm: SlurmConf) -> set[str]:
    """The nodes that Slurm powers down when they are idle, but for exceptions."""
    timed = [one for one in slurm.partitions if "suspendtime" in one]
    if slurm.seconds("SuspendTime", 0) or not slurm.of_partitions("SuspendTime"):
        return set(slurm.known_nodes)
    return {node for one in timed for node in slurm.nodes_of(one)}


def _hostlist(nodes: Collection[str]) -> str:
    """The nodes as Slurm reads them: a name with brackets ends with one."""
    found: str = hostlist.collect_hostlist(sorted(nodes)) if nodes else ""
    parts = (expand(part) if is_foreign(part) else [part] for part in items_of(found))
    return ",".join(name for part in parts for name in part)
