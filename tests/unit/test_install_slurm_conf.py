"""What `lamplighter init` reads in slurm.conf, and what it writes for it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ops.install.init import init
from ops.install.slurm_conf import read_slurm_conf
from ops.install.slurm_lines import advice, slurm_lines
from producers.settings import ConfigError
from tests.unit.test_install import SLURM_CONF, folder, run, site
from workers.config import slurm_location

__all__ = ["folder"]

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")

ODD = """\
ClusterName = Vespa.One
SLURMUSER="slurm"   # quoted
RESUMETIMEOUT = 0x12C\t# five minutes
SuspendTime\\
out=010
PrivateData=jobs,users
SuspendTime=INFINITE
Include sub/a.conf
INCLUDE\t%c.conf
nodename=DEFAULT state=cloud CPUs=2
NodeName=cont1 \\  \r
  RealMemory=1000 \\\r
  State=CLOUD\r
NodeName=plain[1-2] NodeAddr=10.0.0.[1-2] # State=UNKNOWN \\
NodeName="quoted[1-2],x1" Reason="State=UNKNOWN, they say"
NodeName=DEFAULT State=UNKNOWN
NodeName=static1 Reason="State=CLOUD" Comment=NodeName=ghost
NodeName=off State="FUTURE"
NodeName=dr1 State=CLOUD+DRAIN
NodeSet=all Nodes=ALL
PartitionName=DEFAULT ResumeTimeout=900 SuspendTime=60
PartitionName=all Nodes=ALL State=UP SuspendTimeout=30
"""


@pytest.mark.parametrize("included_from", ["sub", "."])
def test_an_odd_slurm_conf_is_read_as_slurmctld_reads_it(folder: Path, included_from: str) -> None:
    """Slurm 22.05 finds a file beside the one that includes it, 24.11 beside slurm.conf."""
    (folder / "slurm.conf").write_text(ODD)
    (folder / "sub").mkdir()
    (folder / "sub/a.conf").write_text("NodeName=a1 State=CLOUD\nInclude b.conf\n")
    (folder / included_from / "b.conf").write_text("NodeName = b1 State = CLOUD\n")
    (folder / "vespa.one.conf").write_text("NodeName=c1\tState=Cloud")
    conf = read_slurm_conf(folder / "slurm.conf")
    clouds = ("a1", "b1", "c1", "cont1", "plain[1-2]", "quoted[1-2],x1", "dr1")
    assert conf.cloud_nodes == clouds
    assert conf.other_nodes == ("static1",)
    assert (conf.cluster, conf.user, conf.includes_own) == ("vespa-one", "slurm", "")
    assert conf.seconds("ResumeTimeout", 1) == 300
    assert conf.seconds("SuspendTimeout", 1) == 8
    assert conf.longest("ResumeTimeout", 1) == 900
    text, differences = slurm_lines(replace(site(folder), slurm=conf))
    assert "SuspendTime" not in text
    assert "SuspendExcNodes=a1,b1,c1,cont1,dr1,plain[1-2],quoted[1-2],static1,x1\n" in text
    assert "ReturnToService=2\n" in text
    assert differences == [
        f"PrivateData=jobs,users in {conf.path}: change it to PrivateData=jobs,users,cloud"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Include nowhere.conf", "nowhere.conf: No such file"),
        ("Include .", "Is a directory"),
        ("Include fifo", "is not a file"),
        ("Include slurm.conf", "too many files"),
        ("Include many.conf", "too many files"),
        ("Include a\0b", "not a file's name"),
        ("SlurmUser=64999999", "SlurmUser: no user"),
        ("SlurmUser=a:b", "SlurmUser: 'a:b' is not a user's name"),
        ("SlurmUser=nobody-of-that-name", "has no such user"),
        ("NodeName=n[1-3 State=CLOUD", "NodeName"),
        ("NodeName=n[1-99999999] State=CLOUD", "NodeName"),
    ],
)
def test_a_slurm_conf_that_cannot_be_used_is_named(folder: Path, text: str, words: str) -> None:
    (folder / "slurm.conf").write_text(f"{SLURM_CONF}{text}\n")
    os.mkfifo(folder / "fifo")
    (folder / "many.conf").write_text("Include empty.conf\n" * 2000)
    (folder / "empty.conf").touch()
    arguments = [f"--slurm-conf={folder}/slurm.conf", f"--clouds-yaml={folder}/clouds.yaml"]
    words_of_init = [*arguments, "--yes", "--cloud=site", "--strategy=stop"]
    result = CliRunner().invoke(init, words_of_init)
    assert isinstance(result.exception, ConfigError), result.output
    assert words in str(result.exception)
    assert "slurm.conf" in str(result.exception) or "--slurm-conf" in str(result.exception)
    assert result.output == ""


def test_a_slurm_conf_beside_which_no_file_can_be_included_is_named(folder: Path) -> None:
    """Include takes no path with a space; a link to the folder has none."""
    odd = folder / "my slurm"
    odd.mkdir()
    for name in ("slurm.conf", "more.conf", "clouds.yaml"):
        (folder / name).rename(odd / name)
    words = ("--yes", "--cloud=site", "--strategy=stop")
    refused = run(odd, *words)
    assert isinstance(refused.exception, ConfigError)
    assert f"{odd}/slurm.conf: slurm.conf and systemd cannot name it, for its ' '" in str(
        refused.exception
    )
    (folder / "link").symlink_to(odd)
    assert f">> {folder}/link/slurm.conf" in run(folder / "link", *words).output


def test_nodes_whose_numbers_are_not_at_the_end_are_exempted_by_name(folder: Path) -> None:
    """Slurm does not read login[1-2].example.org, and would power these nodes down."""
    with (folder / "slurm.conf").open("a") as file:
        file.write("NodeName=login1.example.org,login2.example.org,gpu[7-9] State=UNKNOWN\n")
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    assert "SuspendExcNodes=gpu[7-9],login,login1.example.org,login2.example.org\n" in output


def test_the_commands_of_a_slurm_in_a_folder_of_its_own_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one built from source in /opt: the workers' units do not have the PATH of who runs init."""
    home = folder / "slurm-24.11"
    (home / "bin").mkdir(parents=True)
    (home / "etc").mkdir()
    for name in ("slurm.conf", "more.conf", "clouds.yaml"):
        (folder / name).rename(home / "etc" / name)
    (home / "bin/scontrol").touch(mode=0o755)
    words, line = ("--yes", "--cloud=site", "--strategy=stop"), f'    bin = "{home}/bin"\n'
    assert line in run(home / "etc", *words).output
    monkeypatch.setattr(slurm_location, "_FOLDERS", (f"{home}/bin",))
    assert line not in run(home / "etc", *words).output
    monkeypatch.setattr(slurm_location, "_FOLDERS", ())
    (home / "bin").rename(home / "programs")
    monkeypatch.setenv("PATH", f"{home}/programs")
    assert f'    bin = "{home}/programs"\n' in run(home / "etc", *words).output


