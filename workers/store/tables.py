"""The tables of the state store and of the audit log. Times are ns since the epoch."""

import sqlalchemy as sa

STATE = sa.MetaData()
AUDIT = sa.MetaData()

# SQLite numbers rows of an INTEGER key by itself, of a BIGINT key it does not.
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
    # One worker acts on a node at a time: the lease, on the store's own clock (ms).
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

# What a group's servers are made from, in place of its template's image.
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
    # Encrypted by the token service's key; the store never sees it in clear.
    sa.Column("ciphertext", sa.LargeBinary),
    # Which token file it descends from (a hash): a new file starts a new line.
    sa.Column("seed", sa.Text),
    sa.Column("rotated_at", sa.BigInteger),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.BigInteger, nullable=False, server_default="0"),
)

# What Slurm was told of nodes, and what is due: failures in a row must outlive a restart.
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
    # JSON list of job ids
    sa.Column("jobs", sa.Text, nullable=False, server_default="[]"),
)

# The newest of Slurm's view; the body is schemas.snapshot's, whole.
snapshots = sa.Table(
    "snapshots",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    # On the store's own clock (ms), as leases are: hosts' clocks differ.
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Each cloud's servers as they were listed for a snapshot: one row, hence all or nothing.
listings = sa.Table(
    "listings",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("cloud", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# Nodes that somebody is at: everybody else keeps off.
holds = sa.Table(
    "holds",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)

# A drift's kind that the power worker must know: resync/drift.py has them all.
STRAY = "stray"

# What is not as Slurm wants it, of a node or of a server in no node's place.
drifts = sa.Table(
    "drifts",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    # How often its repair was asked for, and when last.
    sa.Column("asked", sa.Integer, nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
)

# What webhooks are to be told, until they have taken it; then for a while, so that repeats fold.
notifications = sa.Table(
    "notifications",
    STATE,
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("webhook", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
    # From 1; an operator's replay opens the next.
    sa.Column("round", sa.Integer, primary_key=True),
    # The event as it came; empty once it has been dealt with.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("taken_at", sa.BigInteger, nullable=False),
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
    # Two reports of one event fold into one record.
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
    # The event as it came, byte for byte; of an unreadable message too.
    sa.Column("body", sa.LargeBinary, nullable=False),
    # Each record's hash covers its predecessor's: two writers cannot both follow one record.
    sa.Column("prev_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.UniqueConstraint("source", "id", name="audit_once"),
    sa.Index("audit_by_request", "request_id", "seq"),
    # People ask for the latest of something: each index ends in what the answer is sorted by.
    sa.Index("audit_in_time", "time", "seq"),
    sa.Index("audit_of_subject", "subject", "time", "seq"),
    sa.Index("audit_of_transition", "transition", "time", "seq"),
    # Seals and notices: few, and looked for by type.
    sa.Index(
        "audit_no_transition",
        "type",
        "seq",
        sqlite_where=sa.text("transition IS NULL"),
        postgresql_where=sa.text("transition IS NULL"),
    ),
)

# Signed statements of what the log's last record was at a time (workers/audit/heads.py).
audit_heads = sa.Table(
    "audit_heads",
    AUDIT,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("statement", sa.Text, nullable=False),
)

# Which jobs waited for which request, so that "why did job 4711 wait" is one look-up.
audit_jobs = sa.Table(
    "audit_jobs",
    AUDIT,
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
)

# Which events of jobs, whose subject is the job, tell of which node, so that a node's records are all of them.
audit_nodes = sa.Table(
    "audit_nodes",
    AUDIT,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
)

# Which Slurm jobs ran for which UWS job. Slurm counts its jobs anew when its state is lost: only what
# happened after the job was submitted is about it.
audit_uws = sa.Table(
    "audit_uws",
    AUDIT,
    sa.Column("uws_id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("submitted_at", sa.BigInteger, primary_key=True),
)
