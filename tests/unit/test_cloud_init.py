"""The example of user data is valid YAML for cloud-init for every node, and contains no secret."""

from __future__ import annotations

from pathlib import Path

import yaml

from workers.clouds import actions
from workers.clouds.nova_requests import Call, fill

EXAMPLE = Path(__file__).parents[2] / "deploy" / "cloud-init" / "node.yaml"
# The largest that Nova accepts, in base64 (its API reference, "Create server").
MOST = 65535 * 3 // 4


def test_the_example_is_filled_in_for_each_node() -> None:
    text = fill(
        EXAMPLE.read_bytes(), Call(actions.CREATE, "", "node7", "compute"), "vespa"
    ).decode()
    assert text.startswith("#cloud-config\n")
    assert len(text) < MOST
    data = yaml.safe_load(text)
    assert data["hostname"] == "node7"
    files = {file["path"]: file["content"] for file in data["write_files"]}
    assert files["/etc/default/slurmd"].endswith('-N node7"\n')
    assert "/srv/vespa/munge" in data["mounts"][0][0]
    # no user of the node can do what the script does as root
    assert "(ro,secure,no_root_squash)" in text
    rules = files["/etc/nftables.conf"]
    assert all(
        f"meta skuid != 0 {kind} dport {{ 111, 2049 }} reject" in rules for kind in ("tcp", "udp")
    )
    assert data["runcmd"].index(["systemctl", "enable", "--now", "nftables"]) < data[
        "runcmd"
    ].index(["/usr/local/sbin/install-munge-key"])
    # A script of the example fetches the key; no file of the example is a key.
    assert "/etc/munge/munge.key" not in files
