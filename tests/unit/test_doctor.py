"""`lamplighter doctor` and the start of each program name what is misconfigured, and the remedy."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.main import cli
from ops.cli.session import Session
from ops.doctor import clouds
from ops.doctor import command as doctor_command
from ops.doctor.access import User
from ops.doctor.clouds import CloudView, of_cloud
from ops.doctor.host import of_configuration, of_hooks, of_host
from ops.doctor.measured import of_times
from ops.doctor.parts import of_broker_version, of_clock, of_differences, of_logins
from ops.doctor.prolog import boots_of_a_day, of_prolog
from ops.doctor.slurm import of_names, of_slurm, of_slurm_places
from ops.doctor.units import of_units
from ops.install.units import PROGRAMS
from ops.site.findings import Finding, Severity
from producers.settings import ConfigError
from schemas.commands import Kind
from schemas.events import Transition
from schemas.ids import NO_CORRELATION
from schemas.registrations import Registration
from schemas.snapshot import Snapshot
from tests.testbed.messages import command, event
from workers.audit.log import append
from workers.audit.record import record_of
from workers.clouds.errors import CloudSettingError
from workers.clouds.quota import Flavor, Limits
from workers.config import slurm_location
from workers.config.settings import Settings, load
from workers.errors import TokenRefusedError
from workers.slurm.power_saving import config_from
from workers.store.database import open_store
from workers.tokens.rpc import TokenReport

if TYPE_CHECKING:
    from collections.abc import Callable

# On SQLite: the example of lamplighter.toml, and the modes of SQLite's files.

GOOD_TOML = """\
cluster = "c"
[broker]
url = "amqp://l@127.0.0.1:5672/l"
password_file = "password"
[hooks]
spool = "spool"
state = "clock"
[slurm]
resume_timeout = 600
suspend_timeout = 60
[store]
url = "sqlite:///state.db"
audit_url = "sqlite:///audit.db"
[clouds.c]
auth_url = "https://k.example.org/v3"
project_id = "p"
[clouds.c.source]
type = "password"
username = "u"
password_file = "cloud.password"
[groups.g]
nodes = "node[1-4]"
cloud = "c"
strategy = "stop"
"""
TEMPLATE = "[groups.g.server]\nimage = 'i'\nflavor = 'f'\n"
PROXY = "[console]\nproxy = { secret_file = 's',"
# (a text of lamplighter.toml, its replacement, what the error names, the remedy that it gives)
TOML = [
    ("cluster =", "clustre =", "clustre", "did you mean cluster?"),
    ('cluster = "c"', 'cluster = "a b"', "cluster", "use letters, digits"),
    ('cluster = "c"\n', "", "cluster", "write cluster ="),
    (
        'url = "amqp://l@',
        'url = "http://l@',
        "broker.url",
        "must look like amqp://user@host:5672/vhost",
    ),
    (":5672/l", ":port/l", "broker.url", "must look like amqp://user@host:5672/vhost"),
    (
        'password_file = "password"',
        'pasword_file = "x"',
        "pasword_file",
        "did you mean password_file?",
    ),
    ("[broker]", "[brokr]", "brokr", "did you mean broker?"),
    ("spool =", "spol =", "spol", "did you mean spool?"),
    ('spool = "spool"', "spool = 3", "spool", 'write spool = "..."'),
    ('state = "clock"', 'stat = "clock"', "stat", "did you mean state?"),
    ("resume_timeout = 600", "resume_timeout = 0", "resume_timeout", "write resume_timeout = 600"),
    (
        "resume_timeout = 600",
        'resume_timeout = "600"',
        "resume_timeout",
        "write resume_timeout = 600",
    ),
    (
        "resume_timeout = 600",
        "resume_timeuot = 600",
        "resume_timeuot",
        "did you mean resume_timeout?",
    ),
    (
        "suspend_timeout = 60",
        "suspend_timeout = true",
        "suspend_timeout",
        "write suspend_timeout = 60",
    ),
    ("[store]", "[stores]", "stores", "did you mean store?"),
    ("audit_url =", "auditurl =", "auditurl", "did you mean audit_url?"),
    ('"sqlite:///state.db"', '"state.db"', "store: url", "must begin with sqlite:///FILE"),
    ('"sqlite:///state.db"', '"sqlite://state.db"', "store: url", "must begin with sqlite:///FILE"),
    ('"sqlite:///state.db"', '"mysql://db/state"', "store: url", "must begin with sqlite:///FILE"),
    (
        '"sqlite:///audit.db"',
        '"postgresql+psycopg://db:port/x?sslmode=verify-full"',
        "audit_url",
        "correct its host or its port",
    ),
    (
        '"sqlite:///audit.db"',
        '"postgresql+psycopg://u:pw@db/x?sslmode=verify-full"',
        "audit_url",
        "file of $PGPASSFILE",
    ),
    ('"sqlite:///audit.db"', '"postgresql+psycopg://u@db/x"', "sslmode", "add sslmode=verify-full"),
    (
        '"https://k.example.org/v3"',
        '"https://k.example.org"',
        "auth_url",
        "https://HOST..., ending in /v3",
    ),
    ("auth_url =", "auth_uri =", "auth_u", "did you mean auth_url?"),
    ('project_id = "p"', "", "project_id", "give the project to log in to"),
    ("project_id =", "projct_id =", "projct_id", "did you mean project_id?"),
    ('type = "password"', 'type = "passwd"', "type", 'write one of "password"'),
    ('type = "password"', "", "type", 'write one of "password"'),
    ('username = "u"', "", "username", 'write username = "..."'),
    ('password_file = "cloud.password"', "", "password_file", "give either password_file or"),
    (
        'password_file = "cloud.password"',
        'password_flie = "x"',
        "password_flie",
        "did you mean password_file?",
    ),
    ("[clouds.c.source]", "[clouds.c.sorce]", "sorce", "did you mean source?"),
    ('cloud = "c"', 'cloud = "d"', "cloud", "there is c"),
    ('nodes = "node[1-4]"', 'nodes = "node[1-4"', "nodes", "give a hostlist"),
    ('nodes = "node[1-4]"', "", "nodes", 'write nodes = "..."'),
    ('strategy = "stop"', 'strategy = "halt"', "strategy", 'one of "stop", "shelve", "delete"'),
    ('strategy = "stop"', 'strategy = "delete"', "server", "needs [groups.NAME.server]"),
    ('strategy = "stop"', 'strategi = "stop"', "strategi", "did you mean strategy?"),
    ('strategy = "stop"', "boot_timeout = -1", "boot_timeout", "must be a number above 0"),
    ('strategy = "stop"', 'strategy = "stop"\n[power]\nleese = 3', "leese", "did you mean lease?"),
    (
        'strategy = "stop"',
        'strategy = "stop"\n[log]\nlevel = "loud"',
        "level",
        'one of "debug", "info"',
    ),
    (
        'strategy = "stop"',
        'strategy = "stop"\n[console]\nlisten = 8617',
        "listen",
        "must be a string",
    ),
    (
        'strategy = "stop"',
        'strategy = "stop"\n[[notify.webhook]]\nname = "x"',
        "notify.webhook",
        "give either url or url_file",
    ),
    (
        'strategy = "stop"',
        'strategy = "stop"\nhostname = "login.example.org"',
        "hostname",
        "write $node.login.example.org",
    ),
    (
        'strategy = "stop"',
        f"{TEMPLATE}metadata = {{ a = '{'x' * 256}' }}",
        "metadata",
        "at most 255 characters",
    ),
    (
        'strategy = "stop"',
        f"{TEMPLATE}metadata = {{ 'a/b' = 'x' }}",
        "metadata",
        "letters, digits, spaces",
    ),
    (
        'strategy = "stop"',
        f"{PROXY} address = 'proxy.example.org', header = 'X-U' }}",
        "address",
        "such as 127.0.0.1",
    ),
    (
        'strategy = "stop"',
        f"{PROXY} address = '127.0.0.1', header = 'X U' }}",
        "header",
        "such as X-Remote-User",
    ),
    (
        'strategy = "stop"',
        "[console]\nhosts = ['https://lamp.example.org/']",
        "hosts",
        "write a host name alone",
    ),
    ('strategy = "stop"', 'strategy = "stop', "TOML", "fix that line"),
]
GOOD_SLURM = {
    "SLURM_VERSION": "24.11.5",
    "SlurmUser": "slurm(64030)",
    "ResumeTimeout": "600 sec",
    "SuspendTimeout": "60 sec",
    "SuspendTime": "600 sec",
    "ReturnToService": "2",
    "PrivateData": "cloud",
    "MinJobAge": "300 sec",
    "SuspendExcNodes": "",
    "SlurmctldParameters": "",
    "PrologSlurmctld": "",
}
# (what slurm.conf says instead, the finding, a word of its text)
SLURM = [
    ({"ResumeProgram": ""}, "program", "ResumeProgram is not set"),
    ({"SuspendProgram": ""}, "program", "SuspendProgram is not set"),
    ({"ResumeFailProgram": ""}, "program", "ResumeFailProgram is not set"),
    ({"ResumeProgram": "/usr/local/bin/resume.sh"}, "program", "not lamplighter-resume"),
    ({"SuspendProgram": "/nowhere/lamplighter-suspend"}, "program", "No such file"),
    ({"MinJobAge": "2 sec"}, "min_job_age", "MinJobAge"),
    ({"SuspendExcNodes": "node[2-4]"}, "suspend_exc_nodes", "exempts 3"),
    ({"SuspendExcNodes": "node[1-9]:3,node[2-3]"}, "suspend_exc_nodes", "exempts 2"),
    ({"SuspendExcNodes": "node1,node[5-9]:3,node[2-3]"}, "suspend_exc_nodes", "exempts 2"),
    ({"SuspendExcNodes": "node[2-NB_NODES]"}, "suspend_exc_nodes", "NB_NODES"),
    ({"SuspendExcNodes": "a,login[1-2].example.org:1"}, "suspend_exc_nodes", "has login[1-2].ex"),
    (
        {"SlurmctldParameters": "cloud_dns,idle_on_node_suspend"},
        "idle_on_node_suspend",
        "SlurmctldParameters=cloud_dns",
    ),
    ({"SLURM_VERSION": "22.05.8", "PrivateData": ""}, "private_data", "PrivateData=cloud"),
    ({"SuspendExcStates": "CLOUD"}, "suspend_exc_nodes", "remove SuspendExcStates"),
    ({"SLURM_VERSION": "20.11.9"}, "slurm_version", "upgrade Slurm to 22.05"),
    ({"ReturnToService": "0"}, "return_to_service", "ReturnToService=2"),
    ({"SuspendExcStates": "DOWN,CLOUD"}, "suspend_exc_nodes", "SuspendExcStates=DOWN in"),
]


@pytest.fixture
def settings(run_dir: Path) -> Settings:
    """A site in which all is well."""
    (run_dir / "lamplighter.toml").write_text(GOOD_TOML)
    (run_dir / "lamplighter.toml").chmod(0o640)
    for name in ("spool", "clock"):
        (run_dir / name).mkdir(mode=0o700)
    for name in ("password", "cloud.password"):
        (run_dir / name).touch(mode=0o600)
    return load(run_dir / "lamplighter.toml", {})


@pytest.fixture
def slurm(run_dir: Path) -> dict[str, str]:
    config = dict(GOOD_SLURM)
    for parameter in ("Resume", "Suspend", "ResumeFail"):
        name = {"Resume": "resume", "Suspend": "suspend", "ResumeFail": "resume-fail"}[parameter]
        program = run_dir / f"lamplighter-{name}"
        program.touch(mode=0o755)
        program.chmod(0o755)
        config[f"{parameter}Program"] = str(program)
    return config


ME = User("me", os.geteuid(), frozenset({os.getegid()}))
NOBODY = User("slurm", 64_999, frozenset({64_999}))


def test_where_all_is_well_nothing_is_found(settings: Settings, slurm: dict[str, str]) -> None:
    assert [one for one in of_slurm(slurm, settings) if one.severity is Severity.WRONG] == []
    assert list(of_host(settings, "no-such-user")) == []
    assert list(of_hooks(settings.hook, settings.path, ME)) == []


@pytest.mark.parametrize(("text", "instead", "named", "remedy"), TOML, ids=lambda value: value[:30])
def test_a_wrong_line_of_the_configuration_is_named_with_its_remedy(
    settings: Settings, text: str, instead: str, named: str, remedy: str
) -> None:
    assert GOOD_TOML.count(text) >= 1
    settings.path.write_text(GOOD_TOML.replace(text, instead, 1))
    with pytest.raises(ConfigError) as error:
        load(settings.path, {})
    assert named in str(error.value)
    assert remedy in str(error.value)
    assert "lamplighter.toml" in str(error.value)
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor"])
    said = " ".join(result.output.split())  # lines end where the width of the terminal says
    assert (result.exit_code, "wrong: " in said) == (1, True)
    assert named in said
    assert remedy in said


@pytest.mark.parametrize(("changes", "key", "word"), SLURM, ids=lambda value: str(value)[:40])
def test_a_wrong_line_of_slurm_conf_is_named(
    settings: Settings, slurm: dict[str, str], changes: dict[str, str], key: str, word: str
) -> None:
    found = [one for one in of_slurm(slurm | changes, settings) if one.severity is Severity.WRONG]
    assert [one.kind for one in found] == [key]
    assert word in found[0].text
    assert found[0].remedy


def test_a_program_with_options_gets_a_remedy_without_them(
    settings: Settings, slurm: dict[str, str]
) -> None:
    """Slurm takes them for a part of the file's name."""
    slurm["ResumeProgram"] += " --verbose"
    (found,) = [one for one in of_slurm(slurm, settings) if one.severity is Severity.WRONG]
    assert "--verbose: No such file" in found.words
    assert found.remedy == f"ResumeProgram={PROGRAMS}/lamplighter-resume in slurm.conf"


