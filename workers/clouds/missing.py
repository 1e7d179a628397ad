"""What a listing of all servers says nothing of: a server that was there before is not gone by that alone.

Nova leaves out, without a word, the servers of a cell that it cannot reach. Taken for the whole truth, such a
listing would end boots that go well, and lead to second servers.
"""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from schemas.events import CloudAction
from schemas.server import Server
from workers.clouds.actions import UNSEEN
from workers.clouds.client import Cloud, Listing
from workers.clouds.errors import CloudError
from workers.clouds.servers import DELETED, ServerView
from workers.config.groups import GroupSettings
from workers.store.nodes import DesiredRow
from workers.store.requests import RoundKey

_NOT_NOW = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
# Of very many, these few are enough: a cell takes all its servers with it.
_ASKED = 3


class HasServers(Protocol):
    """A pending node, as far as its servers matter."""

    @property
    def name(self) -> str:
        """The node's."""

    @property
    def group(self) -> GroupSettings:
        """Its group."""

    @property
    def row(self) -> DesiredRow:
        """Its row, which knows the server that was acted on last."""

    @property
    def actions(self) -> Mapping[RoundKey, tuple[CloudAction, ...]]:
        """The cloud actions made, by request and round."""


def created(server_id: str, node: str, cluster: str) -> Server:
    """A server that was created, of which no more is known."""
    return Server(server_id, node, UNSEEN, cluster=cluster, node=node)


def with_listed(known: Mapping[str, Server], view: ServerView) -> dict[str, Server]:
    """These, as they were listed last, and all others with our tags."""
    ours = {s.id: s for s in view.servers if s.cluster == view.cluster or s.id in known}
    return {**known, **ours}


def with_missing(cloud: Cloud, known: Mapping[str, Server], listing: Listing) -> Listing:
    """A listing of all servers, with those of the `known` ones that it lacks although they are there.

    Where the cloud cannot say so, and of very many, their status is UNSEEN.

    Raises:
        TokenError: as of a listing.
    """
    listed = {server.id for server in listing.servers}
    missing = [server for server_id, server in known.items() if server_id not in listed]
    if not missing:
        return listing
    asked = missing[:: -(-len(missing) // _ASKED)]
    found = [one for server in asked if (one := _shown(cloud, server)) is not None]
    if found:
        found += [_unseen(server) for server in missing if server not in asked]
    return replace(listing, servers=[*listing.servers, *found], lacked=bool(found))


def _shown(cloud: Cloud, server: Server) -> Server | None:
    try:
        shown = cloud.show_server(server.id)
    except CloudError as error:
        # that it may not be asked for says nothing against the listing
        status = error.status
        asked_in_vain = (
            status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_NOW
        )
        return _unseen(server) if asked_in_vain else None
    return None if shown is None or shown.status in DELETED else shown


def _unseen(server: Server) -> Server:
    return replace(server, status=UNSEEN, task=None)
