"""Defines the tables of the state store and of the audit log. Times are ns since the epoch."""

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

from workers.store.columns import ROW_ID, bigint, binary, integer, text

STATE = sa.MetaData()
AUDIT = sa.MetaData()


def _state(name: str, *content: SchemaItem) -> sa.Table:
    return sa.Table(name, STATE, *content)


nodes = _state(
    "nodes",
    *text("cluster", "node", key=True),
    *text("desired"),
    *bigint("generation"),
    *text("request_id"),
    *text("server_id", "observed", null=True),
    *bigint("observed_at", null=True),
    # The lease: one worker acts on a node at a time. Measured by the store's clock (ms).
    *text("lease_owner", null=True),
    *bigint("lease_until", default="0"),
    # Until then (same clock) a call may still take effect whose answer was lost.
    *bigint("unsettled_until", default="0"),
    # The generation that was reached last, and the one under which a call last booted the node;
    # slurmctld waits for a boot under generation `boot_from` or a later one.
    *bigint("reached", "booted", "boot_from", default="0"),
    # The generation of Slurm's newest request to power the node off that waited for a snapshot, or
    # ended because Slurm wants the node up. Where it is the only one, `generation` is 0.
    *bigint("off_asked", default="0"),
    # When a call last booted the node, by the store's clock (ms).
    *bigint("booted_at", default="0"),
)

requests = _state(
    "requests",
    *text("cluster", "request_id", key=True),
    *integer("round", key=True),
    *text("node"),
    *bigint("generation", "accepted_at"),
    # The terminal event, fixed by compare-and-set before it is published.
    *text("outcome", null=True),
    *binary("event", null=True),
    *bigint("decided_at", null=True),
    # JSON list of schemas.events.CloudAction
    *text("actions", default="[]"),
    # Since acceptance, or since the last call that may have been made; never a difference of two clocks.
    *bigint("waited_ms", default="0"),
    sa.Index("requests_by_node", "cluster", "node", "generation"),
    sa.Index("requests_decided", "decided_at"),
)

# The last `lamplighter clock reset`: what was stamped before it is refused while it lies in the future.
clock_resets = _state(
    "clock_resets",
    *text("cluster", key=True),
    # `stamped_until`: the highest generation before.
    *bigint("stamped_until", "reset_at"),
)

# The image that replaces a group's template image.
group_images = _state(
    "group_images",
    *text("cluster", "group_name", key=True),
    *text("image_id", "image_name", "node", "request_id"),
    *bigint("generation", "set_at"),
)

refresh_tokens = _state(
    "refresh_tokens",
    *text("cloud", key=True),
    # Encrypted with the token service's key; the store never holds it in clear text.
    *binary("ciphertext", null=True),
    # Hash of the token file that the token descends from; a new file starts a new chain.
    *text("seed", null=True),
    *bigint("rotated_at", "expires_at", null=True),
    *text("lease_owner", null=True),
    *bigint("lease_until", default="0"),
)

# Digests of the secrets that operators have revoked: no login uses one again.
revoked_secrets = _state(
    "revoked_secrets",
    *text("cloud", "digest", key=True),
    *text("salt"),
    *bigint("revoked_at"),
)

# What is due for a node that is out of service until its cool-down is over.
RETURN = "return"

# What was reported to Slurm for each node, and the next step: failure counts must survive a restart.
feedback = _state(
    "feedback",
    *text("cluster", "node", key=True),
    *bigint("generation"),
    *integer("failures"),
    *text("due"),
    *bigint("due_at"),
    *text("error", "reason"),
    *bigint("failed_at"),
    # JSON list of job IDs
    *text("jobs", default="[]"),
)

# The newest snapshot of Slurm; the body is a complete schemas.snapshot.Snapshot.
snapshots = _state(
    "snapshots",
    *text("cluster", key=True),
    *bigint("generation"),
    # By the store's clock (ms), like leases: the hosts' clocks differ.
    *bigint("received_at"),
    *binary("body"),
)

