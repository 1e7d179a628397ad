"""One cloud's API: the only place that imports openstack, and that speaks Nova's words.

A call makes one HTTP request and short retries of it; each try first asks its guard whether the
call is still wanted.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import openstack.connection
import openstack.exceptions
import requests
import requests.adapters
import tenacity
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session

from producers.reasons import connection_reason
from schemas.server import Server
from workers.clouds import actions, images, nova_requests
from workers.clouds.answers import cut, message_of, ready_id, time_of
from workers.clouds.errors import BadTemplateError, CloudError
from workers.clouds.names import resolve
from workers.clouds.nova_requests import Call, NovaRequest, Parts
from workers.clouds.servers import page_from, server_from
from workers.config.groups import CloudSettings, ServerTemplate
from workers.process.retry_after import requested_wait

PAGE = 1000
_ERROR = 400
_REFUSED_TOKEN = 401
_NOT_FOUND = 404
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


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing's answer.

    Attributes:
        servers: all of the project, or those that changed.
        since: what to ask for next time: the cloud's own time of this answer, RFC 3339.
    """

    servers: list[Server]
    since: str


class Cloud:
    """Calls one OpenStack project; may be used by many threads.

    Args:
        settings: of this cloud.
        auth: gives tokens and the catalog.
        timeout: of one HTTP request, seconds.
        cluster: whose tags servers get.
        templates: how servers are made, by group.
    """

    def __init__(
        self,
        settings: CloudSettings,
        auth: BaseAuthPlugin,
        timeout: float,
        cluster: str = "",
        templates: Mapping[str, ServerTemplate] | None = None,
    ) -> None:
        self._cluster = cluster
        self._templates = templates or {}
        self._parts: dict[tuple[str, str], Parts] = {}
        http = requests.Session()
        adapter = requests.adapters.HTTPAdapter(
            pool_connections=4, pool_maxsize=settings.concurrency + 2
        )
        for scheme in ("http://", "https://"):
            http.mount(scheme, adapter)
        # connecting and answering together take no longer than we say
        self._timeout = timeout / 4, timeout * 3 / 4
        session = self._session = Session(
            auth=auth,
            session=http,
            verify=str(settings.ca_file) if settings.ca_file else True,
            timeout=timeout,
            additional_user_agent=[("lamplighter", "1")],
        )
        self._http = http
        self._connection = openstack.connection.Connection(
            session=session,
            region_name=settings.region,
            interface=settings.interface,
            compute_api_version="2.1",
        )

    def close(self) -> None:
        """Drop the connections kept open."""
        self._connection.close()
        self._http.close()

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        """Make a call; Nova answers before it is done.

        Returns:
            The server's id, which for `create` is new; for `findImage` the image's.

        Raises:
            CloudError: Nova refused, or did not answer.
            ImageNotReadyError, ImageLostError: of `findImage`.
            TokenError: no token.
            Exception: whatever `guard` raises, before anything was sent.
        """
        if call.action in {actions.BAKE, actions.FIND_IMAGE}:
            found = self._find_image(call, guard)
            if call.action == actions.FIND_IMAGE:
                return ready_id(found)
            if found is not None:  # an earlier try's, whose answer nobody heard
                return call.server_id
        request = self._prepare(call)
        # a creation that was perhaps heard is not said again: the next listing shows it
        once = call.action in {actions.CREATE, actions.BAKE}
        tries = _blip.copy(stop=tenacity.stop_after_attempt(1)) if once else _blip.copy()
        response = tries(self._send, request, guard)
        return call.server_id or str(response.json()["server"]["id"])

    def _prepare(self, call: Call) -> NovaRequest:
        if call.action != actions.CREATE:
            return nova_requests.act(call, self._cluster)
        template = self._templates[call.group]
        if call.image is not None:
            template = msgspec.structs.replace(template, image=call.image)
        key = call.group, template.image
        if key not in self._parts:
            self._parts[key] = self._resolve(template)
        user_data = None
        if template.user_data_file is not None:
            try:
                user_data = template.user_data_file.read_text()
            except OSError as error:
                raise BadTemplateError(
                    f"groups.{call.group}.server.user_data_file: {error}"
                ) from None
        try:
            return nova_requests.create(call, self._cluster, template, self._parts[key], user_data)
        except (KeyError, ValueError) as error:
            raise BadTemplateError(
                f"groups.{call.group}.server.user_data_file: {error}: only $node, $cluster and $group "
                "are filled in; write $$ for a dollar"
            ) from None

    def _find_image(self, call: Call, guard: Callable[[], None]) -> images.Image | None:
        try:
            asked = images.query(call.request_id, self._session.get_project_id())
            # through the same door as Nova's: one token, one kind of error
            response = _blip.copy()(
                self._request, "GET", "/images", guard, service="image", params=asked
            )
            return images.pick(response.json())
        except (ValueError, KeyError, TypeError) as error:
            raise CloudError(None, f"the list of images is not Glance's: {error!r}") from None

    def _resolve(self, template: ServerTemplate) -> Parts:
        try:
            return resolve(self._connection, template)
        except openstack.exceptions.ServiceDisabledException as error:
            raise BadTemplateError(f"names need look-ups: {cut(str(error))}; give ids") from None
        except openstack.exceptions.HttpException as error:
            raise CloudError(error.status_code, cut(str(error))) from None
        except (openstack.exceptions.SDKException, keystone_errors.ClientException) as error:
            raise CloudError(None, cut(f"{type(error).__name__}: {error}")) from None

    def _send(self, request: NovaRequest, guard: Callable[[], None]) -> requests.Response:
        arguments = {"microversion": request.microversion} if request.microversion else {}
        return self._request(request.method, request.path, guard, json=request.json, **arguments)

    def list_servers(self, since: str | None) -> Listing:
        """All servers of the project, or with `since` those that changed, deleted ones included.

        Raises:
            CloudError, TokenError: as `act`.
        """
        servers: list[Server] = []
        query: dict[str, str | int] = {"limit": PAGE}
        if since is not None:
            query["changes-since"] = since
        answered: str | None = None
        while True:
            response = _blip.copy()(self._request, "GET", "/servers/detail", params=query)
            answered = answered or time_of(response)
            try:
                page, more = page_from(response.content)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise CloudError(None, f"the listing is not Nova's: {error}") from None
            servers += page
            if not more:
                return Listing(servers, answered)
            query["marker"] = page[-1].id

    def show_server(self, server_id: str) -> Server | None:
        """One server, for people; None where the cloud has none of this id.

        Raises:
            CloudError, TokenError: as `act`.
        """
        try:
            response = _blip.copy()(self._request, "GET", f"/servers/{quote(server_id, safe='')}")
        except CloudError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        try:
            return server_from(response.content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CloudError(None, f"the answer is not Nova's: {error}") from None

    def _request(
        self,
        method: str,
        path: str,
        guard: Callable[[], None] = lambda: None,
        service: str = "compute",
        **arguments: Any,  # noqa: ANN401 - requests'
    ) -> requests.Response:
        try:
            # Fetching a token takes time that must not pass between the guard and the call: it
            # comes first, and a refused one leads to another try, with the guard asked anew.
            self._session.get_auth_headers()
            guard()
            response: requests.Response = getattr(self._connection, service).request(
                path,
                method,
                raise_exc=False,
                allow_reauth=False,
                timeout=self._timeout,
                # openstacksdk's own waits for a time of the wall clock, without bound
                rate_semaphore=nullcontext(),
                **arguments,
            )
        except openstack.exceptions.ServiceDisabledException as error:
            raise BadTemplateError(f"the cloud offers no images: {cut(str(error))}") from None
        except keystone_errors.HttpError as error:
            raise CloudError(error.http_status, cut(str(error))) from None
        except keystone_errors.ConnectTimeout as error:
            raise CloudError(None, cut(str(error)), timed_out=True) from None
        except (keystone_errors.ClientException, requests.RequestException) as error:
            where = "the endpoint in the site's catalog"
            reason = connection_reason(error, "", where, "ca_file of this cloud")
            raise CloudError(None, cut(reason or f"{type(error).__name__}: {error}")) from None
        if response.status_code == _REFUSED_TOKEN:
            self._session.invalidate()
        if response.status_code >= _ERROR:
            asked = requested_wait(response.headers, time.time())
            raise CloudError(response.status_code, message_of(response), retry_after=asked)
        return response
