"""What the Ansible role copies from the controller to a host of workers: deploy/ansible/.../copy.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "deploy/ansible/roles/lamplighter/tasks/copy.yaml"
# On SQLite: a file of one host, which hosts cannot share.
SQLITE, POSTGRESQL = "sqlite:////x/state.db", "postgresql+psycopg://db/state"
SECRETS = {"etc/lamplighter/cloud.secret", "var/lib/lamplighter/token.key"}


def played(run_dir: Path, store: str, workers: list[str]) -> tuple[str, dict[str, str]]:
    """What ansible-playbook says, and the files of the workers' host with their texts."""
    controller, host = run_dir / "controller", run_dir / "host"
    files = {
        "etc/lamplighter/lamplighter.toml": f'[store]\nurl = "{store}"\n',
        "etc/lamplighter/broker/power.password": "p\n",
        "etc/lamplighter/broker/tokens.password": "t\n",
        "var/lib/lamplighter/state.db": "-\n",
        **dict.fromkeys(SECRETS, "of the controller\n"),
    }
    for name, text in files.items():
        for place in (controller, host):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
        (controller / name).write_text(text)
        (controller / name).chmod(0o600)
    tasks = TASKS.read_text().replace(
        '"{{ item.source }}"', f'"{host}{{{{ item.source[{len(str(controller))}:] }}}}"'
    )
    for folder in ("/etc/lamplighter", "/var/lib/lamplighter"):
        tasks = tasks.replace(folder, f"{controller}{folder}")
    (run_dir / "copy.yaml").write_text(tasks)
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "lamplighter_controller": "localhost",
            "lamplighter_workers": workers,
        },
        "tasks": [{"ansible.builtin.import_tasks": str(run_dir / "copy.yaml")}],
        "handlers": [{"name": "Restart Lamplighter", "ansible.builtin.debug": {"msg": "restart"}}],
    }
    (run_dir / "play.yaml").write_text(json.dumps([play]))
    playbook = str(Path(sys.executable).with_name("ansible-playbook"))
    argv = [playbook, "-i", "localhost,", "play.yaml"]
    done = subprocess.run(argv, cwd=run_dir, capture_output=True, text=True, check=False)
    found = {
        str(path.relative_to(host)): path.read_text() for path in host.rglob("*") if path.is_file()
    }
    return done.stdout + done.stderr, found


@pytest.mark.parametrize("has_key", [False, True])
def test_a_host_of_the_token_service_gets_the_key_of_the_stored_refresh_tokens(
    run_dir: Path, *, has_key: bool
) -> None:
    """Otherwise it could not read what another has stored; a key of its own may be in use, and stays."""
    key = run_dir / "host/var/lib/lamplighter/token.key"
    if has_key:
        key.parent.mkdir(parents=True)
        key.write_text("of the host\n")
    said, found = played(run_dir, POSTGRESQL, ["tokens"])
    assert set(found) == {
        "etc/lamplighter/lamplighter.toml",
        "etc/lamplighter/broker/tokens.password",
        *SECRETS,
    }, said
    assert found["var/lib/lamplighter/token.key"] == (
        "of the host\n" if has_key else "of the controller\n"
    )


def test_hosts_that_would_not_share_a_database_are_refused(run_dir: Path) -> None:
    """Each power worker would have a store of its own, and could start a node that another stops."""
    said, found = played(run_dir, SQLITE, ["power"])
    assert "name PostgreSQL (lamplighter_store)" in said
    assert found == {}
