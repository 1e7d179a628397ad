"""What RabbitMQ answers about itself ends in differences or in a named error, whatever it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ops.doctor import roles
from ops.site.management import ManagementApi
from ops.site.topology_check import differences, user_differences
from producers.broker_settings import BrokerSettings, BrokerUsers
from workers.broker.topology import topology
from workers.errors import BrokerAwayError, LamplighterError
from workers.process.foreign import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

WANTED = topology()
USERS = BrokerUsers(Path("users"))
BROKER = BrokerSettings(("amqp://me:secret@localhost/v",))
NODE = "rabbit@a"
# As RabbitMQ 3.10 and 4.0 answer; fields that nobody reads are left out, but for some.
RIGHT: dict[str, list[dict[str, Any]]] = {
    "exchanges": [
        {"name": one.name, "type": one.type, "durable": True, "arguments": {}, "vhost": "v"}
        for one in WANTED.exchanges
    ],
    "queues": [
        {"name": one.name, "durable": True, "arguments": dict(one.arguments), "policy": None}
        | {"members": [NODE], "online": [NODE], "node": NODE, "type": "quorum", "messages": 0}
        for one in WANTED.queues
    ],
    "bindings": [
        {"source": one.exchange, "destination": one.queue, "routing_key": one.key, "arguments": {}}
        for one in WANTED.bindings
    ],
    "nodes": [{"name": NODE, "running": True}],
    "users": [{"name": "me", "tags": ["administrator"]}],
    "permissions": [{"user": "me", "configure": "", "write": ".*", "read": ""}],
    "topic-permissions": [{"user": "me", "exchange": "power.events", "write": "", "read": ""}],
}
LISTS = sorted(RIGHT)


class Answers:
    """Answers as a session of requests does: each path with the body under its last or first word."""

    def __init__(self, bodies: Mapping[str, bytes], status: int = 200) -> None:
        self._bodies = bodies
        self._status = status

    def request(self, _method: str, url: str, **_: object) -> requests.Response:
        words = url.partition("/api/")[2].split("/")
        answer = requests.Response()
        answer.status_code = self._status
        answer._content = self._bodies[words[-1] if words[0] == "vhosts" else words[0]]
        return answer

    def close(self) -> None:
        """Nothing is open."""


def found(changed: Mapping[str, bytes], status: int = 200) -> list[str]:
    """The differences of topology and users, if these bodies are answered."""
    bodies = {name: json.dumps(right).encode() for name, right in RIGHT.items()}
    with ManagementApi(BROKER, ("http://localhost:15672",)) as api:
        api._session = Answers({**bodies, **changed}, status)  # type: ignore[assignment]
        return [*differences(api, WANTED), *user_differences(api, USERS, WANTED)]


def without(name: str, *fields: str) -> dict[str, bytes]:
    """A list whose entries lack fields."""
    kept = [{k: v for k, v in one.items() if k not in fields} for one in RIGHT[name]]
    return {name: json.dumps(kept).encode()}


def test_the_right_answers_have_no_differences_but_the_users() -> None:
    assert {line.split(" ")[0] for line in found({})} == {"user"}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("queues", field) for field in ("node", "type", "messages", "policy", "members")),
        ("nodes", "running"),
        ("users", "tags"),
        ("exchanges", "vhost"),
    ],
)
def test_a_field_that_is_not_needed_may_be_missing(name: str, field: str) -> None:
    assert {line.split(" ")[0] for line in found(without(name, field))} == {"user"}


def test_a_queue_whose_nodes_do_not_say_that_they_are_online_has_no_quorum() -> None:
    lines = [line for line in found(without("queues", "online")) if line.startswith("queue ")]
    assert len(lines) == len(WANTED.queues)
    assert all("no quorum" in line for line in lines)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("arguments", {"alternate-exchange": "x"}, "alternate-exchange is x, should be None"),
        ("policy", "ours", "policy ours changes it; remove the policy"),
    ],
)
def test_what_hides_from_a_sender_that_no_queue_takes_its_message_is_a_difference(
    field: str, value: object, said: str
) -> None:
    """An exchange's argument, or a policy, can name an alternate exchange."""
    held = [one | {field: value} for one in RIGHT["exchanges"]]
    lines = [line for line in found({"exchanges": json.dumps(held).encode()}) if said in line]
    assert lines == [f"exchange {one.name}: {said}" for one in WANTED.exchanges]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("exchanges", "name"),
        ("exchanges", "type"),
        ("exchanges", "arguments"),
        ("queues", "name"),
        ("queues", "durable"),
        ("queues", "arguments"),
        ("bindings", "routing_key"),
        ("nodes", "name"),
        ("users", "name"),
        ("permissions", "read"),
        ("topic-permissions", "exchange"),
    ],
)
def test_a_field_that_is_needed_and_missing_is_named(name: str, field: str) -> None:
    with pytest.raises(BrokerAwayError, match=rf"required field `{field}`.*broker\.management_url"):
        found(without(name, field))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>a proxy's page</html>",
        b"{}",
        b"null",
        b"[[]]",
        b"[1]",
        b'{"error": "x"}',
        b"\xff",
    ],
)
def test_what_is_no_list_of_things_is_an_error_with_the_remedy(name: str, body: bytes) -> None:
    with pytest.raises(BrokerAwayError, match=r"check broker\.management_url"):
        found({name: body})


