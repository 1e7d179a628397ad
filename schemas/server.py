"""A cloud's server as a listing shows it; the store keeps it, workers read it."""

from dataclasses import dataclass
from typing import NamedTuple


class NetworkAddress(NamedTuple):
    """A server's fixed IP address on a network; `network` is the network's name, or its id.

    An address occurs twice if its network is known by both.
    """

    network: str
    address: str


@dataclass(frozen=True, slots=True)
class Server:
    """One server as Nova lists it.

    Attributes:
        status: Nova's status (`ACTIVE`, `SHUTOFF`, `ERROR`, ...).
        task: Nova's task state (`powering-on`, ...), or None.
        fault: the fault's message, with status ERROR.
        addresses: its fixed addresses, in no particular order.
        cluster, node: from our tags, or None.
    """

    id: str
    name: str
    status: str
    task: str | None = None
    fault: str | None = None
    addresses: tuple[NetworkAddress, ...] = ()
    cluster: str | None = None
    node: str | None = None