# The servers of each cloud, as listed for a snapshot: one row, so a listing is complete or absent.
listings = _state(
    "listings",
    *text("cluster", "cloud", key=True),
    *bigint("generation", "requested_at"),
    *binary("body"),
)

# Nodes under maintenance: no worker touches them.
holds = _state(
    "holds", *text("cluster", "node", key=True), *text("reason", "placed_by"), *bigint("since")
)

# The kinds of drift that the power worker must know; workers/resync/drift.py defines all kinds.
STRAY = "stray"
SURPLUS = "surplus"

# Differences from what Slurm wants, by node or by stray server.
drifts = _state(
    "drifts",
    *text("cluster", "subject", key=True),
    *text("kind"),
    *bigint("since"),
    # How many repairs were requested, and when the last one was.
    *integer("repairs"),
    *bigint("repaired_at"),
)

# Events for webhooks, until they are delivered; then kept for a while to recognise repeated events.
notifications = _state(
    "notifications",
    *text("cluster", "webhook", "event_id", key=True),
    # Starts at 1; an operator's replay opens the next round.
    *integer("round", key=True),
    # The event as received; empty once it is delivered or dropped.
    *binary("body"),
    *bigint("received_at", "due_at"),
    *bigint("done_at", null=True),
    # JSON list of {"attempt", "time", "error", "message"}
    *text("errors", default="[]"),
    sa.Index("notifications_due", "cluster", "webhook", "due_at"),
)

workers = _state(
    "workers",
    *text("cluster", "name", key=True),
    *text("role", "host"),
    *integer("pid"),
    *bigint("started_at", "seen_at"),
    *text("state"),
)

audit = sa.Table(
    "audit",
    AUDIT,
    sa.Column("seq", ROW_ID, primary_key=True, autoincrement=True),
    # An event that is reported twice is recorded once: source and id are unique.
    *text("source", "id", "type"),
    *bigint("time", "recorded_at"),
    *text("subject", "request_id", null=True),
    *integer("round", null=True),
    *text("transition", null=True),
    *bigint("generation", null=True),
    *text("correlation_id", null=True),
    # The event as received, byte for byte, even if it is unreadable.
    *binary("body"),
    # The broker user that published it, as the broker validated it.
    *text("sender", null=True),
    # Each record's hash covers its predecessor's: two writers cannot both append to one record.
    *binary("prev_hash", "hash"),
    sa.UniqueConstraint("prev_hash"),
    sa.UniqueConstraint("hash"),
    sa.UniqueConstraint("source", "id", name="audit_unique_event"),
    sa.Index("audit_by_request", "request_id", "seq"),
    # Queries ask for the latest records: each index ends with the columns that they sort by.
    sa.Index("audit_by_time", "time", "seq"),
    sa.Index("audit_by_subject", "subject", "time", "seq"),
    sa.Index("audit_by_transition", "transition", "time", "seq"),
    # Seals and notices: there are few, and queries select them by type.
    sa.Index(
        "audit_without_transition",
        "type",
        "seq",
        sqlite_where=sa.text("transition IS NULL"),
        postgresql_where=sa.text("transition IS NULL"),
    ),
)

# Signed statements of the last record of the log at a given time (workers/audit/heads.py).
audit_heads = sa.Table(
    "audit_heads", AUDIT, *bigint("seq", key=True), *text("key", key=True), *text("statement")
)

# Which jobs waited for which request: "why did job 4711 wait" is one query.
audit_jobs = sa.Table(
    "audit_jobs", AUDIT, *bigint("job_id", key=True), *text("request_id", key=True)
)

# Which job events (their subject is the job) concern which node: a query by node finds them too.
audit_nodes = sa.Table("audit_nodes", AUDIT, *text("node", "source", "id", key=True))

# Which Slurm jobs ran for which UWS job. Slurm reuses job IDs when it loses its state: only events
# after the submission belong to the job.
audit_uws = sa.Table(
    "audit_uws", AUDIT, *text("uws_id", key=True), *bigint("job_id", "submitted_at", key=True)
)
