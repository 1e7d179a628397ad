"""RabbitMQ's management API: what AMQP cannot read or change."""

from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import requests

from producers.settings import BrokerSettings
from workers.errors import BrokerAwayError

_SECONDS = 15.0


class ManagementApi:
    """A client of the API; every call raises BrokerAwayError if the API is unavailable or refuses.

    Args:
        broker: of the process, whose user logs in.
        url: root of the API.
        login: the name and password of another user, or None.
    """

    def __init__(
        self, broker: BrokerSettings, url: str, login: tuple[str, str] | None = None
    ) -> None:
        parts = urlsplit(broker.full_url())
        self.vhost = unquote(parts.path[1:]) or "/"
        self._root = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies and no .netrc: this is our own broker
        self._session.auth = login or (broker.user, unquote(parts.password or ""))
        if broker.ca_file is not None:
            self._session.verify = str(broker.ca_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def read(self, path: str) -> list[dict[str, Any]]:
        """A list of objects; for `{vhost}` in the path, the virtual host is written."""
        held: list[dict[str, Any]] = self._call("GET", path.format(vhost=self._vhost)).json()
        return held

    def load(self, definitions: dict[str, Any]) -> None:
        """Load definitions."""
        self._call("POST", "definitions", definitions)

    @property
    def _vhost(self) -> str:
        return quote(self.vhost, safe="")

    def _call(self, method: str, path: str, content: object = None) -> requests.Response:
        url = f"{self._root}/api/{path}"
        try:
            answer = self._session.request(method, url, json=content, timeout=_SECONDS)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise BrokerAwayError(
                f"management API at {self._root}: {type(error).__name__}: check broker.management_url,"
                " and that the user has the tag `management` (for users: `administrator`)"
            ) from None
        return answer