@pytest.mark.parametrize("status", [500, 404])
def test_nodes_that_are_not_shown_are_no_refusal(status: int) -> None:
    with ManagementApi(BROKER, ("http://localhost:15672",)) as api:
        api._session = Answers({"nodes": b"[]"}, status)  # type: ignore[assignment]
        with pytest.raises(BrokerAwayError):
            api.nodes()


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_without_the_right_to_see_the_nodes_sees_none(status: int) -> None:
    with ManagementApi(BROKER, ("http://localhost:15672",)) as api:
        api._session = Answers({"nodes": b"[]"}, status)  # type: ignore[assignment]
        assert api.nodes() == set()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def odd_lists(draw: st.DrawFn, name: str) -> object:
    """The right list; a field of an entry, an entry or all of it may be missing or anything else."""
    entries: list[Any] = [dict(right) for right in RIGHT[name]]
    place = draw(st.integers(0, len(entries) - 1))
    field = draw(st.sampled_from(sorted(entries[place])))
    match draw(st.sampled_from(("right", "right", "field", "missing", "entry", "all"))):
        case "field":
            entries[place][field] = draw(JSON)
        case "missing":
            del entries[place][field]
        case "entry":
            entries[place] = draw(JSON)
        case "all":
            return draw(JSON)
    return entries


@given(st.fixed_dictionaries({name: odd_lists(name) for name in LISTS}))
def test_any_answers_end_in_differences_or_a_named_error(answers: dict[str, object]) -> None:
    bodies = {name: json.dumps(answer).encode() for name, answer in answers.items()}
    try:
        lines = found(bodies)
    except LamplighterError as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two ends
    else:
        assert all(isinstance(line, str) for line in lines)


@given(st.data(), st.binary(max_size=20) | st.none())
def test_any_output_of_rabbitmqctl_ends_in_differences_or_a_named_error(
    data: st.DataObject, junk: bytes | None
) -> None:
    def run(argv: tuple[str, ...], *_: object) -> subprocess.CompletedProcess[bytes]:
        listed = {"list_users": "users", "list_permissions": "permissions"}
        odd = data.draw(odd_lists(listed.get(argv[2], "topic-permissions")))
        return subprocess.CompletedProcess(
            argv, 0, json.dumps(odd).encode() if junk is None else junk
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "run_program", run)
        reader = roles._Rabbitmqctl("rabbitmqctl", "v")
        try:
            list(user_differences(reader, USERS, WANTED))
        except UnreadableError as error:
            assert str(error).isprintable()  # noqa: PT017 - one of two ends