@pytest.mark.parametrize(("name", "noted"), [("C", 0), ("c", 0), ("d", 1), ("c.d", 1)])
def test_the_slurm_of_another_cluster_is_noted(
    settings: Settings, slurm: dict[str, str], name: str, noted: int
) -> None:
    found = [one.words for one in of_slurm(slurm | {"ClusterName": name}, settings)]
    assert (
        found == [f"this is Slurm's cluster {name}, and lamplighter.toml is of cluster c"] * noted
    )


def test_nodes_that_a_partition_exempts_are_named(
    settings: Settings, slurm: dict[str, str]
) -> None:
    kept = ("node3", "node4", "login")
    found = {
        one.words.partition(" (")[0]: one.words
        for one in of_slurm(
            slurm | {"SuspendExcNodes": "node3", "SuspendExcParts": "a,b"}, settings, kept
        )
        if one.kind == "suspend_exc_nodes"
    }
    assert list(found) == [
        "SuspendExcNodes exempts 1 of Lamplighter's nodes",
        "SuspendExcParts exempts 1 of Lamplighter's nodes",
    ]
    assert "node4" in found["SuspendExcParts exempts 1 of Lamplighter's nodes"]


def test_a_group_whose_nodes_no_name_service_knows_is_named_where_slurm_stops_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unknown(name: str, _: None) -> None:
        asked.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert list(of_names({"SLURM_VERSION": "22.05.8"}, settings)) == []
    (found,) = of_names({"SLURM_VERSION": "24.11.5"}, settings)
    assert (found.severity, found.kind) == (Severity.WRONG, "node_name")
    assert asked == ["node1"]
    assert "node1" in found.text
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [()])
    assert list(of_names({"SLURM_VERSION": "24.11.5"}, settings)) == []


