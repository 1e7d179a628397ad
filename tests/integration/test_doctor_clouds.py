"""`lamplighter doctor` looks at the clouds through the token service, and shows no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.token_site import TokenSite, serving
from workers.config.settings import load

if TYPE_CHECKING:
    from pathlib import Path


def test_missing_servers_and_a_small_quota_are_named(run_dir: Path, broker_url: str) -> None:
    with SimCloud() as cloud:
        cloud.add_servers(["node1"])
        cloud.set(instance_quota=3)
        site = TokenSite(run_dir / "site", broker_url)
        site.prepare()
        site.configure({"near": site.application_credential_cloud(cloud)})
        with site.config.open("a") as config:
            config.write('[groups.g]\nnodes = "node[1-9]"\ncloud = "near"\n')
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
    assert "cloud" not in found
    assert not [secret for secret in secrets if secret in result.out + result.err]
