"""What lamplighter.toml says to the workers themselves, a table each. Durations are seconds."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from workers.config.types import Count, Seconds, Table


class SlurmSettings(Table, frozen=True):
    """Slurm, and what it is told; seconds.

    Attributes:
        resume_timeout, suspend_timeout: as in slurm.conf.
        feedback: whether `lamplighter up` runs the slurm worker; without a word where Slurm's
            commands and slurm.conf are found.
        conf: slurm.conf; by default the one beside this file, else $SLURM_CONF's.
        bin: the folder of scontrol and squeue; by default they are searched.
        timeout: of one command of Slurm's.
        set_addresses: whether Slurm is told at which address a node has booted.
        return_after: from a failed boot to the node's return to service; twice as long after each
            further failure in a row.
        return_at_most: the longest such time.
        give_back_after: how long a node may wait for a cloud that is away, before its job is let go.
        snapshot_interval: from one reading of all nodes for the resync worker to the next.
        uws_jobdata: OPUS's SLURM_JOBDATA_PATH, by which a job shows for which UWS job it runs.
    """

    resume_timeout: Count = 600
    suspend_timeout: Count = 60
    feedback: bool | None = None
    conf: Path | None = None
    bin: Path | None = None
    timeout: Seconds = 30.0
    set_addresses: bool = False
    return_after: Seconds = 300.0
    return_at_most: Seconds = 7200.0
    give_back_after: Seconds = 300.0
    snapshot_interval: Seconds = 60.0
    uws_jobdata: str | None = None

    def __post_init__(self) -> None:
        if self.uws_jobdata is not None and not self.uws_jobdata.startswith("/"):
            raise ValueError("uws_jobdata must be absolute, as OPUS's SLURM_JOBDATA_PATH is")


class ResyncSettings(Table, frozen=True):
    """What is made of Slurm's snapshots; seconds.

    Attributes:
        enabled: whether suspends are held against snapshots, and drift is repaired; without a word
            where Slurm's commands and slurm.conf are found, or once a snapshot is in the store.
        grace: how long a node must have been seen to differ before it is put out.
        stale_after: a snapshot older than this says nothing any more; three intervals by default.
        repeat_after: from one request for a repair to the next, if it has not helped; doubled each
            time, to an hour at most.
        delete_strays: whether servers with our tags that are no node's are deleted, after the grace.
    """

    enabled: bool | None = None
    grace: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    stale_after: Seconds | None = None
    repeat_after: Seconds = 300.0
    delete_strays: bool = False


class StoreSettings(Table, frozen=True):
    """Where state and audit live: SQLAlchemy URLs; SQLite files of their own by default."""

    url: str = "sqlite:////var/lib/lamplighter/state.db"
    audit_url: str = "sqlite:////var/lib/lamplighter/audit.db"


class PowerSettings(Table, frozen=True):
    """The power worker.

    Attributes:
        prefetch: deliveries in flight per work queue, hence nodes pending.
        poll_interval: between two listings of a cloud that has pending nodes.
        api_timeout: of one call to a cloud; a lease must have more than this left.
        lease: how long a worker owns a node without renewing.
        hold: a delivery held longer than this is parked (RabbitMQ ends consumers at 30 min).
        attempts: failed attempts before a request is dead-lettered.
        clock_ahead: a generation further in the future than this is refused.
        keep_outcomes: how long the store keeps the outcomes of ended rounds; longer than any broker
            keeps a message of theirs, for a round that is forgotten and delivered again opens again.
    """

    prefetch: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 20_000
    poll_interval: Seconds = 1.0
    api_timeout: Seconds = 20.0
    lease: Seconds = 60.0
    hold: Seconds = 900.0
    attempts: Count = 5
    clock_ahead: Seconds = 3600.0
    keep_outcomes: Seconds = 30 * 86_400.0

    def __post_init__(self) -> None:
        if self.lease < 2 * self.api_timeout:
            raise ValueError("lease must be at least twice api_timeout, or no call could be made")


class TokenSettings(Table, frozen=True):
    """The token service.

    Attributes:
        key_file: 32 random bytes (base64) that encrypt rotated refresh tokens in the store;
            made at first start where it is missing.
        service_user: the broker user that answers; replies of others are refused.
        allowed_users: broker users that may ask; empty for the broker URL's own user alone.
        timeout: of one request for a token.
    """

    key_file: Path = Path("token.key")
    service_user: str | None = None
    allowed_users: tuple[str, ...] = ()
    timeout: Seconds = 10.0


class AuditSettings(Table, frozen=True):
    """The audit worker.

    Attributes:
        key_file: signs the log's heads (Ed25519, PEM); made at first start, and its public half
            beside it as key_file.pub.
        heads_file: signed heads are appended to it; have it copied to another host.
        heads_every: seconds between two of them, while something is recorded.
    """

    key_file: Path = Path("audit.key")
    heads_file: Path = Path("audit.heads")
    heads_every: Seconds = 300.0


class LogSettings(Table, frozen=True):
    """Structured logs: JSON lines, or colours for people."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
