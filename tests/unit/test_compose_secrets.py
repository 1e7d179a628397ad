"""deploy/compose/secrets.sh writes each secret whole or not at all."""

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/compose/secrets.sh"


def test_what_a_full_disk_prevented_is_made_by_the_next_run(tmp_path: Path) -> None:
    """Otherwise a part of a password, or none, would be the password."""
    if os.geteuid() != 0:  # others need Docker for it
        return
    folder = tmp_path / "secrets"

    def fill_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    first = subprocess.run(
        [SCRIPT, folder],
        check=False,
        capture_output=True,
        restore_signals=False,
        preexec_fn=fill_disk,
    )
    assert first.returncode != 0
    assert [one.name for one in folder.iterdir()] == ["hook.password.new"]
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)
    made = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert all(len(content) > 20 for content in made.values()), made
    assert not [name for name in made if name.endswith(".new")]
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == made


def rights(folder: Path) -> dict[str, tuple[int, int]]:
    """Mode and owner of the folder and of each secret."""
    found = {".": folder.stat(), **{one.name: one.stat() for one in folder.iterdir()}}
    return {name: (status.st_mode & 0o7777, status.st_uid) for name, status in found.items()}


def test_the_next_run_mends_modes_and_owners_of_an_existing_folder(tmp_path: Path) -> None:
    """Otherwise a container could not read its password, or other users of this machine could."""
    if os.geteuid() != 0:  # others need Docker for it
        return
    folder = tmp_path / "secrets"
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)
    right = rights(folder)
    assert right["."][0] == 0o700
    assert right["power.password"] == right["power.pgpass"] == (0o400, 10_001)
    assert {mode & 0o222 for name, (mode, _) in right.items() if name != "."} == {0}
    for mode, owner in ((0o666, 64_999), (0o000, 0)):
        for one in (*folder.iterdir(), folder):
            os.chown(one, owner if one != folder else -1, -1)
            one.chmod(mode | 0o111 if one == folder else mode)
        subprocess.run([SCRIPT, folder], check=True, capture_output=True)
        after = rights(folder)
        # what any user of a container may read may belong to anybody
        assert {name: mode for name, (mode, _) in after.items()} == {
            name: mode for name, (mode, _) in right.items()
        }
        ours = {name for name, (_, user) in right.items() if user == 10_001}
        assert {after[name][1] for name in ours} == {10_001}


@pytest.mark.parametrize("image", [None, "debian:trixie-slim@sha256:0"])
def test_without_root_one_container_without_a_network_gives_the_owners(
    tmp_path: Path, image: str | None
) -> None:
    """It sees all secrets, as root: its image can be named by digest, and it can send nothing."""
    for name, text in (("docker", f'printf "%s\\n" "$@" >{tmp_path}/words'), ("id", "echo 1000")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    named = {"LAMPLIGHTER_BASE_IMAGE": image} if image else {}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **named}
    subprocess.run([SCRIPT, tmp_path / "secrets"], check=True, capture_output=True, env=environment)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:4] == ["run", "--rm", "--network", "none"]
    assert words[words.index("sh") - 1] == (image or "debian:trixie-slim")
