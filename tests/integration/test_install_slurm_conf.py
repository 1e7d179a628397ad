"""`lamplighter init` reads slurm.conf as a real slurmctld does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ops.install import slurm_lines
from ops.install.slurm_conf import OWN_LINES, read_slurm_conf
from producers.hosts import expand
from tests.testbed.loopback import loopback
from tests.testbed.processes import Child
from tests.testbed.slurm import PrivateSlurm, packaged_version
from tests.testbed.slurm_conf import SlurmSettings
from tests.testbed.waiting import until
from workers.slurm.power_saving import config_from

# Everything that slurm.conf(5) allows, and what slurmctld accepts beyond it.
ODD = (
    "RESUMETIMEOUT = 0x12C\t# five minutes\n"
    "SuspendTime\\\nout=010\n"
    'suspendtime="500" # "600"\n'
    "Include sub/a.conf\n"
    "INCLUDE\t%c.conf # more\n"
    "nodename=DEFAULT state=cloud\n"
    "NodeName=cont1 NodeAddr=127.0.0.1 \\  \r\n  RealMemory=1 \\\r\n  State=CLOUD\r\n"
    "NodeName=plain[1-2] NodeAddr=127.0.0.1 # State=UNKNOWN \\\n"
    'NodeName="quoted[1-2],x1" NodeAddr=127.0.0.1 Reason="State=UNKNOWN, they say"\n'
    "NodeName=DEFAULT State=UNKNOWN\n"
    'NodeName=static8 NodeAddr=127.0.0.1 Reason="State=CLOUD"\n'
    'NodeName=static9 NodeAddr=127.0.0.1 Reason="never # ends" State=CLOUD\n'
    "NodeName=dr1 NodeAddr=127.0.0.1 State=CLOUD+DRAIN\n"
    "NodeName=DEFAULT Feature=Big,gpu\n"
    "NodeName=feat1 NodeAddr=127.0.0.1 State=CLOUD\n"
    "NodeName=feat2 NodeAddr=127.0.0.1 State=CLOUD FEATURES=small,gpu\n"
    "NodeName=feat3 NodeAddr=127.0.0.1 State=CLOUD Features=big\n"
    "NodeName=DEFAULT Feature=none\n"
    "NodeName=feat4 NodeAddr=127.0.0.1 State=CLOUD\n"
    "NodeSet=some Nodes=plain[1-2]\n"
    "NodeSet=gpus Feature=gpu\n"
    "NodeSet=both nodes=cont1 feature=big\n"
    "PartitionName=all Nodes=ALL SuspendTimeout=30\n"
    "PartitionName=set Nodes=some\n"
    "PartitionName=gpu Nodes=gpus\n"
    "PartitionName=mixed Nodes=both,x1,plain1\n"
)


def test_an_odd_slurm_conf_is_read_as_slurmctld_reads_it(run_dir: Path) -> None:
    """Nodes, their states and the timeouts of a file with all that slurmctld accepts."""
    slurm = PrivateSlurm(run_dir / "slurm")
    text = slurm.conf.read_text().replace("ClusterName=testbed", "clustername=Test.Bed")
    slurm.conf.write_bytes((text + ODD).encode())
    beside = "sub" if packaged_version() < (24, 11) else "."
    for name, lines in {
        "sub/a.conf": "NodeName=a1 NodeAddr=127.0.0.1 State=CLOUD\nInclude b.conf\n",
        f"{beside}/b.conf": "NodeName = b1 NodeAddr = 127.0.0.1 State = Cloud\n",
        "test.bed.conf": "NodeName=c1\tNodeAddr=127.0.0.1\tState=CLOUD",
    }.items():
        path = slurm.conf_dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    conf = read_slurm_conf(slurm.conf)
    with slurm:

        def show(*words: str) -> str:
            argv = ["scontrol", "show", "--all", "--oneliner", *words]
            return subprocess.check_output(argv, env=slurm.environment(), text=True)

        nodes = {
            line.split()[0].removeprefix("NodeName="): "CLOUD"
            in line.partition(" State=")[2].split()[0]
            for line in show("node").splitlines()
            if line
        }
        config = config_from(show("config"))
        partitions = {
            name: expand(fields.partition(" Nodes=")[2].split()[0])
            for line in show("partition").splitlines()
            for name, _, fields in [line.removeprefix("PartitionName=").partition(" ")]
            if name
        }
    assert {node for part in conf.cloud_nodes for node in expand(part)} == {
        name for name, is_cloud in nodes.items() if is_cloud
    }
    assert {node for part in conf.other_nodes for node in expand(part)} == {
        name for name, is_cloud in nodes.items() if not is_cloud
    }
    assert {one["partitionname"]: sorted(conf.nodes_of(one)) for one in conf.partitions} == {
        name: sorted(nodes) for name, nodes in partitions.items()
    }
    assert config["ClusterName"] == "test.bed"
    assert conf.cluster == "test-bed"
    for key in ("ResumeTimeout", "SuspendTimeout", "SuspendTime"):
        assert f"{conf.seconds(key, 1)} sec" == config[key]


@pytest.mark.parametrize(
    "names",
    [
        ("login1.example.org", "login2.example.org"),
        ("c1-gpu", "c2-gpu", "c3"),
        ("a1b3", "a2b3"),
        ("a1b1", "a1b2", "a2b1", "a2b2"),
        ("node1", "node2", "node10"),
    ],
)
def test_slurm_reads_the_nodes_that_init_writes(run_dir: Path, names: tuple[str, ...]) -> None:
    """It reads brackets at the end of a name only, and would power down the nodes of another exception."""
    conf = run_dir / "slurm.conf"
    conf.write_text(
        "ClusterName=c\nSlurmctldHost=localhost\nNodeName=n1\nPartitionName=p Nodes=n1\n"
    )
    environment = {"SLURM_CONF": str(conf), "PATH": os.defpath}
    argv = ["scontrol", "show", "hostnames", slurm_lines._hostlist(names)]
    shown = subprocess.check_output(argv, env=environment, text=True)
    assert sorted(shown.split()) == sorted(names)


# Before it has slurm.conf, slurmd finds munged at its usual place.
NODE = """
mount --make-rslave / 2>/dev/null && mount -t tmpfs none /run
mkdir -p /run/munge; [ -S /run/munge/munge.socket.2 ] || ln -sf "$0" /run/munge/munge.socket.2
exec slurmd -D -b -N node1 --conf-server "$1"
"""


def test_a_node_that_gets_slurm_conf_from_slurmctld_gets_our_lines(run_dir: Path) -> None:
    """Slurmctld sends only files that are included without a folder; slurmd does not start without them."""
    assert os.geteuid() == 0, "run as root: a node needs a /run of its own"
    settings = SlurmSettings(nodes=1, slurmctld_parameters="enable_configless")
    slurm = PrivateSlurm(run_dir / "slurm", settings)
    ours = slurm.conf_dir / OWN_LINES
    ours.write_text("TreeWidth=50\n")
    with slurm.conf.open("a") as file:
        file.write(f"{include()}\n")
    sent = slurm.layout.folder / "spool/node1/conf-cache" / OWN_LINES
    with slurm:
        ours.unlink()  # as on another host
        argv = [*loopback().prefix, "unshare", "--mount", "--propagation", "unchanged"]
        argv += ["sh", "-c", NODE, str(slurm.layout.socket), f"127.0.0.1:{slurm.port}"]
        node = Child(argv, log=slurm.layout.log_dir / "configless.out")
        try:
            until(sent.exists, 30.0, f"our lines on a node; {node.log} says why not")
        finally:
            node.kill_session()
    assert sent.read_text() == "TreeWidth=50\n"


def include() -> str:
    """The line that the quick start adds to slurm.conf."""
    page = (Path(__file__).parents[2] / "docs/quick-start.md").read_text()
    return page.partition("echo '")[2].partition("'")[0]
