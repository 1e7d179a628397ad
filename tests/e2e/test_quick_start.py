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
lamplighter status || true
init() { lamplighter init --yes --clouds-yaml clouds.yaml --strategy delete --image IMAGE --flavor FLAVOR --network NETWORK "$@"; }
echo "== again"
files | tee /run/before > /dev/null
init --dry-run > /dev/null
init
files | diff /run/before - && echo "nothing has changed"
echo "== modes"
stat -c '%a %U %n' /etc/lamplighter/* /var/lib/lamplighter*/*
grep -rl aB6sDn4uXcV1gKe0ZtRy5QwM /etc /var/lib/lamplighter /var/log /var/spool || true
echo "== backup"
sed -n '/^## Backup/,/^### /s/^    //p' docs/operations.md > /run/backup.sh
(mkdir /run/backup && cd /run/backup && bash -eux /run/backup.sh && ls && tar -tf etc.tar.gz)
lamplighter audit verify
echo "== half"
umask 077
rm -r /usr/local/share/zsh /etc/lamplighter/broker /etc/systemd/system/lamplighter-power.service /etc/slurm/lamplighter.conf
chmod 0666 /etc/lamplighter/cloud.secret
chown nobody /etc/lamplighter/lamplighter.toml
timeout -s KILL 0.7 lamplighter init --yes --clouds-yaml clouds.yaml --strategy stop || true
init
umask 022
files
echo "== container"
# as if RabbitMQ ran in a container: its program here has no right
rabbitmqctl --quiet delete_vhost lamplighter
cookie=/var/lib/rabbitmq/.erlang.cookie
cp -p $cookie /run/cookie
echo another > $cookie
init | tee /run/said
cp -p /run/cookie $cookie
grep definitions.json /run/said > /run/by-hand
bash -eu /run/by-hand
lamplighter topology check
"""
# All that init may change; of folders without times, which systemd-sysusers changes.
FILES = """
files() { find /etc /etc/lamplighter /root/lamplighter /usr/local /var/spool -xdev ! -path '*/wheels*' '(' -type d -printf '%p %m %u %g\n' -o -printf '%p %m %u %g %s %T@\n' ')' | sort; }
files > /run/before
/opt/lamplighter/bin/lamplighter init --yes --dry-run --clouds-yaml clouds.yaml --strategy stop > /run/plan
files | diff /run/before -
"""
# The second host runs one more power worker.
INVENTORY = """
lamplighter_controller:
  hosts:
    controller: {ansible_connection: local, ansible_pipelining: true}
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
    lamplighter_prolog: true
    lamplighter_store: postgresql://127.0.0.1/state
    lamplighter_database: controller
    lamplighter_psql: [setpriv, --reuid=postgres, --regid=postgres, --clear-groups, psql, -q, -d, postgres]
