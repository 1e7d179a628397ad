"""`lamplighter doctor`, run as root, sees what SlurmUser may not do."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.doctor.access import ENTER, EXECUTE, READ, WRITE, User
from ops.doctor.host import of_hooks
from ops.doctor.slurm import of_slurm
from tests.unit.test_doctor import GOOD_TOML
from workers.config.settings import Settings, load

NOBODY = User("nobody", 65_534, frozenset({65_534}))


def status(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize("bits", range(8))
@pytest.mark.parametrize("shift", [0, 3, 6])
@pytest.mark.parametrize("wanted", range(1, 8))
def test_a_user_may_what_all_wanted_bits_of_its_class_say(
    bits: int, shift: int, wanted: int
) -> None:
    """Owner before group before others: path_resolution(7)."""
    owner, group = ((9, 9), (9, 7), (7, 9))[shift // 3]
    user = User("me", 7, frozenset({7}))
    all_others = 0o777 & ~(7 << shift)
    found = user.may(wanted, status(stat.S_IFREG | bits << shift | all_others, owner, group))
    assert found is (bits & wanted == wanted)


def test_root_may_all_but_run_what_nobody_may_run() -> None:
    root = User("root", 0, frozenset({0}))
    assert root.may(READ | WRITE, status(stat.S_IFREG, 7))
    assert root.may(READ | WRITE | ENTER, status(stat.S_IFDIR, 7))
    assert root.may(EXECUTE, status(stat.S_IFREG | 0o010, 7))
    assert not root.may(EXECUTE, status(stat.S_IFREG | 0o666, 7))


def test_a_user_has_the_groups_of_a_directory_that_lists_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As sssd does by default: what such a group may read is not named as closed to the user."""
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 4711] if name == "root" else [])
    assert User.named("root") == User("root", 0, frozenset({0, 4711}))
    assert User.named("no-such-user") is None


@pytest.fixture
def settings(run_dir: Path) -> Settings:
    """A site whose hooks run as nobody, in a folder below which tests may close folders."""
    inner = run_dir / "inner"
    inner.mkdir()
    (inner / "lamplighter.toml").write_text(
        GOOD_TOML.replace("[slurm]", 'log_file = "hooks.log"\n[slurm]')
    )
    for name in ("spool", "clock"):
        (inner / name).mkdir(mode=0o700)
    for name in ("password", "hooks.log"):
        (inner / name).touch(mode=0o600)
    for path in inner.iterdir():
        os.chown(path, NOBODY.uid, -1)
    os.chown(inner / "lamplighter.toml", os.geteuid(), -1)
    return load(inner / "lamplighter.toml", {})


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@needs_root
def test_what_nobody_may_use_is_not_named(settings: Settings) -> None:
    assert list(of_hooks(settings.hook, settings.path, NOBODY)) == []


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600])
@pytest.mark.parametrize("name", ["spool", "clock"])
def test_a_folder_of_slurm_user_without_one_of_its_rights_is_named(
    settings: Settings, name: str, mode: int
) -> None:
    (settings.path.parent / name).chmod(mode)
    (found,) = of_hooks(settings.hook, settings.path, NOBODY)
    assert (found.kind, name in found.words) == ("folder", True)
    assert "chmod u+rwx" in (found.remedy or "")


@pytest.mark.parametrize(
    "keys", [("ca_file",), ("cert_file", "key_file"), ("ca_file", "cert_file", "key_file")]
)
def test_a_certificate_that_slurm_user_may_not_read_is_named(
    settings: Settings, keys: tuple[str, ...]
) -> None:
    """Otherwise each call waits in the spool, while all is well for root."""
    folder = settings.path.parent
    named: dict[str, Any] = {key: folder / f"{key}.pem" for key in keys}
    for path in named.values():
        path.touch(mode=0o600)
    hook = replace(settings.hook, broker=replace(settings.broker, **named))
    found = [one.words for one in of_hooks(hook, settings.path, NOBODY)]
    assert len(found) == len(keys)
    assert all(any(f"{path} is not readable" in one for one in found) for path in named.values())
    assert any("broker.ca_file: " in one for one in found) is ("ca_file" in keys)


@needs_root
def test_a_log_that_slurm_user_may_not_write_is_named(settings: Settings) -> None:
    (settings.path.parent / "hooks.log").chmod(0o400)
    (found,) = of_hooks(settings.hook, settings.path, NOBODY)
    assert "hooks.log_file" in found.words


