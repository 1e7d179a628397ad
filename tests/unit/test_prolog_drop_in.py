"""slurmctld's drop-in: many jobs may wait, and none is left waiting when slurmctld stops."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from ops.install.units import GROUP, PROGRAMS, PROLOG, SERVICES, prolog_drop_in, unit
from tests.testbed.prolog_scripts import NOBODY, SCRIPT, Scripts
from tests.testbed.waiting import until
from workers.slurm.prolog_fifos import Arrival, PrologFifos
from workers.slurm.prolog_slots import is_tuned

if TYPE_CHECKING:
    from pathlib import Path


def lines(programs: Path) -> dict[str, str]:
    """The settings of the drop-in, by name."""
    return dict(re.findall(r"^(\w+)=(.*)$", prolog_drop_in(programs), re.MULTILINE))


def test_its_setting_of_glibc_is_the_one_with_which_many_jobs_may_wait(run_dir: Path) -> None:
    slurmctld = run_dir / "1"
    slurmctld.mkdir()
    (slurmctld / "comm").write_text("slurmctld\n")
    (slurmctld / "environ").write_text(lines(run_dir)["Environment"])
    assert is_tuned(run_dir, "glibc 2.36") is True


def test_the_slurm_worker_may_read_slurmctlds_environment_as_its_unit_runs_it() -> None:
    """Only the same user and the same group may: ptrace(2), PTRACE_MODE_READ."""
    (service,) = (one for one in SERVICES if one.name == "slurm")
    settings = dict(
        re.findall(r"^(\w+)=(.*)$", unit(service, PROGRAMS / "x", "slurm"), re.MULTILINE)
    )
    assert settings["User"] == "slurm"
    assert GROUP in {settings.get("Group"), settings.get("SupplementaryGroups")}
    if os.geteuid() == 0:
        ours = 1
        with subprocess.Popen(
            "/bin/cat", stdin=subprocess.PIPE, user=NOBODY, group=NOBODY
        ) as slurmctld:
            group = ours if "Group" in settings else NOBODY
            reads = ["/bin/cat", f"/proc/{slurmctld.pid}/environ"]
            done = subprocess.run(reads, user=NOBODY, group=group, extra_groups=[ours], check=False)
            slurmctld.communicate()
        assert done.returncode == 0


def test_its_exec_stop_releases_all_that_wait_in_the_usual_folder(run_dir: Path) -> None:
    """As systemd runs it: without an environment; a failure does not count (`-`)."""
    (run_dir / PROLOG).symlink_to(SCRIPT)
    prefix, *command = lines(run_dir)["ExecStop"].partition("-")[1:]
    assert prefix == "-"
    # there, the test's own folder is /run
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    place = f"mount --bind {run_dir} /run; exec {command[0]}"
    namespace = ["/usr/bin/unshare", *user, "--mount", "/bin/sh", "-ec", place]
    folder = run_dir / "lamplighter/prolog"
    with PrologFifos(folder) as fifos, Scripts(folder) as scripts:
        found: list[Arrival] = []

        def came(count: int) -> bool:
            found.extend(fifos.arrivals())
            return len(found) == count

        waiting = scripts.start()
        until(lambda: came(1), 10, "the job")
        with subprocess.Popen(namespace, env={}) as stopping:
            until(lambda: came(2), 10, "the ExecStop")
            assert [one.job_id for one in found] == [7, 0]
            for one in found:
                fifos.let_go(one.fd)
            assert stopping.wait(10) == 0
        assert waiting.wait(10) == 0
