"""`lamplighter doctor` looks at the clouds through the token service, and shows no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testbed.simcloud import credentials
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


@pytest.mark.parametrize("forbidden", [True, False])
def test_a_login_without_the_right_to_start_servers_is_named_with_the_role_it_needs(
    run_dir: Path, broker_url: str, *, forbidden: bool
) -> None:
    """One that may only look, and one that may not even do that (403)."""
    with SimCloud() as cloud:
        cloud.add_servers(["node1"])
        site = TokenSite(run_dir / "site", broker_url)
        site.prepare()
        username = credentials.USERNAME if forbidden else credentials.READER
        site.configure({"near": site.password_cloud(cloud, username)})
        with site.config.open("a") as config:
            config.write('[groups.g]\nnodes = "node1"\ncloud = "near"\n')
        if forbidden:
            cloud.inject(Fault(kind="lists", effect=Answer(status=403)))
        with serving(load(site.config)):
            (result,) = site.lamplighter("doctor", "--json").lines
    (found,) = [one for one in result["findings"] if one["finding"] == "cloud_rights"]
    assert found["severity"] == "wrong"
    assert ("the cloud forbids" if forbidden else "only the role reader") in found["words"]
    assert found["remedy"] == "give the login of clouds.near the role member in its project"


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