def test_a_group_whose_nodes_have_names_that_dns_cannot_hold_is_named(settings: Settings) -> None:
    """The resolver of Python refuses them in another way; the checks after this one go on."""
    settings.path.write_text(GOOD_TOML.replace("node[1-4]", "n" * 64))
    (found,) = of_names({"SLURM_VERSION": "24.11.5"}, load(settings.path, {}))
    assert found.kind == "node_name"


@pytest.mark.parametrize(
    ("host", "kinds"), [("ctl.example.org", {"program", "node_name"}), ("worker1", set())]
)
def test_programs_and_names_are_looked_for_on_slurmctlds_host_alone(
    settings: Settings,
    slurm: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    kinds: set[str],
) -> None:
    """A host of workers may have Slurm's commands, and other programs and names than slurmctld's."""
    there = {"SlurmctldHost": "ctl(10.0.0.1)", "SLURM_VERSION": "24.11.5"}
    config = slurm | there | {"ResumeProgram": "/nowhere/lamplighter-resume"}
    text = "".join(f"{name} = {value}\n" for name, value in config.items())
    seen = Snapshot("c", 1, NO_CORRELATION, "doctor", ())

    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answers = SimpleNamespace(query=lambda *_: text)
    monkeypatch.setattr(doctor_command, "is_installed", lambda _: True)
    monkeypatch.setattr(doctor_command, "SlurmCommands", lambda _: answers)
    monkeypatch.setattr(doctor_command, "_seen", lambda _: seen)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    settings.hook.spool.rmdir()
    found = {one.kind for one in doctor_command._of_slurmctld(Session(settings.path), settings, {})}
    assert found & {"program", "node_name"} == kinds


