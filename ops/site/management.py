"""RabbitMQ's management API: what AMQP cannot read or change."""

import ssl
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import requests

from ops.site.held import Held, HeldNode
from producers.amqp import load_certificate
from producers.broker_settings import BrokerSettings
from producers.reasons import connection_reason
from producers.trust import is_there, resolved
from workers.errors import AccessRefusedError, BrokerAwayError
from workers.process.foreign import UnreadableError, bounded_session, read_json

_SECONDS = 15.0
_REFUSALS = (requests.codes.unauthorized, requests.codes.forbidden)


class ManagementApi:
    """A client of the API.

    Every call raises BrokerAwayError if the API is unavailable or answers with something else, and
    AccessRefusedError if it refuses.

    The process's user of the broker logs in, or else `login`, a name and a password. `urls` are
    roots of the API, one for each node of the broker; the first that answers is used.

    Raises:
        ConfigError: our certificate or its key cannot be used.
    """

    def __init__(
        self, broker: BrokerSettings, urls: Sequence[str], login: tuple[str, str] | None = None
    ) -> None:
        self._user, _ = auth = login or (
            broker.user,
            unquote(urlsplit(broker.full_urls()[0]).password or ""),
        )
        self._vhost = quote(broker.vhost, safe="")
        self._roots = [url.rstrip("/") for url in urls]
        self._session = bounded_session(broker.ca_file, _SECONDS)
        self._session.trust_env = False  # no proxies and no .netrc: this is our own broker
        self._session.auth = auth
        _, certificate, key = broker.certificate or (None, None, None)
        # an administrator may have a password only
        if certificate is not None and key is not None and (login is None or is_there(certificate)):
            # requests would ask the terminal for a pass phrase
            load_certificate(ssl.create_default_context(), broker)
            self._session.cert = (str(resolved(certificate)), str(resolved(key)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def read(self, path: str, shape: type[Held]) -> list[Held]:
        """The things in a list; for `{vhost}` in the path, the virtual host is written."""
        answer = self._call("GET", path.format(vhost=self._vhost))
        try:
            return read_json(answer.content, list[shape])  # type: ignore[valid-type]  # its class
        except UnreadableError as error:
            raise BrokerAwayError(
                f"management API: {path.partition('/')[0]}: {error}; check broker.management_url"
            ) from None

    def load(self, definitions: dict[str, Any]) -> None:
        """Load definitions."""
        self._call("POST", "definitions", definitions)

    def nodes(self) -> set[str]:
        """The names of the cluster's nodes; none if the user lacks the tag `monitoring`."""
        try:
            return {node.name for node in self.read("nodes", HeldNode)}
        except AccessRefusedError:
            return set()

    def _call(self, method: str, path: str, content: object = None) -> requests.Response:
        problems = []
        refused = False
        for root in list(self._roots):
            url = f"{root}/api/{path}"
            try:
                answer = self._session.request(
                    # a redirect could send login and definitions to another host
                    method, url, json=content, timeout=_SECONDS, allow_redirects=False
                )  # fmt: skip
                answer.raise_for_status()
                if answer.status_code >= requests.codes.multiple_choices:
                    raise requests.HTTPError("a redirect", response=answer)
            except requests.RequestException as error:
                problems.append(f"management API at {root}: {self._reason(error, root)}")
                refused = refused or (
                    error.response is not None and error.response.status_code in _REFUSALS
                )
                # the other calls begin with one that answers
                self._roots.append(self._roots.pop(0))
            else:
                return answer
        raise (AccessRefusedError if refused else BrokerAwayError)("; ".join(problems))

    def _reason(self, error: requests.RequestException, root: str) -> str:
        if error.response is None:
            reason = connection_reason(error, root, "broker.management_url", "broker.ca_file")
            return reason or f"{type(error).__name__}: check broker.management_url"
        status = error.response.status_code
        if status == requests.codes.unauthorized:
            return (
                f"status {status}: the login of user {self._user} is refused: correct its password, "
                "and give it the tag `management` (for users: `administrator`)"
            )
        if status < requests.codes.bad_request:
            return f"status {status}, a redirect: set broker.management_url to the final address"
        return (
            f"status {status}: check broker.management_url, and that user {self._user} may use the "
            "virtual host"
        )