def test_a_slurm_conf_with_a_long_line_takes_no_longer(folder: Path) -> None:
    """A line without an equals sign, or with nothing but them, once took hours."""
    path = folder / "slurm.conf"
    pieces = {"a": 10**6, "a=": 10**5, "a ": 10**5, 'a="': 10**4}
    path.write_text("\n".join(piece * count for piece, count in pieces.items()))
    before = time.monotonic()
    read_slurm_conf(path)
    assert time.monotonic() - before < 20.0


def test_a_commented_include_is_not_taken_for_one(folder: Path) -> None:
    words = ("--yes", "--cloud=site", "--strategy=stop")
    with (folder / "slurm.conf").open("a") as file:
        file.write("# Include lamplighter.conf\n")
    assert f"echo 'Include lamplighter.conf' >> {folder}/slurm.conf" in run(folder, *words).output
    with (folder / "more.conf").open("a") as file:
        file.write(f"Include {folder}/lamplighter.conf\n")
    assert "echo" not in run(folder, *words).output


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_command_that_includes_our_lines_leaves_the_last_line_as_it_is(
    folder: Path, end: str
) -> None:
    path = folder / "slurm.conf"
    path.write_text(SLURM_CONF.rstrip("\n") + end)
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    (command,) = [line for line in output.splitlines() if "echo 'Include" in line]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert path.read_text() == f"{SLURM_CONF}Include lamplighter.conf\n"


