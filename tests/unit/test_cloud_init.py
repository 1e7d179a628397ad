"""The example of user data: valid YAML for cloud-init, whatever the node; and nothing secret in it."""

from __future__ import annotations

from pathlib import Path

import yaml

from workers.clouds import actions
from workers.clouds.nova_requests import Call, fill

EXAMPLE = Path(__file__).parents[2] / "deploy" / "cloud-init" / "node.yaml"
# The largest that Nova takes, in base64 (its API reference, "Create server").
MOST = 65535 * 3 // 4


def test_the_example_is_filled_in_for_each_node() -> None:
    text = fill(EXAMPLE.read_text(), Call(actions.CREATE, "", "node7", "compute"), "vespa")
    assert text.startswith("#cloud-config\n")
    assert len(text) < MOST
    told = yaml.safe_load(text)
    assert told["hostname"] == "node7"
    files = {file["path"]: file["content"] for file in told["write_files"]}
    assert files["/etc/default/slurmd"].endswith('-N node7"\n')
    assert "/srv/vespa/munge" in told["mounts"][0][0]
    # the key is installed by a script that fetches it; no file of the example is a key
    assert "/etc/munge/munge.key" not in files