"""
ANSIBLE = """
postgres() { setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/*/bin/"$@"; }
install -d -o postgres -g postgres /run/postgresql /var/log/postgresql
postgres initdb --auth-local=peer --auth-host=scram-sha-256 -D /run/postgresql/data > /dev/null
postgres pg_ctl -D /run/postgresql/data -l /var/log/postgresql/log start > /dev/null
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
stat -c '%a %U %n' /worker/etc/lamplighter/* /worker/etc/lamplighter/*/*
echo "== again"
playbook
echo "== changed"
chmod 0666 /etc/lamplighter/broker/power.password /worker/etc/lamplighter/lamplighter.toml
chmod 0777 /etc/lamplighter /worker/etc/lamplighter/broker
chown nobody /etc/lamplighter/database/power.pgpass
playbook --check
stat -c 'checked: %a %U %n' /etc/lamplighter/broker/power.password
playbook
stat -c '%a %U %n' /etc/lamplighter /etc/lamplighter/*/power.* /worker/etc/lamplighter/broker /worker/etc/lamplighter/lamplighter.toml
echo "== by hand"
echo '# by hand' | tee -a /etc/lamplighter/lamplighter.toml >> /etc/systemd/system/lamplighter-power.service
rm /etc/slurm/lamplighter.conf
playbook -l controller
grep 'by hand' /etc/lamplighter/lamplighter.toml /etc/systemd/system/lamplighter-power.service*
scontrol show config | grep -E 'ResumeProgram|PrologSlurmctld'
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
    installed, prepared = commands()[:2], commands()[2:]
    script = "\n".join([*installed, FILES, *prepared]) + FIRST_JOB + QUICK_START_CHECKS
    for word, value in WORDS.items():
        script = re.sub(rf"\b{word}\b", value, script)
    first, again = run_on_copy(run_dir, wheel.parent, script).split("== again")
    # all nodes have this host's name
    assert "\ncontroller\njob 1 waited" in first
    assert "node1 took" in first
    again, modes = again.split("== modes")
    modes, backup = modes.split("== backup")
    backup, half = backup.split("== half")
    half, container = half.split("== container")
    assert "nothing has changed" in again
    # by the page, where no login needs a token.key
    assert "audit.db\netc.tar.gz\nstate.db\n" in backup
    assert "\nvar/lib/lamplighter-audit/audit.key\n" in backup
    assert "Nothing was missing: no file was written or changed." in again
    # what an interrupted run has left is completed, and rights are corrected
    for right in (
        "/etc/lamplighter/cloud.secret 600 lamplighter-tokens lamplighter",
        "/etc/lamplighter/lamplighter.toml 640 root lamplighter",
        "/etc/lamplighter/broker/hook.password 600 slurm lamplighter",
        "/etc/lamplighter/broker 750 root lamplighter",
        "/etc/systemd/system/lamplighter-power.service 644 root root",
        "/usr/local/share/zsh/site-functions 755 root root",
    ):
        assert any(line.startswith(right) for line in half.splitlines()), right
    assert "write:" not in again
    assert "differs" not in again
    assert "600 lamplighter-tokens /etc/lamplighter/cloud.secret" in modes
    assert modes.count("/etc/lamplighter/cloud.secret") == 2
    # what is left to do by hand leads to the same broker
    assert "not done (RabbitMQ does not run, or runs elsewhere" in container
    assert "\n  systemctl restart slurmctld lamplighter.target\n" in container
    assert container.endswith("no differences\n")
    # SlurmUser writes the state store, and only reads the audit log
    for right in (
        "660 lamplighter /var/lib/lamplighter/state.db",
        "640 lamplighter /var/lib/lamplighter-audit/audit.db",
    ):
        assert f"\n{right}\n" in modes
    assert "600 lamplighter /var/lib/lamplighter-audit/audit.key\n" in modes


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
    again, rest = rest.split("== changed")
    mended, changed = rest.split("== by hand")
    assert all(changes and not failed for changes, failed in recap(checked).values())
    assert set(recap(checked)) == {"controller", "worker"}
    assert "\ncontroller\njob 1 waited" in installed
    assert "power.resume\t2" in consumers
    assert "cloud.secret" not in consumers
    # a host of power workers has no other role's passwords
    found = re.findall(r"/worker\S+/(\w+)\.(?:password|pgpass)\n", consumers)
    assert found == ["power", "power"]
    assert recap(again) == {"controller": (0, 0), "worker": (0, 0)}
    # another mode or owner is shown by --check, and corrected
    assert "checked: 666 lamplighter /etc/lamplighter/broker/power.password" in mended
    for right in (
        "750 root /etc/lamplighter",
        "600 lamplighter /etc/lamplighter/broker/power.password",
        "600 lamplighter /etc/lamplighter/database/power.pgpass",
        "750 root /worker/etc/lamplighter/broker",
        "640 root /worker/etc/lamplighter/lamplighter.toml",
    ):
        assert f"\n{right}\n" in mended
    # a generated file is renewed and its changed version kept; lamplighter.toml is the site's
    _, _, kept = changed.partition("RECAP")
    assert "/lamplighter.toml:# by hand" in kept
    assert "/lamplighter-power.service~:# by hand" in kept
    assert "/lamplighter-power.service:# by hand" not in kept
    # slurmctld reads what was written again
    assert "HANDLER [lamplighter : Restart Slurm's controller]" in changed
    assert "/opt/lamplighter/bin/lamplighter-resume\n" in changed
    assert "/opt/lamplighter/bin/lamplighter-prolog\n" in changed
    assert "aB6sDn4uXcV1gKe0ZtRy5QwM" not in output