@pytest.mark.parametrize(
    ("parameters", "line", "is_named"),
    [
        ("a,Enable_Configless", "Include FOLDER/lamplighter.conf", True),
        ("enable_configless", "Include lamplighter.conf", False),
        ("cloud_dns", "Include FOLDER/lamplighter.conf", False),
    ],
)
def test_an_include_that_does_not_reach_configless_nodes_is_named(
    folder: Path, parameters: str, line: str, *, is_named: bool
) -> None:
    line = line.replace("FOLDER", str(folder))
    with (folder / "slurm.conf").open("a") as file:
        file.write(f"SlurmctldParameters={parameters}\n{line}\n")
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    wanted = f"{line} in {folder}/slurm.conf: write Include lamplighter.conf, without a folder"
    assert (wanted in output) is is_named


def test_slurm_conf_is_read_with_its_included_files(folder: Path) -> None:
    conf = read_slurm_conf(folder / "slurm.conf")
    assert (conf.cluster, conf.user, conf.cloud_nodes) == ("vespa", "slurm", ("node[1-3],gpu1",))
    assert (conf.seconds("ResumeTimeout", 1), conf.seconds("SuspendTime", 1)) == (300, 900)
    assert conf.seconds("SuspendTimeout", 60) == 60


@given(text=st.text(max_size=400))
def test_any_slurm_conf_is_read_or_refused_by_name(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slurm.conf"
        (path.parent / "more.conf").write_text(text, errors="replace")
        path.write_text(text + "\nInclude more.conf\nNodeName=" + text, errors="replace")
        try:
            read_slurm_conf(path)
        except ConfigError as error:
            assert "slurm.conf" in str(error)  # noqa: PT017 - either may happen


def test_the_lines_of_an_earlier_run_are_not_differences(folder: Path) -> None:
    text, differences = slurm_lines(site(folder))
    (folder / "lamplighter.conf").write_text(text)
    with (folder / "slurm.conf").open("a") as file:
        file.write(f"Include {folder}/lamplighter.conf\n")
    assert slurm_lines(site(folder)) == (text, differences)


def test_only_what_slurm_conf_lacks_is_added_and_differences_are_named(folder: Path) -> None:
    text, differences = slurm_lines(site(folder))
    assert "ResumeProgram=/opt/lamplighter/bin/lamplighter-resume\n" in text
    assert not any(key in text for key in ("ResumeTimeout", "SuspendTime=", "SuspendProgram"))
    (difference,) = differences
    assert difference.startswith("SuspendProgram=/usr/local/bin/old in ")
    assert "change it to SuspendProgram=/opt/lamplighter/bin/lamplighter-suspend" in difference


OURS = "PrologSlurmctld=/opt/lamplighter/bin/lamplighter-prolog"


@pytest.mark.parametrize(
    ("lines", "is_named"),
    [
        (["PrologSlurmctld=/etc/slurm/own"], True),
        (["PrologSlurmctld=/etc/slurm/own", OURS], False),
        ([OURS, "PrologSlurmctld=/etc/slurm/own"], False),
    ],
)
def test_a_prolog_of_the_site_stays(folder: Path, lines: list[str], *, is_named: bool) -> None:
    with (folder / "slurm.conf").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    made = replace(site(folder), prolog=True)
    text, differences = slurm_lines(made)
    assert "PrologSlurmctld" not in text + "".join(differences)
    found = [line for line in advice(made) if line.startswith("PrologSlurmctld=/etc/slurm/own in ")]
    assert bool(found) is is_named
    assert all(f"add the line {OURS}" in line and "call /opt" in line for line in found)


@pytest.mark.parametrize("parameter", ["PrologEpilogTimeout", "PrologTimeout"])
def test_a_limit_that_ends_the_prolog_is_a_difference(folder: Path, parameter: str) -> None:
    with (folder / "slurm.conf").open("a") as file:
        file.write(f"ResumeTimeout=900\n{parameter}=100\n")
    wanted = f"{parameter}=100 in {folder}/slurm.conf: change it to {parameter}=960"
    assert wanted in slurm_lines(replace(site(folder), prolog=True))[1]
    assert wanted not in slurm_lines(site(folder))[1]


@pytest.mark.parametrize(
    ("prolog", "version", "is_named"),
    [
        (True, (22, 5), True),
        (True, (0, 0), True),
        (True, (23, 11), False),
        (False, (22, 5), False),
    ],
)
def test_what_the_prolog_costs_with_slurm_22_05_is_said(
    folder: Path, version: tuple[int, int], *, prolog: bool, is_named: bool
) -> None:
    made = replace(site(folder), prolog=prolog, slurm_version=version)
    assert any("salloc on nodes that are up 3 s slower" in one for one in advice(made)) is is_named


def test_the_ansible_role_stops_at_each_difference(folder: Path) -> None:
    """Whatever the values are, also in a file whose difference init shows."""
    variables = (ROOT / "deploy/ansible/roles/lamplighter/vars/main.yaml").read_text()
    (found,) = re.findall(r"lamplighter_contradictions: .*regex_findall\('(.*)'\)", variables)
    (folder / "more.conf").write_text(
        'SuspendProgram="/opt/my own/program"\nPrivateData=jobs,nodes\n'
    )
    (folder / "lamplighter.conf").write_text("A=b in /c: change it to d\n")
    output = run(folder, "--yes", "--cloud=site", "--strategy=stop").output
    assert "A=b in /c: change it to d" in output
    stopped = re.findall(found.replace(r"\\", "\\"), output)
    assert [one.partition("=")[0] for one in stopped] == ["SuspendProgram", "PrivateData"]


@pytest.mark.parametrize(
    "line",
    [
        *("Include lamplighter.conf", "include\t/etc/slurm/lamplighter.conf # ours"),
        *(
            "# Include lamplighter.conf",
            "Include my-lamplighter.conf",
            "Include lamplighter.conf.old",
        ),
    ],
)
def test_the_ansible_role_includes_our_lines_once_however_they_are_written(
    folder: Path, line: str
) -> None:
    tasks = (ROOT / "deploy/ansible/roles/lamplighter/tasks/main.yaml").read_text()
    (found,) = re.findall(r"regexp: '(.*)'", tasks)
    (folder / "my-lamplighter.conf").touch()
    (folder / "lamplighter.conf.old").touch()
    (folder / "slurm.conf").write_text(f"{line}\n")
    included = read_slurm_conf(folder / "slurm.conf").includes_own
    assert bool(re.search(found, line)) is bool(included)


STATIC = "NodeName=ws[1-2] State=UNKNOWN\nNodeName=node[1-3] State=CLOUD\nReturnToService=2\n"
# (slurm.conf, SuspendExcNodes in our lines, what is to be changed)
EXEMPTIONS = [
    ("", "login,ws[1-2]", []),
    ("SuspendExcNodes=login,ws1", None, ["SuspendExcNodes=login,ws[1-2]"]),
    ("SuspendExcNodes=ws[2,1],login", None, []),
    ("SuspendExcNodes=login,ws[1-2],node[2-3]", None, ["SuspendExcNodes=login,ws[1-2]"]),
    ("SuspendExcNodes=node[2-NB_NODES]", None, ["SuspendExcNodes=login,ws[1-2]"]),
    ("SuspendExcNodes=login,ws[1-2],other", None, []),
    ("SuspendExcNodes=node1,node[2-3]:1,login,ws[1-2]", None, []),
    ("SuspendExcNodes=node[1-3]:1,node1", None, ["SuspendExcNodes=node[1-3]:1,login,ws[1-2]"]),
    ("PartitionName=s Nodes=ws[1-2]\nSuspendExcParts=s", "login", []),
    ("PartitionName=s Nodes=ws[1-2]\nSuspendExcParts=s\nSuspendExcNodes=login", None, []),
    ("PartitionName=a Nodes=ALL\nSuspendExcParts=a", "login,ws[1-2]", ["remove it"]),
    (
        "PartitionName=s Nodes=ws[1-2]\nPartitionName=n Nodes=node3\nSuspendExcParts=s,n",
        "login",
        ["SuspendExcParts=s"],
    ),
    (
        "PartitionName=DEFAULT Nodes=node[1-3]\nPartitionName=d\nSuspendExcParts=d",
        "login,ws[1-2]",
        ["remove it"],
    ),
    (
        "NodeSet=c Nodes=node[2-3]\nPartitionName=s Nodes=ws1,c\nSuspendExcParts=s",
        "login,ws[1-2]",
        ["remove it"],
    ),
    (
        "NodeSet=f Feature=x\nNodeSet=w Nodes=ws[1-2]\nPartitionName=s Nodes=f,w\nSuspendExcParts=s",
        "login",
        [],
    ),
    (
        "NodeName=gpu[1-2] Feature=a,gpu\nNodeSet=f Feature=gpu Nodes=ws1\nPartitionName=s Nodes=f\nSuspendExcParts=s",
        "login,ws2",
        [],
    ),
    ("PartitionName=n Nodes=node[1-3] SuspendTime=60\nSuspendExcNodes=ws1", None, []),
    (
        "PartitionName=DEFAULT SuspendTime=60\nPartitionName=n Nodes=node1,ws2\nSuspendExcNodes=ws1",
        None,
        ["SuspendExcNodes=ws[1-2]"],
    ),
    (
        "PartitionName=n Nodes=node1,ws2 SuspendTime=60\nSuspendExcNodes=ws1",
        None,
        ["SuspendExcNodes=ws[1-2]"],
    ),
    ("SuspendExcStates=CLOUD,DOWN", "login,ws[1-2]", ["SuspendExcStates=DOWN"]),
    ("SlurmctldParameters=idle_on_node_suspend", "login,ws[1-2]", ["remove it"]),
    ("SlurmctldParameters=a,idle_on_node_suspend", "login,ws[1-2]", ["SlurmctldParameters=a"]),
    ("ReturnToService=0", "login,ws[1-2]", ["ReturnToService=2"]),
]


@pytest.mark.parametrize(("text", "ours", "changes"), EXEMPTIONS)
def test_slurm_powers_down_our_nodes_and_no_others(
    folder: Path, text: str, ours: str | None, changes: list[str]
) -> None:
    """Each line of slurm.conf that would make it do otherwise is named with the line to write."""
    (folder / "slurm.conf").write_text(f"NodeName=login State=UNKNOWN\n{STATIC}{text}\n")
    conf = replace(site(folder), slurm=read_slurm_conf(folder / "slurm.conf"))
    lines, differences = slurm_lines(conf)
    found = re.findall(r"^SuspendExcNodes=(.*)$", lines, re.MULTILINE)
    assert found == ([] if ours is None else [ours])
    said = [one.removeprefix("change it to ") for d in differences for one in [d.split(": ")[-1]]]
    assert said == changes
    # the same lines with the changes made are right
    for difference in differences:
        present, change = difference.split(" in ")[0], difference.split(": ")[-1]
        text = text.replace(present, change.removeprefix("change it to ").replace("remove it", ""))
    (folder / "slurm.conf").write_text(f"NodeName=login State=UNKNOWN\n{STATIC}{text}\n{lines}")
    conf = replace(conf, slurm=read_slurm_conf(folder / "slurm.conf"))
    assert slurm_lines(conf)[1] == []


def test_what_is_probably_wrong_is_said(folder: Path) -> None:
    """Slurm's default of ResumeTimeout, and a node that slurm.conf does not have."""
    words = ("--yes", "--cloud=site", "--strategy=stop")
    assert "ResumeTimeout=600" not in run(folder, *words).output
    path = folder / "slurm.conf"
    path.write_text(SLURM_CONF.replace("ResumeTimeout=300", "ResumeTimeout=60"))
    output = run(folder, *words, "--nodes=node[1-3],login9").output
    assert f"ResumeTimeout=60 in {path} is too short for most virtual machines: write" in output
    assert f"{path} does not have login9: " in output
    assert "does not have" not in run(folder, *words).output
