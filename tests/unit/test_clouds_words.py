"""The well-known refusals and faults of OpenStack's services, word for word, and what each means."""

from __future__ import annotations

import pytest
from msgspec import structs

from schemas.commands import Desired
from schemas.events import Cause
from schemas.server import Server
from tests.testbed.pending_nodes import GROUP, TEMPLATE
from workers.clouds.decide import Act, NodeView, decide
from workers.clouds.errors import NO_ROOM, CloudError, Then, cause_in, classify

RETRIED = (
    "Exceeded maximum number of retries. Exceeded max scheduling attempts 3 for instance"
    " 5b1b1a4c-0c3c-4f1f-8b0f-0d2f4a1f7c11. Last exception: "
)
BUILD = "Build of instance 5b1b1a4c-0c3c-4f1f-8b0f-0d2f4a1f7c11 aborted: "

WORDS = {
    "no_valid_host": (
        RETRIED + "internal error: qemu unexpectedly closed the monitor",
        RETRIED + "None",
        "No valid host was found. " + RETRIED + "Binding failed for port 4711",
        (
            "Exceeded maximum number of retries. Exceeded max scheduling retries 3 for instance x during"
            " live migration"
        ),
        (
            "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures"
            " for instance x."
        ),
        "No valid host was found. There are not enough hosts available.",
        "No valid host was found. No such host - host: compute1 node: compute1",
        "No valid host found for unshelve instance",
        "NoValidHost_Remote",
        (
            "Insufficient compute resources: Requested instance NUMA topology cannot fit the given host"
            " NUMA topology."
        ),
        "Insufficient compute resources: Claim pci failed.",
        (
            "Unable to create allocation for 'VCPU' on resource provider 'x'. The requested amount would"
            " exceed the capacity."
        ),
        "No valid backend was found. No weighed backends available",
    ),
    "quota": (
        (
            "Quota exceeded for cores, ram: Requested 8, 16384, but already used 96, 262144 of 96, 262144"
            " cores, ram"
        ),
        (
            "Project 6b1f is over a limit for [Resource servers is over limit of 10 due to current usage 10"
            " and delta 1]"
        ),
        "The number of defined ports: 3 is over the limit: 2",
        "Maximum number of ports exceeded",
        "Maximum number of security groups or rules exceeded",
        "Maximum number of instances allowed (10) exceeded",
        "Quota exceeded, too many servers in group",
        "Quota exceeded for resources: ['security_group_rule'].",
        "Quota exceeded or out of space for image 4711 in the image service.",
        BUILD + "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota"
        " 'volumes'. (HTTP 413)",
        (
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota."
            " Requested 20G, quota is 1000G and 990G has been consumed."
        ),
        *("PortLimitExceeded", "GroupMemberLimitExceeded", "OverQuotaClient", "TooManyInstances"),
        RETRIED + "Quota exceeded for resources: ['port'].",
    ),
    "no_addresses": (
        "No fixed IP addresses available for network: 6c12c8d4",
        "No more IP addresses available on network 6c12c8d4.",
        "No more IP addresses available for subnet 6c12c8d4.",
        "Zero fixed ips available.",
        "NoMoreFixedIps",
        "IpAddressGenerationFailureClient",
        BUILD + "Failed to allocate the network(s) with error No fixed IP addresses available for"
        " network: 6c12c8d4, not rescheduling.",
        RETRIED + "No more IP addresses available on network 6c12c8d4.",
    ),
    "bad_template": (
        "Multiple possible networks found, use a Network ID to be more specific.",
        (
            "More than one possible network found. Specify network ID(s) to select which one(s) to connect"
            " to."
        ),
        "Multiple security groups found matching 'default'. Use an ID to be more specific.",
    ),
    # said of this one call or server, of a host, or of an administrator's own doing
    None: (
        (
            "The maximum allowed number of disk devices (26) to attach to a single instance has been"
            " exceeded."
        ),
        "Maximum number of metadata items exceeds 128",
        "Maximum number of retries exceeded",
        "HTTPSConnectionPool(host='nova', port=8774): Max retries exceeded with url: /servers",
        "Max retries of DB transaction exceeded attempting to perform create.",
        "Image metadata limit exceeded",
        "Image member limit exceeded for image 4711",
        "Personality file limit exceeded",
        *(
            "API rate limit exceeded",
            "rate-limit exceeded",
            "RateLimitExceeded",
            "time limit exceeded",
        ),
        "This request was rate-limited.",
        "Quota class default could not be found.",
        "Quota for project 4711 could not be found.",
        "Unknown quota resources ['gpus'].",
        (
            "Connection to keystone host failed: Failed to connect to keystone while enforcing ram quota"
            " limit."
        ),
        "Unsupported value for extra spec quota:cpu_shares",
        "No fixed IPs associated to instance",
        "Port 4711 requires a FixedIP in order to be used.",
        "Fixed IP address 10.0.0.5 is already in use on instance 4711.",
        "Port 4711 is still in use.",
        "Requested volume size 2000 is larger than maximum allowed limit 1000.",
        "Block Device Mapping is Invalid: You specified more local devices than the limit allows",
        (
            "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is"
            " 2361393152 bytes."
        ),
        BUILD + "Failed to allocate the network(s), not rescheduling.",
        BUILD + "Volume 4711 did not finish being created even after we waited 189 seconds or 61"
        " attempts. And its status is error.",
        "Virtual Interface creation failed",
        "Binding failed for port 4711, please check neutron logs for more information.",
        "Failed to power on instance: internal error",
        "Anti-affinity instance group policy was violated",
        "Multiple floating IPs are found for address 10.0.0.5.",
        "Network 4711 requires a subnet in order to boot instances on.",
        "No specific network was requested and none are available for project '4711'.",
    ),
}
CASES = [(meaning, words) for meaning, texts in WORDS.items() for words in texts]


@pytest.mark.parametrize(("meaning", "words"), CASES)
def test_a_refusal_means_what_its_words_say(meaning: str | None, words: str) -> None:
    verdict = classify(CloudError(403, words))
    assert verdict.cause.error == (meaning or "forbidden")
    assert verdict.then is Then.REJECT
    assert (meaning in NO_ROOM) == (meaning not in {"bad_template", None})


@pytest.mark.parametrize(("meaning", "words"), CASES)
def test_the_fault_of_a_server_means_what_the_refusal_of_a_call_means(
    meaning: str | None, words: str
) -> None:
    server = Server("id-1", "node1", "ERROR", fault=words)
    seen = NodeView((server,), fresh=True, calls={}, waited=0.0, ours=frozenset({"id-1"}))
    group = structs.replace(GROUP, strategy="delete", server=TEMPLATE)
    cause = cause_in(words) or Cause("server_error", words)
    assert cause.error == (meaning or "server_error")
    assert decide(Desired.UP, seen, group) == Act("delete", "id-1", cause)
