"""Reads servers from Nova's answers, as strictly as a message. Pure.

What Nova itself gives (ids, statuses, addresses) must be well formed; what users of the project may
write (names, tags) must have Nova's types and sizes, and means nothing to us unless it is a node's.
"""

import unicodedata
from collections.abc import Mapping
from typing import Annotated

import msgspec

from schemas.addresses import address_from
from schemas.fields import is_cluster_name, is_node_name
from schemas.server import NetworkAddress, Server
from workers.clouds.answers import Id
from workers.clouds.servers import CLUSTER_KEY, NODE_KEY
from workers.process.foreign import UnreadableError, one_line, read_json

# Nova's columns have 255 characters, Neutron's names too.
_Text = Annotated[str, msgspec.Meta(max_length=255)]
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_ .-]{1,64}\Z")]


class _Fault(msgspec.Struct):
    message: str | None = None


class _Address(msgspec.Struct):
    addr: str
    kind: _Word = msgspec.field(name="OS-EXT-IPS:type", default="fixed")


class _Entry(msgspec.Struct):
    """The fields that we use, of the many that Nova lists for each server."""

    id: Id
    name: _Text
    status: _Word
    task: _Word | None = msgspec.field(name="OS-EXT-STS:task_state", default=None)
    fault: _Fault | None = None
    addresses: dict[_Text, list[_Address]] | None = None
    metadata: dict[_Text, _Text] | None = None


class _Link(msgspec.Struct):
    rel: _Word


class _Page(msgspec.Struct):
    servers: list[_Entry]
    servers_links: list[_Link] = msgspec.field(default_factory=list)


class _Shown(msgspec.Struct):
    server: _Entry


def page_from(body: bytes) -> tuple[list[Server], bool]:
    """Read an answer to `GET /servers/detail`: its servers, and whether there are more.

    Raises:
        UnreadableError: the body is not such an answer; the text names server and field.
    """
    page = read_json(body, _Page)
    servers = [_server(entry) for entry in page.servers]
    return servers, bool(servers) and any(link.rel == "next" for link in page.servers_links)


def server_from(body: bytes) -> Server:
    """Read an answer to `GET /servers/ID`.

    Raises:
        UnreadableError: the body is not such an answer.
    """
    return _server(read_json(body, _Shown).server)


def _server(entry: _Entry) -> Server:
    if not all(map(_may_be_in_a_name, entry.name)):
        raise UnreadableError(f"server {entry.id}: its name has a control character")
    cluster, node = _tags(entry.metadata or {})
    fault = entry.fault.message if entry.fault else None
    return Server(
        id=entry.id,
        name=entry.name,
        status=entry.status,
        task=entry.task,
        fault=None if fault is None else one_line(fault),
        addresses=_fixed(entry),
        cluster=cluster,
        node=node,
    )


# Control characters, formats, halves of surrogate pairs and line ends. A character that is unknown here
# may be known to the Python of the cloud.
_NEVER_IN_A_NAME = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _may_be_in_a_name(char: str) -> bool:
    """As Nova decides it (nova/api/validation/parameter_types.py), or its later Unicode would."""
    return unicodedata.category(char) not in _NEVER_IN_A_NAME


def _tags(metadata: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Cluster and node of our tags. Anybody in the project may write them: other text is nobody's."""
    cluster, node = metadata.get(CLUSTER_KEY), metadata.get(NODE_KEY)
    if cluster is not None and not is_cluster_name(cluster):
        cluster = ""
    if node is not None and not is_node_name(node):
        return cluster or "", None
    return cluster, node


def _fixed(entry: _Entry) -> tuple[NetworkAddress, ...]:
    found = []
    for network, addresses in (entry.addresses or {}).items():
        for one in addresses:
            address = address_from(one.addr)
            if address is None:
                raise UnreadableError(f"server {entry.id}: addresses: addr is not an IP address")
            if one.kind == "fixed":
                found.append(NetworkAddress(network, str(address)))
    return tuple(sorted(found))
