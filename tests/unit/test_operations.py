"""What operators read and copy fits the project: runbook and alerts, Ansible's variables and examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ops.install import units
from ops.install.init import init

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
