"""Sends the requests of one project to its cloud; every error that comes of it is one of ours."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import openstack.connection
import openstack.exceptions
import requests
import tenacity
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session

from producers.reasons import AuthoritiesError, causes, connection_reason
from workers.clouds.answers import message_of
from workers.clouds.errors import (
    BadTemplateError,
    CloudError,
    CloudSettingError,
    UnreadableAnswerError,
)
from workers.clouds.nova_requests import NovaRequest
from workers.config.groups import CloudSettings
from workers.errors import LamplighterError
from workers.process.foreign import UnreadableError, bounded_session, one_line
from workers.process.retry_after import requested_wait

_REDIRECT = 300
_ERROR = 400
_REFUSED_TOKEN = 401
# The API may be elsewhere than where the libraries think that it is.
_ELSEWHERE = frozenset({None, 404})
_BLIPS = frozenset({_REFUSED_TOKEN, 502, 504})


def _is_blip(error: BaseException) -> bool:
    """A bad token, a broken connection or a gateway's hiccup: the next try may go well.

    What takes longer has retry tiers of its own.
    """
    if not isinstance(error, CloudError):
        return False
    return error.status in _BLIPS if error.status is not None else not error.timed_out


_blip = tenacity.Retrying(
    retry=tenacity.retry_if_exception(_is_blip),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=1.0),
    stop=tenacity.stop_after_attempt(3),
    reraise=True,
)


@contextmanager
def readable() -> Iterator[None]:
    """Raise what `read_json` raises as a CloudError: the call may have been made all the same."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableAnswerError(str(error)) from None


@contextmanager
def cloud_errors() -> Iterator[None]:
    """Raise what openstacksdk, keystoneauth and requests raise as a CloudError.

    They read the cloud's catalog and version documents, and may raise anything on an odd one: that is
    the cloud's fault, as if it had not answered.
    """
    try:
        yield
    except LamplighterError:
        raise
    except keystone_errors.HttpError as error:
        raise CloudError(error.http_status, one_line(str(error))) from None
    except (keystone_errors.EndpointNotFound, openstack.exceptions.ConfigException) as error:
        remedy = "correct region or interface of this cloud in lamplighter.toml"
        raise UnreadableAnswerError(f"{one_line(str(error))}; {remedy}") from None
    except keystone_errors.ConnectTimeout as error:
        raise CloudError(None, one_line(str(error)), timed_out=True) from None
    except (keystone_errors.ClientException, OSError) as error:  # also those of requests
        where = "the endpoint in the site's catalog"
        setting = any(isinstance(one, AuthoritiesError) for one in causes(error))
        reason = connection_reason(error, "", where, "ca_file of this cloud")
        if setting:
            raise CloudSettingError(one_line(reason or "")) from None
        raise CloudError(None, one_line(reason or f"{type(error).__name__}: {error}")) from None
    except Exception as error:  # noqa: BLE001 - see above
        raise UnreadableAnswerError(one_line(f"{type(error).__name__}: {error}")) from None


class _Direct:
    """Sends for keystoneauth: requests alone, which keeps no cookies and knows no other login.

    A requests.Session merges cookies, settings and the whole environment again for each request: that
    costs more than the request itself.
    """

    def __init__(self, http: requests.Session) -> None:
        self._http = http
        self._settings: Callable[[str], Any] = lru_cache(maxsize=8)(
            lambda host: http.merge_environment_settings(host, {}, None, None, None)
        )

    def request(self, method: str, url: str, **how: Any) -> requests.Response:  # noqa: ANN401 - requests'
        """As requests.Session.request, but follows no redirect: keystoneauth does, on the same host."""
        headers = {**self._http.headers, **how["headers"]}
        made = requests.Request(
            method, url, headers, data=how.get("data"), params=how.get("params")
        )
        parts = urlsplit(url)
        settings = self._settings(f"{parts.scheme}://{parts.netloc}/")
        adapter = self._http.get_adapter(url)
        return adapter.send(made.prepare(), timeout=how["timeout"], **settings)


# From http to https, and to another path: more lead in a circle, each with a time of its own.
_REDIRECTS = 3


