"""Each fault of the simulation has its effect on the matching calls, as often as configured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import requests

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.client import ControlError
from tests.testbed.simcloud.effects import (
    Answer,
    Effect,
    FallsBack,
    GoesToError,
    Hang,
    NeverCompletes,
    Reset,
)
from tests.testbed.simcloud.faults import Fault
from tests.testbed.simcloud.ratelimit import RateLimit
from tests.testbed.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.testbed.simcloud.handle import SimCloud


class Caller:
    """Calls Nova like a client without retries."""

    def __init__(self, cloud: SimCloud) -> None:
        self.http = requests.Session()
        self._cloud = cloud
        self._ids: dict[str, str] = {}
        self.http.headers["X-Auth-Token"] = self.log_in().headers["X-Subject-Token"]

    def log_in(self) -> requests.Response:
        identity = {
            "methods": ["application_credential"],
            "application_credential": {
                "id": credentials.APPLICATION_CREDENTIAL_ID,
                "secret": credentials.APPLICATION_CREDENTIAL_SECRET,
            },
        }
        body = {"auth": {"identity": identity}}
        return self.http.post(f"{self._cloud.auth_url}/auth/tokens", json=body, timeout=10)

    def add(self, *names: str, status: str = "SHUTOFF") -> None:
        self._ids |= {info.name: info.id for info in self._cloud.add_servers(names, status)}

    def url(self, name: str) -> str:
        return f"{self._cloud.url}/compute/v2.1/servers/{self._ids[name]}"

    def get(self, name: str) -> requests.Response:
        return self.http.get(self.url(name), timeout=10)

    def list(self) -> requests.Response:
        return self.http.get(f"{self._cloud.url}/compute/v2.1/servers", timeout=10)

    def start(self, name: str, timeout: float = 10) -> requests.Response:
        return self.http.post(f"{self.url(name)}/action", json={"os-start": None}, timeout=timeout)

    def stop(self, name: str) -> requests.Response:
        return self.http.post(f"{self.url(name)}/action", json={"os-stop": None}, timeout=10)


@pytest.fixture
def caller(cloud: SimCloud) -> Iterator[Caller]:
    made = Caller(cloud)
    with made.http:
        cloud.reset_counts()
        yield made


# -- answers


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (403, "forbidden"),
        (404, "itemNotFound"),
        (409, "conflictingRequest"),
        (429, "overLimit"),
        (500, "computeFault"),
        (503, "serviceUnavailable"),
    ],
)
def test_an_error_answer_has_novas_body(
    cloud: SimCloud, caller: Caller, status: int, name: str
) -> None:
    caller.add("node1")
    cloud.inject(Fault(kind="start", effect=Answer(status=status, message="by design")))
    answer = caller.start("node1")
    assert answer.status_code == status
    assert answer.json()[name]["code"] == status
    assert answer.json()[name]["message"] == "by design"
    assert cloud.servers()["node1"].task_state is None


def test_a_401_has_the_body_of_keystones_middleware(cloud: SimCloud, caller: Caller) -> None:
    cloud.inject(Fault(kind="lists", effect=Answer(status=401)))
    answer = caller.list()
    assert answer.status_code == 401
    assert answer.json()["error"]["title"] == "Unauthorized"


def test_a_429_has_a_retry_after(cloud: SimCloud, caller: Caller) -> None:
    cloud.inject(Fault(kind="list", effect=Answer(status=429, retry_after_seconds=2.5)))
    answer = caller.list()
    assert answer.headers["Retry-After"] == "3"
    assert answer.json()["overLimit"]["retryAfter"] == "3"


def test_a_proxys_error_is_not_json(cloud: SimCloud, caller: Caller) -> None:
    cloud.inject(Fault(kind="list", effect=Answer(status=504, body="proxy")))
    answer = caller.list()
    assert answer.status_code == 504
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("effect", [Answer(status=503, performed=True), Reset(performed=True)])
def test_an_action_can_be_performed_although_its_answer_is_lost(
    cloud: SimCloud, caller: Caller, effect: Effect
) -> None:
    caller.add("node1")
    cloud.inject(Fault(kind="start", effect=effect))
    if isinstance(effect, Reset):
        with pytest.raises(requests.ConnectionError):
            caller.start("node1")
    else:
        assert caller.start("node1").status_code == 503
    assert cloud.servers()["node1"].task_state == "powering-on"


# -- connections


def test_a_reset_reaches_the_client_and_the_action_is_not_performed(
    cloud: SimCloud, caller: Caller
) -> None:
    caller.add("node1")
    cloud.inject(Fault(kind="start", effect=Reset(), times=1))
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        caller.start("node1")
    assert cloud.servers()["node1"].task_state is None
    assert cloud.call_counts().answers["start"] == {0: 1}
    assert caller.start("node1").status_code == 202


@pytest.mark.slow
@pytest.mark.parametrize("performed", [True, False])
def test_a_hang_outlasts_the_caller_but_the_action_is_performed(
    cloud: SimCloud, caller: Caller, *, performed: bool
) -> None:
    caller.add("node1")
    cloud.set(boot_seconds=60)
    cloud.inject(Fault(kind="start", effect=Hang(seconds=1.5, performed=performed)))
    with pytest.raises(requests.ReadTimeout):
        caller.start("node1", timeout=0.2)
    assert (cloud.servers()["node1"].task_state == "powering-on") is performed
    until(lambda: cloud.servers()["node1"].task_state, 5, "the late start")


# -- fates


@pytest.mark.parametrize(
    ("effect", "status", "task"),
    [
        (GoesToError(message="the host is on fire"), "ERROR", None),
        (FallsBack(), "SHUTOFF", None),
        (NeverCompletes(), "SHUTOFF", "powering-on"),
    ],
)
def test_an_accepted_start_can_fail_later(
    cloud: SimCloud, caller: Caller, effect: Effect, status: str, task: str | None
) -> None:
    caller.add("doomed", "fine")
    cloud.set(boot_seconds=0.05)
    cloud.inject(Fault(server="doomed", effect=effect))
    assert caller.start("doomed").status_code == 202
    assert caller.start("fine").status_code == 202
    cloud.await_status(["fine"], "ACTIVE")
    if task is None:
        cloud.await_status(["doomed"], status)
    server = caller.get("doomed").json()["server"]
    assert (server["status"], server["OS-EXT-STS:task_state"]) == (status, task)
    assert ("fault" in server) is (status == "ERROR")
    assert not cloud.servers()["doomed"].powered


# -- which calls, and how often


def test_a_fault_affects_only_its_kind_and_server(cloud: SimCloud, caller: Caller) -> None:
    caller.add("node1", "other1")
    cloud.inject(Fault(kind="start", server="node*", effect=Answer(status=500)))
    assert caller.start("node1").status_code == 500
    assert caller.get("node1").status_code == 200
    assert caller.start("other1").status_code == 202


def test_a_fault_ends_after_its_matches_and_can_be_removed(cloud: SimCloud, caller: Caller) -> None:
    number = cloud.inject(Fault(kind="list", effect=Answer(status=500), times=2))
    assert [caller.list().status_code for _ in range(3)] == [500, 500, 200]
    number = cloud.inject(Fault(kind="list", effect=Answer(status=500)))
    assert caller.list().status_code == 500
    cloud.remove_fault(number)
    assert caller.list().status_code == 200
    assert cloud.state().faults == []


def test_a_fault_with_a_probability_affects_some_calls(cloud: SimCloud, caller: Caller) -> None:
    cloud.inject(Fault(kind="list", effect=Answer(status=500), probability=0.5))
    failed = [caller.list().status_code for _ in range(100)].count(500)
    assert 20 < failed < 80


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("token", lambda _cloud, caller: caller.log_in()),
        (
            "federation",
            lambda cloud, caller: caller.http.post(
                f"{cloud.auth_url}/OS-FEDERATION/identity_providers/egi.eu/protocols/openid/auth",
                timeout=10,
            ),
        ),
        (
            "refresh",
            lambda cloud, caller: caller.http.post(
                cloud.token_endpoint, data={"grant_type": "refresh_token"}, timeout=10
            ),
        ),
    ],
)
def test_logins_can_fail_too(
    cloud: SimCloud,
    caller: Caller,
    kind: str,
    call: Callable[[SimCloud, Caller], requests.Response],
) -> None:
    cloud.inject(Fault(kind=kind, effect=Answer(status=503)))
    answer = call(cloud, caller)
    assert answer.status_code == 503
    assert answer.json()["error"]


def test_an_invalid_fault_is_refused_with_the_name_of_the_field(cloud: SimCloud) -> None:
    for body, field in [
        ({"kind": "strat", "effect": {"is": "reset"}}, "kind"),
        ({"kind": "start", "effect": {"is": "answer", "status": 200}}, "status"),
        ({"kind": "start", "effect": {"is": "reset"}, "tmes": 1}, "tmes"),
    ]:
        answer = requests.post(f"{cloud.url}/_sim/faults", json=body, timeout=10)
        assert answer.status_code == 400
        assert field in answer.json()["error"]
    with pytest.raises(ControlError, match="boot_seconds"):
        cloud.set(boot_seconds=-1)


# -- the cloud as a whole


@pytest.mark.parametrize("looks_like_reset", [True, False])
def test_an_outage_makes_all_services_unavailable_until_it_ends(
    cloud: SimCloud, caller: Caller, *, looks_like_reset: bool
) -> None:
    cloud.outage(on=True, looks_like_reset=looks_like_reset)
    for call in (caller.list, caller.log_in):
        if looks_like_reset:
            with pytest.raises(requests.ConnectionError):
                call()
        else:
            assert call().status_code == 503
    cloud.outage(on=False)
    assert caller.list().status_code == 200


def test_an_outage_can_affect_a_single_service(cloud: SimCloud, caller: Caller) -> None:
    cloud.outage(on=True, services=["oidc", "identity"])
    assert caller.log_in().status_code == 503
    assert caller.list().status_code == 200


def test_a_rate_limit_answers_429_with_a_retry_after(cloud: SimCloud, caller: Caller) -> None:
    cloud.set(rate_limit_per_second=0.01, rate_limit_burst=3)
    answers = [caller.list() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 90 <= int(answers[-1].headers["Retry-After"]) <= 100


def test_the_bucket_of_the_rate_limit_fills_over_time() -> None:
    bucket = RateLimit()
    assert [bucket.take(0, 2, 2) for _ in range(3)] == [0, 0, 0.5]
    assert bucket.take(0.5, 2, 2) == 0
    assert [bucket.take(100, 2, 2) for _ in range(3)] == [0, 0, 0.5]
    assert bucket.take(100, None, 2) == 0


def test_latency_delays_each_call(cloud: SimCloud, caller: Caller) -> None:
    cloud.set_latency(0.2)
    begin = time.monotonic()
    caller.list()
    assert time.monotonic() - begin >= 0.2


def test_calls_are_counted_by_kind_answer_and_server(cloud: SimCloud, caller: Caller) -> None:
    caller.add("node1")
    caller.list()
    caller.get("node1")
    caller.start("node1")
    caller.start("node1")
    counts = cloud.call_counts()
    assert counts.calls == {"list": 1, "get": 1, "start": 2}
    assert counts.answers["start"] == {202: 1, 409: 1}
    assert [(c.kind, c.server, c.status) for c in counts.action_calls] == [
        ("start", "node1", 202),
        ("start", "node1", 409),
    ]
    cloud.reset_counts()
    assert cloud.counts() == {}
