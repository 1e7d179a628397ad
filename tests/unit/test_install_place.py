"""`lamplighter init` puts files in place, and changes no file's content."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from ops.install import place
from ops.install.place import Found, PlannedFile
from producers.settings import ConfigError

ME = (
    pwd.getpwuid(os.geteuid()).pw_name,
    grp.getgrgid(os.getegid()).gr_name,
)


def test_an_existing_file_is_never_changed(run_dir: Path) -> None:
    path = run_dir / "file"
    planned = PlannedFile(path, "a\nnew\n", owner=ME)
    assert planned.found() is Found.MISSING
    path.write_text("a\nold\n")
    assert planned.found() is Found.DIFFERENT
    assert list(planned.diff())[-2:] == ["-old", "+new"]
    assert not planned.put()
    assert path.read_text() == "a\nold\n"
    secret = PlannedFile(path, "other", planned.mode, ME, secret=True)
    assert secret.found() is Found.SAME


def test_a_file_is_never_there_with_other_rights_than_planned(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted init leaves no file that the next one takes as it is."""
    planned = PlannedFile(run_dir / "file", "x", 0o640, ME)
    links: list[tuple[int, int]] = []

    def link(source: Path, _: Path) -> None:
        links.append((Path(source).stat().st_mode & 0o7777, Path(source).stat().st_uid))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        with pytest.raises(KeyboardInterrupt):
            planned.put()
    assert links == [(0o640, os.geteuid())]
    assert list(run_dir.iterdir()) == []
    assert planned.put()
    assert not planned.put()


@pytest.mark.parametrize("secret", [False, True])
def test_owner_and_mode_of_an_existing_file_are_corrected_but_not_its_content(
    run_dir: Path, *, secret: bool
) -> None:
    path = run_dir / "file"
    planned = PlannedFile(path, "planned", 0o600, ME, secret=secret)
    path.write_text("other" if secret else "planned")
    path.chmod(0o666)
    assert planned.found() is Found.RIGHTS
    assert planned.rights() == f"mode 666 of {':'.join(ME)}, not mode 600 of {':'.join(ME)}"
    assert planned.put()
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.read_text() == ("other" if secret else "planned")
    assert planned.found() is Found.SAME


def test_a_link_stays_and_so_does_what_it_names(run_dir: Path) -> None:
    """A site may keep its secrets elsewhere."""
    (run_dir / "vault").write_text("secret")
    (run_dir / "vault").chmod(0o644)
    (run_dir / "file").symlink_to(run_dir / "vault")
    assert not PlannedFile(run_dir / "file", "x", 0o600, ME, secret=True).put()
    assert (run_dir / "vault").stat().st_mode & 0o7777 == 0o644


def test_what_is_no_file_in_a_files_place_is_named_with_the_remedy(run_dir: Path) -> None:
    (run_dir / "link").symlink_to(run_dir / "nowhere" / "x")
    (run_dir / "folder").mkdir()
    os.mkfifo(run_dir / "fifo")
    for name in ("link", "folder", "fifo"):
        with pytest.raises(ConfigError, match=rf"{name}: .*; move it away, and run init again"):
            PlannedFile(run_dir / name, "x", owner=ME).put()


def test_a_file_that_is_not_utf_8_differs_and_stays(run_dir: Path) -> None:
    path = run_dir / "file"
    path.write_bytes(b"# B\xfcro\nold\n")
    planned = PlannedFile(path, "# B\u00fcro\nnew\n", owner=ME)
    assert planned.found() is Found.DIFFERENT
    assert list(planned.diff())[-1] == "+new"
    secret = PlannedFile(path, "x", planned.mode, ME, secret=True)
    assert secret.found() is Found.SAME


def test_a_command_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.run(["true"]) is None
    monkeypatch.setattr(place, "_SECONDS", 0.2)
    assert place.run(["sh", "-c", "sleep 60 & sleep 60"]) == "did not end within 0.2 s"
    assert place.run(["no-such-program-anywhere"]) == "no-such-program-anywhere is not installed"
    assert "exit 3" in (place.run(["sh", "-c", "echo exit 3; exit 3"]) or "")


def test_init_refuses_an_installation_that_other_users_cannot_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "HIDDEN", (run_dir / "home",))
    for name in ("closed", "home", "open"):
        (run_dir / name).mkdir()
        (run_dir / name / "python3").touch()
    (run_dir / "link").symlink_to(run_dir / "closed" / "python3")
    place.require_reachable(run_dir / "open" / "python3", run_dir / "link")
    (run_dir / "closed").chmod(0o700)
    for wrong in (run_dir / "link", run_dir / "home" / "python3"):
        with pytest.raises(ConfigError, match=r"other users, .*/usr/bin/python3"):
            place.require_reachable(run_dir / "open" / "python3", wrong)


@pytest.mark.parametrize("closed", [".", "bin", "lib/code.py"])
def test_an_installation_that_umask_closed_is_opened_by_the_command_that_init_names(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """To install again would close it again."""
    prefix = run_dir / "venv"
    files = [prefix / "bin/lamplighter", prefix / "lib/code.py"]
    monkeypatch.setattr("sys.prefix", str(prefix))
    monkeypatch.setattr(place, "HIDDEN", ())
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    place.require_reachable(*files)
    (prefix / closed).chmod(0o700)
    with pytest.raises(ConfigError, match="other users") as caught:
        place.require_reachable(*files)
    subprocess.run(str(caught.value).rpartition("; ")[2].split(), check=True)
    place.require_reachable(*files)


@pytest.mark.parametrize("name", ["my programs", "tab\t", "5%", "a#b", "a'b", "a$b"])
def test_a_program_whose_path_systemd_would_read_otherwise_is_refused(
    run_dir: Path, name: str
) -> None:
    """ExecStart and ResumeProgram would name another program."""
    (run_dir / name).mkdir()
    with pytest.raises(ConfigError, match=r"cannot name it, for its .*/opt/lamplighter"):
        place.require_reachable(run_dir / name / "lamplighter")