class CloudSession:
    """One project's APIs, by the addresses of its catalog; may be used by many threads.

    `auth` gives tokens and the catalog; `timeout` is that of one HTTP request, in seconds.
    """

    def __init__(self, settings: CloudSettings, auth: BaseAuthPlugin, timeout: float) -> None:
        # connecting and answering together take no longer than we say
        self._timeout = timeout / 4, timeout * 3 / 4
        self._http = bounded_session(
            settings.ca_file, timeout, connections=settings.concurrency + 2
        )
        self._settings = settings
        self._auth = auth
        self._open()

    def _open(self) -> None:
        """Know nothing of the cloud's APIs: the libraries keep what they have read, right or wrong."""
        self._auth._discovery_cache.clear()  # noqa: SLF001 - nothing else clears it
        self._session = Session(
            auth=self._auth,
            session=_Direct(self._http),  # type: ignore[arg-type] # it uses `request` alone
            timeout=sum(self._timeout),
            redirect=_REDIRECTS,
            additional_user_agent=[("lamplighter", "1")],
        )
        self._connection = openstack.connection.Connection(
            session=self._session,
            region_name=self._settings.region,
            interface=self._settings.interface,
            compute_api_version="2.1",
        )
        self._api = lru_cache(maxsize=8)(self._find)

    def _find(self, service: str, _token: str) -> tuple[str, str | None]:
        """A service's address, and its API's microversion, in the catalog that came with this token."""
        proxy = getattr(self._connection, service)
        if (found := proxy.get_endpoint()) is None:
            raise keystone_errors.EndpointNotFound
        return found.rstrip("/"), proxy.default_microversion

    def close(self) -> None:
        """Drop the connections kept open."""
        self._connection.close()
        self._http.close()

    def project_id(self) -> str | None:
        """The project of the token; errors as `request`."""
        with cloud_errors():
            found: str | None = self._session.get_project_id()
            return found

    def send(
        self, request: NovaRequest, guard: Callable[[], None], *, once: bool
    ) -> requests.Response:
        """Send a request to Nova; arguments and errors as `request`."""
        more = {"microversion": request.microversion} if request.microversion else {}
        return self.request(
            request.method, request.path, guard, once=once, json=request.json, **more
        )

    def request(
        self,
        method: str,
        path: str,
        guard: Callable[[], None] = lambda: None,
        *,
        service: str = "compute",
        once: bool = False,
        **arguments: Any,  # noqa: ANN401 - keystoneauth's
    ) -> requests.Response:
        """Send a request, and again after a hiccup unless it is to be sent `once`.

        Raises:
            CloudError: the service refused, or did not answer.
            BadTemplateError: the catalog does not name the service.
            TokenError: no token.
            Exception: whatever `guard` raises, before anything was sent.
        """
        tries = _blip.copy(stop=tenacity.stop_after_attempt(1)) if once else _blip.copy()
        try:
            response: requests.Response = tries(self._try, method, path, guard, service, arguments)
        except (CloudError, BadTemplateError) as error:
            if getattr(error, "status", None) in _ELSEWHERE:
                self._open()
            raise
        return response

    def _try(
        self,
        method: str,
        path: str,
        guard: Callable[[], None],
        service: str,
        arguments: dict[str, Any],
    ) -> requests.Response:
        with cloud_errors():
            # Fetching a token and finding the API take time that must not pass between the guard and
            # the call: they come first, and a refused token leads to another try, before which the
            # guard is asked again.
            headers = self._session.get_auth_headers() or {}
            base, microversion = self._address(service, headers.get("X-Auth-Token", ""))
        guard()
        with cloud_errors():
            response = self._session.request(
                base + path,
                method,
                authenticated=False,
                headers=headers,
                raise_exc=False,
                log=False,
                timeout=self._timeout,
                microversion_service_type=service,
                **{"microversion": microversion, **arguments},
            )
        if response.status_code == _REFUSED_TOKEN:
            self._session.invalidate()
        if _REDIRECT <= response.status_code < _ERROR:
            raise CloudError(
                None,
                f"the endpoint in the site's catalog redirects to another place ({response.status_code}),"
                " which would get the token: ask the site to name the final address in the catalog",
            )
        if response.status_code >= _ERROR:
            asked = requested_wait(response.headers, time.time())
            raise CloudError(response.status_code, message_of(response), retry_after=asked)
        return response

    def _address(self, service: str, token: str) -> tuple[str, str | None]:
        try:
            return self._api(service, token)
        except (
            openstack.exceptions.ServiceDisabledException,
            keystone_errors.EndpointNotFound,
        ) as error:
            if service == "compute":
                raise
            # only names need these services
            raise BadTemplateError(
                f"the cloud offers no {service} service for look-ups ({one_line(str(error))});"
                " write ids instead of names into the group's template"
            ) from None
