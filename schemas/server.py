"""A cloud's server, as listings show it: the store keeps it and workers read it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """One server as Nova lists it.

    Attributes:
        status: Nova's (`ACTIVE`, `SHUTOFF`, `ERROR`, ...).
        task: its task state (`powering-on`, ...), or None at rest.
        fault: the fault's message, for ERROR.
        address: its first fixed address.
        cluster, node: what our tags say, where it has them.
    """

    id: str
    name: str
    status: str
    task: str | None = None
    fault: str | None = None
    address: str | None = None
    cluster: str | None = None
    node: str | None = None
