"""deploy/compose/secrets.sh writes each secret whole or not at all."""

import os
import resource
import signal
import subprocess
from pathlib import Path

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
