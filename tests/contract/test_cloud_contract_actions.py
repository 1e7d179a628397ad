"""What the power worker relies on when it acts on servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.clouds import QUOTA, nova_for
from tests.testbed.simcloud.flavors import HUGE
from tests.testbed.waiting import until

if TYPE_CHECKING:
    import requests

    from tests.contract.clouds import Cloud
    from tests.testbed.openstack.api import Json, Service

UNKNOWN = "0b9e9e2c-7a3a-4c9e-8f6d-1a2b3c4d5e6f"
START: Json = {"os-start": None}
STOP: Json = {"os-stop": None}
SHELVE: Json = {"shelve": None}
UNSHELVE: Json = {"unshelve": None}
REBOOT: Json = {"reboot": {"type": "SOFT"}}


def act(nova: Service, server_id: str, action: Json) -> requests.Response:
    return nova.call("POST", f"/servers/{server_id}/action", action)


def accept(nova: Service, server_id: str, action: Json) -> None:
    answer = act(nova, server_id, action)
    assert (answer.status_code, answer.text) == (202, "")


def state(nova: Service, server_id: str) -> tuple[str, str | None]:
    server = nova.ask("GET", f"/servers/{server_id}")["server"]
    return server["status"], server["OS-EXT-STS:task_state"]


def conflict(answer: requests.Response) -> str:
    """Return the message of a 409."""
    assert answer.status_code == 409, answer.text
    fault = answer.json()["conflictingRequest"]
    assert fault["code"] == 409
    return str(fault["message"])


def create(cloud: Cloud, nova: Service, name: str, flavor: str = "1") -> requests.Response:
    about = {"name": name, "flavorRef": flavor, "imageRef": cloud.image_id, "networks": "none"}
    return nova.call("POST", "/servers", {"server": about})


# -- start and stop


def test_a_start_is_seen_from_task_to_active(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    cloud.take_time(boot=2.0)
    accept(nova, server, START)
    assert state(nova, server) == ("SHUTOFF", "powering-on")
    cloud.await_status(["node1"], "ACTIVE")
    assert state(nova, server) == ("ACTIVE", None)


def test_a_stop_is_seen_from_task_to_shutoff(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    cloud.take_time(stop=2.0)
    accept(nova, server, STOP)
    assert state(nova, server) == ("ACTIVE", "powering-off")
    cloud.await_status(["node1"], "SHUTOFF")
    assert state(nova, server) == ("SHUTOFF", None)


def test_a_failed_power_on_falls_back_without_a_fault(cloud: Cloud, nova: Service) -> None:
    ids = cloud.add_servers(["good", "bad"], "SHUTOFF")
    cloud.fail_power_on("bad")
    for server in ids.values():
        accept(nova, server, START)
    cloud.await_status(["good"], "ACTIVE")
    cloud.await_status(["bad"], "SHUTOFF")
    assert "fault" not in nova.ask("GET", f"/servers/{ids['bad']}")["server"]


def test_a_server_in_error_can_be_stopped(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ERROR")["node1"]
    accept(nova, server, STOP)
    cloud.await_status(["node1"], "SHUTOFF")


WRONG = {
    "ACTIVE": ("active", ["start", "unshelve"]),
    "SHUTOFF": ("stopped", ["stop", "unshelve", "reboot"]),
    "PAUSED": ("paused", ["start", "stop"]),
    "SUSPENDED": ("suspended", ["start", "stop"]),
    "RESCUE": ("rescued", ["start", "shelve"]),
    "VERIFY_RESIZE": ("resized", ["start", "stop", "shelve"]),
    "ERROR": ("error", ["start", "shelve"]),
    "SHELVED_OFFLOADED": ("shelved_offloaded", ["shelve", "reboot"]),
}
BODIES = {"start": START, "stop": STOP, "shelve": SHELVE, "unshelve": UNSHELVE, "reboot": REBOOT}


@pytest.mark.parametrize("status", WRONG)
def test_an_action_in_the_wrong_state_is_a_conflict(
    cloud: Cloud, nova: Service, status: str
) -> None:
    server = cloud.add_servers(["node1"], status)["node1"]
    vm_state, actions = WRONG[status]
    for action in actions:
        message = f"Cannot '{action}' instance {server} while it is in vm_state {vm_state}"
        assert conflict(act(nova, server, BODIES[action])) == message


def test_start_and_stop_need_a_server_that_is_somewhere(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "SHELVED_OFFLOADED")["node1"]
    for action in (START, STOP):
        assert conflict(act(nova, server, action)) == f"Instance {server} is not ready"


def test_a_second_stop_while_the_first_runs_is_a_conflict(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    cloud.take_time(stop=2.0)
    accept(nova, server, STOP)
    message = f"Cannot 'stop' instance {server} while it is in task_state powering-off"
    assert conflict(act(nova, server, STOP)) == message
    cloud.await_status(["node1"], "SHUTOFF")


def test_a_second_start_while_the_first_runs_is_a_conflict(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    cloud.take_time(boot=2.0)
    accept(nova, server, START)
    message = f"Cannot 'start' instance {server} while it is in task_state powering-on"
    assert conflict(act(nova, server, START)) == message
    cloud.await_status(["node1"], "ACTIVE")


def test_a_locked_server_refuses_everything(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    cloud.lock("node1")
    message = f"Instance {server} is locked"
    for action in (START, STOP, SHELVE):
        assert conflict(act(nova, server, action)) == message
    assert conflict(nova.call("DELETE", f"/servers/{server}")) == message


def test_an_action_on_an_unknown_server_is_not_found(nova: Service) -> None:
    answer = act(nova, UNKNOWN, START)
    assert answer.status_code == 404
    message = f"Instance {UNKNOWN} has no mapping to a cell."
    assert answer.json() == {"itemNotFound": {"code": 404, "message": message}}


def test_an_unknown_action_is_a_bad_request(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    answer = act(nova, server, {"made-up": None})
    assert answer.status_code == 400
    message = "There is no such action: made-up"
    assert answer.json() == {"badRequest": {"code": 400, "message": message}}


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("PAUSED", {"unpause": None}),
        ("SUSPENDED", {"resume": None}),
        ("RESCUE", {"unrescue": None}),
        ("VERIFY_RESIZE", {"confirmResize": None}),
        ("ERROR", {"reboot": {"type": "HARD"}}),
        ("SHUTOFF", {"reboot": {"type": "HARD"}}),
    ],
)
def test_every_status_has_a_way_to_active(
    cloud: Cloud, nova: Service, status: str, action: Json
) -> None:
    server = cloud.add_servers(["node1"], status)["node1"]
    answer = act(nova, server, action)
    assert answer.status_code == (204 if "confirmResize" in action else 202)
    cloud.await_status(["node1"], "ACTIVE")
    assert "fault" not in nova.ask("GET", f"/servers/{server}")["server"]


# -- shelve and unshelve


@pytest.mark.parametrize("status", ["ACTIVE", "SHUTOFF"])
def test_a_shelved_server_is_offloaded_and_comes_back(
    cloud: Cloud, nova: Service, status: str
) -> None:
    """Both ways end ACTIVE, and a task is seen on both."""
    server = cloud.add_servers(["node1"], status)["node1"]
    cloud.take_time(boot=1.0, shelve=1.0)
    accept(nova, server, SHELVE)
    shown, task = state(nova, server)
    assert shown == status
    assert str(task).startswith("shelving")
    cloud.await_status(["node1"], "SHELVED_OFFLOADED")
    assert nova.ask("GET", f"/servers/{server}")["server"]["OS-EXT-STS:power_state"] in {0, 4}
    accept(nova, server, UNSHELVE)
    assert str(state(nova, server)[1]) in {"unshelving", "spawning"}
    cloud.await_status(["node1"], "ACTIVE")


def test_offloading_is_for_administrators(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    answer = act(nova, server, {"shelveOffload": None})
    assert answer.status_code == 403
    message = "Policy doesn't allow os_compute_api:os-shelve:shelve_offload to be performed."
    assert answer.json() == {"forbidden": {"code": 403, "message": message}}


def test_a_shelved_server_can_be_deleted(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "SHELVED_OFFLOADED")["node1"]
    assert nova.call("DELETE", f"/servers/{server}").status_code == 204
    until(lambda: nova.call("GET", f"/servers/{server}").status_code == 404, 20.0, "its end")


# -- create and delete


def test_a_created_server_goes_from_build_to_active(cloud: Cloud) -> None:
    cloud.take_time(boot=1.0)
    with nova_for(cloud, version="2.37") as nova:
        answer = create(cloud, nova, "node1")
        assert answer.status_code == 202
        server = answer.json()["server"]
        assert answer.headers["Location"].endswith(f"/servers/{server['id']}")
        assert {link["rel"] for link in server["links"]} == {"self", "bookmark"}
        shown, task = state(nova, server["id"])
        assert shown == "BUILD"
        assert task in {None, "scheduling", "networking", "block_device_mapping", "spawning"}
        cloud.await_status(["node1"], "ACTIVE")


def test_metadata_and_tags_come_with_the_creation(cloud: Cloud) -> None:
    with nova_for(cloud, version="2.52") as nova:
        about = {
            "name": "node1",
            "flavorRef": "1",
            "imageRef": cloud.image_id,
            "networks": "none",
            "metadata": {"owner": "us"},
            "tags": ["a", "b"],
        }
        server = nova.ask("POST", "/servers", {"server": about})["server"]["id"]
        cloud.await_status(["node1"], "ACTIVE")
        shown = nova.ask("GET", f"/servers/{server}")["server"]
    assert shown["metadata"] == {"owner": "us"}
    assert shown["tags"] == ["a", "b"]


def test_a_server_that_fits_nowhere_goes_to_error_with_a_fault(cloud: Cloud) -> None:
    with nova_for(cloud, version="2.37") as nova:
        answer = create(cloud, nova, "giant", HUGE.id)
        assert answer.status_code == 202
        cloud.await_status(["giant"], "ERROR")
        server = nova.ask("GET", f"/servers/{answer.json()['server']['id']}")["server"]
        (listed,) = nova.ask("GET", "/servers/detail")["servers"]
    assert server["fault"]["code"] == 500
    assert server["fault"]["message"].startswith("No valid host was found")
    assert listed["fault"] == server["fault"]


def test_a_used_up_quota_is_forbidden(cloud: Cloud) -> None:
    project = cloud.limit_instances()
    with nova_for(cloud, project, version="2.37") as nova:
        # Nova lets a few too many through when they come fast.
        answers = (create(cloud, nova, f"node{number}") for number in range(3 * QUOTA))
        refused = next(answer for answer in answers if answer.status_code != 202)
    assert refused.status_code == 403
    fault = refused.json()["forbidden"]
    assert fault["code"] == 403
    assert fault["message"].startswith(
        "Quota exceeded for instances: Requested 1, but already used"
    )


def test_a_deleted_server_is_gone_for_good(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    answer = nova.call("DELETE", f"/servers/{server}")
    assert (answer.status_code, answer.text) == (204, "")
    until(lambda: nova.call("GET", f"/servers/{server}").status_code == 404, 20.0, "its end")
    assert nova.call("DELETE", f"/servers/{server}").status_code == 404
    message = f"Instance {server} could not be found."
    expected = {"itemNotFound": {"code": 404, "message": message}}
    assert act(nova, server, START).json() == expected


def test_a_deletion_that_is_under_way_may_be_asked_for_again(cloud: Cloud, nova: Service) -> None:
    """What was lost half-way is mended by the same call: it is no conflict with its own task."""
    server = cloud.add_servers(["node1"], "ACTIVE")["node1"]
    cloud.hold_deletions()
    assert nova.call("DELETE", f"/servers/{server}").status_code == 204
    assert state(nova, server) == ("ACTIVE", "deleting")
    again = nova.call("DELETE", f"/servers/{server}")
    assert (again.status_code, again.text) == (204, "")
    until(lambda: nova.call("GET", f"/servers/{server}").status_code == 404, 20.0, "its end")


def test_two_servers_may_have_one_name(cloud: Cloud) -> None:
    with nova_for(cloud, version="2.37") as nova:
        ids = {create(cloud, nova, "node1").json()["server"]["id"] for _ in range(2)}
        cloud.await_status(["node1"], "ACTIVE")
        listed = nova.ask("GET", "/servers?name=node1")["servers"]
    assert {server["id"] for server in listed} == ids


@pytest.mark.parametrize("missing", ["flavorRef", "name"])
def test_a_creation_without_the_necessary_is_a_bad_request(
    cloud: Cloud, nova: Service, missing: str
) -> None:
    about = {"name": "node1", "flavorRef": "1", "imageRef": cloud.image_id}
    del about[missing]
    answer = nova.call("POST", "/servers", {"server": about})
    assert answer.status_code == 400
    assert missing in answer.json()["badRequest"]["message"]


def test_an_unknown_flavor_is_a_bad_request(cloud: Cloud) -> None:
    with nova_for(cloud, version="2.37") as nova:
        answer = create(cloud, nova, "node1", "77")
    assert answer.status_code == 400
    message = "Flavor 77 could not be found."
    assert answer.json() == {"badRequest": {"code": 400, "message": message}}


# -- metadata


def test_metadata_is_merged_and_removed(cloud: Cloud, nova: Service) -> None:
    server = cloud.add_servers(["node1"], "SHUTOFF")["node1"]
    metadata = f"/servers/{server}/metadata"
    assert nova.ask("POST", metadata, {"metadata": {"a": "1"}}) == {"metadata": {"a": "1"}}
    merged = {"metadata": {"a": "1", "b": "2"}}
    assert nova.ask("POST", metadata, {"metadata": {"b": "2"}}) == merged
    assert nova.ask("GET", metadata) == merged
    assert nova.call("DELETE", f"{metadata}/a").status_code == 204
    assert nova.call("DELETE", f"{metadata}/a").status_code == 404
    assert nova.ask("GET", f"/servers/{server}")["server"]["metadata"] == {"b": "2"}
