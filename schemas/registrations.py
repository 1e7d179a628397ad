"""A node registered with slurmctld: its slurmd has started, and jobs can run on it."""

from dataclasses import dataclass

from schemas import ids
from schemas.envelope import Envelope, rfc3339
from schemas.fields import Fields

ROUTING_KEY = "node.registered"
TYPE = f"lamplighter.{ROUTING_KEY}.v1"


@dataclass(frozen=True, slots=True)
class Registration:
    """One registration.

    `time` is when slurmd started, by the node's clock (scontrol's SlurmdStartTime), in ns since the
    epoch and whole seconds; slurmd registers within the same second.
    """

    cluster: str
    node: str
    time: int

    @property
    def id(self) -> str:
        """Derived: a second report of the registration has the same id."""
        return ids.derived_id(ROUTING_KEY, self.cluster, self.node, rfc3339(self.time))

    @property
    def routing_key(self) -> str:
        """The routing key on exchange power.events."""
        return ROUTING_KEY

    def to_envelope(self) -> Envelope:
        """The message's envelope."""
        started = {"slurmd_started_at": rfc3339(self.time)}
        return Envelope.around(self, TYPE, self.node, started)


def registration_from(envelope: Envelope) -> Registration:
    """The registration in an envelope; raises MalformedMessageError, also for other types."""
    if envelope.type != TYPE:
        raise envelope.unknown_type("a registration", f"send {TYPE}")
    started = Fields(envelope.data, "data.").instant("slurmd_started_at")
    registration = Registration(envelope.source, envelope.node, started)
    envelope.check_id(
        matches=(registration.id, registration.time) == (envelope.id, envelope.time),
        fields="subject, time and slurmd_started_at",
    )
    return registration
