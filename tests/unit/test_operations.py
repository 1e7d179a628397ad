"""What operators read and copy fits the project: runbook and alerts, Ansible's variables and examples."""

from __future__ import annotations

import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ops.install import units
from ops.install.cloud_entry import CloudEntry
from ops.install.init import init
from ops.install.plan import site_files, system_files
from ops.install.site import Site
from ops.install.slurm_conf import SlurmConf

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "deploy/ansible"
ROLE = ANSIBLE / "roles/lamplighter"
TASKS = sorted([*ROLE.glob("tasks/*.yaml"), *ROLE.glob("handlers/*.yaml")])


def read(path: Path) -> Any:  # noqa: ANN401 - YAML's
    return yaml.safe_load(path.read_text())


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    (group,) = read(ROOT / "deploy/prometheus/alerts.yaml")["groups"]
    runbook = (ROOT / "docs/operations.md").read_text().partition("## Alerts\n")[2]
    sections = re.findall(r"^### (.*)$", runbook, re.MULTILINE)
    assert sections == [rule["alert"] for rule in group["rules"]]


def test_what_init_puts_in_place_is_removed_by_the_page() -> None:
    """All files, links, folders and users; a file that init writes later must be on the page, too."""
    page = (ROOT / "docs/operations.md").read_text().partition("## Removing Lamplighter\n")[2]
    commands = re.findall(r"^ {4}(.*)$", page.partition("\n## ")[0], re.MULTILINE)
    removed = [word for line in commands if line.startswith("rm ") for word in line.split()[2:]]
    url = "amqp://127.0.0.1:5672/lamplighter"
    slurm = SlurmConf(Path("/etc/slurm/slurm.conf"), {"slurmuser": "slurm"})
    entry = CloudEntry("c", {}, {}, "s", "PEM", ())
    site = Site(slurm, entry, url, "node1", "stop", {}, Path("/opt/lamplighter/bin"))
    workers = [service.name for service in units.SERVICES]
    files = (*system_files(workers, "slurm"), *site_files(site, ""))
    folders = [Path(line.split()[1]) for line in units.tmpfiles("slurm").splitlines()]
    for path in (*(file.path for file in files), *folders):
        above = map(str, (path, *path.parents))
        assert any(fnmatch(one, word) for one in above for word in removed), path
    for line in units.sysusers("slurm").splitlines():
        kind, name, *_ = line.split()
        command = {"u": "userdel", "g": "groupdel -f"}.get(kind)
        assert command is None or f"{command} {name}" in commands
    assert "find /usr/local -lname '/opt/lamplighter/*' -delete" in commands


def test_our_line_is_taken_out_of_a_slurm_conf_that_is_a_link(run_dir: Path) -> None:
    """To a file that all hosts share: with a copy in place of the link, theirs would still have the line."""
    page = (ROOT / "docs/operations.md").read_text()
    (command,) = re.findall(r"^ {4}(sed .*)$", page, re.MULTILINE)
    shared, link = run_dir / "shared.conf", run_dir / "slurm.conf"
    shared.write_text("ClusterName=c\nInclude lamplighter.conf\n# Include lamplighter.conf\n")
    link.symlink_to(shared)
    argv = [word.replace("/etc/slurm/slurm.conf", str(link)) for word in shlex.split(command)]
    subprocess.run(argv, check=True)
    assert link.is_symlink()
    assert shared.read_text() == "ClusterName=c\n# Include lamplighter.conf\n"


def test_variables_of_the_role_are_declared_with_their_defaults() -> None:
    """A variable that argument_specs.yaml lacks would not be checked, nor documented."""
    declared = read(ROLE / "meta/argument_specs.yaml")["argument_specs"]["main"]["options"]
    defaults = read(ROLE / "defaults/main.yaml")
    assert declared.keys() - defaults.keys() == {"lamplighter_wheel"}
    assert defaults.keys() <= declared.keys()
    example = read(ANSIBLE / "inventory.example.yaml")
    used = {*example["all"]["vars"], *example["lamplighter_workers"]["vars"]}
    assert used <= declared.keys()
    assert tuple(declared["lamplighter_workers"]["choices"]) == units.ANYWHERE


def test_the_role_passes_every_option_of_init_on() -> None:
    """An option without a variable would be out of reach for those who install by the role."""
    text = (ROLE / "vars/main.yaml").read_text()
    options = {option for one in init.params for option in one.opts if option.startswith("--")}
    of_the_role = {"--dry-run"}  # its own tasks use it
    passed = {option for option in options if re.search(rf"{option}\b", text)}
    assert options - passed == of_the_role
    for variable in read(ROLE / "defaults/main.yaml"):
        used = [path for path in [ROLE / "vars/main.yaml", *TASKS] if variable in path.read_text()]
        assert used, f"{variable} is used nowhere"


def tasks(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for item in items for one in [item, *tasks(item.get("block", []))]]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.name)
def test_tasks_have_names_and_modules_have_full_names(path: Path) -> None:
    for task in tasks(read(path)):
        assert task["name"][0].isupper()
        modules = [key for key in task if "." in key]
        assert all(module.startswith("ansible.builtin.") for module in modules)
        assert len(modules) == (0 if "block" in task else 1), task["name"]


def test_a_host_of_workers_gets_only_what_they_need() -> None:
    result = CliRunner().invoke(init, ["--worker=power", "--worker=audit", "--dry-run", "--yes"])
    assert result.exit_code == 0, result.output
    written = set(re.findall(r"^write: (\S+)", result.output, re.MULTILINE))
    folder = "/etc/systemd/system/lamplighter"
    # beside links to the program, its page and its completion
    assert {path for path in written if not path.startswith("/usr/local/")} == {
        "/etc/sysusers.d/lamplighter.conf",
        "/etc/tmpfiles.d/lamplighter.conf",
        f"{folder}-power.service",
        f"{folder}-audit.service",
        f"{folder}.target",
    }
    assert "Wants=lamplighter-power.service lamplighter-audit.service\n" in result.output
    assert "slurm" not in result.output.replace("slurmctld", "")
    wrong = CliRunner().invoke(init, ["--worker=relay", "--dry-run"])
    assert wrong.exit_code == 2
    assert "--worker" in wrong.output
