"""One cloud's API: what the engine asks of it, in Nova's words.

A call makes one HTTP request and short retries of it; each try first asks its guard whether the
call is still wanted.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import requests
from keystoneauth1.plugin import BaseAuthPlugin

from producers.trust import UntrustedFileError, read_guarded
from schemas.server import NetworkAddress, Server
from workers.clouds import actions, images, nova_requests
from workers.clouds.answers import Id, created_id, ready_id, time_of
from workers.clouds.errors import BadTemplateError, CloudError, UnreadableAnswerError
from workers.clouds.listing import page_from, server_from
from workers.clouds.names import Names, Query
from workers.clouds.nova_requests import Call, Parts
from workers.clouds.quota import Flavor, FlavorAnswer, Limits, LimitsAnswer
from workers.clouds.servers import is_id, networks_of
from workers.clouds.session import CloudSession, readable
from workers.clouds.template_check import PartProblem, part_problems
from workers.config.groups import NETWORK_WORDS, CloudSettings, GroupSettings, ServerTemplate
from workers.errors import LamplighterError
from workers.process.foreign import read_json
from workers.process.retry_after import http_date

PAGE = 1000
# Some clouds show fewer servers a page.
_MOST_PAGES = 200
_NOT_FOUND = 404
# What Nova answers to the creation of a server from what is gone.
_GONE = frozenset({400, _NOT_FOUND})
_LOOK_UP_AGAIN, _AFTER_FAILURE = 600.0, 60.0


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing's answer.

    Attributes:
        servers: all of the project, or those that changed.
        since: what to ask for next time: the cloud's own time of this answer, RFC 3339.
        lacked: whether some of all servers were missing in the cloud's answer.
    """

    servers: list[Server]
    since: str
    lacked: bool = False


class _ImageState(msgspec.Struct):
    id: Id
    status: Annotated[str, msgspec.Meta(max_length=64)]


class _ImageStates(msgspec.Struct):
    images: list[_ImageState]


