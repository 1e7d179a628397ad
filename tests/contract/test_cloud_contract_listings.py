"""What the power worker relies on when it looks at a cloud's servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.contract.clouds import login, nova_for
from tests.testbed.openstack.api import Service
from tests.testbed.simcloud import credentials
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from tests.contract.clouds import Cloud
    from tests.testbed.openstack.api import Json

UNKNOWN = "0b9e9e2c-7a3a-4c9e-8f6d-1a2b3c4d5e6f"
NAMES = ["node1", "node2", "node3", "node4", "node5"]

# What every server shows at microversion 2.1, with the types of the values.
SHOWN: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "name": str,
    "status": str,
    "tenant_id": str,
    "user_id": str,
    "metadata": dict,
    "addresses": dict,
    "created": str,
    "updated": str,
    "hostId": str,
    "flavor": dict,
    "image": (dict, str),
    "links": list,
    "key_name": (str, type(None)),
    "config_drive": str,
    "accessIPv4": str,
    "accessIPv6": str,
    "OS-DCF:diskConfig": str,
    "OS-EXT-AZ:availability_zone": str,
    "OS-EXT-STS:power_state": int,
    "OS-EXT-STS:task_state": (str, type(None)),
    "OS-EXT-STS:vm_state": str,
    "OS-SRV-USG:launched_at": (str, type(None)),
    "OS-SRV-USG:terminated_at": (str, type(None)),
    "os-extended-volumes:volumes_attached": list,
}
# With each microversion there is more.
LATER = {
    "2.9": {"locked"},
    "2.19": {"locked", "description"},
    "2.26": {"locked", "description", "tags"},
    "2.73": {"locked", "description", "tags", "trusted_image_certificates", "locked_reason"},
}


def listed(nova: Service, query: str = "") -> list[Json]:
    servers: list[Json] = nova.ask("GET", f"/servers/detail{query}")["servers"]
    return servers


def names(servers: list[Json]) -> set[str]:
    return {server["name"] for server in servers}


def since(moment: datetime) -> str:
    return f"?changes-since={quote(moment.isoformat())}"


def fault_of(nova: Service, path: str) -> tuple[int, str, dict[str, Any]]:
    """Return status, kind and content of a refusal."""
    answer = nova.call("GET", path)
    ((kind, content),) = answer.json().items()
    return answer.status_code, kind, content


# -- one answer


def test_an_empty_project_lists_nothing(nova: Service) -> None:
    assert nova.ask("GET", "/servers/detail") == {"servers": []}


def test_every_answer_tells_the_clouds_time_and_its_microversion(nova: Service) -> None:
    headers = nova.call("GET", "/servers/detail").headers
    moment = parsedate_to_datetime(headers["Date"])
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)
    assert headers["OpenStack-API-Version"] == "compute 2.1"
    assert headers["x-openstack-request-id"].startswith("req-")


def test_a_server_shows_what_nova_shows(cloud: Cloud, nova: Service) -> None:
    server_id = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    (server,) = listed(nova)
    for key, kind in SHOWN.items():
        assert isinstance(server[key], kind), key
    assert server["id"] == server_id
    assert server["tenant_id"] == cloud.project_id
    assert server["OS-EXT-STS:power_state"] == 1
    assert nova.ask("GET", f"/servers/{server_id}")["server"] == server


def test_later_microversions_show_more(cloud: Cloud) -> None:
    cloud.add_servers(["node1"], "SHUTOFF")
    all_later = set().union(*LATER.values())
    for version, more in LATER.items():
        with nova_for(cloud, version=version) as nova:
            (server,) = listed(nova)
        assert set(server) & (set(SHOWN) | all_later) == set(SHOWN) | more


@pytest.mark.parametrize(
    ("status", "vm_state", "power_state"),
    [
        ("ACTIVE", "active", 1),
        ("SHUTOFF", "stopped", 4),
        ("PAUSED", "paused", 3),
        ("SUSPENDED", "suspended", None),
        ("RESCUE", "rescued", 1),
        ("VERIFY_RESIZE", "resized", 1),
        ("ERROR", "error", None),
        ("SHELVED_OFFLOADED", "shelved_offloaded", None),
    ],
)
def test_a_settled_server_shows_status_and_no_task(
    cloud: Cloud, nova: Service, status: str, vm_state: str, power_state: int | None
) -> None:
    cloud.add_servers(["node1"], status)
    (server,) = listed(nova)
    assert (server["status"], server["OS-EXT-STS:vm_state"]) == (status, vm_state)
    assert server["OS-EXT-STS:task_state"] is None
    if power_state is not None:
        assert server["OS-EXT-STS:power_state"] == power_state


def test_times_are_utc_to_the_second(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "ACTIVE")
    (server,) = listed(nova)
    for key in ("created", "updated"):
        assert datetime.strptime(server[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    launched = datetime.fromisoformat(server["OS-SRV-USG:launched_at"]).replace(tzinfo=UTC)
    assert datetime.now(UTC) - launched < timedelta(minutes=5)


def test_a_brief_listing_shows_no_status(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "ACTIVE")
    (server,) = nova.ask("GET", "/servers")["servers"]
    assert set(server) == {"id", "name", "links"}


def test_another_projects_servers_are_not_seen(cloud: Cloud) -> None:
    server_id = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    with nova_for(cloud, credentials.OTHER_PROJECT_NAME) as other:
        assert listed(other) == []
        assert other.call("GET", f"/servers/{server_id}").status_code == 404


def test_an_unknown_server_is_not_found(nova: Service) -> None:
    message = f"Instance {UNKNOWN} could not be found."
    expected = (404, "itemNotFound", {"code": 404, "message": message})
    assert fault_of(nova, f"/servers/{UNKNOWN}") == expected


# -- pages


def test_pages_follow_each_other_and_the_last_has_no_next(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(NAMES, "SHUTOFF")
    first = nova.ask("GET", "/servers/detail?limit=2")
    (link,) = first["servers_links"]
    assert link["rel"] == "next"
    query = parse_qs(urlsplit(link["href"]).query)
    assert query == {"limit": ["2"], "marker": [first["servers"][-1]["id"]]}
    second = nova.ask("GET", link["href"])
    third = nova.ask("GET", second["servers_links"][0]["href"])
    assert "servers_links" not in third
    seen = [server["name"] for page in (first, second, third) for server in page["servers"]]
    assert sorted(seen) == NAMES


def test_a_full_last_page_is_followed_by_an_empty_one(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(NAMES[:2], "SHUTOFF")
    page = nova.ask("GET", "/servers/detail?limit=2")
    assert nova.ask("GET", page["servers_links"][0]["href"]) == {"servers": []}


def test_a_marker_alone_continues_after_that_server(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(NAMES, "SHUTOFF")
    order = [server["id"] for server in listed(nova)]
    rest = listed(nova, f"?marker={order[1]}")
    assert [server["id"] for server in rest] == order[2:]


@pytest.mark.parametrize("path", ["/servers", "/servers/detail"])
def test_an_unknown_marker_is_a_bad_request(nova: Service, path: str) -> None:
    message = f"marker [{UNKNOWN}] not found"
    expected = (400, "badRequest", {"code": 400, "message": message})
    assert fault_of(nova, f"{path}?marker={UNKNOWN}") == expected


@pytest.mark.parametrize("limit", ["-1", "many"])
def test_a_limit_is_a_number(nova: Service, limit: str) -> None:
    status, kind, content = fault_of(nova, f"/servers/detail?limit={limit}")
    assert (status, kind) == (400, "badRequest")
    assert content["message"].startswith(
        f"Invalid input for query parameters limit. Value: {limit}."
    )


def test_a_limit_of_none_lists_none(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "SHUTOFF")
    assert nova.ask("GET", "/servers/detail?limit=0") == {"servers": []}


# -- changes


def test_changes_since_shows_what_changed_and_what_was_deleted(cloud: Cloud, nova: Service) -> None:
    ids = cloud.add_servers(["still", "stopped", "gone"], "ACTIVE")
    # Nova keeps times to the second.
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    until(lambda: datetime.now(UTC) > later, 5.0, "the next second")
    nova.ask("POST", f"/servers/{ids['stopped']}/action", {"os-stop": None})
    nova.ask("DELETE", f"/servers/{ids['gone']}")
    cloud.await_status(["stopped"], "SHUTOFF")

    def changes() -> dict[str, str]:
        return {server["name"]: server["status"] for server in listed(nova, since(later))}

    # those of an earlier test may still be on their way out
    expected = {"stopped": "SHUTOFF", "gone": "DELETED"}
    until(lambda: expected.items() <= changes().items(), 20.0, f"{expected} among {changes()}")
    assert "still" not in changes()
    (gone,) = (server for server in listed(nova, since(later)) if server["name"] == "gone")
    assert gone["id"] == ids["gone"]
    assert gone["OS-EXT-STS:vm_state"] == "deleted"
    assert gone["OS-SRV-USG:terminated_at"] is not None
    assert names(listed(nova)) == {"still", "stopped"}


def test_nothing_has_changed_since_a_time_to_come(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "ACTIVE")
    assert listed(nova, since(datetime.now(UTC) + timedelta(hours=1))) == []


def test_changes_come_in_pages_too(cloud: Cloud, nova: Service) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=1)
    cloud.add_servers(NAMES[:3], "SHUTOFF")
    page = nova.ask("GET", f"/servers/detail{since(begin)}&limit=2")
    rest = nova.ask("GET", page["servers_links"][0]["href"])
    seen = [server["name"] for server in page["servers"] + rest["servers"]]
    assert set(seen) >= set(NAMES[:3])


def test_changes_since_takes_zones_in_all_ways(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "ACTIVE")
    moment = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S")
    for zone in ("Z", "%2B00:00", ""):
        assert "node1" in names(listed(nova, f"?changes-since={moment}{zone}"))


def test_a_wrong_time_is_a_bad_request(nova: Service) -> None:
    status, kind, content = fault_of(nova, "/servers/detail?changes-since=yesterday")
    assert (status, kind) == (400, "badRequest")
    assert content["message"] == (
        "Invalid input for query parameters changes-since. Value: yesterday."
        " 'yesterday' is not a 'date-time'"
    )


# -- filters


def test_a_status_filter_ignores_the_task(cloud: Cloud, nova: Service) -> None:
    """A server on its way down still passes for ACTIVE."""
    ids = cloud.add_servers(["going", "out"], "SHUTOFF")
    nova.ask("POST", f"/servers/{ids['going']}/action", {"os-start": None})
    cloud.await_status(["going"], "ACTIVE")
    cloud.take_time(stop=5.0)
    nova.ask("POST", f"/servers/{ids['going']}/action", {"os-stop": None})
    (server,) = listed(nova, "?status=ACTIVE")
    assert (server["name"], server["OS-EXT-STS:task_state"]) == ("going", "powering-off")
    cloud.await_status(["going"], "SHUTOFF")


def test_a_name_filter_is_a_regular_expression(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(NAMES, "SHUTOFF")
    assert names(listed(nova, f"?name={quote('^node[12]$')}")) == {"node1", "node2"}


def test_an_unknown_status_matches_nothing(cloud: Cloud, nova: Service) -> None:
    cloud.add_servers(["node1"], "ACTIVE")
    assert listed(nova, "?status=NONSENSE") == []


def test_deleted_servers_are_not_for_members(nova: Service) -> None:
    message = "Only administrators may list deleted instances"
    expected = (403, "forbidden", {"code": 403, "message": message})
    assert fault_of(nova, "/servers/detail?status=DELETED") == expected


def test_tags_filter_by_all_of_them(cloud: Cloud) -> None:
    ids = cloud.add_servers(["both", "one"], "SHUTOFF")
    with nova_for(cloud, version="2.26") as nova:
        nova.ask("PUT", f"/servers/{ids['both']}/tags", {"tags": ["a", "b"]})
        nova.ask("PUT", f"/servers/{ids['one']}/tags", {"tags": ["a"]})
        assert names(listed(nova, "?tags=a")) == {"both", "one"}
        assert names(listed(nova, "?tags=a,b")) == {"both"}


# -- who may ask, and in which words


@pytest.mark.parametrize("token", ["made-up", ""])
def test_a_bad_token_is_unauthorized(cloud: Cloud, token: str) -> None:
    with Service(login(cloud).endpoints["compute"], token) as nova:
        answer = nova.call("GET", "/servers/detail")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == 401
    assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


def test_an_unsupported_microversion_is_not_acceptable(cloud: Cloud) -> None:
    with nova_for(cloud, version="2.999") as nova:
        answer = nova.call("GET", "/servers")
    assert answer.status_code == 406
    assert answer.json()["computeFault"]["message"].startswith("Version 2.999 is not supported")


def test_the_endpoint_tells_its_microversions(cloud: Cloud, nova: Service) -> None:
    version = nova.ask("GET", "/")["version"]
    assert (version["id"], version["status"], version["min_version"]) == ("v2.1", "CURRENT", "2.1")
    latest = version["version"]
    with nova_for(cloud, version=latest) as newest:
        answer = newest.call("GET", "/servers")
    assert answer.headers["OpenStack-API-Version"] == f"compute {latest}"
