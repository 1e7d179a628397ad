"""`lamplighter doctor` looks at the clouds through the token service, and shows no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.simcloud.effects import Answer
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite, serving
from workers.config.settings import load

if TYPE_CHECKING:
    from pathlib import Path

GROUP = """[slurm]
set_addresses = true
[groups.g]
nodes = "node[1-9]"
cloud = "near"
network = "slrm"
[groups.g.server]
image = "node-image"
flavor = "m1.tiny"
key_name = "operatr"
security_groups = ["nodes"]
"""


def test_missing_servers_and_a_small_quota_are_named(run_dir: Path, broker_url: str) -> None:
    with SimCloud() as cloud:
        cloud.add_servers(["node1"])
        cloud.set(instance_quota=3)
        site = TokenSite(run_dir / "site", broker_url)
        site.prepare()
        site.configure({"near": site.application_credential_cloud(cloud)})
        with site.config.open("a") as config:
            config.write(GROUP)
        cloud.set(key_pairs=["operator"])
        cloud.inject(Fault(kind="security_groups", effect=Answer(status=403)))
        alone = site.lamplighter("doctor", "--json")
        with serving(load(site.config)):
            result = site.lamplighter("doctor", "--json")
        secrets = cloud.issued_secrets()
    (before,), (after,) = alone.lines, result.lines
    assert {"tokens", "cloud"} <= {one["finding"] for one in before["findings"]}
    found = {one["finding"]: one for one in after["findings"]}
    assert "8 of 9 nodes have no server: node[2-9]" in found["servers_missing"]["words"]
    assert "8 more instances are needed, and 2 of 3 are left" in found["quota"]["words"]
    assert found["servers_missing"]["remedy"].startswith("lamplighter nodes deploy g ")
    useless = [one["words"] for one in after["findings"] if one["finding"] == "useless"]
    assert [
        one
        for one in useless
        if "1 of 9 nodes have a server without an address on the network slrm" in one
    ]
    assert "key_name: the user that logs in has no key pair" in found["template"]["words"]
    assert "security_groups was not checked: 403" in found["clouds_unknown"]["words"]
    assert "cloud" not in found
    assert not [secret for secret in secrets if secret in result.out + result.err]
