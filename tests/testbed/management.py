"""A client for the part of RabbitMQ's management API that tests use (3.10 and later)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import requests

from tests.testbed.waiting import until

# A machine with one disk for many tests can hold a broker up for long.
TIMEOUT = 60.0


@dataclass(frozen=True)
class Depth:
    """The messages of one queue; the server updates these numbers at least every 5 s."""

    ready: int
    unacknowledged: int

    @property
    def total(self) -> int:
        """The number of messages in the queue."""
        return self.ready + self.unacknowledged


class Management:
    """A client of the HTTP API.

    Every method raises `requests.RequestException` if the API does not answer or refuses.
    """

    def __init__(self, url: str, name: str, password: str) -> None:
        """Take the API's root URL, such as http://127.0.0.1:15672, and an administrator's login."""
        self.url = url
        self._session = requests.Session()
        # Ignore proxies and .netrc of the user who runs the tests.
        self._session.trust_env = False
        # A persistent connection would delay the stop of the server by 5 s.
        self._session.headers["Connection"] = "close"
        self._session.auth = (name, password)

    def version(self) -> str:
        """Return the server's version, such as 3.10.8."""
        return str(self._call("GET", "overview")["rabbitmq_version"])

    def running_nodes(self) -> list[str]:
        """Return the names of the cluster's nodes that this one sees running."""
        return [node["name"] for node in self._call("GET", "nodes") if node["running"]]

    def alarmed(self) -> bool:
        """Whether a memory or disk alarm blocks publishers."""
        response = self._request("GET", "health/checks/alarms")
        if response.status_code == requests.codes.service_unavailable:
            return True
        response.raise_for_status()
        return False

    def create_vhost(self, vhost: str) -> None:
        """Create a vhost, if it does not exist; again where a busy broker answers 500."""

        def created() -> bool:
            answer = self._request("PUT", f"vhosts/{_part(vhost)}")
            if answer.status_code != requests.codes.internal_server_error:
                answer.raise_for_status()
            return answer.ok

        until(created, 60.0, f"the vhost {vhost}", interval=1.0)

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost with its content."""
        self._call("DELETE", f"vhosts/{_part(vhost)}")

    def put_user(self, name: str, password: str, *, tags: str = "") -> None:
        """Create a user, or change the password."""
        self._call("PUT", f"users/{_part(name)}", {"password": password, "tags": tags})

    def delete_user(self, name: str) -> None:
        """Delete a user; this closes its connections."""
        self._call("DELETE", f"users/{_part(name)}")

    def permit(self, name: str, vhost: str, configure: str, write: str, read: str) -> None:
        """Set a user's permissions (three regular expressions) in a vhost."""
        permissions = {"configure": configure, "write": write, "read": read}
        self._call("PUT", f"permissions/{_part(vhost)}/{_part(name)}", permissions)

    def queue(self, vhost: str, queue: str) -> dict[str, Any]:
        """Return everything the server reports about one queue."""
        answer: dict[str, Any] = self._call("GET", f"queues/{_part(vhost)}/{_part(queue)}")
        return answer

    def depths(self, vhost: str) -> dict[str, Depth]:
        """Return the depth of each queue of a vhost."""
        return {
            queue["name"]: Depth(
                queue.get("messages_ready", 0), queue.get("messages_unacknowledged", 0)
            )
            for queue in self._call("GET", f"queues/{_part(vhost)}")
        }

    def close_connections(self) -> int:
        """Close every AMQP connection to the server, as an operator can; return their number."""
        connections = self._call("GET", "connections")
        for connection in connections:
            self._request("DELETE", f"connections/{_part(connection['name'])}")
        return len(connections)

    def close(self) -> None:
        """Release the HTTP connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, path: str, body: object | None = None) -> Any:  # noqa: ANN401 - JSON
        response = self._request(method, path, body)
        response.raise_for_status()
        return response.json() if response.content else None

    def _request(self, method: str, path: str, body: object | None = None) -> requests.Response:
        return self._session.request(method, f"{self.url}/api/{path}", json=body, timeout=TIMEOUT)


def _part(name: str) -> str:
    return quote(name, safe="")
