"""The parts of an installation, each with a broker user of its own; what each may do: workers/broker/roles.py."""

import enum


class Role(enum.StrEnum):
    """A part with a broker user of its own.

    HOOK: Slurm's hooks. RELAY: publishes what they could not. The others up to NOTIFY: the worker of
    that name.
    CONSOLE: the web console.
    OPERATOR: the command line, for operators who act. READER: for those who only look.
    SETUP: creates exchanges, queues and bindings.
    """

    HOOK = "hook"
    RELAY = "relay"
    POWER = "power"
    TOKENS = "tokens"
    SLURM = "slurm"
    SNAPSHOT = "snapshot"
    RESYNC = "resync"
    AUDIT = "audit"
    NOTIFY = "notify"
    CONSOLE = "console"
    OPERATOR = "operator"
    READER = "reader"
    SETUP = "setup"
