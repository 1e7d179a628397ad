"""From nothing to the first job, on a copy of this system: docs/quick-start.md literally, and Ansible."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.install.copied import FIRST_JOB, ROOT, download_wheels, run_on_copy

if TYPE_CHECKING:
    from pathlib import Path

WORDS = {"IMAGE": "node-image", "FLAVOR": "m1.tiny", "NETWORK": "none"}
MOST_COMMANDS = 6
QUICK_START_CHECKS = """
$lamplighter status || true
echo "== again"
$lamplighter init --yes --clouds-yaml clouds.yaml --strategy delete --image IMAGE --flavor FLAVOR --network NETWORK
echo "== modes"
stat -c '%a %U %n' /etc/lamplighter/* /var/lib/lamplighter/*
grep -rl keeper-application-secret /etc /var/lib/lamplighter /var/log /var/spool || true
"""
# The second host runs one more power worker.
INVENTORY = """
lamplighter_controller:
  hosts:
    controller: {ansible_connection: local}
lamplighter_workers:
  hosts:
    worker:
      ansible_ssh_executable: REPOSITORY/tests/install/ssh
      ansible_ssh_pipelining: true
      ansible_ssh_transfer_method: piped
      lamplighter_workers: [power]
all:
  vars:
    ansible_become: false
    ansible_python_interpreter: /usr/bin/python3
    lamplighter_packages: []
    lamplighter_pip_arguments: [--no-compile]
    lamplighter_wheel: /root/wheels/WHEEL
    lamplighter_clouds_yaml: /root/lamplighter/clouds.yaml
    lamplighter_image: node-image
    lamplighter_flavor: m1.tiny
    lamplighter_networks: [none]
    lamplighter_store: postgresql+psycopg://127.0.0.1?service=state
    lamplighter_files: [pg_service.conf]
"""
ANSIBLE = """
postgres() { setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/*/bin/"$@"; }
install -d -o postgres -g postgres /run/postgresql /var/log/postgresql
postgres initdb -A trust -D /run/postgresql/data > /dev/null
postgres pg_ctl -D /run/postgresql/data -l /var/log/postgresql/log start > /dev/null
cat > deploy/ansible/pg_service.conf <<END
[state]
host=127.0.0.1
dbname=postgres
user=postgres
END
export PGSERVICEFILE=/etc/lamplighter/pg_service.conf
playbook() { REPOSITORY/.venv/bin/ansible-playbook -i inventory.yaml deploy/ansible/site.yaml "$@"; }
cat > inventory.yaml <<'END'
INVENTORY
END
playbook --check
[ ! -e /opt/lamplighter ]
[ ! -e /etc/lamplighter/lamplighter.toml ]
echo "== really"
playbook
sbatch --wrap hostname
FIRST_JOB
echo "== consumers"
for _ in $(seq 100); do
  rabbitmqctl --quiet -p lamplighter list_queues name consumers | grep -P 'power.resume\t2' && break
  sleep 0.2
done
stat -c '%a %U %n' /worker/etc/lamplighter/*
echo "== again"
playbook
echo "== changed"
echo '# by hand' | tee -a /etc/lamplighter/lamplighter.toml >> /etc/systemd/system/lamplighter-power.service
playbook -l controller
grep 'by hand' /etc/lamplighter/lamplighter.toml /etc/systemd/system/lamplighter-power.service*
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, beside those of the libraries."""
    assert os.geteuid() == 0, "run as root: these tests need a copy of the system"
    return download_wheels(tmp_path_factory.mktemp("wheels"))


def commands() -> list[str]:
    """The commands of the page's only block."""
    (block,) = re.findall(
        r"```console\n(.*?)```", (ROOT / "docs/quick-start.md").read_text(), re.DOTALL
    )
    return [line.removeprefix("# ") for line in block.splitlines()]


def test_the_quick_start_leads_to_the_first_job(run_dir: Path, wheel: Path) -> None:
    assert len(commands()) <= MOST_COMMANDS
    script = "\n".join(commands()) + FIRST_JOB + QUICK_START_CHECKS
    for word, value in WORDS.items():
        script = re.sub(rf"\b{word}\b", value, script)
    first, again = run_on_copy(run_dir, wheel.parent, script).split("== again")
    # all nodes have this host's name
    assert "\ncontroller\njob 1 waited" in first
    assert "node1 took" in first
    again, modes = again.split("== modes")
    assert "write:" not in again
    assert "differs" not in again
    assert "600 lamplighter-tokens /etc/lamplighter/cloud.secret" in modes
    assert modes.count("/etc/lamplighter/cloud.secret") == 2


def recap(output: str) -> dict[str, tuple[int, int]]:
    """By host: how many tasks changed something, and how many failed."""
    found = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) .*failed=(\d+)", output, re.MULTILINE)
    return {host: (int(changed), int(failed)) for host, changed, failed in found}


def test_one_playbook_leads_to_the_first_job_and_changes_nothing_the_second_time(
    run_dir: Path, wheel: Path
) -> None:
    """On the controller and a host of one more power worker; --check changes nothing."""
    script = ANSIBLE.replace("INVENTORY", INVENTORY).replace("FIRST_JOB", FIRST_JOB)
    script = script.replace("REPOSITORY", str(ROOT)).replace("WHEEL", wheel.name)
    output = run_on_copy(run_dir, wheel.parent, script)
    checked, rest = output.split("== really")
    installed, rest = rest.split("== consumers")
    consumers, rest = rest.split("== again")
    again, changed = rest.split("== changed")
    assert all(changes and not failed for changes, failed in recap(checked).values())
    assert set(recap(checked)) == {"controller", "worker"}
    assert "\ncontroller\njob 1 waited" in installed
    assert "power.resume\t2" in consumers
    assert "cloud.secret" not in consumers
    assert recap(again) == {"controller": (0, 0), "worker": (0, 0)}
    # a generated file is renewed and its changed version kept; lamplighter.toml is the site's
    _, _, kept = changed.partition("RECAP")
    assert "/lamplighter.toml:# by hand" in kept
    assert "/lamplighter-power.service~:# by hand" in kept
    assert "/lamplighter-power.service:# by hand" not in kept
    assert "keeper-application-secret" not in output