def test_where_slurms_commands_are_not_found_their_setting_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Slurm built from source is in any folder: nothing of it is checked, and the doctor says so."""
    monkeypatch.setattr(slurm_location, "_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    (found,) = of_slurm_places(settings)
    assert found.severity is Severity.NOTE
    assert "slurm.bin: scontrol is not in /nowhere" in found.words
    assert (found.remedy or "").startswith("bin = FOLDER in [slurm]")
    settings.hook.spool.rmdir()
    assert list(of_slurm_places(settings)) == []


def test_a_store_of_sqlite_on_a_host_of_workers_is_named(settings: Settings) -> None:
    """A power worker there would not see what the one on slurmctld's host does."""
    assert list(of_host(settings, None)) == []
    elsewhere = ("127.0.0.1:5672", "broker.example.org:5671"), ("amqp://l@", "amqps://l@")
    text = GOOD_TOML
    for before, after in elsewhere:
        text = text.replace(before, after)
    settings.path.write_text(text)
    (found,) = of_host(load(settings.path, {}), None)
    assert (found.severity, found.kind) == (Severity.WRONG, "store_unshared")
    assert found.words.startswith("store.url ")
    assert "PostgreSQL" in (found.remedy or "")
    settings.path.write_text(text.replace("[slurm]\n", "[slurm]\nfeedback = false\n"))
    assert list(of_host(load(settings.path, {}), None)) == [], "no worker is beside slurmctld"
    settings.path.write_text(text)
    assert list(of_host(load(settings.path, {}), "no-such-user")) == []


def prolog(  # noqa: PLR0913 - what decides
    settings: Settings,
    program: str = "/opt/lamplighter/bin/lamplighter-prolog",
    *,
    version: str = "22.05.8",
    tuned: bool | None = False,
    boots: int | None = 100,
    toml: str = 'prolog = "/run/lamplighter/prolog"',
) -> dict[str, Finding]:
    """The findings about lamplighter-prolog by key."""
    settings.path.write_text(GOOD_TOML.replace("[slurm]\n", f"[slurm]\n{toml}\n"))
    config = {"SLURM_VERSION": version, "PrologSlurmctld": program, "SlurmUser": "nobody(65534)"}
    return {
        one.kind: one
        for one in of_prolog(config, load(settings.path, {}), tuned=tuned, boots=boots)
    }


def test_a_prolog_that_only_one_side_uses_is_named(settings: Settings) -> None:
    for found in (prolog(settings, toml=""), prolog(settings, "")):
        assert [one.severity for one in found.values()] == [Severity.WRONG]
    assert "slurm.prolog is not set" in prolog(settings, toml="")["prolog"].words
    assert f"PrologSlurmctld={PROGRAMS}/lamp" in (prolog(settings, "")["prolog"].remedy or "")
    assert "slurm.prolog" in prolog(settings, "/a/b,/c/lamplighter-prolog", toml="")["prolog"].words


def test_a_prolog_that_waits_in_another_folder_is_named(settings: Settings) -> None:
    found = prolog(settings, toml='prolog = "/run/x"')["prolog"]
    assert found.severity is Severity.WRONG
    assert "waits in /run/lamplighter/prolog, but slurm.prolog is /run/x" in found.words
    own = prolog(settings, "/etc/slurm/site-prolog", toml='prolog = "/run/x"')["prolog"]
    assert own.severity is Severity.NOTE, "a program of the site's may call it with its folder"
    linked = prolog(settings, toml='prolog = "/var/run/lamplighter/prolog"')["prolog"]
    assert linked.severity is Severity.NOTE, "a link leads to the same folder"


@pytest.mark.parametrize("other", ["prolog", "prolog/door", "prolog/alive"])
def test_a_prolog_whose_folder_is_not_slurmusers_is_named(
    settings: Settings, run_dir: Path, other: str
) -> None:
    """As after the slurm worker has run as root: the program uses nothing of another user's."""
    if os.geteuid() == 0:
        (run_dir / "prolog").mkdir()
        for name in ("prolog/door", "prolog/alive"):
            (run_dir / name).touch()
        site = "/etc/slurm/site-prolog", f'prolog = "{run_dir}/prolog"'
        for path in (run_dir / "prolog", *(run_dir / "prolog").iterdir()):
            os.chown(path, 65534, 65534)
        assert prolog(settings, site[0], toml=site[1])["prolog"].severity is Severity.NOTE
        os.chown(run_dir / other, 0, 0)
        found = prolog(settings, site[0], toml=site[1])["prolog"]
        assert found.severity is Severity.WRONG
        assert f"{run_dir / other} belongs to root, not to SlurmUser nobody" in found.words


@pytest.mark.parametrize("parameter", ["PrologEpilogTimeout", "PrologTimeout"])
@pytest.mark.parametrize(
    ("value", "is_wrong"),
    [("60", True), ("610", True), ("0", True), ("611", False), ("65534", False), ("", False)],
)
def test_a_limit_that_ends_the_prolog_is_named(
    settings: Settings, slurm: dict[str, str], parameter: str, value: str, *, is_wrong: bool
) -> None:
    config = slurm | {parameter: value}
    assert "prolog_timeout" not in {one.kind for one in of_slurm(config, settings)}
    settings.path.write_text(GOOD_TOML.replace("[slurm]\n", '[slurm]\nprolog = "/run/x"\n'))
    found = {str(one.kind): one for one in of_slurm(config, load(settings.path, {}))}
    assert ("prolog_timeout" in found) is is_wrong
    if is_wrong:
        assert found["prolog_timeout"].remedy == f"{parameter}=660 in slurm.conf"


def test_the_boots_of_a_day_are_the_registrations_of_the_last_24_hours(settings: Settings) -> None:
    """Of all that the audit holds; without an audit they are not known."""
    now, hour = time.time_ns(), 3600 * 10**9
    assert boots_of_a_day(Session(settings.path)) is None
    engine = open_store(settings.store.audit_url, "audit")
    registered = [Registration("c", "n1", now - hours * hour) for hours in (1, 23, 25)]
    others = [event(Transition.ACCEPTED, command("n1"), time=now - hour)]
    envelopes = [*(one.to_envelope() for one in registered), *(one.to_envelope() for one in others)]
    append(engine, [record_of(one.to_json(), "c", now) for one in envelopes])
    engine.dispose()
    assert boots_of_a_day(Session(settings.path)) == 2


