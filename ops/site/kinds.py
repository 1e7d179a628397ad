"""The kinds of findings, each with why it matters: to somebody who does not know Lamplighter's insides."""

import enum
from typing import Self


class Kind(enum.StrEnum):
    """A kind of finding; its value is its name for programs.

    Attributes:
        why: what goes wrong, or could, because of it.
    """

    why: str

    def __new__(cls, name: str, why: str) -> Self:
        """A member needs both."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.why = why
        return kind

    # parts that do not answer, and checks that could not be made
    UNAVAILABLE = "unavailable", "its information and its work are missing until it answers again"
    CHECK = "check", "the check of this part was not finished: it may have other faults"
    BROKER = (
        "broker",
        "hooks store their calls, workers wait: no node is powered on or off until it answers",
    )
    STORE = "store", "workers stop until they can read what each node should be; requests wait"
    SLURM = (
        "slurm",
        "without slurmctld no job runs, and Lamplighter cannot know which nodes are needed",
    )
    TOKENS = (
        "tokens",
        "only the token service logs in to the clouds: without it no server starts or stops",
    )
    CLOUD = "cloud", "requests for its nodes wait: jobs on them do not start"
    UNITS = (
        "units",
        "a unit that does not run does no work: requests wait for it, also after a restart of the host",
    )
    MANAGEMENT_UNKNOWN = (
        "management_unknown",
        "a queue without its limits, or on too few nodes, can lose requests when RabbitMQ fails",
    )
    STORE_UNKNOWN = "store_unknown", "failed nodes, silent workers and drift are recorded there"
    PERMISSIONS_UNKNOWN = (
        "permissions_unknown",
        "a role with too few permissions stops its worker; one with too many helps an attacker",
    )
    CLOUDS_UNKNOWN = (
        "clouds_unknown",
        "an image, a key, a network or quota that is missing shows at the first boot only",
    )
    QUORUM_UNKNOWN = (
        "quorum_unknown",
        "a queue without a quorum accepts no message: requests wait, and nothing else reports that",
    )

    # lamplighter.toml, files and folders
    CONFIGURATION = "configuration", "no hook, worker or command starts with such a configuration"
    USELESS = "useless", "this setting has no effect, and nothing else reports that"
    UNREADABLE = "unreadable", "the hook fails, and slurmctld's call to power nodes is lost"
    UNWRITABLE = "unwritable", "errors of hooks are not written anywhere"
    FOLDER = "folder", "a program that cannot use its folder stops; calls of slurmctld can be lost"
    MODE = (
        "mode",
        "who can read a secret can use it, and who can change these files controls Lamplighter",
    )
    RIGHTS = "rights", "with other rights a secret can leak, or its own program cannot use the file"
    SPACE = (
        "space",
        "on a full disk hooks cannot store slurmctld's calls, and stores take no change",
    )
    DISK = (
        "disk",
        "a restart of this host, or the loss of another, can delete calls of slurmctld and records",
    )
    SPOOL = (
        "spool",
        "these nodes are not powered on or off: their jobs wait, or idle nodes cost money",
    )
    SPOOL_UNKNOWN = "spool_unknown", "calls of slurmctld may wait there without being noticed"
    SPOOL_UNREADABLE = (
        "spool_unreadable",
        "such a file may be a damaged call: then its nodes are not powered on or off",
    )

    # slurm.conf
    SLURM_CONF = (
        "slurm_conf",
        "Slurm and Lamplighter then expect different things of a node: it goes down, or is forgotten",
    )
    SLURM_VERSION = (
        "slurm_version",
        "Lamplighter would think that running nodes are off, and the reverse",
    )
    PROGRAM = "program", "slurmctld cannot request nodes to be powered on or off"
    PRIVATE_DATA = "private_data", "users see fewer nodes than the cluster has"
    NODE_NAME = "node_name", "meanwhile no job is scheduled, and no command of Slurm is answered"
    MIN_JOB_AGE = "min_job_age", "reports and `audit why` lack the jobs that Slurm forgets first"
    IDLE_ON_NODE_SUSPEND = (
        "idle_on_node_suspend",
        "the next job gets a node whose server cannot boot, and fails like the one before",
    )
    RETURN_TO_SERVICE = (
        "return_to_service",
        "the node's server runs and costs money, but no job may use it until someone resumes it",
    )
    SUSPEND_EXC_NODES = (
        "suspend_exc_nodes",
        "nodes that are never powered off cost money all the time: Lamplighter saves nothing",
    )
    TIMEOUT = (
        "timeout",
        "Slurm abandons nodes that are still booting: they go down, and their jobs wait or fail",
    )
    PROLOG = "prolog", "a job on nodes that were off waits up to 30 s more than their boot takes"
    PROLOG_SLOTS = (
        "prolog_slots",
        "jobs above this number wait for slurmctld's timer; too many can stop it from ending",
    )
    PROLOG_TIMEOUT = "prolog_timeout", "such a job never starts if its nodes boot slowly"

    # broker, stores, clocks
    BROKER_VERSION = (
        "broker_version",
        "after a lost request, a job waits for a node that is never started",
    )
    TOPOLOGY = (
        "topology",
        "messages then reach other queues, or none: requests can be lost or wait without end",
    )
    QUEUES_MISSING = "queues_missing", "messages for them are kept back: they have no effect"
    QUEUES_FULL = "queues_full", "hooks keep further calls on their disk: nodes stay as they are"
    WORKERS_MISSING = (
        "workers_missing",
        "each worker has one task, such as powering nodes: it is not done now",
    )
    CONSOLE = "console", "operators cannot log in to the web page, and act with commands alone"
    AUDIT_HEADS = (
        "audit_heads",
        "without signed heads nobody can prove that the end of the audit log was not cut off",
    )
    NOTIFY_UNREAD = "notify_unread", "no receiver is notified of what happens, and the queue grows"
    DEAD_LETTERS = (
        "dead_letters",
        "these requests have failed permanently: nothing is done for them until an operator decides",
    )
    WORKER_SILENT = "worker_silent", "it may hang, or have been killed: its task is not done"
    WORKER_PROBLEM = (
        "worker_problem",
        "its task is not done, or only in part, until this is corrected",
    )
    SNAPSHOT_STALE = (
        "snapshot_stale",
        "Lamplighter does not know which nodes have jobs, and does not risk to end one",
    )
    ROLE_LOGIN = "role_login", "programs of this role cannot work: their requests wait"
    PERMISSIONS = (
        "permissions",
        "a role with too few permissions stops its worker; one with too many helps an attacker",
    )
    ONE_BROKER_USER = "one_broker_user", "one stolen password is enough to delete all servers"
    STORE_VERSION = "store_version", "programs refuse tables of another version, and stop"
    STORE_SHARED = (
        "store_shared",
        "a store has the logins and the audit log of one cluster: two would replace what the other needs",
    )
    STORE_UNSHARED = (
        "store_unshared",
        "two power workers that cannot see each other's work start a node twice, or stop one that runs a job",
    )
    DATABASE = "database", "an attacker with this right can hide what was done"
    CLOCK = "clock", "Slurm's newer call could lose against an older one, and valid logins fail"

    # clouds and nodes
    LOGIN = "login", "without a login no server of this cloud is started, stopped or seen"
    LOGIN_ENDS = (
        "login_ends",
        "afterwards nobody can log in to this cloud: its nodes stay as they are",
    )
    CLOUD_RIGHTS = "cloud_rights", "what the cloud forbids fails for each node: jobs do not start"
    QUOTA = "quota", "the cloud refuses further servers: jobs wait though Slurm shows free nodes"
    TEMPLATE = "template", "no server of this group can be created: its jobs never start"
    SERVERS_MISSING = (
        "servers_missing",
        "with this strategy servers are started, not created: jobs on these nodes never start",
    )
    DRIFT = "drift", "servers cost money without need, or nodes that Slurm wants up are off"
    NODES_FAILED = (
        "nodes_failed",
        "jobs cannot use them, or their servers cost money though they should be off",
    )
    DRY_RUN = "dry_run", "no node boots: Slurm sets those that it wants down after ResumeTimeout"
