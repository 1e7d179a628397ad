"""Whether the broker works, which its counts of messages do not show.

RabbitMQ answers a passive declare of a queue without a leader with 0 messages and 0 consumers
(rabbit_quorum_queue:stat), and an alarm shows only to those who publish.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import TimeoutError as Late

from producers.amqp import ConnectionParameters
from producers.message import Message
from schemas import ids
from workers.broker.depths import QueueDepth
from workers.broker.link import Link
from workers.broker.roles import may_consume, may_say
from workers.broker.topology import (
    AUDIT_QUEUE,
    COMMANDS,
    DEAD_LETTER_QUEUE,
    FEEDBACK_QUEUE,
    PROBE_KEY,
    RESUME_QUEUE,
    RETRY_TIERS,
    SNAPSHOT_QUEUE,
    SUSPEND_QUEUE,
    TOKEN_QUEUE,
    topology,
)
from workers.errors import BrokerAlarmError

# The worker of each queue that has one of its own.
WORKERS: Mapping[str, str] = {
    RESUME_QUEUE: "power",
    SUSPEND_QUEUE: "power",
    TOKEN_QUEUE: "tokens",
    AUDIT_QUEUE: "audit",
    SNAPSHOT_QUEUE: "resync",
    FEEDBACK_QUEUE: "slurm",
}
# Their workers are optional: missing only if the queue holds messages.
_OPTIONAL = frozenset({SNAPSHOT_QUEUE, FEEDBACK_QUEUE})
_REQUESTS = frozenset({RESUME_QUEUE, SUSPEND_QUEUE, *RETRY_TIERS})
_CONNECT_SECONDS = 15.0
_CONFIRM_SECONDS = 3.0


def full_queues(depths: Collection[QueueDepth]) -> list[str]:
    """The queues that refuse messages because they are full. Pure."""
    most = {
        queue.name: int(queue.arguments["x-max-length"])
        for queue in topology().queues
        if queue.arguments.get("x-overflow") == "reject-publish"
    }
    return [one.name for one in depths if one.name in most and (one.ready or 0) >= most[one.name]]


def missing_workers(depths: Collection[QueueDepth]) -> list[str]:
    """The workers whose queues have no consumer, in alphabetical order."""
    idle = {q.name for q in depths if q.consumers == 0 and (q.ready or q.name not in _OPTIONAL)}
    return sorted({WORKERS[name] for name in idle & WORKERS.keys()})


def queues_to_prove(depths: Collection[QueueDepth]) -> list[str]:
    """The queues of requests that no worker consumes: none would notice that they lose their quorum. Pure.

    Others than that of dead letters are proved only if the count is 0, which may be false: RabbitMQ 4
    ends the wait of a message that was taken from a retry tier and returned 20 times.
    """
    return [
        queue.name
        for queue in depths
        if (queue.name == DEAD_LETTER_QUEUE and queue.ready is not None)
        or (queue.name in _REQUESTS and (queue.ready, queue.consumers) == (0, 0))
    ]


def prove_health(parameters: ConnectionParameters, depths: Collection[QueueDepth]) -> None:
    """Prove that the queues have a quorum, and that the broker accepts messages.

    The broker confirms a consumer only with a quorum. A role proves what it may: a reader nothing, and
    one that may not publish only the quorum. The counts of queues that were read before are known to
    be true only if they are read again after this.

    `depths` are those of its queues.

    Raises:
        NoQuorumError: the nodes of a queue do not answer.
        BrokerAlarmError: the broker has no memory or disk space left.
        BrokerError: the broker is away, or refuses.
    """
    role = None if parameters.broker.users is None else parameters.broker.role
    probes = [name for name in queues_to_prove(depths) if not role or may_consume(role, name)]
    if not probes:  # there is no topology yet, or we may not
        return
    link = Link(parameters, dict.fromkeys(probes, 1))
    link.start()
    try:
        link.prove_consuming(_CONNECT_SECONDS)
        if role and not may_say(role, COMMANDS, PROBE_KEY):
            return
        for _ in range(2):  # an alarm blocks a connection after its first message
            # it reaches no queue
            probe = Message(COMMANDS, PROBE_KEY, b"", ids.correlation_id(), mandatory=False)
            link.publish(probe).result(_CONFIRM_SECONDS)
    except Late:
        problem = link.problem or f"the broker confirms nothing within {_CONFIRM_SECONDS:g} s"
        raise BrokerAlarmError(problem) from None
    finally:
        link.stop()
