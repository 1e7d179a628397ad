"""Defines the tables of the state store and of the audit log. Times are ns since the epoch."""

import sqlalchemy as sa

STATE = sa.MetaData()
AUDIT = sa.MetaData()

# SQLite generates values only for an INTEGER primary key, not for a BIGINT one.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

nodes = sa.Table(
    "nodes",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("desired", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("server_id", sa.Text),
    sa.Column("observed", sa.Text),
    sa.Column("observed_at", sa.BigInteger),
    # The lease: one worker acts on a node at a time. Measured by the store's clock (ms).
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.BigInteger, nullable=False, server_default="0"),
    # Until then (same clock) a call may still take effect whose answer was lost.
    sa.Column("unsettled_until", sa.BigInteger, nullable=False, server_default="0"),
    # The generation that was reached last, and the one under which a call last booted the node.
    sa.Column("reached", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("booted", sa.BigInteger, nullable=False, server_default="0"),
    # slurmctld waits for a boot under this generation or a later one.
    sa.Column("boot_from", sa.BigInteger, nullable=False, server_default="0"),
)

requests = sa.Table(
    "requests",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("accepted_at", sa.BigInteger, nullable=False),
    # The terminal event, fixed by compare-and-set before it is published.
    sa.Column("outcome", sa.Text),
    sa.Column("event", sa.LargeBinary),
    sa.Column("decided_at", sa.BigInteger),
    # JSON list of schemas.events.CloudAction
    sa.Column("actions", sa.Text, nullable=False, server_default="[]"),
    # Since acceptance, or since the last successful call; never a difference of two clocks.
    sa.Column("waited_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("requests_by_node", "cluster", "node", "generation"),
    sa.Index("requests_decided", "decided_at"),
)

# The last `lamplighter clock reset`: what was stamped before it is refused while it lies in the future.
clock_resets = sa.Table(
    "clock_resets",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    # The highest generation before.
    sa.Column("stamped_until", sa.BigInteger, nullable=False),
    sa.Column("reset_at", sa.BigInteger, nullable=False),
)

# The image that replaces a group's template image.
group_images = sa.Table(
    "group_images",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("group_name", sa.Text, primary_key=True),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("image_name", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("set_at", sa.BigInteger, nullable=False),
)

refresh_tokens = sa.Table(
    "refresh_tokens",
    STATE,
    sa.Column("cloud", sa.Text, primary_key=True),
    # Encrypted with the token service's key; the store never holds it in clear text.
    sa.Column("ciphertext", sa.LargeBinary),
    # Hash of the token file that the token descends from; a new file starts a new chain.
    sa.Column("seed", sa.Text),
    sa.Column("rotated_at", sa.BigInteger),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.BigInteger, nullable=False, server_default="0"),
)

# What was reported to Slurm for each node, and the next step: failure counts must survive a restart.
feedback = sa.Table(
    "feedback",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("due", sa.Text, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failed_at", sa.BigInteger, nullable=False),
    # JSON list of job IDs
    sa.Column("jobs", sa.Text, nullable=False, server_default="[]"),
)

# The newest snapshot of Slurm; the body is a complete schemas.snapshot.Snapshot.
snapshots = sa.Table(
    "snapshots",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    # By the store's clock (ms), like leases: the hosts' clocks differ.
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# The servers of each cloud, as listed for a snapshot: one row, so a listing is complete or absent.
listings = sa.Table(
    "listings",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("cloud", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("requested_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Nodes under maintenance: no worker touches them.
holds = sa.Table(
    "holds",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)

# The kinds of drift that the power worker must know; workers/resync/drift.py defines all kinds.
STRAY = "stray"
SURPLUS = "surplus"

# Differences from what Slurm wants, by node or by stray server.
drifts = sa.Table(
    "drifts",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    # How many repairs were requested, and when the last one was.
    sa.Column("repairs", sa.Integer, nullable=False),
    sa.Column("repaired_at", sa.BigInteger, nullable=False),
)

# Events for webhooks, until they are delivered; then kept for a while to recognise repeated events.
notifications = sa.Table(
    "notifications",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("webhook", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
    # Starts at 1; an operator's replay opens the next round.
    sa.Column("round", sa.Integer, primary_key=True),
    # The event as received; empty once it is delivered or dropped.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("done_at", sa.BigInteger),
    # JSON list of {"attempt", "time", "error", "message"}
    sa.Column("errors", sa.Text, nullable=False, server_default="[]"),
    sa.Index("notifications_due", "cluster", "webhook", "due_at"),
)

workers = sa.Table(
    "workers",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)

audit = sa.Table(
    "audit",
    AUDIT,
    sa.Column("seq", _ROW_ID, primary_key=True, autoincrement=True),
    # An event that is reported twice is recorded once.
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("round", sa.Integer),
    sa.Column("transition", sa.Text),
    sa.Column("generation", sa.BigInteger),
    sa.Column("correlation_id", sa.Text),
    # The event as received, byte for byte, even if it is unreadable.
    sa.Column("body", sa.LargeBinary, nullable=False),
    # Each record's hash covers its predecessor's: two writers cannot both append to one record.
    sa.Column("prev_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
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
    "audit_heads",
    AUDIT,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("statement", sa.Text, nullable=False),
)

# Which jobs waited for which request: "why did job 4711 wait" is one query.
audit_jobs = sa.Table(
    "audit_jobs",
    AUDIT,
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
)

# Which job events (their subject is the job) concern which node: a query by node finds them too.
audit_nodes = sa.Table(
    "audit_nodes",
    AUDIT,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
)

# Which Slurm jobs ran for which UWS job. Slurm reuses job IDs when it loses its state: only events
# after the submission belong to the job.
audit_uws = sa.Table(
    "audit_uws",
    AUDIT,
    sa.Column("uws_id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("submitted_at", sa.BigInteger, primary_key=True),
)
