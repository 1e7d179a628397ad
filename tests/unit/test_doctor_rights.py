"""`lamplighter doctor` names files whose rights are not those that init gave, and stores of another version."""

from __future__ import annotations

import grp
import os
import stat
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from ops.cli.session import Session, StoreKind
from ops.doctor.parts import of_migrations
from ops.doctor.planned import of_rights, planned_files, planned_folders
from ops.install.place import PlannedFile
from ops.install.plan import site_files
from producers.disk import user_name
from tests.unit.test_doctor import GOOD_TOML
from tests.unit.test_install import folder, run, site
from workers.store.database import open_store

if TYPE_CHECKING:
    from pathlib import Path

# On SQLite: the example of lamplighter.toml, and the modes of SQLite's files.

__all__ = ["folder"]

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")


def test_each_file_with_other_rights_is_named_with_the_commands(run_dir: Path) -> None:
    me = (user_name(), grp.getgrgid(os.getegid()).gr_name)
    files = [PlannedFile(run_dir / name, "", 0o600, me) for name in ("right", "wrong", "absent")]
    for file, mode in zip(files, (0o600, 0o640), strict=False):
        file.path.touch()
        file.path.chmod(mode)
    (found,) = of_rights(files)
    assert f"{run_dir / 'wrong'} has mode 640 of " in found.words
    assert (found.remedy or "").endswith(f"; chmod 0600 {run_dir / 'wrong'}")
    assert stat.S_IMODE((run_dir / "right").stat().st_mode) == 0o600


def test_doctor_expects_what_init_writes(folder: Path) -> None:
    """The same owner and mode for each file that both know; all secrets are among them."""
    conf = site(folder)
    written = {file.path: (file.mode, file.owner) for file in site_files(conf, "")}
    checked = {file.path: (file.mode, file.owner) for file in planned_files("slurm")}
    for path, rights in written.items():
        if path.is_relative_to("/etc/lamplighter"):
            assert checked[path] == rights, path
    folders = {str(file.path): file.mode for file in planned_folders("slurm")}
    assert folders["/var/lib/lamplighter"] == 0o2770
    assert folders["/var/lib/lamplighter/state.db"] == 0o660
    assert folders["/var/lib/lamplighter-audit/audit.db"] == 0o640


def test_on_a_host_of_workers_no_file_of_slurm_user_is_expected() -> None:
    owners = {file.owner[0] for file in (*planned_files(None), *planned_folders(None))}
    assert owners == {"root", "lamplighter", "lamplighter-tokens"}


@pytest.mark.parametrize(
    ("version", "word"), [("0001", "restart the workers"), ("9999", "install the newer version")]
)
@pytest.mark.parametrize("kind", ["state", "audit"])
def test_a_store_of_another_version_is_named(
    run_dir: Path, kind: StoreKind, version: str, word: str
) -> None:
    config = run_dir / "lamplighter.toml"
    config.write_text(GOOD_TOML)
    config.chmod(0o640)
    url = f"sqlite:///{run_dir}/{kind}.db"
    store = open_store(url, kind)
    assert list(of_migrations(Session(config), kind)) == []
    with store.begin() as connection:
        table = sa.table(f"{kind}_version", sa.column("version_num"))
        connection.execute(sa.update(table).values(version_num=version))
    store.dispose()
    (found,) = of_migrations(Session(config), kind)
    assert found.kind == "store_version"
    assert version in found.words
    assert word in (found.remedy or "")


@pytest.mark.parametrize("answers", [True, False])
def test_init_names_a_management_api_on_this_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    class Connection:
        def close(self) -> None:
            pass

    def connect(address: tuple[str, int], seconds: float) -> Connection:
        assert (address, seconds > 0) == (("127.0.0.1", 15672), True)
        if not answers:
            raise ConnectionRefusedError
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    assert ('management_url = "http://127.0.0.1:15672"' in output) is answers
