"""One storm: from the start of an installation to the verdict."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storm import checker
from storm.calm import rest
from storm.checker import Verdict
from storm.collect import collect
from storm.evidence import Evidence
from storm.faults.carrier import Faults, carry_out
from storm.jobs import Jobs
from storm.memory import sampled
from storm.plan import store_of, storm
from storm.site import Site
from tests.testbed.waiting import until


@dataclass(frozen=True)
class Result:
    """What came of a storm; `failed` are faults that could not be carried out, or undone."""

    seed: int
    seconds: float
    nodes: int
    brokers: int
    store: str
    failed: tuple[str, ...]
    jobs: int
    evidence: Evidence
    verdict: Verdict


def run(  # noqa: PLR0913 - most are keyword-only
    folder: Path,
    *,
    seed: int,
    seconds: float,
    nodes: int = 51,
    brokers: int = 1,
    store: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Let a storm of `seconds` pass over an installation in `folder`; wait for rest, and check.

    Raises:
        RuntimeError, TimeoutError: the installation does not start, or a fault cannot be undone.
    """
    store = store or store_of(seed)
    planned = storm(seed, seconds, brokers, store, nodes)
    with Site(folder, nodes, brokers, store, say) as site:
        adopt(site)
        jobs = Jobs(site.slurm, folder, site.beats, site.partitions)
        faults = Faults(site, folder / "faults.log", random.Random(seed))  # noqa: S311 - no secret
        say(f"a storm of {seconds:g} s: {len(planned.faults)} faults, {len(planned.jobs)} jobs")
        try:
            with sampled(site) as memory:
                coming = list(planned.jobs)
                began = time.monotonic()

                def tick() -> None:
                    revive()
                    # one at a time: faults come on time also where jobs come faster than they are taken
                    if coming and time.monotonic() >= began + coming[0].at:
                        jobs.submit(coming.pop(0))
                        revive()  # without slurmctld each submission takes a minute

                def revive() -> None:
                    if not (site.slurm.ctld_runs or faults.is_under_way("slurmctld")):
                        say("slurmctld has ended by itself: it is started again, as by systemd")
                        # it wrote its last line before it ended
                        faults.note("slurmctld", "crash", site.slurm.log.stat().st_mtime)
                        site.slurm.start_ctld()

                carry_out(faults, planned.faults, began, tick)
                until(lambda: tick() or not coming, seconds, "the last job")  # type: ignore[func-returns-value]
                say("calm: everything comes to rest")
                unsettled = list(rest(site, faults, jobs))
                sizes = {name: tuple(values) for name, values in memory.items()}
        finally:
            jobs.close()
        say("the checks")
        seen = collect(site, faults, jobs, sizes, unsettled)
        return Result(
            seed=seed,
            seconds=seconds,
            nodes=nodes,
            brokers=brokers,
            store=store,
            failed=tuple(faults.failed),
            jobs=jobs.submitted,
            evidence=seen,
            verdict=checker.check(seen),
        )


def adopt(site: Site) -> None:
    """Give the servers that exist our tags: only then may the storm's operator retire their nodes.

    Raises:
        RuntimeError: one has not got them.
    """
    named = [node for kind, nodes in site.partitions.items() if kind != "delete" for node in nodes]
    done = site.operator("nodes", "adopt", ",".join(named), "--reason", "storm")
    if done.returncode != 0:
        raise RuntimeError(f"{done.stdout}{done.stderr}")