def test_the_doctor_says_when_the_prolog_pays_and_when_not(settings: Settings) -> None:
    old = prolog(settings)["prolog"].words
    assert "100 boots: about 25 min" in old
    assert "batch jobs 15 s" in old
    assert "salloc on nodes that are up 3 s slower" in old
    new = prolog(settings, version="24.11.5")["prolog"].words
    assert "salloc" not in new
    assert "spares jobs 15 s" in new
    without = prolog(settings, "", toml="", boots=0)["prolog"]
    assert (without.severity, without.remedy) == (Severity.NOTE, "see docs/prolog.md")
    assert "would spare" in without.words
    assert "does not pay" in without.words
    assert "24 h" not in prolog(settings, boots=None)["prolog"].words


def test_the_doctor_says_how_many_jobs_may_wait_and_why(settings: Settings) -> None:
    assert prolog(settings)["prolog_slots"].words.startswith("10 jobs may wait")
    assert "GLIBC_TUNABLES=" in prolog(settings)["prolog_slots"].words
    assert prolog(settings, version="24.11.5")["prolog_slots"].words.startswith("40 jobs")
    tuned = prolog(settings, tuned=True)["prolog_slots"]
    assert (tuned.words.split()[0], tuned.remedy) == ("1000", None)
    unread = prolog(settings, tuned=None)["prolog_slots"]
    assert "cannot be read as this user" in unread.words
    many = 'prolog = "/run/lamplighter/prolog"\nprolog_slots = 200'
    assert prolog(settings, toml=many)["prolog_slots"].severity is Severity.WRONG
    assert prolog(settings, toml=many, tuned=True)["prolog_slots"].severity is Severity.NOTE
    assert prolog(settings, toml=many, version="26.05.0")["prolog_slots"].severity is Severity.NOTE


def test_a_glibc_that_lacks_the_setting_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.31")
    found = prolog(settings)["prolog_slots"]
    assert "glibc before 2.34" in found.words
    assert "upgrade" in (found.remedy or "")


def test_values_with_an_index_are_one_list() -> None:
    text = "PrologSlurmctld[0] = /a\nPrologSlurmctld[1] = /b\nSLURM_VERSION = 24.11.5\n"
    assert config_from(text)["PrologSlurmctld"] == "/a,/b"


@pytest.mark.parametrize("mode", [0o644, 0o775, 0o757])
def test_a_program_that_slurm_would_refuse_is_named(
    settings: Settings, slurm: dict[str, str], mode: int
) -> None:
    path = Path(slurm["ResumeProgram"])
    path.chmod(mode)
    (found,) = [one for one in of_slurm(slurm, settings) if one.severity is Severity.WRONG]
    assert str(path) in found.words
    assert "chmod" in (found.remedy or "")


# (a change of the host, a word of the finding, a word of its remedy)
HOST: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("no spool", lambda f: (f / "spool").rmdir(), "hooks.spool", "install -d"),
    ("no clock", lambda f: (f / "clock").rmdir(), "hooks.state", "install -d"),
    ("spool is a file", lambda f: _file(f / "spool"), "not a folder", "move it away"),
    ("open spool", lambda f: (f / "spool").chmod(0o777), "every user can write", "chmod"),
    (
        "open above",
        lambda f: f.chmod(0o777),
        "spool is in a folder that anybody can change",
        "chmod",
    ),
    ("a call that waits", lambda f: os.utime(_call(f), (1, 1)), "1 call waits", "relay"),
]


def _file(path: Path) -> None:
    path.rmdir()
    path.touch()


def _call(folder: Path) -> Path:
    path = folder / "spool" / "old.call"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("change", "word", "remedy"), [case[1:] for case in HOST], ids=[case[0] for case in HOST]
)
def test_a_folder_that_the_hooks_cannot_use_is_named(
    settings: Settings, run_dir: Path, change: Callable[[Path], object], word: str, remedy: str
) -> None:
    change(run_dir)
    found = list(of_hooks(settings.hook, settings.path, ME))
    assert any(word in one.words and remedy in (one.remedy or "") for one in found), found
    assert len(found) <= 2


def test_a_log_that_is_a_folder_is_named(settings: Settings, run_dir: Path) -> None:
    """The errors of the hooks then go to syslog alone."""
    hook = replace(settings.hook, log_file=run_dir / "spool")
    (found,) = of_hooks(hook, settings.path, ME)
    assert found.text == f"hooks.log_file: {run_dir}/spool is a folder; name a file in it"


def test_what_belongs_to_another_user_is_named_with_the_user(settings: Settings) -> None:
    texts = [one.text for one in of_hooks(settings.hook, settings.path, NOBODY)]
    for key in ("hooks.spool", "hooks.state", "lamplighter.toml", "broker.password_file"):
        assert any(key in text and "slurm" in text for text in texts), (key, texts)


@pytest.mark.parametrize("name", ["password", "cloud.password", "state.db", "audit.db"])
def test_a_secret_that_all_can_read_is_named(settings: Settings, run_dir: Path, name: str) -> None:
    (run_dir / name).touch()
    (run_dir / name).chmod(0o644)
    (found,) = of_host(settings, "no-such-user")
    assert name in found.words
    assert f"chmod o= {run_dir / name}" == found.remedy


