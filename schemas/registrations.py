"""That a node has registered with slurmctld: its slurmd has started, and jobs may run on it."""

from dataclasses import dataclass

from schemas import ids
from schemas.envelope import Envelope, Fields, rfc3339
from schemas.errors import MalformedMessageError
from schemas.names import is_node_name, shown

ROUTING_KEY = "node.registered"
TYPE = f"lamplighter.{ROUTING_KEY}.v1"


@dataclass(frozen=True, slots=True)
class Registration:
    """One registration.

    Attributes:
        cluster, node: whose.
        time: when slurmd started by the node's own clock (scontrol's SlurmdStartTime), ns since the
            epoch, in whole seconds; it registers within the same second.
    """

    cluster: str
    node: str
    time: int

    @property
    def id(self) -> str:
        """Derived: told twice it is the same event."""
        return ids.derived_id(ROUTING_KEY, self.cluster, self.node, rfc3339(self.time))

    @property
    def routing_key(self) -> str:
        """Where it goes on exchange power.events."""
        return ROUTING_KEY

    def to_envelope(self) -> Envelope:
        """As it travels."""
        return Envelope(
            id=self.id,
            source=self.cluster,
            type=TYPE,
            subject=self.node,
            time=self.time,
            generation=0,
            correlation_id=ids.NO_CORRELATION,
            traceparent=ids.traceparent(ids.NO_CORRELATION, self.id),
            data={"slurmd_started_at": rfc3339(self.time)},
        )


def registration_from(envelope: Envelope) -> Registration:
    """The registration that an envelope carries.

    Raises:
        MalformedMessageError: naming the field and the remedy; also for other types.
    """
    if envelope.type != TYPE:
        raise MalformedMessageError(
            "type", f"{shown(envelope.type)} is no registration", f"send {TYPE}"
        )
    if not is_node_name(envelope.subject):
        raise MalformedMessageError(
            "subject", f"{shown(envelope.subject)} is no node name", "send Slurm's node name"
        )
    started = Fields(envelope.data, "data.").instant("slurmd_started_at")
    told = Registration(envelope.source, envelope.subject, started)
    if (told.id, told.time) != (envelope.id, envelope.time):
        raise MalformedMessageError(
            "id", "or time does not follow from node and slurmd_started_at", "do not alter it"
        )
    return told