@needs_root
def test_a_log_in_a_folder_of_the_system_is_made_and_the_folder_stays(settings: Settings) -> None:
    """Such as /var/log, which SlurmUser must not own."""
    log = settings.path.parent / "hooks.log"
    log.unlink()
    os.chown(log.parent, 0, 0)
    log.parent.chmod(0o755)
    (found,) = of_hooks(settings.hook, settings.path, NOBODY)
    assert found.words.startswith(f"hooks.log_file: {log.parent} ")
    assert found.remedy == f"install -m 0640 -o nobody /dev/null {log}"
    subprocess.run(shlex.split(found.remedy), check=True)
    assert list(of_hooks(settings.hook, settings.path, NOBODY)) == []


@needs_root
def test_a_closed_folder_above_is_named_for_each_that_needs_it(settings: Settings) -> None:
    settings.path.parent.chmod(0o700)
    found = [one.words for one in of_hooks(settings.hook, settings.path, NOBODY)]
    keys = ("hooks.spool", "hooks.state", "hooks.log_file", "lamplighter.toml", "password_file")
    for key in keys:
        assert any(key in one and f"may not enter {settings.path.parent}" in one for one in found)


@needs_root
def test_a_link_leads_through_folders_that_are_checked_too(settings: Settings) -> None:
    inner = settings.path.parent
    (inner / "closed").mkdir(mode=0o700)
    (inner / "spool").rename(inner / "closed" / "spool")
    (inner / "spool").symlink_to(inner / "closed" / "spool")
    (found,) = of_hooks(settings.hook, settings.path, NOBODY)
    assert f"may not enter {inner / 'closed'}" in found.words


PROGRAMS = {
    "ResumeProgram": "lamplighter-resume",
    "SuspendProgram": "lamplighter-suspend",
    "ResumeFailProgram": "lamplighter-resume-fail",
    "PrologSlurmctld": "lamplighter-prolog",
}


@needs_root
@pytest.mark.parametrize("parameter", PROGRAMS)
@pytest.mark.parametrize("mode", [0o755, 0o744, 0o700, 0o711, 0o400])
def test_a_program_that_slurm_user_cannot_run_is_named(
    settings: Settings, parameter: str, mode: int
) -> None:
    """The interpreter of a script reads it: both bits are needed."""
    config = {"SlurmUser": "nobody(65534)", "ReturnToService": "2", "PrivateData": "cloud"}
    for name, program in PROGRAMS.items():
        path = settings.path.parent / program
        path.touch()
        path.chmod(0o755)
        config[name] = str(path)
    Path(config[parameter]).chmod(mode)
    found = [one for one in of_slurm(config, settings) if one.kind == "program"]
    assert [one.words.partition(":")[0] for one in found] == ([parameter] if mode != 0o755 else [])
    assert all(one.remedy == f"chmod a+rx {config[parameter]}" for one in found)
    settings.path.parent.chmod(0o700)
    found = [one for one in of_slurm(config, settings) if "may not enter" in one.words]
    assert len(found) == len(PROGRAMS)


@needs_root
def test_a_program_whose_python_or_code_slurm_user_cannot_use_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment of root's own Python (pyenv, uv): its link leads into a closed folder."""
    inner = settings.path.parent
    (inner / "own").mkdir(mode=0o755)
    (inner / "own" / "python3.11").touch(mode=0o755)
    (inner / "python3").symlink_to(inner / "own" / "python3.11")
    path = inner / "lamplighter-resume"
    path.write_text(f"#!{inner}/python3\nimport sys\n")
    path.chmod(0o755)
    config = {"SlurmUser": "nobody(65534)", "ResumeProgram": str(path)}
    named = f"ResumeProgram: {path} runs by"
    assert not any(named in one.words for one in of_slurm(config, settings))
    (inner / "own").chmod(0o700)
    (found,) = [one for one in of_slurm(config, settings) if named in one.words]
    assert found.words.endswith(f"nobody may not enter {inner / 'own'}")
    assert "/usr/bin/python3" in (found.remedy or "")
    # an upgrade under umask 077: the program is open, and what it imports is closed
    (inner / "own").chmod(0o755)
    (inner / "lib").mkdir(mode=0o700)
    monkeypatch.setattr("sys.prefix", str(inner))
    monkeypatch.setattr("ops.doctor.slurm.__file__", str(inner / "lib/code.py"))
    (found,) = [one for one in of_slurm(config, settings) if named in one.words]
    assert (found.words.rpartition(" ")[2], found.remedy) == (
        str(inner / "lib"),
        f"chmod -R a+rX {inner}",
    )