@pytest.mark.parametrize("line", ['conf = "nowhere/slurm.conf"', 'bin = "nowhere"'])
def test_what_the_slurm_table_names_and_is_not_there_is_named(
    settings: Settings, run_dir: Path, line: str
) -> None:
    settings.path.write_text(GOOD_TOML.replace("[slurm]\n", f"[slurm]\n{line}\n"))
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor"])
    assert f"wrong: slurm.{line.partition(' ')[0]}: {run_dir}/nowhere" in result.output
    (run_dir / "spool").rmdir()  # a host of workers
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor"])
    assert "nowhere" not in result.output


def test_a_configuration_that_others_can_change_is_named(settings: Settings) -> None:
    settings.path.chmod(0o666)
    (found,) = of_configuration(settings.path)
    assert "chmod go-w" in (found.remedy or "")


@pytest.mark.parametrize("place", ["/dev/null", "folder"])
def test_fix_closes_nothing_that_is_named_in_place_of_the_configuration(
    run_dir: Path, place: str
) -> None:
    (run_dir / "folder").mkdir(mode=0o777)
    (run_dir / "folder").chmod(0o777)
    assert list(of_configuration(run_dir / place)) == []


def test_clocks_that_differ_are_named() -> None:
    assert list(of_clock("the cloud", 100.0, 103.0)) == []
    (found,) = of_clock("the cloud", 100.0, 160.0)
    assert "60 s" in found.words
    assert "chrony" in (found.remedy or "")


@pytest.mark.parametrize(
    ("name", "mode", "after"),
    [("password", 0o644, 0o640), ("lamplighter.toml", 0o666, 0o644), ("state.db", 0o666, 0o660)],
)
def test_fix_takes_rights_from_others(
    settings: Settings, run_dir: Path, name: str, mode: int, after: int
) -> None:
    (run_dir / name).touch()
    (run_dir / name).chmod(mode)
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor", "--fix"])
    assert f"fixed: chmod {'go-w' if name == 'lamplighter.toml' else 'o='}" in result.output
    assert stat.S_IMODE((run_dir / name).stat().st_mode) == after
    assert "user can read" not in result.output.partition("fixed:")[2]


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("store.url", '"sqlite:///state.db"', '"sqlite:///spool"'),
        ("store.url", '"sqlite:///state.db"', '"sqlite:////dev/null"'),
        ("clouds.c.source", '"cloud.password"', '"spool"'),
        ("broker.password_file", 'file = "password"', 'file = "/dev/null"'),
        ("tokens.key_file", "[clouds.c]", '[tokens]\nkey_file = "spool"\n[clouds.c]'),
    ],
)
def test_fix_takes_no_rights_from_what_is_not_a_file(
    settings: Settings, run_dir: Path, key: str, text: str, named: str
) -> None:
    """A key that names /var/lib, or /dev/null, must not close it to the other users of the host."""
    (run_dir / "spool").chmod(0o755)
    settings.path.write_text(GOOD_TOML.replace(text, named))
    found = [one for one in of_host(load(settings.path, {}), None) if one.words.startswith(key)]
    assert found
    assert not any(one.fix for one in found)
    assert any("is not a file" in one.words and key in (one.remedy or "") for one in found)


def test_a_store_that_is_another_file_is_named(settings: Settings, run_dir: Path) -> None:
    (run_dir / "state.db").write_text("cluster = 'c'\n")
    (run_dir / "state.db").chmod(0o600)
    (found,) = of_host(settings, None)
    assert found.text == (
        f"store.url: {run_dir}/state.db is not a database of SQLite; name another file in store.url"
    )
    (run_dir / "state.db").unlink()
    open_store(settings.store.url, "state").dispose()
    (run_dir / "state.db").chmod(0o600)
    assert list(of_host(settings, None)) == []


@pytest.mark.parametrize(("mode", "user"), [(0o1777, ME), (0o777, NOBODY)])
def test_fix_does_not_close_a_folder_that_others_use_too(
    settings: Settings, run_dir: Path, mode: int, user: User
) -> None:
    """Such as /tmp, or a folder that belongs to another than SlurmUser: then its owner alone could use it."""
    (run_dir / "spool").chmod(mode)
    found = [
        one for one in of_hooks(settings.hook, settings.path, user) if "every user" in one.words
    ]
    assert [(one.fix, one.remedy) for one in found] == [
        ((), f"name a folder of {user.name}'s own in hooks.spool")
    ]


def test_a_secret_that_is_refused_hides_no_other_finding(settings: Settings, run_dir: Path) -> None:
    for name in ("password", "audit.db"):
        (run_dir / name).touch()
        (run_dir / name).chmod(0o644)
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor"])
    assert "wrong: broker.password_file: " in result.output
    assert f"chmod o= {run_dir / 'audit.db'}" in result.output
    assert "store.url: " in result.output


def test_a_missing_folder_is_created_by_its_finding(settings: Settings, run_dir: Path) -> None:
    (run_dir / "spool").rmdir()
    (found,) = of_hooks(settings.hook, settings.path, ME)
    assert found.fix[:1] == ("install",)
    assert found.remedy == " ".join(found.fix)


FULL = Limits(
    max_total_instances=10,
    max_total_cores=16,
    max_total_ram_size=-1,
    total_instances_used=7,
    total_cores_used=7,
    total_ram_used=0,
)
ALL = frozenset({"node1", "node2", "node3", "node4"})
# (what the cloud shows, whether servers are created for each boot, the findings)
CLOUD = [
    (CloudView(ALL, FULL), "stop", []),
    (CloudView(ALL - {"node2"}, FULL), "stop", ["servers_missing"]),
    (CloudView(frozenset(), FULL), "stop", ["servers_missing", "quota"]),
    (CloudView(frozenset(), FULL), "delete", ["quota"]),
    (CloudView(ALL - {"node1", "node2"}, FULL, {"g": Flavor(8, 1)}), "delete", ["quota"]),
    (CloudView(ALL - {"node1"}, FULL, {"g": Flavor(8, 1)}), "delete", []),
    (CloudView(ALL, FULL, problems={"g": "the cloud has no image x"}), "stop", ["template"]),
    (CloudView(ALL, FULL, ahead=-90.0), "stop", ["clock"]),
    (CloudView(ALL), "stop", []),
    (CloudView(ALL, roles=frozenset({"reader"})), "stop", ["cloud_rights"]),
    (CloudView(ALL, roles=frozenset({"reader", "member"})), "stop", []),
    (CloudView(ALL, roles=frozenset({"vo_operator"})), "stop", []),
]


