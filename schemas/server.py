"""A cloud's server as a listing shows it; the store keeps it, workers read it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """One server as Nova lists it.

    Attributes:
        status: Nova's status (`ACTIVE`, `SHUTOFF`, `ERROR`, ...).
        task: Nova's task state (`powering-on`, ...), or None.
        fault: the fault's message, with status ERROR.
        address: the first fixed address.
        cluster, node: from our tags, or None.
    """

    id: str
    name: str
    status: str
    task: str | None = None
    fault: str | None = None
    address: str | None = None
    cluster: str | None = None
    node: str | None = None
