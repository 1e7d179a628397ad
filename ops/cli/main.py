"""The command `lamplighter`.

Exit codes: 0 success; 1 the command ran, and the result is negative (a check found differences, a
dead letter was refused); 2 the configuration, the command line or a message is wrong; 3 the broker
or a store is unavailable.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import click

from ops.cli.lazy import Commands, LazyGroup
from producers.privacy import forbid_dumps, keep_private

_NODES = LazyGroup(
    "nodes",
    help="List nodes, and create, adopt and delete their servers.",
    short_help="List nodes; create, adopt and delete servers.",
    lazy={
        "list": ("ops.nodes.listing:list_", "List all nodes and their states."),
        "show": ("ops.nodes.listing:show", "Show one node and its latest requests."),
        "deploy": ("ops.nodes.requests:deploy", "Create servers, then power them off."),
        "adopt": ("ops.nodes.requests:adopt", "Tag existing servers as Lamplighter's."),
        "retire": ("ops.nodes.requests:retire", "Delete the servers of nodes."),
    },
)
_TOKENS = LazyGroup(
    "tokens",
    help="Check, test, renew and end the logins to the clouds.",
    lazy={
        "status": ("ops.site.tokens:status", "Show the state of each cloud's login."),
        "test": ("ops.site.tokens:test", "Get a token for a cloud and use it once."),
        "login": ("ops.site.tokens_login:login", "Log in to a cloud, or store a new secret."),
        "revoke": ("ops.site.tokens_revoke:revoke", "End a login, and refuse it from now on."),
    },
)
_AUDIT = LazyGroup(
    "audit",
    help="Query, verify and maintain the audit log.",
    short_help="Read and verify the audit log.",
    lazy={
        "list": ("ops.audit.listing:list_", "List the latest events."),
        "show": ("ops.audit.listing:show", "Show the history of one request."),
        "tail": ("ops.audit.listing:tail", "Show the last events, and follow new ones."),
        "why": ("ops.audit.questions:why", "Explain why a job waited."),
        "failures": ("ops.audit.questions:failures", "List failed requests by cause."),
        "slowest": ("ops.audit.questions:slowest", "List the slowest boots."),
        "export": ("ops.audit.export:export", "Export records as CloudEvents or CSV."),
        "verify": ("ops.audit.chain:verify", "Find changed, removed or reordered records."),
        "heads": ("ops.audit.chain:heads", "Print the signed heads, to keep elsewhere."),
        "seal": ("ops.audit.segments:seal", "Seal a segment of the log."),
        "prune": ("ops.audit.segments:prune", "Drop whole sealed segments."),
    },
)
_COMMANDS: Commands = {
    "init": ("ops.install.init:init", "Set up Lamplighter on the host of slurmctld."),
    "doctor": ("ops.doctor.command:doctor", "Check this host, and say what to change."),
    "support-bundle": (
        "ops.doctor.bundle:support_bundle",
        "Write what a report of a problem needs, without secrets.",
    ),
    "up": ("ops.site.up:up", "Run all workers of a small installation."),
    "worker": ("ops.site.worker:worker", "Run one worker."),
    "relay": ("ops.site.worker:relay", "Publish the requests in the hooks' spool."),
    "nodes": _NODES,
    "image": ("ops.nodes.images:image", "Make an image from a node for its group."),
    "resume": ("ops.nodes.requests:resume", "Power on nodes."),
    "suspend": ("ops.nodes.requests:suspend", "Power off nodes."),
    "snapshot": ("ops.site.snapshot:snapshot", "Take a snapshot of Slurm's node states now."),
    "drift": ("ops.site.drift:drift", "Show, and repair, differences from what Slurm wants."),
    "hold": ("ops.nodes.holds:hold", "Exclude nodes from all actions."),
    "release": ("ops.nodes.holds:release", "End a hold."),
    "status": ("ops.site.status:status", "Show workers, queue depths and node states."),
    "config": ("ops.site.config:config", "Show which file is used, and what each setting means."),
    "clock": ("ops.site.clock:clock", "Show and reset the clock that orders requests."),
    "tokens": _TOKENS,
    "broker": LazyGroup(
        "broker",
        help="Create the broker's users, one for each role.",
        lazy={
            "users": (
                "ops.site.broker_users:users",
                "Print or create the roles' users and permissions.",
            )
        },
    ),
    "database": LazyGroup(
        "database",
        help="Give each role a PostgreSQL user of its own.",
        lazy={
            "roles": (
                "ops.site.database_roles:roles",
                "Print or grant what each role may do in PostgreSQL.",
            )
        },
    ),
    "topology": ("ops.site.topology:topology", "Show, create and check exchanges and queues."),
    "audit": _AUDIT,
    "report": ("ops.report.command:report", "Report usage and waste."),
    "console": ("ops.console.command:console", "Serve the web console."),
    "dead-letters": (
        "ops.dead_letters.command:dead_letters",
        "Handle requests that failed permanently.",
    ),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Path of lamplighter.toml. Default: $LAMPLIGHTER_CONFIG, then beside slurm.conf,"
    " then in /etc/lamplighter.",
)
@click.version_option(package_name="lamplighter")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Power cloud nodes on and off for Slurm."""
    from ops.cli.session import Session  # noqa: PLC0415 - --help needs no settings

    ctx.obj = Session(config)


def main() -> None:
    """Run the command line and end the process; an error is one line on stderr."""
    keep_private()
    forbid_dumps()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: a store must not get its number
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        # a name that the terminal cannot show must not end a listing half-way
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    end(
        lambda: cli(args=_arguments(sys.argv[1:]), prog_name="lamplighter"),
        lambda line: click.echo(f"lamplighter: {line}", err=True),
    )


def _arguments(words: Sequence[str]) -> list[str]:
    """The command line read as UTF-8, whatever the locale: stores and messages hold no other text.

    Raises:
        MalformedMessageError: a word is not.
    """
    try:
        return [os.fsencode(word).decode() for word in words]
    except UnicodeDecodeError as error:
        from schemas.errors import MalformedMessageError  # noqa: PLC0415 - as in end

        word, remedy = ascii(error.object), "write it in UTF-8"
        raise MalformedMessageError("the command line", f"{word} is not text", remedy) from None


def end(call: Callable[[], int], tell: Callable[[str], None]) -> NoReturn:
    """Call, and end the process with the exit code; `tell` receives the line of a known error."""
    try:
        sys.exit(call())
    except Exception as error:
        from ops.cli.errors import explain  # noqa: PLC0415 - loads pika and SQLAlchemy

        explained = explain(error)
        if explained is None:
            raise
        line, code = explained
        tell(line)
        sys.exit(code)


if __name__ == "__main__":
    main()