@pytest.mark.parametrize("network", ["", 'network = "slrm"\n'])
@pytest.mark.parametrize("wanted", [True, False])
def test_nodes_without_an_address_for_slurm_are_named(
    settings: Settings, network: str, *, wanted: bool
) -> None:
    slurm = f"[slurm]\nset_addresses = {str(wanted).lower()}\n"
    settings.path.write_text(GOOD_TOML.replace("[slurm]\n", slurm) + network)
    view = CloudView(ALL, unreachable=frozenset({"node2", "elsewhere"}))
    found = list(of_cloud("c", load(settings.path, {}), view))
    assert [one.kind for one in found] == ["useless"] * wanted
    where = "on the network slrm" if network else "that others can reach"
    assert all(
        f"1 of 4 nodes have a server without an address {where}" in one.words for one in found
    )


@pytest.mark.parametrize(("view", "strategy", "keys"), CLOUD)
def test_what_a_cloud_lacks_is_named(
    settings: Settings, view: CloudView, strategy: str, keys: list[str]
) -> None:
    if strategy == "delete":
        text = GOOD_TOML + '[groups.g.server]\nimage = "i"\nflavor = "f"\n'
        settings.path.write_text(text.replace('"stop"', '"delete"'))
        settings = load(settings.path, {})
    found = list(of_cloud("c", settings, view))
    assert [one.kind for one in found] == keys
    assert all(one.remedy for one in found)