class Cloud:
    """Calls one OpenStack project; may be used by many threads.

    Servers get the tags of `cluster`; `groups` are those on this cloud. The others are as for
    CloudSession.
    """

    def __init__(
        self,
        settings: CloudSettings,
        auth: BaseAuthPlugin,
        timeout: float,
        cluster: str = "",
        groups: Mapping[str, GroupSettings] | None = None,
    ) -> None:
        self._cluster = cluster
        groups = groups or {}
        self._templates = {name: one.server for name, one in groups.items() if one.server}
        self._session = CloudSession(settings, auth, timeout)
        self._names = Names(self._ask)
        named = chain.from_iterable(map(networks_of, groups.values()))
        self._networks_by_id = frozenset(name for name in named if name and is_id(name))
        # those ids, by the names that listings use; and when to look them up again
        self._network_ids: dict[str, str] = {}
        self._next_look_up = 0.0

    def close(self) -> None:
        """Drop the connections kept open."""
        self._session.close()

    def act(self, call: Call, guard: Callable[[], None]) -> str:
        """Make a call; Nova answers before it is done.

        Returns:
            The server's id, which for `create` is new; for `findImage` the image's.

        Raises:
            CloudError: Nova refused, or did not answer.
            BadTemplateError: a server cannot be made as its group's template says.
            ImageNotReadyError, ImageLostError: of `findImage`.
            TokenError: no token.
            Exception: whatever `guard` raises, before anything was sent.
        """
        with readable():
            if call.action == actions.CREATE:
                return created_id(self._create(call, guard))
            if call.action in {actions.BAKE, actions.FIND_IMAGE}:
                found = self._find_image(call)
                if call.action == actions.FIND_IMAGE:
                    return ready_id(found)
                if found is not None:  # an earlier try's, whose answer nobody heard
                    return call.server_id
            # what was perhaps heard is not said again: the next look shows it, and a node that has
            # booted may run a job
            once = call.action in {actions.BAKE, actions.REBOOT}
            answer = self._session.send(nova_requests.act(call, self._cluster), guard, once=once)
            if answer.content:  # not a page of somebody in between, who may have kept the call
                read_json(answer.content, dict[str, Any])
        return call.server_id

    def _create(self, call: Call, guard: Callable[[], None]) -> requests.Response:
        template = self._templates[call.group]
        if call.image is not None:
            template = msgspec.structs.replace(template, image=call.image)
        user_data = user_data_of(call, template)

        def create(parts: Parts) -> requests.Response:
            request = nova_requests.create(call, self._cluster, template, parts, user_data)
            # as for an image
            return self._session.send(request, guard, once=True)

        parts = self._names.resolve(template)
        try:
            return create(parts)
        except CloudError as error:
            if error.status not in _GONE:
                raise
            # an image may have been replaced by another one of the same name
            parts, before = self._names.resolve(template, again=True), parts
            if parts == before:
                raise
        return create(parts)

    def _find_image(self, call: Call) -> images.Image | None:
        asked = images.query(call.request_id, self._session.project_id())
        response = self._session.request("GET", "/images", service="image", params=asked)
        listed = read_json(response.content, _ImageStates).images
        return images.pick(images.Image(one.id, one.status) for one in listed)

    def _ask(self, service: str, path: str, query: Query) -> bytes:
        return self._session.request("GET", path, service=service, params=query).content

    def list_servers(self, since: str | None) -> Listing:
        """All servers of the project, or with `since` those that changed, deleted ones included.

        Raises:
            CloudError, TokenError: as `act`.
        """
        query: dict[str, str | int] = {"limit": PAGE}
        if since is not None:
            query["changes-since"] = since
        servers: dict[str, Server] = {}
        answered: str | None = None
        for _page in range(_MOST_PAGES):
            response = self._session.request("GET", "/servers/detail", params=query)
            answered = answered or time_of(response)
            with readable():
                page, more = page_from(response.content)
            known = len(servers)
            if known > _MOST_PAGES * PAGE:
                raise UnreadableAnswerError(
                    f"the listing has more than {_MOST_PAGES * PAGE} servers"
                )
            servers |= {server.id: server for server in page}
            if not more:
                return Listing(self._with_network_ids(servers.values()), answered)
            if len(servers) == known:
                raise UnreadableAnswerError("a page of the listing repeats an earlier one")
            query["marker"] = page[-1].id
        raise UnreadableAnswerError(f"the listing does not end within {_MOST_PAGES} pages")

    def _with_network_ids(self, servers: Iterable[Server]) -> list[Server]:
        """The servers; addresses on a network that a group names by id are there under the id, too.

        Another group may name it by its name.
        """
        self._look_up_networks()
        ids = self._network_ids
        if not ids:
            return list(servers)
        return [
            replace(
                server,
                addresses=(
                    *server.addresses,
                    *(
                        NetworkAddress(ids[network], address)
                        for network, address in server.addresses
                        if network in ids
                    ),
                ),
            )
            for server in servers
        ]

    def _look_up_networks(self) -> None:
        unknown = self._networks_by_id.difference(self._network_ids.values())
        if not unknown or time.monotonic() < self._next_look_up:
            return
        self._next_look_up = time.monotonic() + _LOOK_UP_AGAIN
        try:
            for network_id in unknown:
                name = self._names.network_name(network_id)
                if name is not None:
                    self._network_ids[name] = network_id
        except LamplighterError:
            # without their names the addresses are chosen by the names of networks
            self._next_look_up = time.monotonic() + _AFTER_FAILURE

    def check(self, template: ServerTemplate) -> Flavor:
        """The flavor of a template whose parts the cloud has.

        Raises:
            BadTemplateError: it lacks one, or has several of a name.
            CloudError, TokenError: as `act`.
        """
        with readable():
            parts = self._names.resolve(template, again=True)
            flavor = self._part("flavor", parts.flavor, "compute", f"/flavors/{parts.flavor}")
            self._part("image", parts.image, "image", f"/images/{parts.image}")
            for network in parts.networks:
                if network not in NETWORK_WORDS:
                    self._part("network", network, "network", f"/networks/{network}")
            return read_json(flavor, FlavorAnswer).flavor

    def part_problems(self, template: ServerTemplate) -> list[PartProblem]:
        """What is wrong with the other parts that a template names; errors as `act`, but the cloud's."""
        return list(part_problems(template, self._ask, self._session.project_id))

    def _part(self, kind: str, id_: str, service: str, path: str) -> bytes:
        try:
            return self._ask(service, path, {})
        except CloudError as error:
            if error.status != _NOT_FOUND:
                raise
            raise BadTemplateError(f"the cloud has no {kind} {id_}") from None

    def limits(self) -> tuple[Limits, datetime | None]:
        """The project's quota and use, and the cloud's clock.

        Raises:
            CloudError, TokenError: as `act`.
        """
        response = self._session.request("GET", "/limits")
        with readable():
            found = read_json(response.content, LimitsAnswer).limits.absolute
        return found, http_date(response.headers.get("Date", ""))

    def show_server(self, server_id: str) -> Server | None:
        """One server; None where the cloud has none of this id.

        Raises:
            CloudError, TokenError: as `act`.
        """
        try:
            response = self._session.request("GET", f"/servers/{quote(server_id, safe='')}")
        except CloudError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        with readable():
            return self._with_network_ids([server_from(response.content)])[0]


def user_data_of(call: Call, template: ServerTemplate) -> bytes | None:
    """The content of a template's user data, without names filled in. BadTemplateError if it cannot be read."""
    path = template.user_data_file
    if path is None:
        return None
    try:
        return read_guarded(path)
    except (OSError, UntrustedFileError) as error:
        raise BadTemplateError(f"groups.{call.group}.server.user_data_file: {error}") from None