@pytest.mark.parametrize(
    "error",
    [
        TokenRefusedError("unauthorized", "Keystone refuses the login", permanent=True),
        CloudSettingError("ca_file of this cloud: /x cannot be read"),
    ],
)
def test_a_cloud_that_cannot_be_asked_is_named_and_the_others_are_looked_at(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    more = GOOD_TOML[GOOD_TOML.index("[clouds.c]") :].replace("node[1-4]", "far1")
    text = GOOD_TOML + more.replace(".c", ".z").replace("groups.g", "groups.h").replace(
        '"c"', '"z"'
    )
    settings.path.write_text(text)

    def look(name: str, *_: object) -> CloudView:
        if name == "c":
            raise error
        return CloudView(frozenset({"far1"}), ahead=90.0)

    monkeypatch.setattr(clouds, "_look", look)
    session = Mock(token_client=nullcontext)
    refused, clock = clouds.of_clouds(session, load(settings.path, {}))
    assert refused.words == f"clouds.c: {error}"
    assert clock.kind == "clock"


def test_a_cloud_that_the_token_service_does_not_know_hides_no_other_login(
    settings: Settings,
) -> None:
    """The service has not been restarted since a cloud was added."""

    def report(cloud: str) -> TokenReport:
        if cloud == "new":
            raise TokenRefusedError("unknown_cloud", "it has no cloud 'new'", permanent=True)
        return TokenReport(trouble="invalid_grant: it has expired")

    session = Mock(token_client=lambda: nullcontext(Mock(report=report)))
    many = msgspec.structs.replace(settings, clouds={"new": None, "c": None})
    new, old = of_logins(session, many)
    assert new.words == "clouds.new: unknown_cloud: it has no cloud 'new'"
    assert old.words == "clouds.c: invalid_grant: it has expired"


# (what RabbitMQ says, the findings)
VERSIONS = [
    ("3.9.29", ["broker_version"]),
    ("2.8.4", ["broker_version"]),
    ("3.10.0", []),
    ("3.10.8+deb12u1", []),
    ("4.0.5", []),
    ("", []),
    ("another broker", []),
]


@pytest.mark.parametrize(("version", "keys"), VERSIONS)
def test_a_broker_that_is_too_old_is_named(version: str, keys: list[str]) -> None:
    found = list(of_broker_version(version))
    assert [one.kind for one in found] == keys
    assert all(version in one.words and "3.10" in (one.remedy or "") for one in found)


def test_what_the_broker_lacks_can_be_fixed_and_what_differs_cannot() -> None:
    lines = ["exchange power.dlx: missing", "binding a -> b by 'c': missing"]
    for one in of_differences(lines):
        assert one.fix == ("lamplighter", "topology", "apply")
    (differs,) = of_differences(["queue audit: x-max-length is 5, should be None"])
    assert (differs.severity, differs.fix) == (Severity.WRONG, ())
    assert differs.remedy


UNITS = {
    "lamplighter.target": {
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "Wants": "lamplighter-power.service lamplighter-audit.service",
    },
    "lamplighter-power.service": {
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "UnitFileState": "disabled",
    },
    "lamplighter-console.service": {
        "LoadState": "loaded",
        "ActiveState": "inactive",
        "UnitFileState": "disabled",
    },
    "lamplighter-slurm.service": {"LoadState": "not-found", "ActiveState": "inactive"},
}
UNITS["lamplighter-audit.service"] = dict(UNITS["lamplighter-power.service"])
POWER = "lamplighter-power.service"
# (the unit, what is different, a word of the finding, a word of the remedy)
SYSTEMD = [
    (POWER, {"ActiveState": "inactive"}, "does not run", f"systemctl start {POWER}"),
    (
        POWER,
        {"ActiveState": "failed", "Result": "exit-code"},
        "exit-code",
        f"journalctl -u {POWER}",
    ),
    (
        POWER,
        {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "12"},
        "12 times",
        "journalctl",
    ),
    (POWER, {"LoadState": "masked", "ActiveState": "inactive"}, "masked", "unmask"),
    (POWER, {"LoadState": "not-found", "ActiveState": "inactive"}, "not-found", "lamplighter init"),
    (POWER, {"LoadState": "bad-setting"}, "bad-setting", "lamplighter init"),
    (POWER, {"NeedDaemonReload": "yes"}, "have changed", "systemctl daemon-reload"),
    ("lamplighter.target", {"UnitFileState": "disabled"}, "not enabled", "systemctl enable"),
    (
        "lamplighter-console.service",
        {"UnitFileState": "enabled"},
        "console.service does not run",
        "systemctl start",
    ),
]


def _shown(units: dict[str, dict[str, str]]) -> str:
    """As `systemctl show` prints units."""
    return "\n\n".join(
        "\n".join([f"Id={name}", *(f"{key}={value}" for key, value in unit.items())])
        for name, unit in units.items()
    )


@pytest.mark.parametrize(("unit", "changes", "word", "remedy"), SYSTEMD)
def test_a_unit_that_does_not_run_as_it_should_is_named(
    unit: str, changes: dict[str, str], word: str, remedy: str
) -> None:
    assert list(of_units(_shown(UNITS))) == []
    (found,) = of_units(_shown(UNITS | {unit: UNITS[unit] | changes}))
    assert (found.severity, found.kind) == (Severity.WRONG, "units")
    assert word in found.words
    assert remedy in (found.remedy or "")


@pytest.mark.parametrize("protection", ["strict", "full"])
def test_a_folder_that_a_unit_may_not_write_to_is_named(protection: str) -> None:
    """A site has moved the spool: the hooks can write there, the relay could send nothing from it."""
    relay = "lamplighter-relay.service"
    unit = UNITS[POWER] | {
        "ProtectSystem": protection,
        "ReadWritePaths": "-/var/spool/lamplighter -/var/lib/lamplighter",
    }
    shown = _shown(UNITS | {relay: unit})
    usual = relay, "hooks.spool", Path("/var/spool/lamplighter/calls")
    moved = relay, "hooks.spool", Path("/srv/spool")
    found = [(one.words, one.kind) for one in of_units(shown, [usual, moved])]
    wanted = [(f"hooks.spool: {relay} may not write to /srv/spool", "folder")]
    assert found == (wanted if protection == "strict" else [])


@pytest.mark.parametrize("names", [("real", "link"), ("link", "real")])
def test_a_folder_that_a_unit_opens_by_a_link_is_open(
    run_dir: Path, names: tuple[str, str]
) -> None:
    """As /var/run, which leads to /run."""
    (run_dir / "real").mkdir()
    (run_dir / "link").symlink_to(run_dir / "real")
    opened, written = (run_dir / name for name in names)
    name = "lamplighter-slurm.service"
    unit = UNITS[POWER] | {"ProtectSystem": "strict", "ReadWritePaths": f"-{opened}"}
    shown = _shown(UNITS | {name: unit})
    assert list(of_units(shown, [(name, "slurm.prolog", written / "prolog")])) == []


def test_where_the_units_are_not_installed_nothing_is_said_of_them() -> None:
    absent = {name: {"LoadState": "not-found", "ActiveState": "inactive"} for name in UNITS}
    assert list(of_units(_shown(absent))) == []


@given(text=st.text(max_size=300))
def test_any_output_of_systemctl_is_read(text: str) -> None:
    list(of_units(text))


# (seconds of each request, how many, the parameter that is too short)
MEASURED = [
    ({Kind.RESUME: [100.0] * 20}, None),
    ({Kind.RESUME: [500.0] * 20}, "ResumeTimeout"),
    ({Kind.RESUME: [10.0] * 99 + [9000.0]}, None),
    ({Kind.RESUME: [500.0] * 3}, None),
    ({Kind.SUSPEND: [55.0] * 10}, "SuspendTimeout"),
]


@pytest.mark.parametrize(("seconds", "parameter"), MEASURED)
def test_a_timeout_below_what_was_measured_is_named(
    settings: Settings, seconds: dict[Kind, list[float]], parameter: str | None
) -> None:
    found = list(of_times(seconds, settings))
    assert [one.words.partition(" ")[0] for one in found] == ([parameter] if parameter else [])
    assert all(f"{parameter}=" in (one.remedy or "") for one in found)


LEAST = 60


def test_there_are_enough_misconfigurations_in_these_tables() -> None:
    """Each is a case of a test that asserts the remedy; rows in which all is well do not count."""
    always = len(TOML) + len(SLURM) + len(HOST) + len(SYSTEMD)
    last = [row[-1] for row in (*CLOUD, *VERSIONS, *MEASURED)]
    assert always + sum(one not in ([], None) for one in last) >= LEAST


@given(text=st.text(max_size=500))
def test_any_output_of_scontrol_is_read(text: str) -> None:
    config_from(text)


def test_parts_that_do_not_answer_are_named_and_no_secret_is_shown(
    settings: Settings, run_dir: Path
) -> None:
    (run_dir / "password").write_text("very-secret")
    text = GOOD_TOML.replace("127.0.0.1:5672", "127.0.0.1:1")
    settings.path.write_text(text)
    result = CliRunner().invoke(cli, ["--config", str(settings.path), "doctor"])
    assert result.exit_code == 3
    assert "broker" in result.output
    assert "very-secret" not in result.output


def test_a_configuration_may_be_named_from_its_folder(
    settings: Settings, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are named and judged as with its whole path."""
    settings.path.write_text(GOOD_TOML.replace("127.0.0.1:5672", "127.0.0.1:1"))
    (run_dir / "cloud.password").touch()
    (run_dir / "cloud.password").chmod(0o644)
    monkeypatch.chdir(run_dir)
    result = CliRunner().invoke(cli, ["--config", settings.path.name, "doctor", "--json"])
    found = [one["words"] for one in json.loads(result.stdout)["findings"]]
    assert f"clouds.c.source: every user can read {run_dir}/cloud.password" in found
